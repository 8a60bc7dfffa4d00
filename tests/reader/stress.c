/* Connections in thousands of random requests: any bytes in any pieces, resets, aborted requests, descriptors that are reused
   at once, and failing allocations. `stress SEED REQUESTS CONNECTIONS FAILING` prints "ok" and counts. CONNECTIONS are open at
   a time, or as many as the limit of descriptors allows.

   The body of each answer consists of bytes that depend on the request, which detects bytes of another connection. One
   allocation in FAILING fails on average; with 0, none does. Compile it with a sanitizer. */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../llmlocust/wire/reader.h"

enum {
    SERVERS = 2,
    PATIENCE_MS = 60000,
    OF_CONNECTION = 3, /* descriptors: both ends, and the one of the thread that answers */
    OTHERS = 100,
};

static __thread unsigned long long chance;
static int failing; /* set before the threads begin */
static __thread int is_own; /* allocations of this program, which do not fail */

static unsigned draw(unsigned below)
{
    chance = chance * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(chance >> 33) % below;
}

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_calloc(size_t count, size_t size);

static int fails(void)
{
    return failing && !is_own && draw((unsigned)failing) == 0;
}
void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}
void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}
void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "line %d: not true: %s\n", __LINE__, #condition);     \
            abort();                                                              \
        }                                                                         \
    } while (0)

/* ── the server: a thread for some of the connections ── */

enum ending { WHOLE, CLOSED, RESET, GARBAGE };

struct answer {
    int fd;
    unsigned char key;
    enum ending ending;
    size_t body;
    int chunked;
    unsigned pieces;
    unsigned long long chance;
};

static struct answer *queue; /* it has room for all requests: the client never waits for a server */
static size_t queue_first, queue_last;
static int is_over;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER;

static void send_in_pieces(int fd, const char *data, size_t size, unsigned pieces)
{
    size_t at = 0;
    for (unsigned piece = 0; at < size; piece++) {
        size_t end = piece + 1 >= pieces ? size : at + draw((unsigned)(size - at) + 1);
        while (at < end) {
            ssize_t sent = send(fd, data + at, end - at, MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN)
                poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, PATIENCE_MS);
            else if (sent < 0 && errno != EINTR)
                return;
            at += sent > 0 ? (size_t)sent : 0;
        }
        if (draw(4) == 0)
            nanosleep(&(struct timespec){.tv_nsec = draw(200000)}, NULL);
    }
}

/* Write an answer; returns its size. The body's bytes are the key, but for the framing. */
static size_t write_answer(char *out, const struct answer *a)
{
    size_t size;
    if (a->ending == GARBAGE) {
        for (size = 0; size < a->body + 1; size++)
            out[size] = (char)draw(256);
        return size;
    }
    if (!a->chunked) {
        size = (size_t)sprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", a->body);
        memset(out + size, a->key, a->body);
        return size + a->body;
    }
    size = (size_t)sprintf(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t left = a->body; left;) {
        size_t chunk = 1 + draw((unsigned)left);
        size += (size_t)sprintf(out + size, "%zx%s\r\n", chunk, draw(3) ? "" : ";a=b");
        memset(out + size, a->key, chunk);
        size += chunk;
        left -= chunk;
        size += (size_t)sprintf(out + size, "\r\n");
    }
    return size + (size_t)sprintf(out + size, "0\r\n%s\r\n", draw(2) ? "" : "a: b\r\n");
}

