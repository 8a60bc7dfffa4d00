#define _GNU_SOURCE
#include "reader.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "framing.h"

#ifndef SO_TIMESTAMPNS
#define SO_TIMESTAMPNS 35
#endif
#ifndef SCM_TIMESTAMPNS
#define SCM_TIMESTAMPNS SO_TIMESTAMPNS
#endif

enum {
    READ_SIZE = 65536,    /* bytes of one read; a read of this many may not have emptied the socket */
    SLICE = 131072,       /* unread bytes that wake Python: long answers are parsed while they arrive */
    MAX_UNREAD = 1 << 20, /* unread bytes of a connection at which reading pauses */
    MAX_PIECES = 32768,   /* the same for unread pieces */
    MIN_EVENTS = 256,
    FREE_MEMORY = 65536,  /* bytes that each connection may take without counting for the limit of all */
    UNLIKE = 48,          /* bytes by which a TLS record that may be the last of an answer differs from others */
    QUIET_POLL_MS = 10,
    NICE = -10,
    SLICE_NS = 100000, /* the shortest that Linux accepts */
};

static const ns MICROSECOND = 1000, MILLISECOND = 1000 * 1000;
static const ns SLEPT = 200 * 1000;   /* a poll that took longer was a sleep: nothing was waiting when it began */
static const ns PROMPT = 500 * 1000;  /* a first byte that was read later may have come after others */
static const ns MIN_QUIET = 4 * 1000 * 1000;
static const ns SPIN = 80 * 1000; /* how much before a request is due the thread wakes: a timer is late by about half of it */
static const ns CLOCKS_COMPARED = 50 * 1000 * 1000;
static const ns MAX_CLOCK_DIFFERENCE = 10 * 1000 * 1000; /* larger ones mean that a clock was set */

/* The state of the record of TLS that is arriving. */
struct record {
    uint8_t header[5];
    uint32_t header_size;
    uint32_t left;
    int32_t usual; /* a mean of the sizes of the last records */
    bool may_end; /* a record arrived that may be the last of an answer */
};

struct connection {
    int fd; /* -1: the number is free */
    uint32_t generation;
    uint32_t watched; /* events that epoll reports; 0: not watched */
    ns drained;       /* the last moment at which the socket is known to have been empty */
    bool is_behind;   /* bytes may have waited for the next read longer than for the poll that reports them */
    bool encrypted;
    bool is_in_poll;  /* the poll says when the socket was empty before the last piece */

    /* the present request */
    bool active;
    enum wake wake;
    ns due, sent;
    char *unsent;
    size_t unsent_size, unsent_at;
    bool cut_off;

    /* its answer */
    char *data;
    size_t size, data_room;
    struct piece *pieces;
    size_t count, pieces_room;
    struct framing framing;
    uint64_t body_before; /* bytes of the body that were taken */
    struct record record;
    uint64_t reads;
    ns last_arrived, last_read, longest_interval;
    bool stamped, closed;
    int error;

    bool is_queued;
    int next_queued;
};

struct due_send {
    ns due;
    int number;
    uint32_t generation;
};

struct reader {
    pthread_t thread;
    pthread_mutex_t lock; /* of everything below but the thread's own */
    int epoll, wakeup, timer, stop;
    bool stopping;

    struct connection **connections;
    size_t connections_size, connections_room;
    int *free_numbers;
    size_t free_size;
    size_t held, most; /* bytes of unread data */
    size_t quiet;      /* active connections with WAKE_QUIET */

    int first_queued, last_queued;
    bool is_signalled;

    struct due_send *dues; /* a binary heap */
    size_t dues_size, dues_room;

    /* the thread's own */
    struct epoll_event *events;
    int events_room;
    char *scratch;
    ns from_wall; /* wall clock - monotonic clock */
    bool is_prompt;
};

enum { NOT_A_CONNECTION = UINT32_MAX };

