"""The parse queue: every waiter gets its turn, in order and soon, whatever else the event loop has to do."""

import os
from contextlib import contextmanager

import gevent
import pytest

from llmlocust.plugin.generator import parse_queue as module
from llmlocust.plugin.generator.parse_queue import ParseQueue

_READABLE, _FIRST = 1, 2


@contextmanager
def something_to_read():
    """A pipe that is always readable, with a watcher that comes before all others, as those of our sockets do."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    watcher = gevent.get_hub().loop.io(reader, _READABLE, priority=_FIRST)
    watcher.start(lambda: None)
    try:
        yield
    finally:
        watcher.stop()
        watcher.close()
        os.close(reader)
        os.close(writer)


def waits(queue: ParseQueue, number: int, order: list[int]) -> gevent.Greenlet:
    def wait() -> None:
        queue.wait()
        order.append(number)

    return gevent.spawn(wait)


@pytest.mark.parametrize("waiters", [1, 2, 50])
def test_turns_come_in_order(waiters):
    queue, order = ParseQueue(), []
    gevent.joinall([waits(queue, number, order) for number in range(waiters)], timeout=30, raise_error=True)
    assert order == list(range(waiters))


@pytest.mark.parametrize("waiters", [1, 2, 50])
def test_a_loop_that_always_has_something_to_read_gives_turns_too(waiters):
    queue, order = ParseQueue(), []
    with something_to_read():
        gevent.joinall([waits(queue, number, order) for number in range(waiters)], timeout=30, raise_error=True)
    assert order == list(range(waiters))


def test_sockets_are_read_between_two_turns_that_are_overdue(monkeypatch):
    monkeypatch.setattr(module, "_MAX_WAIT", 0.0)
    queue, reads, seen = ParseQueue(), [0], []
    reader, writer = os.pipe()
    os.write(writer, b"x")
    watcher = gevent.get_hub().loop.io(reader, _READABLE, priority=_FIRST)

    def read() -> None:
        reads[0] += 1

    def wait() -> None:
        queue.wait()
        seen.append(reads[0])

    watcher.start(read)
    gevent.joinall([gevent.spawn(wait) for _ in range(5)], timeout=30, raise_error=True)
    watcher.stop()
    watcher.close()
    os.close(reader)
    os.close(writer)
    assert seen == sorted(set(seen))  # each turn came after another read


def test_a_waiter_that_is_killed_keeps_no_other_waiting():
    queue, order = ParseQueue(), []
    with something_to_read():
        killed = gevent.spawn(queue.wait)
        gevent.sleep(0)
        killed.kill()
        gevent.joinall([waits(queue, 1, order)], timeout=30, raise_error=True)
    assert order == [1]


def test_the_longest_wait_for_a_turn_is_known_once():
    queue = ParseQueue()
    with something_to_read():
        gevent.joinall([waits(queue, number, []) for number in range(3)], timeout=30, raise_error=True)

    assert queue.take_longest() >= module._MAX_WAIT
    assert queue.take_longest() == 0.0
