/* The Python side of the reader: `Reader`, described in _native.pyi. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#ifdef __linux__

#include <errno.h>
#include <stddef.h>

#include "framing.h"
#include "reader.h"

/* ── Framing ── */

typedef struct {
    PyObject_HEAD
    struct framing framing;
    int has_begun;
} FramingObject;

static PyObject *py_framing_take(PyObject *self, PyObject *arguments)
{
    FramingObject *framing = (FramingObject *)self;
    struct framing *f = &framing->framing;
    const char *data;
    Py_ssize_t size, begin = 0;
    PyObject *ends;
    if (!PyArg_ParseTuple(arguments, "y#O!", &data, &size, &PyList_Type, &ends))
        return NULL;
    if (framing->has_begun && f->state == HEAD)
        f->state = UNKNOWN; /* the beginning of the head is not in this piece */
    framing->has_begun = 1;
    uint64_t before = f->body;
    Py_ssize_t count = PyList_Size(ends);
    PyObject *bodies = PyList_New(count);
    for (Py_ssize_t i = 0; bodies && i < count; i++) {
        Py_ssize_t end = PyLong_AsSsize_t(PyList_GetItem(ends, i));
        if (end < begin || end > size) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "ends must rise and lie in the data");
            Py_CLEAR(bodies);
            break;
        }
        framing_take(f, data, (size_t)begin, (size_t)end);
        begin = end;
        PyObject *body = PyLong_FromUnsignedLongLong(f->body - before);
        if (!body || PyList_SetItem(bodies, i, body))
            Py_CLEAR(bodies);
    }
    if (bodies && f->state == UNKNOWN) {
        Py_DECREF(bodies);
        Py_RETURN_NONE;
    }
    return bodies;
}