static ns clock_now(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static ns now(void)
{
    return clock_now(CLOCK_MONOTONIC);
}

/* The difference of the two clocks. They cannot be read at the same moment, and the thread may be suspended in between. */
static ns wall_minus_monotonic(void)
{
    ns best = 0, nearest = INT64_MAX;
    for (int i = 0; i < 20 && nearest > MICROSECOND; i++) {
        ns before = now(), wall = clock_now(CLOCK_REALTIME), apart = now() - before;
        if (apart < nearest) {
            nearest = apart;
            best = wall - before - apart / 2;
        }
    }
    return best;
}

/* ── connections ── */

static struct connection *connection_at(reader *r, int number)
{
    if (number < 0 || (size_t)number >= r->connections_size || r->connections[number]->fd < 0)
        return NULL;
    return r->connections[number];
}

/* Put a connection into the queue of those that wake Python. */
static void queue(reader *r, int number, struct connection *c)
{
    if (c->is_queued || !c->active)
        return;
    c->is_queued = true;
    c->next_queued = -1;
    if (r->first_queued < 0)
        r->first_queued = number;
    else
        r->connections[r->last_queued]->next_queued = number;
    r->last_queued = number;
    if (!r->is_signalled) {
        uint64_t one = 1;
        r->is_signalled = write(r->wakeup, &one, sizeof one) == sizeof one;
    }
}

static void watch(reader *r, int number, struct connection *c, uint32_t events)
{
    if (events == c->watched)
        return;
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)c->generation << 32 | (uint32_t)number};
    int operation = !events ? EPOLL_CTL_DEL : c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(r->epoll, operation, c->fd, &event) && events) {
        c->error = c->error ? c->error : errno;
        queue(r, number, c);
    } else {
        c->watched = events;
    }
    if (!events)
        c->is_behind = true; /* what arrives meanwhile is not noticed */
}

static void unqueue(reader *r, int number, struct connection *c)
{
    if (!c->is_queued)
        return;
    int before = -1;
    for (int at = r->first_queued; at != number; at = r->connections[at]->next_queued)
        before = at;
    if (before < 0)
        r->first_queued = c->next_queued;
    else
        r->connections[before]->next_queued = c->next_queued;
    if (r->last_queued == number)
        r->last_queued = before;
    c->is_queued = false;
}

static void fail(reader *r, int number, struct connection *c, int error)
{
    c->error = c->error ? c->error : error;
    watch(r, number, c, 0);
    queue(r, number, c);
}

/* Return the bytes that count for the limit of all connections: those above what each may have. */
static size_t counted(size_t data_room, size_t pieces_room)
{
    size_t memory = data_room + pieces_room * sizeof(struct piece);
    return memory > FREE_MEMORY ? memory - FREE_MEMORY : 0;
}

static void free_unread(reader *r, struct connection *c)
{
    r->held -= counted(c->data_room, c->pieces_room);
    free(c->data);
    free(c->pieces);
    c->data = NULL;
    c->pieces = NULL;
    c->size = c->data_room = c->count = c->pieces_room = 0;
}

static void free_unsent(struct connection *c)
{
    free(c->unsent);
    c->unsent = NULL;
    c->unsent_size = c->unsent_at = 0;
    c->due = 0;
}

/* Make room for another read. Returns false without memory. */
static bool reserve(reader *r, struct connection *c, size_t size)
{
    size_t data_room = c->data_room, pieces_room = c->pieces_room;
    while (data_room < c->size + size)
        data_room = data_room ? data_room * 2 : 2048;
    if (pieces_room == c->count)
        pieces_room = pieces_room ? pieces_room * 2 : 16;
    size_t before = counted(c->data_room, c->pieces_room);
    if (r->held - before + counted(data_room, pieces_room) > r->most)
        return false;
    char *data = data_room > c->data_room ? realloc(c->data, data_room) : c->data;
    if (data) {
        c->data = data;
        c->data_room = data_room;
    }
    struct piece *pieces =
        pieces_room > c->pieces_room ? realloc(c->pieces, pieces_room * sizeof *pieces) : c->pieces;
    if (pieces) {
        c->pieces = pieces;
        c->pieces_room = pieces_room;
    }
    r->held += counted(c->data_room, c->pieces_room) - before;
    return data && pieces;
}

/* ── sending ── */

static void set_timer(reader *r)
{
    ns due = r->dues_size ? r->dues[0].due - SPIN : 0;
    struct itimerspec at = {.it_value = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000}};
    timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool add_due(reader *r, ns due, int number, uint32_t generation)
{
    if (r->dues_size == r->dues_room) {
        size_t room = r->dues_room ? r->dues_room * 2 : 64;
        struct due_send *dues = realloc(r->dues, room * sizeof *dues);
        if (!dues)
            return false;
        r->dues = dues;
        r->dues_room = room;
    }
    size_t at = r->dues_size++;
    for (; at && r->dues[(at - 1) / 2].due > due; at = (at - 1) / 2)
        r->dues[at] = r->dues[(at - 1) / 2];
    r->dues[at] = (struct due_send){due, number, generation};
    if (!at)
        set_timer(r);
    return true;
}

