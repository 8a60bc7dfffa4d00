/* A virtual LLM server under a staircase of load, simulated step by step: continuous batching with slots, a cache that
   may overflow (the youngest sequence is evicted and its tokens are read again later), a queue that may refuse requests,
   clients that give up.

   gcc -O2 -shared -fPIC -o systems.so systems.c -lm; bench/systems.py calls simulate(). Times are seconds. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct system {
    /* a step takes step + step_per_sequence * batch + step_per_waiting * queue + read_per_token * tokens read */
    double step, step_per_sequence, step_per_waiting, read_per_token;
    double slots, budget, cache, queue; /* sequences; prompt tokens a step; tokens; sequences that may wait */
    double patience, deadline;          /* until the first and until the last token; then the client gives up */
    double think, pause;                /* after a success (half to one and a half of it), after a failure */
    double prompt, prompt_spread, answer, answer_spread; /* log-normal: median and sigma */
    double fault;                                        /* share of requests that fail at once, at any load */
    double open;                                         /* 1: the loads are rates of a Poisson process */
};

struct record {
    double sent, first, ended; /* first is 0 without a token */
    double tokens;
    double failed; /* 0, or 500, 503, 504 */
    double waited; /* 1 if all slots, or the cache, were in use */
};

struct sequence {
    double sent, first;
    int user, prompt, answer, produced, waited;
};

struct event {
    double at;
    int user;
};

static uint64_t state;