static void *serve(void *unused)
{
    (void)unused;
    is_own = 1;
    char *out = __real_malloc(8 << 20);
    for (;;) {
        pthread_mutex_lock(&queue_lock);
        while (queue_first == queue_last && !is_over)
            pthread_cond_wait(&queue_filled, &queue_lock);
        if (queue_first == queue_last) {
            pthread_mutex_unlock(&queue_lock);
            break;
        }
        struct answer a = queue[queue_first++];
        pthread_mutex_unlock(&queue_lock);
        chance = a.chance;
        size_t size = write_answer(out, &a);
        if (a.ending == CLOSED || a.ending == RESET)
            size = draw((unsigned)size + 1);
        send_in_pieces(a.fd, out, size, a.pieces);
        if (a.ending == RESET)
            setsockopt(a.fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        if (a.ending != WHOLE && a.ending != GARBAGE)
            shutdown(a.fd, SHUT_RDWR);
        close(a.fd); /* a copy of the server's end */
    }
    free(out);
    return NULL;
}

static void ask(struct answer a)
{
    pthread_mutex_lock(&queue_lock);
    queue[queue_last++] = a;
    pthread_cond_signal(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
}

/* ── the client: what Python does ── */

struct client {
    int fd, server, number;
    int busy;
    struct answer answer;
    size_t received;
    char *data;
    size_t room;
    ns due, last;
};

static reader *r;
static struct client *clients, **by_number;
static unsigned connections;
static unsigned long counts[4], opened, given_up, short_of_memory;

static void connect_client(struct client *c)
{
    int pair[2];
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
    c->fd = pair[0];
    c->server = dup(pair[1]);
    close(pair[1]);
    is_own = 0;
    while ((c->number = reader_add(r, c->fd, draw(2))) < 0)
        CHECK(c->number == -ENOMEM);
    is_own = 1;
    CHECK((unsigned)c->number < connections);
    by_number[c->number] = c;
    c->busy = 0;
    opened++;
}

static void disconnect_client(struct client *c)
{
    reader_remove(r, c->number);
    close(c->fd);
    close(c->server);
    c->busy = 0;
}

static void begin(struct client *c)
{
    char request[64] = "GET / HTTP/1.1\r\n\r\n";
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    c->due = draw(3) ? 0 : now.tv_sec * 1000000000LL + now.tv_nsec + draw(3000000);
    c->answer = (struct answer){.fd = dup(c->server),
                                .key = (unsigned char)('a' + draw(26)),
                                .ending = draw(8) ? WHOLE : (enum ending)draw(4),
                                .body = draw(20) ? draw(3000) : draw(2000000),
                                .chunked = (int)draw(2),
                                .pieces = 1 + draw(20),
                                .chance = chance ^ 0x5555};
    c->received = 0;
    c->last = 0;
    ns sent = 0;
    is_own = 0;
    static const enum wake wakes[] = {WAKE_FRAMED, WAKE_FRAMED, WAKE_EACH, WAKE_QUIET};
    int error = reader_begin(r, c->number, request, strlen(request), c->due, wakes[draw(4)], &sent);
    is_own = 1;
    if (error) {
        CHECK(error == -ENOMEM);
        close(c->answer.fd);
        return;
    }
    CHECK(c->due ? !sent || sent >= c->due : sent > 0);
    c->busy = 1;
    ask(c->answer);
}

static void finish(struct client *c, int again)
{
    reader_end(r, c->number);
    c->busy = 0;
    if (!again || draw(4) == 0) {
        disconnect_client(c);
        connect_client(c);
    }
}

static void check_pieces(struct client *c, const struct arrivals *taken)
{
    uint32_t end = 0;
    for (size_t i = 0; i < taken->count; i++) {
        const struct piece *p = &taken->pieces[i];
        CHECK(p->end > end && p->end <= taken->size);
        CHECK(!i || p->arrived >= taken->pieces[i - 1].arrived);
        CHECK(p->arrived <= p->read && p->read >= c->last && p->empty <= p->read);
        CHECK(!taken->framed || (p->body <= p->end && (!i || p->body >= taken->pieces[i - 1].body)));
        end = p->end;
        c->last = p->read;
    }
    CHECK(end == taken->size);
}

static void keep(struct client *c, const struct arrivals *taken)
{
    if (c->received + taken->size > c->room) {
        c->room = (c->received + taken->size) * 2;
        c->data = __real_realloc(c->data, c->room);
    }
    if (taken->size)
        memcpy(c->data + c->received, taken->data, taken->size);
    c->received += taken->size;
}

/* Return whether the answer has all bytes of its body, and no others. */
static int is_complete(const struct client *c)
{
    size_t body = 0, at;
    const char *end = c->received ? memmem(c->data, c->received, "\r\n\r\n", 4) : NULL;
    if (!end)
        return 0;
    at = (size_t)(end - c->data) + 4;
    if (!c->answer.chunked) {
        for (; at < c->received; at++, body++)
            CHECK(c->data[at] == (char)c->answer.key);
        return body == c->answer.body;
    }
    while (at < c->received) {
        char *after;
        size_t size = strtoul(c->data + at, &after, 16);
        const char *line = memmem(c->data + at, c->received - at, "\r\n", 2);
        if (!line)
            return 0;
        at = (size_t)(line - c->data) + 2;
        if (!size) {
            const char *last = c->data + c->received;
            return body == c->answer.body && last[-1] == '\n' && last[-3] == '\n' && (size_t)(last - c->data) >= at + 2;
        }
        for (size_t i = 0; i < size && at < c->received; i++, at++, body++)
            CHECK(c->data[at] == (char)c->answer.key);
        at += 2;
    }
    return 0;
}

static void take(struct client *c)
{
    struct arrivals taken;
    reader_take(r, c->number, &taken);
    check_pieces(c, &taken);
    if (taken.count && c->due)
        CHECK(taken.sent == 0 || taken.sent >= c->due);
    keep(c, &taken);
    int error = taken.error, closed = taken.closed, whole = taken.whole;
    reader_release(&taken);
    if ((error == ENOBUFS || error == ENOMEM) && failing) {
        short_of_memory++;
        finish(c, 0);
    } else if (c->answer.ending == GARBAGE) {
        counts[GARBAGE]++;
        finish(c, 0);
    } else if (closed || error) {
        CHECK(c->answer.ending == CLOSED || c->answer.ending == RESET);
        counts[c->answer.ending]++;
        finish(c, 0);
    } else if (is_complete(c)) {
        counts[WHOLE]++;
        finish(c, 1);
    } else {
        CHECK(!whole || c->answer.ending != WHOLE);
    }
}

static void give_up(struct client *c)
{
    struct arrivals taken;
    reader_take(r, c->number, &taken);
    reader_release(&taken);
    given_up++;
    finish(c, 0);
}

/* Return this number of connections, or the largest that the limit of descriptors allows. */
static unsigned allowed(unsigned wanted)
{
    struct rlimit limit;
    CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
    return limit.rlim_cur > wanted * OF_CONNECTION + OTHERS ? wanted : (unsigned)(limit.rlim_cur - OTHERS) / OF_CONNECTION;
}

int main(int count, char **arguments)
{
    CHECK(count == 5);
    is_own = 1;
    unsigned long requests = strtoul(arguments[2], NULL, 10), done = 0;
    chance = strtoull(arguments[1], NULL, 10) * 2654435761u + 1;
    connections = allowed((unsigned)atoi(arguments[3]));
    failing = atoi(arguments[4]);
    queue = __real_calloc(requests + connections, sizeof *queue);
    clients = __real_calloc(connections, sizeof *clients);
    by_number = __real_calloc(connections, sizeof *by_number);
    CHECK(queue && clients && by_number && (r = reader_new(failing ? 1 << 20 : 64 << 20)));
    pthread_t servers[SERVERS];
    for (int i = 0; i < SERVERS; i++)
        pthread_create(&servers[i], NULL, serve, NULL);
    for (unsigned i = 0; i < connections; i++)
        connect_client(&clients[i]);
    while (done < requests) {
        unsigned busy = 0;
        struct client *stopped = &clients[draw(connections)]; /* as if its user is stopped */
        if (stopped->busy && draw(3) == 0)
            give_up(stopped);
        for (unsigned i = 0; i < connections; i++) {
            if (!clients[i].busy && draw(3))
                begin(&clients[i]), done++;
            busy += (unsigned)clients[i].busy;
        }
        struct pollfd wakeup = {.fd = reader_wakeup(r), .events = POLLIN};
        if (busy)
            CHECK(poll(&wakeup, 1, PATIENCE_MS) == 1);
        int numbers[16];
        size_t ready = reader_ready(r, numbers, 16);
        for (size_t i = 0; i < ready; i++)
            if (by_number[numbers[i]]->busy)
                take(by_number[numbers[i]]);
    }
    for (unsigned i = 0; i < connections; i++) {
        disconnect_client(&clients[i]);
        free(clients[i].data);
    }
    reader_free(r);
    pthread_mutex_lock(&queue_lock);
    is_over = 1;
    pthread_cond_broadcast(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
    for (int i = 0; i < SERVERS; i++)
        pthread_join(servers[i], NULL);
    free(queue);
    free(clients);
    free(by_number);
    printf("ok %u connections at a time of %lu: %lu whole, %lu closed, %lu reset, %lu garbage, %lu given up, %lu without memory\n",
           connections, opened, counts[WHOLE], counts[CLOSED], counts[RESET], counts[GARBAGE], given_up, short_of_memory);
    return 0;
}