static struct due_send take_due(reader *r)
{
    struct due_send first = r->dues[0], moved = r->dues[--r->dues_size];
    size_t at = 0, child;
    while ((child = at * 2 + 1) < r->dues_size) {
        if (child + 1 < r->dues_size && r->dues[child + 1].due < r->dues[child].due)
            child++;
        if (r->dues[child].due >= moved.due)
            break;
        r->dues[at] = r->dues[child];
        at = child;
    }
    r->dues[at] = moved;
    return first;
}

static void mark_sent(struct connection *c, ns moment)
{
    c->sent = c->last_read = c->drained = moment;
}

static bool is_wait(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* The server takes no more of the request. It may still have answered. */
static void cut_off(reader *r, int number, struct connection *c, int error)
{
    c->cut_off = true;
    free_unsent(c);
    if (error != EPIPE && error != ECONNRESET)
        fail(r, number, c, error);
}

/* Send as much of the request as the kernel accepts. */
static void push(reader *r, int number, struct connection *c)
{
    while (c->unsent_at < c->unsent_size) {
        ssize_t sent = send(c->fd, c->unsent + c->unsent_at, c->unsent_size - c->unsent_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && is_wait(errno))
            break;
        if (sent < 0) {
            cut_off(r, number, c, errno);
            break;
        }
        c->unsent_at += (size_t)sent;
    }
    if (c->unsent_at == c->unsent_size)
        free_unsent(c);
    if (c->watched)
        watch(r, number, c, EPOLLIN | (c->unsent_size ? EPOLLOUT : 0));
}

/* Ask the system to run this thread as soon as it wakes. Linux accepts a short slice from everyone (6.12 and later), and a
   priority from root. Only requests that are due need it: reads have the kernel's times, and cost a third less if several
   are done at a time. */
static void be_prompt(void)
{
#ifdef SYS_sched_setattr
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } wanted = {.size = sizeof wanted, .nice = NICE, .runtime = SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &wanted, 0)) {
        wanted.nice = getpriority(PRIO_PROCESS, 0);
        syscall(SYS_sched_setattr, 0, &wanted, 0);
    }
#endif
}

static void send_due(reader *r)
{
    uint64_t expirations;
    if (read(r->timer, &expirations, sizeof expirations) < 0 && !is_wait(errno))
        return;
    if (!r->is_prompt) {
        be_prompt();
        r->is_prompt = true;
    }
    pthread_mutex_lock(&r->lock);
    while (r->dues_size && r->dues[0].due - SPIN <= now()) {
        ns due = r->dues[0].due;
        if (due > now()) { /* Python may add an earlier one, or end this one, meanwhile */
            pthread_mutex_unlock(&r->lock);
            while (now() < due)
                ;
            pthread_mutex_lock(&r->lock);
            continue;
        }
        struct due_send send = take_due(r);
        struct connection *c = connection_at(r, send.number);
        if (c && c->generation == send.generation && c->active && c->due == send.due && !c->sent) {
            mark_sent(c, now());
            push(r, send.number, c);
        }
        pthread_mutex_unlock(&r->lock); /* others need not wait for all of them */
        pthread_mutex_lock(&r->lock);
    }
    set_timer(r);
    pthread_mutex_unlock(&r->lock);
}

/* ── reading ── */

/* Follow the records of TLS. */
static void take_records(struct record *record, const char *data, size_t size)
{
    while (size) {
        if (record->left) {
            size_t taken = size < record->left ? size : record->left;
            record->left -= (uint32_t)taken;
            data += taken;
            size -= taken;
            continue;
        }
        record->header[record->header_size++] = (uint8_t)*data++;
        size--;
        if (record->header_size == sizeof record->header) {
            record->header_size = 0;
            record->left = (uint32_t)record->header[3] << 8 | record->header[4];
            int32_t more = (int32_t)record->left - record->usual;
            bool is_unlike = abs(more) > UNLIKE;
            record->may_end |= is_unlike || record->header[0] != 23;
            record->usual += is_unlike ? more : more / 4; /* the records of an answer's beginning differ from the others */
        }
    }
}

