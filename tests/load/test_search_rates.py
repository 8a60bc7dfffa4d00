"""A search in rates finds how many requests a second a server answers, whose capacity is known."""

import heapq
import math
from itertools import takewhile
from random import Random

import pytest

from llmlocust.load.arrivals import RateShare
from llmlocust.load.search import Limits, LoadResult, Search
from llmlocust.load.search_rates import RateLimits
from llmlocust.metrics.levels import Tally
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import OK

FEW_ERRORS = Limits([Threshold.parse("errors < 1%")], closed=False)


class Queue:
    """So many servers, one line before them, and exponential times of service. Time goes on from level to level."""

    def __init__(self, servers, service, seed):
        self.free = [0.0] * servers
        self.service, self.random = service, Random(seed)
        self.now = 0.0
        self.requests = []
        """When each was due and when it ended."""

    def hold(self, rate, seconds):
        until = self.now + seconds
        part = RateShare(rate, seed=self.random.getrandbits(32))
        for due in takewhile(lambda due: due <= until, (self.now + each for each in part.due())):
            ends = max(due, heapq.heappop(self.free)) + self.random.expovariate(1.0 / self.service)
            heapq.heappush(self.free, ends)
            self.requests.append((due, ends))
        self.now = until

    def drain(self, rate):
        """Nothing comes until no more is in flight than usual at a rate, as a ramp has it."""
        while sum(ends > self.now for _, ends in self.requests) > 2.0 * rate * self.service + 3.0:
            self.now += 1.0

    def tally(self, begin, end):
        """Of a level from begin to end, as of now."""
        tally = Tally()
        tally.numbers["due"] = sum(begin <= due < end for due, _ in self.requests)
        over = [(due, ends) for due, ends in self.requests if ends <= self.now]
        tally.numbers["ended"] = tally.numbers["ended_ok"] = sum(begin <= ends < end for _, ends in over)
        for due, ends in over:
            if begin <= due < end:
                tally.outcomes[OK] += 1
                tally.histogram("e2e").add(ends - due)
                tally.histogram("ttft").add(ends - due)
        return tally


def found(search, queue):
    windows = []
    while not search.done:
        trial = len(search.trials)
        queue.drain(search.load)
        queue.hold(search.load, 3.0 * search.warmup)
        windows.append([queue.now, math.inf])
        while len(search.trials) == trial and not search.done:
            queue.hold(search.load, 1.0)
            windows[-1][1] = queue.now
            search.decide(queue.now - windows[-1][0], lambda level: queue.tally(*windows[level]))
    return search.answer


def test_a_search_finds_the_rate_that_is_answered():
    answers = [
        found(Search(RateLimits(FEW_ERRORS, 4.0), start=4.0, max_load=200.0), Queue(8, 0.2, seed)) for seed in range(4)
    ]
    assert all(0.75 * 40.0 <= each <= 1.1 * 40.0 for each in answers), answers


def test_a_limit_of_latency_is_found_below_what_is_answered():
    judge = RateLimits(Limits([Threshold.parse("ttft.p95 < 300ms")], closed=False), 4.0)
    # of 4 servers at 60 a second, 5 % wait so long that they need over 300 ms, by this very model in the long run
    long_run = Queue(4, 0.05, 99)
    long_run.hold(60.0, 300.0)
    slow = sum(ends - due > 0.3 for due, ends in long_run.requests) / len(long_run.requests)
    assert slow < 0.05
    answer = found(Search(judge, start=4.0, max_load=300.0), Queue(4, 0.05, 1))
    assert 50.0 < answer < 85.0


def seen(due, ended, seconds, mean=0.1, load=math.nan):
    tally = Tally()
    tally.numbers.update(due=due, ended=ended, ended_ok=ended)
    tally.outcomes[OK] = ended
    for _ in range(ended):
        tally.histogram("e2e").add(mean)
    return LoadResult(due / seconds if math.isnan(load) else load, tally, seconds)


def test_what_piles_up_breaks_and_says_what_is_answered():
    opinion = RateLimits(FEW_ERRORS).judge(seen(1000, 800, 10.0), [seen(100, 100, 10.0)])
    assert opinion.odds > math.log(19.0)
    assert opinion.crossing == pytest.approx(80.0)
    assert opinion.limited_by == "an empty queue"


def test_all_that_comes_is_answered_and_keeps():
    assert RateLimits(FEW_ERRORS).judge(seen(1000, 1003, 10.0), [seen(100, 100, 10.0)]).odds < -math.log(19.0)


def test_what_begins_with_nothing_in_flight_is_not_blamed_for_it():
    beginning = seen(100, 60, 10.0, mean=4.0)
    assert RateLimits(FEW_ERRORS, first=beginning.load).judge(beginning, []).odds < 0.0