static double uniform(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return ((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

static double normal(void) { return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform()); }

static int length(double median, double spread) {
    double drawn = median * exp(spread * normal());
    return drawn < 1 ? 1 : drawn > 8 * median ? (int)(8 * median) + 1 : (int)(drawn + 0.5);
}

/* a heap of the users, ordered by the moments of their next requests */
static struct event *heap;
static int pending;

static void push(double at, int user) {
    int i = pending++;
    while (i && heap[(i - 1) / 2].at > at) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = (struct event){at, user};
}

static struct event pop(void) {
    struct event top = heap[0], last = heap[--pending];
    int i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= pending) break;
        if (child + 1 < pending && heap[child + 1].at < heap[child].at) child++;
        if (heap[child].at >= last.at) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Simulate a staircase of `levels` loads, each for `hold` seconds. Write at most `room` requests to `records`, and return
   their number. */
int simulate(const struct system *s, int levels, const double *loads, double hold, double spawn, uint64_t seed,
             struct record *records, int room) {
    state = seed * 0x2545f4914f6cdd1dULL + 1;
    double max_load = 0, end = levels * hold, now = 0, cached = 0, arrival = s->open ? 0 : INFINITY;
    for (int i = 0; i < levels; i++)
        if (loads[i] > max_load) max_load = loads[i];
    int users = s->open ? 1 : (int)max_load, count = 0, slots = (int)s->slots, running = 0;
    int limit = 1 << 20, head = limit / 2, tail = head; /* the queue is [head, tail) of an array; it is moved back at the end of the array */
    heap = malloc(sizeof *heap * (users + 2));
    pending = 0;
    struct sequence *batch = malloc(sizeof *batch * (slots + 1)), *queue = malloc(sizeof *queue * limit);
    /* a sequence in the batch has produced `produced` + `tick` tokens */
    int tick = 0, *due = malloc(sizeof *due * (slots + 1));
    int user = 0;
    for (int i = 0; i < levels && !s->open; i++)
        for (int first = user; user < (int)loads[i]; user++)
            push(i * hold + spawn * (user - first) / ((int)loads[i] - first), user);

    while (count < room) {
        /* requests that are sent by now */
        for (;;) {
            if (s->open && arrival < end) {
                while (pending == 0 && arrival < end) {
                    int level = (int)(arrival / hold);
                    double next = arrival - log(1 - uniform()) / loads[level];
                    /* the rate changes at the end of a level: draw again from there, which is correct for a Poisson process */
                    arrival = next < (level + 1) * hold ? next : (level + 1) * hold;
                    if (arrival == next && arrival < end) push(arrival, 0);
                }
            }
            if (!pending || heap[0].at > now) break;
            struct event one = pop();
            if (one.at >= end) continue;
            double refused = 0;
            if (uniform() < s->fault) refused = 500;
            else if (tail - head >= s->queue + (slots - running)) refused = 503;
            if (refused) {
                records[count++] = (struct record){one.at, 0, one.at + 0.002, 0, refused, refused == 503};
                if (count == room) break;
                if (!s->open) push(one.at + s->pause, one.user);
                continue;
            }
            if (tail == limit) {
                memmove(queue + limit / 4, queue + head, sizeof *queue * (tail - head));
                tail = limit / 4 + tail - head;
                head = limit / 4;
                if (tail >= limit - 1) goto out;
            }
            queue[tail++] = (struct sequence){one.at, 0, one.user, length(s->prompt, s->prompt_spread),
                                              length(s->answer, s->answer_spread), 0, 0};
        }
        if (count == room) break;
        /* clients in the queue that give up */
        int kept = head, patient = isinf(s->patience) && isinf(s->deadline);
        for (int i = head; i < tail && !patient; i++) {
            double limit_ = queue[i].first ? s->deadline : fmin(s->patience, s->deadline);
            if (now - queue[i].sent < limit_) {
                queue[kept++] = queue[i];
                continue;
            }
            double at = queue[i].sent + limit_;
            records[count++] = (struct record){queue[i].sent, queue[i].first, at, queue[i].produced, 504, 1};
            if (count == room) goto out;
            if (!s->open) push(at + s->pause, queue[i].user);
        }
        if (!patient) tail = kept;
        /* sequences that join the batch */
        double read = 0;
        int full = 0, fresh = running;
        while (head < tail) {
            struct sequence *next = &queue[head];
            int tokens = next->prompt + next->produced;
            full = running == slots || (running && cached + tokens + running > s->cache);
            if (full || (read && read + tokens > s->budget)) break;
            read += tokens;
            cached += tokens;
            due[running] = tick + next->answer - next->produced;
            batch[running] = *next;
            batch[running++].produced -= tick;
            head++;
        }
        if (full)
            for (int i = tail - 1; i >= head && !queue[i].waited; i--) queue[i].waited = 1;
        if (!running) {
            if (!pending) break;
            if (heap[0].at > now) now = heap[0].at;
            continue;
        }
        double takes = s->step + s->step_per_sequence * running + s->step_per_waiting * (tail - head);
        now += (takes + s->read_per_token * read) * (0.97 + 0.06 * uniform());
        cached += running;
        tick++;
        for (int i = fresh; i < running; i++)
            if (!batch[i].first) batch[i].first = now;
        int ends = 0, stays = 0;
        for (int i = 0; i < running; i++) ends |= due[i] <= tick;
        if (!isinf(s->deadline))
            for (int i = 0; i < running; i++) ends |= now - batch[i].sent > s->deadline;
        for (int i = 0; i < running; i++) {
            if (!ends) break;
            struct sequence *one = &batch[i];
            int done = due[i] <= tick, tokens = one->produced + tick;
            if (!done && now - one->sent <= s->deadline) {
                due[stays] = due[i];
                batch[stays++] = *one;
                continue;
            }
            cached -= one->prompt + tokens;
            records[count++] = (struct record){one->sent, one->first, now, tokens, done ? 0 : 504, one->waited};
            if (count == room) goto out;
            if (!s->open) push(now + (done ? s->think * (0.5 + uniform()) : s->pause), one->user);
        }
        if (ends) running = stays;
        while (cached > s->cache && running > 1 && head > 0) {
            struct sequence *out = &batch[--running];
            out->produced += tick;
            cached -= out->prompt + out->produced;
            out->waited = 1;
            queue[--head] = *out;
        }
    }
out:
    free(heap);
    free(batch);
    free(due);
    free(queue);
    return count;
}
