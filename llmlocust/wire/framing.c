#define _GNU_SOURCE
#include "framing.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const size_t MAX_HEAD = 16384;
static const uint32_t MAX_DIGITS = 15; /* of a chunk's size, and of a length: no overflow */

struct field {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
};

static bool is_named(const struct field *field, const char *name)
{
    return field->name_size == strlen(name) && !strncasecmp(field->name, name, field->name_size);
}

static bool is_value(const struct field *field, const char *value)
{
    return field->value_size == strlen(value) && !strncasecmp(field->value, value, field->value_size);
}

/* Split a line of a head. Returns false for a line that is no field, such as the continuation of another one. */
static bool split_field(const char *line, size_t size, struct field *field)
{
    const char *colon = memchr(line, ':', size);
    if (!colon || colon == line || *line == ' ' || *line == '\t')
        return false;
    field->name = line;
    field->name_size = (size_t)(colon - line);
    field->value = colon + 1;
    field->value_size = size - field->name_size - 1;
    while (field->value_size && (*field->value == ' ' || *field->value == '\t'))
        field->value++, field->value_size--;
    while (field->value_size && strchr(" \t\r", field->value[field->value_size - 1]))
        field->value_size--;
    return true;
}

static bool parse_length(const struct field *field, uint64_t *length)
{
    *length = 0;
    for (size_t i = 0; i < field->value_size; i++) {
        if (field->value[i] < '0' || field->value[i] > '9')
            return false;
        *length = *length * 10 + (uint64_t)(field->value[i] - '0');
    }
    return field->value_size > 0 && field->value_size <= MAX_DIGITS;
}

/* Return the status of a head, or 0 if it does not begin as one does. */
static int status_of(const char *head, size_t size)
{
    if (size < 12 || memcmp(head, "HTTP/1.", 7) || head[8] != ' ')
        return 0;
    int status = 0;
    for (int i = 9; i < 12; i++) {
        if (head[i] < '0' || head[i] > '9')
            return 0;
        status = status * 10 + (head[i] - '0');
    }
    return status;
}

/* Return the state after a head with its blank line. */
static enum framing_state after_head(struct framing *f, const char *head, size_t size)
{
    int status = status_of(head, size);
    bool has_length = false, is_chunked = false;
    const char *end = head + size - 2; /* of the last field's line */
    const char *line = memchr(head, '\n', size);
    if (!status || status == 101 || !line)
        return UNKNOWN;
    for (line++; line < end;) {
        const char *line_end = memchr(line, '\n', (size_t)(end - line));
        struct field field;
        if (!line_end || !split_field(line, (size_t)(line_end - line), &field))
            return UNKNOWN;
        if (is_named(&field, "content-length")) {
            if (has_length || !parse_length(&field, &f->left))
                return UNKNOWN;
            has_length = true;
        } else if (is_named(&field, "transfer-encoding")) {
            if (is_chunked || !is_value(&field, "chunked"))
                return UNKNOWN;
            is_chunked = true;
        } else if (is_named(&field, "content-encoding") && !is_value(&field, "identity")) {
            return UNKNOWN;
        }
        line = line_end + 1;
    }
    if (has_length && is_chunked)
        return UNKNOWN;
    if (status < 200)
        return HEAD; /* another response follows */
    if (status == 204 || status == 304)
        return WHOLE;
    if (is_chunked)
        return CHUNK_SIZE;
    if (has_length)
        return f->left ? LENGTH : WHOLE;
    return UNTIL_CLOSE;
}

/* Take a head that may end in these bytes. Returns the offset after the bytes that were taken. */
static size_t take_head(struct framing *f, const char *data, size_t at, size_t size)
{
    size_t from = at - f->head > 3 ? at - 3 : f->head;
    const char *end = memmem(data + from, size - from, "\r\n\r\n", 4);
    if (!end) {
        if (size - f->head > MAX_HEAD)
            f->state = UNKNOWN;
        return size;
    }
    size_t head = f->head;
    f->head = (size_t)(end - data) + 4;
    f->left = 0;
    f->count = 0;
    f->state = after_head(f, data + head, f->head - head);
    return f->head;
}

static size_t take_body(struct framing *f, size_t at, size_t size, enum framing_state next)
{
    uint64_t taken = size - at < f->left ? size - at : f->left;
    f->body += taken;
    f->left -= taken;
    if (!f->left)
        f->state = next;
    return at + taken;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void after_size(struct framing *f)
{
    f->state = f->left ? CHUNK_DATA : TRAILER;
    f->count = 0;
}

static void take_size(struct framing *f, char c)
{
    int digit = hex_digit(c);
    if (digit >= 0 && f->count < MAX_DIGITS) {
        f->left = f->left * 16 + (uint64_t)digit;
        f->count++;
    } else if (c == '\r' && f->count) {
        f->state = CHUNK_SIZE_LF;
    } else if (c == ';' && f->count) {
        f->state = CHUNK_EXTENSION;
        f->count = 0;
    } else {
        f->state = UNKNOWN;
    }
}

static void take_trailer(struct framing *f, char c)
{
    if (c == '\n' && !f->count)
        f->state = WHOLE;
    else if (c == '\n')
        f->count = 0;
    else if (c != '\r' && ++f->count > MAX_HEAD)
        f->state = UNKNOWN;
}

/* Take one byte between the pieces of the body. */
static void take_byte(struct framing *f, char c)
{
    switch (f->state) {
    case CHUNK_SIZE:
        take_size(f, c);
        break;
    case CHUNK_EXTENSION:
        if (c == '\n')
            after_size(f);
        else if (++f->count > MAX_HEAD)
            f->state = UNKNOWN;
        break;
    case CHUNK_SIZE_LF:
        if (c == '\n')
            after_size(f);
        else
            f->state = UNKNOWN;
        break;
    case CHUNK_DATA_CR:
        f->state = c == '\r' ? CHUNK_DATA_LF : UNKNOWN;
        break;
    case CHUNK_DATA_LF:
        f->state = c == '\n' ? CHUNK_SIZE : UNKNOWN;
        f->left = 0;
        f->count = 0;
        break;
    case TRAILER:
        take_trailer(f, c);
        break;
    default:
        f->state = UNKNOWN;
    }
}

void framing_take(struct framing *f, const char *data, size_t at, size_t size)
{
    while (at < size && f->state != WHOLE && f->state != UNKNOWN) {
        switch (f->state) {
        case HEAD:
            at = take_head(f, data, at, size);
            break;
        case CHUNK_DATA:
            at = take_body(f, at, size, CHUNK_DATA_CR);
            break;
        case LENGTH:
            at = take_body(f, at, size, WHOLE);
            break;
        case UNTIL_CLOSE:
            f->body += size - at;
            at = size;
            break;
        default:
            take_byte(f, data[at++]);
        }
    }
}