static bool wakes(const struct connection *c)
{
    if (c->closed || c->error || c->size >= SLICE || c->count >= MAX_PIECES)
        return true;
    switch (c->wake) {
    case WAKE_FRAMED:
        return c->framing.state == WHOLE || c->framing.state == UNKNOWN;
    case WAKE_QUIET:
        return c->record.may_end && !c->record.left && !c->record.header_size;
    default:
        return c->size > 0;
    }
}

static bool is_plausible(const struct connection *c, ns arrived, ns moment)
{
    return c->drained - MAX_CLOCK_DIFFERENCE <= arrived && arrived <= moment + MAX_CLOCK_DIFFERENCE;
}

/* Return when the last of the bytes of a message arrived: the kernel's stamp on the monotonic clock. */
static ns arrival_of(reader *r, struct connection *c, struct msghdr *message, ns moment)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_TIMESTAMPNS)
        return moment;
    struct timespec stamp;
    memcpy(&stamp, CMSG_DATA(control), sizeof stamp);
    c->stamped = true;
    ns wall = stamp.tv_sec * 1000000000LL + stamp.tv_nsec, arrived = wall - r->from_wall;
    if (!is_plausible(c, arrived, moment)) { /* the clock was set */
        r->from_wall = wall_minus_monotonic();
        arrived = wall - r->from_wall;
        if (!is_plausible(c, arrived, moment)) /* after the stamp */
            return moment;
    }
    /* the two clocks are compared to a few microseconds */
    ns earliest = c->last_arrived > c->drained ? c->last_arrived : c->drained;
    return arrived < earliest ? earliest : arrived < moment ? arrived : moment;
}

static void store(reader *r, int number, struct connection *c, struct piece piece, size_t size)
{
    if (!reserve(r, c, size)) {
        fail(r, number, c, ENOBUFS);
        return;
    }
    c->is_in_poll = !c->is_behind;
    memcpy(c->data + c->size, r->scratch, size);
    c->size += size;
    if (c->wake == WAKE_FRAMED && c->active)
        framing_take(&c->framing, c->data, c->size - size, c->size);
    if (c->encrypted)
        take_records(&c->record, r->scratch, size);
    piece.end = (uint32_t)c->size;
    piece.body = (uint32_t)(c->framing.body - c->body_before);
    c->pieces[c->count++] = piece;
}

/* Read a connection once. Returns the arrival of the last bytes, or 0 where nothing was read. */
static ns read_connection(reader *r, int number, struct connection *c)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
        struct cmsghdr aligned;
    } control;
    struct iovec target = {r->scratch, READ_SIZE};
    struct msghdr message = {
        .msg_iov = &target, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ns before = now();
    ssize_t size = recvmsg(c->fd, &message, MSG_DONTWAIT);
    ns moment = now();
    if (size < 0) {
        if (!is_wait(errno))
            fail(r, number, c, errno);
        return 0;
    }
    if (!size) {
        c->closed = true;
        watch(r, number, c, 0);
        queue(r, number, c);
        return 0;
    }
    ns arrived = arrival_of(r, c, &message, moment);
    if (c->reads++ > 1 && moment - c->last_read > c->longest_interval) /* the first one may be that before the first token */
        c->longest_interval = moment - c->last_read;
    c->last_arrived = arrived;
    c->last_read = moment;
    store(r, number, c, (struct piece){.arrived = arrived, .read = moment, .empty = c->drained}, (size_t)size);
    c->is_behind = size == READ_SIZE;
    if (!c->is_behind)
        c->drained = before; /* the thread may have been suspended since it read */
    return arrived;
}

/* The polls of the thread: a socket that a poll does not report is empty. */
struct poll {
    ns before; /* when the poll before it had returned, or at least begun */
    ns began;
    ns first_read; /* after the poll had returned */
    ns first;      /* the earliest arrival of the bytes that were read */
};

/* Return the last moment at which the sockets that a poll reports are known to have been empty. */
static ns empty_before(const struct poll *poll)
{
    if (poll->first < poll->began || poll->first_read - poll->began < SLEPT)
        return poll->before; /* the poll did not sleep: bytes had arrived while the thread was busy */
    return poll->first > poll->first_read - PROMPT ? poll->first : poll->began;
}

