"""A search in rates finds the requests per second that a simulated server answers; its maximum is known."""

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
    """Servers with one common queue and exponential times of service. Time continues from level to level."""

    def __init__(self, servers, service, seed):
        self.free = [0.0] * servers
        self.service, self.random = service, Random(seed)
        self.now = 0.0
        self.requests = []
        """The seconds at which each request was due and ended."""

    def hold(self, rate, seconds):
        until = self.now + seconds
        share = RateShare(rate, seed=self.random.getrandbits(32))
        for due in takewhile(lambda due: due <= until, (self.now + due for due in share.due())):
            ends = max(due, heapq.heappop(self.free)) + self.random.expovariate(1.0 / self.service)
            heapq.heappush(self.free, ends)
            self.requests.append((due, ends))
        self.now = until

    def drain(self, rate):
        """Wait without new requests until no more are in flight than usual at a rate, as a ramp does."""
        while sum(ends > self.now for _, ends in self.requests) > 2.0 * rate * self.service + 3.0:
            self.now += 1.0

    def tally(self, begin, end):
        """Return the tally of a level from begin to end, as of now."""
        tally = Tally()
        tally.numbers["due"] = sum(begin <= due < end for due, _ in self.requests)
        ended = [(due, ends) for due, ends in self.requests if ends <= self.now]
        tally.numbers["ended"] = tally.numbers["ended_ok"] = sum(begin <= ends < end for _, ends in ended)
        for due, ends in ended:
            if begin <= due < end:
                tally.outcomes[OK] += 1
                tally.histogram("e2e").add(ends - due)
                tally.histogram("ttft").add(ends - due)
        return tally


def answer_of(search, queue):
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


def test_a_search_finds_the_highest_answered_rate():
    answers = [
        answer_of(Search(RateLimits(FEW_ERRORS, 4.0), start=4.0, max_load=200.0), Queue(8, 0.2, seed))
        for seed in range(4)
    ]
    assert all(0.75 * 40.0 <= answer <= 1.1 * 40.0 for answer in answers), answers


def test_a_limit_of_latency_is_found_below_the_answered_rate():
    judge = RateLimits(Limits([Threshold.parse("ttft.p95 < 300ms")], closed=False), 4.0)
    # with 4 servers at 60 requests/s, about 5 % of the requests take over 300 ms, by a long run of this model
    long_run = Queue(4, 0.05, 99)
    long_run.hold(60.0, 300.0)
    slow = sum(ends - due > 0.3 for due, ends in long_run.requests) / len(long_run.requests)
    assert slow < 0.05
    answer = answer_of(Search(judge, start=4.0, max_load=300.0), Queue(4, 0.05, 1))
    assert 50.0 < answer < 85.0


def result_of(due, ended, seconds, mean=0.1, load=math.nan):
    tally = Tally()
    tally.numbers.update(due=due, ended=ended, ended_ok=ended)
    tally.outcomes[OK] = ended
    for _ in range(ended):
        tally.histogram("e2e").add(mean)
    return LoadResult(due / seconds if math.isnan(load) else load, tally, seconds)


def test_a_growing_backlog_violates_and_gives_the_answered_rate():
    judgement = RateLimits(FEW_ERRORS).judge(result_of(1000, 800, 10.0), [result_of(100, 100, 10.0)])
    assert judgement.odds > math.log(19.0)
    assert judgement.crossing == pytest.approx(80.0)
    assert judgement.limited_by == "an empty queue"


def test_a_rate_that_is_fully_answered_meets_the_threshold():
    assert RateLimits(FEW_ERRORS).judge(result_of(1000, 1003, 10.0), [result_of(100, 100, 10.0)]).odds < -math.log(19.0)


def test_a_first_level_that_begins_with_nothing_in_flight_is_not_a_backlog():
    first_level = result_of(100, 60, 10.0, mean=4.0)
    assert RateLimits(FEW_ERRORS, first=first_level.load).judge(first_level, []).odds < 0.0