static void deallocate_framing(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef framing_methods[] = {{"take", py_framing_take, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyType_Slot framing_slots[] = {
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_dealloc, (void *)deallocate_framing},
    {Py_tp_methods, framing_methods},
    {0, NULL},
};

static PyType_Spec framing_type = {
    .name = "llmlocust.wire._native.Framing",
    .basicsize = sizeof(FramingObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = framing_slots,
};

/* ── Reader ── */

typedef struct {
    PyObject_HEAD
    reader *reader;
} ReaderObject;

/* Return the reader, or NULL with an exception. */
static reader *reader_of(PyObject *self)
{
    reader *r = ((ReaderObject *)self)->reader;
    if (!r)
        PyErr_SetString(PyExc_ValueError, "the reader is closed");
    return r;
}

static PyObject *raise_errno(int error)
{
    errno = error;
    return error == ENOMEM ? PyErr_NoMemory() : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *new_reader(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    Py_ssize_t most;
    static char *names[] = {"most", NULL};
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n", names, &most))
        return NULL;
    if (most < 0) {
        PyErr_SetString(PyExc_ValueError, "most must not be negative");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = allocate(type, 0);
    if (self && !(((ReaderObject *)self)->reader = reader_new((size_t)most))) {
        Py_DECREF(self);
        return raise_errno(errno);
    }
    return self;
}

static void close_reader(PyObject *self)
{
    reader *r = ((ReaderObject *)self)->reader;
    ((ReaderObject *)self)->reader = NULL;
    if (r) {
        Py_BEGIN_ALLOW_THREADS
        reader_free(r);
        Py_END_ALLOW_THREADS
    }
}

static void deallocate(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    close_reader(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *py_close(PyObject *self, PyObject *none)
{
    (void)none;
    close_reader(self);
    Py_RETURN_NONE;
}

static PyObject *py_abandon(PyObject *self, PyObject *none)
{
    (void)none;
    if (((ReaderObject *)self)->reader)
        reader_abandon(((ReaderObject *)self)->reader);
    ((ReaderObject *)self)->reader = NULL; /* its memory is lost: the thread may have been changing it */
    Py_RETURN_NONE;
}

static PyObject *py_wakeup(PyObject *self, PyObject *none)
{
    (void)none;
    reader *r = reader_of(self);
    return r ? PyLong_FromLong(reader_wakeup(r)) : NULL;
}

static PyObject *py_add(PyObject *self, PyObject *arguments)
{
    reader *r = reader_of(self);
    int fd, encrypted;
    if (!r || !PyArg_ParseTuple(arguments, "ip", &fd, &encrypted))
        return NULL;
    int number = reader_add(r, fd, encrypted);
    return number < 0 ? raise_errno(-number) : PyLong_FromLong(number);
}

/* Read the number of a connection. Returns -1 with an exception. */
static int number_from(PyObject *argument)
{
    long number = PyLong_AsLong(argument);
    if (number < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "not the number of a connection");
    return number < 0 ? -1 : (int)number;
}

static PyObject *py_remove(PyObject *self, PyObject *argument)
{
    reader *r = reader_of(self);
    int number = r ? number_from(argument) : -1;
    if (number < 0)
        return NULL;
    reader_remove(r, number);
    Py_RETURN_NONE;
}

static PyObject *py_end(PyObject *self, PyObject *argument)
{
    reader *r = reader_of(self);
    int number = r ? number_from(argument) : -1;
    if (number < 0)
        return NULL;
    reader_end(r, number);
    Py_RETURN_NONE;
}

static PyObject *py_begin(PyObject *self, PyObject *arguments)
{
    reader *r = reader_of(self);
    int number, wake, result;
    long long due;
    ns sent = 0;
    Py_buffer request;
    if (!r || !PyArg_ParseTuple(arguments, "iy*Li", &number, &request, &due, &wake))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = reader_begin(r, number, request.buf, (size_t)request.len, due, (enum wake)wake, &sent);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&request);
    if (result == -ENOMEM)
        return PyErr_NoMemory();
    if (result)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(sent);
}

static PyObject *py_send(PyObject *self, PyObject *arguments)
{
    reader *r = reader_of(self);
    int number;
    Py_buffer data;
    if (!r || !PyArg_ParseTuple(arguments, "iy*", &number, &data))
        return NULL;
    int error = reader_send(r, number, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    if (error)
        return raise_errno(-error);
    Py_RETURN_NONE;
}

static PyObject *py_set_wake(PyObject *self, PyObject *arguments)
{
    reader *r = reader_of(self);
    int number, wake;
    if (!r || !PyArg_ParseTuple(arguments, "ii", &number, &wake))
        return NULL;
    reader_set_wake(r, number, (enum wake)wake);
    Py_RETURN_NONE;
}

static PyObject *py_ready(PyObject *self, PyObject *none)
{
    (void)none;
    reader *r = reader_of(self);
    PyObject *all = r ? PyList_New(0) : NULL;
    int numbers[256];
    size_t count = sizeof numbers / sizeof *numbers;
    while (all && count == sizeof numbers / sizeof *numbers) {
        count = reader_ready(r, numbers, count);
        for (size_t i = 0; all && i < count; i++) {
            PyObject *number = PyLong_FromLong(numbers[i]);
            if (!number || PyList_Append(all, number))
                Py_CLEAR(all);
            Py_XDECREF(number);
        }
    }
    return all;
}

/* Return a list of one value of each piece that counts, or NULL with an exception. */
static PyObject *listed(const struct arrivals *taken, size_t kept, long long (*value)(const struct arrivals *, size_t))
{
    PyObject *list = PyList_New((Py_ssize_t)kept);
    uint32_t body = 0;
    for (size_t i = 0, at = 0; list && i < taken->count; i++) {
        if (taken->framed && taken->pieces[i].body == body)
            continue;
        body = taken->pieces[i].body;
        PyObject *number = PyLong_FromLongLong(value(taken, i));
        if (!number || PyList_SetItem(list, (Py_ssize_t)at++, number))
            Py_CLEAR(list);
    }
    return list;
}

static long long end_of(const struct arrivals *taken, size_t i)
{
    return taken->framed ? taken->pieces[i].body : taken->pieces[i].end;
}

static long long time_of(const struct arrivals *taken, size_t i)
{
    return taken->pieces[i].arrived;
}

static long long lag_of(const struct arrivals *taken, size_t i)
{
    return taken->pieces[i].read - taken->pieces[i].arrived;
}

static long long empty_of(const struct arrivals *taken, size_t i)
{
    return taken->pieces[i].empty;
}

/* Return how many pieces are listed: where the bytes of the body are known, those that contain some. */
static size_t kept_of(const struct arrivals *taken)
{
    size_t kept = 0;
    uint32_t body = 0;
    for (size_t i = 0; i < taken->count; i++) {
        kept += !taken->framed || taken->pieces[i].body != body;
        body = taken->pieces[i].body;
    }
    return kept;
}

static PyObject *py_take(PyObject *self, PyObject *argument)
{
    reader *r = reader_of(self);
    int number = r ? number_from(argument) : -1;
    if (number < 0)
        return NULL;
    struct arrivals taken;
    reader_take(r, number, &taken);
    size_t kept = kept_of(&taken);
    int flags = taken.framed | taken.whole << 1 | taken.closed << 2 | taken.cut_off << 3 | taken.unsent << 4 |
                taken.stamped << 5;
    PyObject *data = PyBytes_FromStringAndSize(taken.data, (Py_ssize_t)taken.size);
    PyObject *ends = listed(&taken, kept, end_of), *times = listed(&taken, kept, time_of);
    PyObject *lags = listed(&taken, kept, lag_of), *empties = listed(&taken, kept, empty_of);
    PyObject *result = NULL;
    if (data && ends && times && lags && empties)
        result = Py_BuildValue("OOOOOLLii", data, ends, times, lags, empties, (long long)taken.sent,
                               (long long)taken.last_read, taken.error, flags);
    reader_release(&taken);
    Py_XDECREF(data);
    Py_XDECREF(ends);
    Py_XDECREF(times);
    Py_XDECREF(lags);
    Py_XDECREF(empties);
    return result;
}

static PyMethodDef methods[] = {
    {"wakeup", py_wakeup, METH_NOARGS, NULL},     {"add", py_add, METH_VARARGS, NULL},
    {"remove", py_remove, METH_O, NULL},          {"begin", py_begin, METH_VARARGS, NULL},
    {"set_wake", py_set_wake, METH_VARARGS, NULL}, {"send", py_send, METH_VARARGS, NULL}, {"end", py_end, METH_O, NULL},
    {"take", py_take, METH_O, NULL},              {"ready", py_ready, METH_NOARGS, NULL},
    {"close", py_close, METH_NOARGS, NULL},       {"abandon", py_abandon, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)new_reader},
    {Py_tp_dealloc, (void *)deallocate},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec reader_type = {
    .name = "llmlocust.wire._native.Reader",
    .basicsize = sizeof(ReaderObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

static int add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    int result = type ? PyModule_AddObjectRef(module, name, type) : -1;
    Py_XDECREF(type);
    return result;
}

static int fill(PyObject *module)
{
    return add_type(module, "Reader", &reader_type) || add_type(module, "Framing", &framing_type) ? -1 : 0;
}

#else

static int fill(PyObject *module)
{
    (void)module;
    PyErr_SetString(PyExc_ImportError, "the native reader needs Linux");
    return -1;
}

#endif

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = 0, .m_slots = module_slots};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