static void handle_event(reader *r, const struct epoll_event *event, struct poll *poll)
{
    int number = (int)(event->data.u64 & UINT32_MAX);
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    if (c && c->generation == event->data.u64 >> 32) {
        if (event->events & EPOLLOUT && c->unsent_size && c->sent)
            push(r, number, c);
        if (c->watched && event->events & ~(uint32_t)EPOLLOUT) {
            ns arrived = read_connection(r, number, c);
            if (arrived) {
                poll->first_read = poll->first_read ? poll->first_read : c->last_read;
                poll->first = arrived < poll->first ? arrived : poll->first;
            }
        }
    }
    pthread_mutex_unlock(&r->lock);
}

/* Note for the reads of a poll when their sockets were empty, and wake Python. */
static void end_poll(reader *r, int count, ns empty)
{
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < count; i++) {
        int number = (int)(r->events[i].data.u64 & UINT32_MAX);
        struct connection *c = connection_at(r, number);
        if (!c || c->generation != r->events[i].data.u64 >> 32)
            continue;
        if (c->count && c->is_in_poll && empty > c->pieces[c->count - 1].empty)
            c->pieces[c->count - 1].empty = empty;
        c->is_in_poll = false;
        if (c->active && wakes(c))
            queue(r, number, c);
        if (c->watched && (c->size > MAX_UNREAD || c->count >= MAX_PIECES))
            watch(r, number, c, 0);
    }
    pthread_mutex_unlock(&r->lock);
}

/* Wake Python for encrypted answers of which nothing has arrived for a while: they may be complete. */
static void wake_quiet(reader *r)
{
    pthread_mutex_lock(&r->lock);
    ns moment = now();
    for (size_t number = 0; r->quiet && number < r->connections_size; number++) {
        struct connection *c = r->connections[number];
        if (c->fd < 0 || !c->active || c->wake != WAKE_QUIET || !c->size)
            continue;
        ns quiet = c->longest_interval * 2 > MIN_QUIET ? c->longest_interval * 2 : MIN_QUIET;
        if (moment - c->last_read > quiet)
            queue(r, (int)number, c);
    }
    pthread_mutex_unlock(&r->lock);
}

static void grow_events(reader *r)
{
    struct epoll_event *events = realloc(r->events, 2 * (size_t)r->events_room * sizeof *events);
    if (events) {
        r->events = events;
        r->events_room *= 2;
    }
}

/* Return the time-out of the next poll in milliseconds (-1: none); false if the thread has to end. */
static bool next_timeout(reader *r, int *timeout)
{
    pthread_mutex_lock(&r->lock);
    bool goes_on = !r->stopping;
    *timeout = r->quiet ? QUIET_POLL_MS : -1;
    pthread_mutex_unlock(&r->lock);
    return goes_on;
}

static void *run(void *argument)
{
    reader *r = argument;
    ns before = now(), woken = before, compared = before;
    int timeout;
    while (next_timeout(r, &timeout)) {
        struct poll poll = {.before = before, .began = now(), .first = INT64_MAX};
        if (poll.began - compared > CLOCKS_COMPARED) { /* the system may adjust its clock slowly */
            r->from_wall = wall_minus_monotonic();
            compared = poll.began;
        }
        int count = epoll_wait(r->epoll, r->events, r->events_room, timeout);
        for (int i = 0; i < count; i++) {
            if (r->events[i].data.u64 >> 32 != NOT_A_CONNECTION)
                handle_event(r, &r->events[i], &poll);
            else if ((int)(r->events[i].data.u64 & UINT32_MAX) == r->timer)
                send_due(r);
        }
        if (count > 0)
            end_poll(r, count, poll.first_read ? empty_before(&poll) : 0);
        before = poll.first_read ? poll.first_read : poll.began;
        if (count == r->events_room) { /* there may be others that were not reported */
            before = 0;
            grow_events(r);
        }
        if (timeout > 0 && poll.began - woken > QUIET_POLL_MS * MILLISECOND) {
            wake_quiet(r);
            woken = poll.began;
        }
    }
    return NULL;
}

/* ── what Python calls ── */

static bool watch_own(reader *r, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)NOT_A_CONNECTION << 32 | (uint32_t)fd};
    return !epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event);
}

