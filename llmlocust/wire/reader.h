/* The reader: a thread that sends requests and reads their answers, with the time of each. It needs no interpreter.

   It knows of HTTP only what it needs to wake Python once per answer: where an answer ends (framing.h). Whether an answer
   is complete is decided in Python. All times are nanoseconds of CLOCK_MONOTONIC. */

#ifndef LLMLOCUST_READER_H
#define LLMLOCUST_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int64_t ns;
typedef struct reader reader;

/* One read of a socket. */
struct piece {
    ns arrived; /* when the kernel received the last of its bytes */
    ns read;    /* when they were read */
    ns empty;   /* the last moment before at which the socket is known to have been empty */
    uint32_t end;  /* the offset after its bytes */
    uint32_t body; /* the bytes of the body up to there; only where `framed` */
};

/* The bytes that arrived on a connection since the last call. The caller frees them with `reader_release`. */
struct arrivals {
    char *data;
    size_t size;
    struct piece *pieces;
    size_t count;
    ns sent;      /* when the request was handed to the kernel; 0: not yet */
    ns last_read; /* when the connection was last read */
    int error;      /* errno of the connection's failure; 0 without one */
    bool framed;    /* `body` of the pieces can be used */
    bool whole;     /* the answer seems to be complete */
    bool closed;    /* the server has closed the connection */
    bool cut_off;   /* the server accepts no more of the request */
    bool unsent;    /* a part of the request is not sent yet */
    bool stamped;   /* the times of arrival are the kernel's */
};

/* How a connection wakes Python. */
enum wake {
    WAKE_FRAMED, /* when the answer is whole, by its framing */
    WAKE_EACH,   /* at each read */
    WAKE_QUIET,  /* encrypted: at a small record, at a message of TLS, and when nothing has arrived for a while */
};

/* Return a reader whose thread runs, or NULL with errno. `most` is the memory for all unread bytes. */
reader *reader_new(size_t most);
/* End the thread and free everything. The descriptors of connections stay open. */
void reader_free(reader *r);
/* Close the reader's descriptors in a process that was forked from the reader's. The thread does not exist there. */
void reader_abandon(reader *r);
/* The descriptor that is readable when `reader_ready` has something to return. */
int reader_wakeup(const reader *r);
/* Read a connection from now on. Returns its number, or -errno. */
int reader_add(reader *r, int fd, bool encrypted);
/* Do not touch the connection's descriptor again: it may be closed. */
void reader_remove(reader *r, int number);
/* Send a request, at `due` or, if that has passed, at once; then `sent` is the moment, and otherwise 0. Returns 0, or -EBUSY
   if something has arrived on the connection since the last answer, or -ENOMEM. */
int reader_begin(reader *r, int number, const char *request, size_t size, ns due, enum wake wake, ns *sent);
/* Send more, after what is not sent yet. Returns 0 or -errno. */
int reader_send(reader *r, int number, const char *data, size_t size);
void reader_set_wake(reader *r, int number, enum wake wake);
/* Take what has arrived. Reading continues if it had paused. */
void reader_take(reader *r, int number, struct arrivals *taken);
void reader_release(struct arrivals *taken);
/* The request and its answer are over. Bytes that arrive from now on do not wake Python. */
void reader_end(reader *r, int number);
/* Move the numbers of connections that woke Python into `numbers`. Returns how many; fewer than `room` if there are no more. */
size_t reader_ready(reader *r, int *numbers, size_t room);

#endif
