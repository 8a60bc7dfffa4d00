/* Parts of the reader that no test can reach from outside: what it makes of a clock that was set, of a poll that slept, and
   the order of requests that are due. */

#define _GNU_SOURCE
#include <assert.h>
#include <stdio.h>

#include <time.h>

static struct timespec fake_wall;
static int fake_clock_gettime(clockid_t clock, struct timespec *time)
{
    *time = clock == CLOCK_REALTIME ? fake_wall : (struct timespec){.tv_sec = 1000};
    return 0;
}
#define clock_gettime fake_clock_gettime
#include "../../llmlocust/wire/reader.c"

static const ns SECOND = 1000000000;
static const ns MOMENT = 1000 * 1000000000LL;

/* Return the arrival of bytes with a stamp of the wall clock, which differed by `from_wall` when it was compared last and
   differs by `from_wall_now` now. */
static ns arrival(ns from_wall, ns from_wall_now, ns stamp, ns drained)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
        struct cmsghdr aligned;
    } control = {0};
    struct timespec at = {.tv_sec = stamp / SECOND, .tv_nsec = stamp % SECOND};
    struct msghdr message = {.msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_TIMESTAMPNS;
    head->cmsg_len = CMSG_LEN(sizeof at);
    memcpy(CMSG_DATA(head), &at, sizeof at);
    reader r = {.from_wall = from_wall};
    struct connection c = {.drained = drained};
    ns now_wall = MOMENT + from_wall_now;
    fake_wall = (struct timespec){.tv_sec = now_wall / SECOND, .tv_nsec = now_wall % SECOND};
    return arrival_of(&r, &c, &message, MOMENT);
}

static void test_arrivals(void)
{
    ns drained = MOMENT - 2 * SECOND, arrived = MOMENT - SECOND, wall = 1700000000 * SECOND;
    assert(arrival(wall, wall, arrived + wall, drained) == arrived);
    for (int sign = -1; sign <= 1; sign += 2) {
        ns set = wall + sign * 3600 * SECOND;
        assert(arrival(wall, set, arrived + set, drained) == arrived); /* it was set before the bytes arrived */
        assert(arrival(wall, set, arrived + wall, drained) == arrived); /* after: the old difference still fits */
        assert(arrival(set, set, arrived + wall, drained) == MOMENT); /* or is gone: the moment of the read counts */
    }
    assert(arrival(wall, wall, MOMENT + wall + 1000, drained) == MOMENT); /* clocks differ by a little */
    assert(arrival(wall, wall, drained - 1000 + wall, drained) == drained); /* a little too early */
    struct msghdr without = {0};
    reader r = {0};
    struct connection c = {0};
    assert(arrival_of(&r, &c, &without, MOMENT) == MOMENT && !c.stamped);
}

static void test_polls(void)
{
    ns began = 100 * MILLISECOND;
    struct poll poll = {.before = 90 * MILLISECOND, .began = began, .first_read = began + 50 * MILLISECOND};
    poll.first = began - 1;
    assert(empty_before(&poll) == poll.before); /* bytes had arrived while the thread was busy */
    poll.first = poll.first_read - 100 * MICROSECOND;
    assert(empty_before(&poll) == poll.first); /* the first byte woke the thread at once */
    poll.first = poll.first_read - 2 * MILLISECOND;
    assert(empty_before(&poll) == began); /* the thread had no core: others may have arrived before it */
    poll.first_read = began + 100 * MICROSECOND;
    poll.first = poll.first_read;
    assert(empty_before(&poll) == poll.before);
}

static void test_dues(void)
{
    reader r = {.timer = -1};
    unsigned chance = 1;
    for (int i = 0; i < 1000; i++) {
        chance = chance * 1103515245 + 12345;
        assert(add_due(&r, 1 + chance % 500, i, 0));
    }
    for (ns last = 0; r.dues_size;) {
        struct due_send first = take_due(&r);
        assert(first.due >= last);
        last = first.due;
    }
    free(r.dues);
}

int main(void)
{
    test_arrivals();
    test_polls();
    test_dues();
    puts("ok");
    return 0;
}