static bool start_thread(reader *r)
{
    sigset_t all, before; /* signals are for the interpreter's main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return !error;
}

static void free_reader(reader *r)
{
    int descriptors[] = {r->epoll, r->wakeup, r->timer, r->stop};
    for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    for (size_t i = 0; i < r->connections_size; i++) {
        free_unread(r, r->connections[i]);
        free_unsent(r->connections[i]);
        free(r->connections[i]);
    }
    free(r->connections);
    free(r->free_numbers);
    free(r->dues);
    free(r->events);
    free(r->scratch);
    free(r);
}

reader *reader_new(size_t most)
{
    reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->most = most;
    r->first_queued = r->last_queued = -1;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    r->events_room = MIN_EVENTS;
    r->events = malloc(MIN_EVENTS * sizeof *r->events);
    r->scratch = malloc(READ_SIZE);
    r->from_wall = wall_minus_monotonic();
    pthread_mutex_init(&r->lock, NULL);
    if (r->epoll >= 0 && r->wakeup >= 0 && r->stop >= 0 && r->timer >= 0 && r->events && r->scratch &&
        watch_own(r, r->stop) && watch_own(r, r->timer) && start_thread(r))
        return r;
    int error = errno;
    pthread_mutex_destroy(&r->lock);
    free_reader(r);
    errno = error ? error : ENOMEM;
    return NULL;
}

void reader_free(reader *r)
{
    uint64_t one = 1;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_mutex_unlock(&r->lock);
    while (write(r->stop, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    free_reader(r);
}

void reader_abandon(reader *r)
{
    close(r->epoll);
    close(r->wakeup);
    close(r->timer);
    close(r->stop);
}

int reader_wakeup(const reader *r)
{
    return r->wakeup;
}

/* Return a free number, or -1 without memory. */
static int free_number(reader *r)
{
    if (r->free_size)
        return r->free_numbers[--r->free_size];
    if (r->connections_size == r->connections_room) {
        size_t room = r->connections_room ? r->connections_room * 2 : 64;
        struct connection **connections = realloc(r->connections, room * sizeof *connections);
        if (connections)
            r->connections = connections;
        int *free_numbers = realloc(r->free_numbers, room * sizeof *free_numbers);
        if (free_numbers)
            r->free_numbers = free_numbers;
        if (!connections || !free_numbers)
            return -1;
        r->connections_room = room;
    }
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return -1;
    c->fd = -1;
    r->connections[r->connections_size] = c;
    return (int)r->connections_size++;
}

int reader_add(reader *r, int fd, bool encrypted)
{
    int on = 1;
    pthread_mutex_lock(&r->lock);
    int number = free_number(r), error = number < 0 ? ENOMEM : 0;
    if (!error) {
        struct connection *c = r->connections[number];
        *c = (struct connection){.fd = fd, .generation = c->generation, .encrypted = encrypted, .wake = WAKE_EACH, .drained = now()};
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on); /* without it, the time of the read is used */
        watch(r, number, c, EPOLLIN);
        error = c->error;
        if (error) {
            c->fd = -1;
            r->free_numbers[r->free_size++] = number;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return error ? -error : number;
}

static void set_wake(reader *r, struct connection *c, enum wake wake)
{
    if (c->active && c->wake == WAKE_QUIET)
        r->quiet--;
    c->wake = wake;
    if (c->active && wake == WAKE_QUIET)
        r->quiet++;
}

static void end(reader *r, int number, struct connection *c)
{
    set_wake(r, c, WAKE_EACH);
    c->active = false;
    free_unsent(c);
    unqueue(r, number, c);
}

void reader_end(reader *r, int number)
{
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    if (c)
        end(r, number, c);
    pthread_mutex_unlock(&r->lock);
}

void reader_remove(reader *r, int number)
{
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    if (c) {
        end(r, number, c);
        watch(r, number, c, 0);
        free_unread(r, c);
        c->fd = -1;
        c->generation = (c->generation + 1) % NOT_A_CONNECTION;
        r->free_numbers[r->free_size++] = number;
    }
    pthread_mutex_unlock(&r->lock);
}

/* Keep bytes until they can be sent, after those that are kept. */
static int keep_unsent(struct connection *c, const char *data, size_t size)
{
    char *unsent = realloc(c->unsent, c->unsent_size + size + 1);
    if (!unsent)
        return -ENOMEM;
    memcpy(unsent + c->unsent_size, data, size);
    c->unsent = unsent;
    c->unsent_size += size;
    return 0;
}

int reader_begin(reader *r, int number, const char *request, size_t size, ns due, enum wake wake, ns *sent)
{
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    int error = !c || c->active || c->size || c->closed || c->error ? -EBUSY : 0;
    bool is_later = due > now();
    if (!error && is_later)
        error = keep_unsent(c, request, size);
    if (!error && is_later && !add_due(r, due, number, c->generation)) {
        free_unsent(c);
        error = -ENOMEM;
    }
    if (error) {
        pthread_mutex_unlock(&r->lock);
        return error;
    }
    int fd = c->fd;
    uint32_t generation = c->generation;
    c->active = true;
    set_wake(r, c, wake);
    c->framing = (struct framing){.state = HEAD};
    c->body_before = 0;
    c->due = is_later ? due : 0;
    c->reads = 0;
    c->sent = c->longest_interval = 0;
    c->cut_off = c->stamped = false;
    if (!is_later)
        mark_sent(c, now());
    *sent = c->sent;
    pthread_mutex_unlock(&r->lock);
    if (is_later)
        return 0;
    /* The thread does not send here meanwhile, as nothing is kept unsent. It can read without waiting for this call. */
    ssize_t accepted = send(fd, request, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (accepted == (ssize_t)size)
        return 0;
    int failure = accepted < 0 && !is_wait(errno) ? errno : 0;
    size_t kept_from = accepted > 0 ? (size_t)accepted : 0;
    pthread_mutex_lock(&r->lock);
    c = connection_at(r, number);
    if (c && c->generation == generation) {
        if (!failure && keep_unsent(c, request + kept_from, size - kept_from))
            failure = ENOMEM;
        if (failure)
            cut_off(r, number, c, failure);
        else
            push(r, number, c);
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}

int reader_send(reader *r, int number, const char *data, size_t size)
{
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    int error = !c ? -EBADF : c->cut_off ? 0 : keep_unsent(c, data, size);
    if (!error && !c->cut_off && !(c->active && !c->sent))
        push(r, number, c);
    pthread_mutex_unlock(&r->lock);
    return error;
}

void reader_set_wake(reader *r, int number, enum wake wake)
{
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    if (c) {
        set_wake(r, c, wake);
        if (c->active && wakes(c))
            queue(r, number, c);
    }
    pthread_mutex_unlock(&r->lock);
}

void reader_take(reader *r, int number, struct arrivals *taken)
{
    memset(taken, 0, sizeof *taken);
    pthread_mutex_lock(&r->lock);
    struct connection *c = connection_at(r, number);
    if (!c) {
        taken->error = EBADF;
        pthread_mutex_unlock(&r->lock);
        return;
    }
    unqueue(r, number, c);
    taken->data = c->data;
    taken->size = c->size;
    taken->pieces = c->pieces;
    taken->count = c->count;
    taken->sent = c->sent;
    taken->last_read = c->last_read;
    taken->error = c->error;
    taken->framed = c->wake == WAKE_FRAMED && c->framing.state != UNKNOWN;
    taken->whole = c->framing.state == WHOLE;
    taken->closed = c->closed;
    taken->cut_off = c->cut_off;
    taken->unsent = c->unsent_size > 0;
    taken->stamped = c->stamped;
    r->held -= counted(c->data_room, c->pieces_room);
    c->data = NULL;
    c->pieces = NULL;
    if (c->size && c->framing.state == HEAD)
        c->framing.state = UNKNOWN; /* the beginning of the head is gone */
    c->body_before = c->framing.body;
    c->record.may_end = false;
    c->size = c->data_room = c->count = c->pieces_room = 0;
    if (!c->watched && !c->closed && !c->error)
        watch(r, number, c, EPOLLIN | (c->unsent_size && c->sent ? EPOLLOUT : 0));
    pthread_mutex_unlock(&r->lock);
}

void reader_release(struct arrivals *taken)
{
    free(taken->data);
    free(taken->pieces);
}

size_t reader_ready(reader *r, int *numbers, size_t room)
{
    uint64_t count;
    size_t taken = 0;
    pthread_mutex_lock(&r->lock);
    for (; taken < room && r->first_queued >= 0; taken++) {
        struct connection *c = r->connections[r->first_queued];
        numbers[taken] = r->first_queued;
        c->is_queued = false;
        r->first_queued = c->next_queued;
    }
    if (r->first_queued < 0) {
        r->last_queued = -1;
        if (r->is_signalled && read(r->wakeup, &count, sizeof count) == sizeof count)
            r->is_signalled = false;
    }
    pthread_mutex_unlock(&r->lock);
    return taken;
}
