/* Where an answer of HTTP/1.1 ends (RFC 9112, 6 and 7): as much as the reader needs to wake Python when an answer is whole.

   It decides nothing: Python parses the answer with a complete parser. Anything unusual has the state UNKNOWN, in which the
   reader wakes Python at each read. */

#ifndef LLMLOCUST_FRAMING_H
#define LLMLOCUST_FRAMING_H

#include <stddef.h>
#include <stdint.h>

enum framing_state {
    HEAD,
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER,
    LENGTH,
    UNTIL_CLOSE,
    WHOLE,
    UNKNOWN,
};

struct framing {
    enum framing_state state;
    size_t head;    /* the offset at which the present head begins */
    uint64_t left;  /* bytes of the body, or of the chunk, that have not arrived */
    uint64_t body;  /* bytes of the body so far, without the framing of chunks */
    uint32_t count; /* digits of a size; bytes of an extension or of a line of a trailer */
};

/* Take the bytes from `at` to `size`. While the state is HEAD, `data` must begin where it began at the first call. */
void framing_take(struct framing *f, const char *data, size_t at, size_t size);

#endif
