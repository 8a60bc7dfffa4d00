"""The search on simulated systems: seconds of requests are drawn from a model of each load."""

import math
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlocust.load.search import MEETS, VIOLATES, Limits, Queueing, Search
from llmlocust.metrics.levels import Tally
from llmlocust.metrics.thresholds import Threshold

SLOTS, SERVICE = 40, 1.0


def limits(*texts: str) -> Limits:
    return Limits([Threshold.parse(text) for text in texts])


class Queue:
    """Slots that serve a request per second each; other requests wait, all for about the same time."""

    def __init__(self, slots: float = SLOTS, rejects: bool = False, seed: int = 1) -> None:
        self.slots, self.rejects = slots, rejects
        self.random = random.Random(seed)
        self.seconds: dict[float, int] = defaultdict(int)

    def second(self, load: float, tally: Tally) -> None:
        """Add the requests of a second at a load to a tally."""
        self.seconds[load] += 1
        throughput = min(load, self.slots) / SERVICE
        wait = max(0.0, load - self.slots) / throughput
        for _ in range(round(throughput)):
            if self.rejects and self.random.random() < wait / (wait + SERVICE):
                tally.outcomes["http_503"] += 1
                continue
            ttft = 0.05 * self.random.uniform(0.8, 1.2) + (0.0 if self.rejects else wait)
            tally.outcomes["ok"] += 1
            tally.numbers["ended_ok"] += 1
            tally.histogram("ttft").add(ttft)
            tally.histogram("e2e").add(ttft + SERVICE * self.random.uniform(0.8, 1.2))


def search_of(system, search: Search) -> float:
    """Carry out a search, and return the seconds that it took."""
    tallies = [Tally()]
    took = held = 0.0
    while not search.done:
        assert took < 3600
        assert len(search.trials) < 60
        system.second(search.load, tallies[-1])
        held += 1.0
        if search.decide(held, tallies.__getitem__):
            took += held + search.warmup
            held = 0.0
            tallies.append(Tally())
    return took


@pytest.mark.parametrize(
    "text, limit",
    [("ttft.p95 < 500ms", 57), ("ttft.p50 < 100ms", 41), ("e2e.p95 < 3s", 110), ("ttft.p99 < 4s", 196)],
)
def test_the_answer_is_near_the_load_at_which_a_threshold_is_violated(text, limit):
    """All requests wait (load − slots) / slots seconds and some milliseconds: the limit can be computed by hand."""
    search = Search(limits(text))
    search_of(Queue(), search)

    assert search.answer == pytest.approx(limit, rel=0.06)


def test_saturation_is_where_requests_begin_to_wait():
    search = Search(Queueing())
    search_of(Queue(), search)

    assert search.answer == pytest.approx(SLOTS, rel=0.05)


@pytest.mark.parametrize("judge", [limits("errors < 1%"), Queueing()])
def test_the_answer_for_a_server_that_rejects_requests_is_its_slots(judge):
    search = Search(judge)
    search_of(Queue(rejects=True), search)

    assert search.answer == SLOTS


@given(slots=st.integers(1, 299), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_answer_for_any_limit_is_within_the_precision_or_one_user(slots, seed):
    search = Search(limits("ttft.p95 < 60ms"))
    search_of(Queue(slots, seed=seed), search)

    assert abs(search.answer - slots) <= max(1.0, 0.05 * slots)
    low, high = search.trials[-1].bracket
    assert low == search.answer
    assert high - low <= max(1.0, 0.05 * low) * (1 + 1e-9)


def test_a_limit_that_no_load_violates_is_not_reached():
    search = Search(limits("ttft.p95 < 1s"), max_load=30)
    search_of(Queue(), search)

    assert (search.answer, search.trials[-1].bracket) == (30, (30, None))


def test_a_threshold_that_one_user_violates_has_no_answer():
    search = Search(limits("ttft.p95 < 10ms"))
    search_of(Queue(), search)

    assert (search.answer, search.trials[-1].bracket) == (None, (None, 1))


def test_a_search_ends_with_a_hold_that_confirms_the_answer():
    search = Search(limits("ttft.p95 < 500ms"), longest=20.0)
    search_of(Queue(), search)

    last = search.trials[-1]
    assert last.confirms
    assert last.load == search.answer
    assert last.held >= 10.0
    assert [trial.verdict for trial in search.trials if trial.load > search.answer] == [
        VIOLATES for trial in search.trials if trial.load > search.answer
    ]


class Changing(Queue):
    """A queue that has a different number of slots in the first seconds at some loads."""

    def __init__(self, first_slots: dict[float, tuple[int, int]], slots: int) -> None:
        super().__init__(slots)
        self.first_slots, self.usual = first_slots, slots

    def second(self, load: float, tally: Tally) -> None:
        until, slots = self.first_slots.get(load, (0, 0))
        self.slots = slots if self.seconds[load] < until else self.usual
        super().second(load, tally)


def test_a_level_that_passed_by_chance_is_tried_again():
    """A level of 12 users passes in the short hold of the growing load; it is held again, at the latest at the end."""
    system = Changing({12: (2, 100)}, slots=9)
    search = Search(limits("ttft.p95 < 60ms"))
    search_of(system, search)

    verdicts = [trial.verdict for trial in search.trials if trial.load == 12]
    assert verdicts[0] == MEETS
    assert search.answer == pytest.approx(9, abs=1)
    assert system.seconds[12] > 2


def tally_of(ok: int, slow: int = 0) -> Tally:
    tally = Tally()
    tally.outcomes["ok"] = ok + slow
    tally.histogram("ttft").extend([0.01] * ok + [9.0] * slow)
    return tally


def test_a_level_that_failed_without_certainty_is_tried_again():
    search = Search(limits("ttft.p95 < 500ms"), start=1.0, max_load=1.0)
    tallies = [tally_of(18, slow=2), tally_of(200)]

    assert search.decide(30.0, tallies.__getitem__)
    assert (search.trials[0].verdict, search.trials[0].sure, search.load) == (VIOLATES, False, 1.0)
    assert search.decide(30.0, tallies.__getitem__)
    assert (search.trials[1].verdict, search.trials[1].sure) == (MEETS, True)


def test_late_results_change_the_verdict_of_a_level():
    search = Search(limits("ttft.p95 < 500ms"))
    tallies = [tally_of(20), tally_of(20)]
    assert search.decide(3.0, tallies.__getitem__)
    assert search.trials[0].bracket == (4.0, None)

    tallies[0] = tally_of(20, slow=20)
    assert search.decide(3.0, tallies.__getitem__)
    assert search.trials[1].bracket == (None, 4.0)


def test_a_level_is_held_until_requests_that_violate_its_threshold_can_end():
    """Requests take one second, and the threshold is ten: a violation is known only after more than ten seconds."""
    search = Search(limits("e2e.p95 < 10s"), max_load=30, longest=20.0)
    search_of(Queue(), search)

    assert search.trials[-1].confirms
    assert search.trials[-1].held >= 15.0


def test_no_level_is_held_much_longer_than_the_maximum():
    search = Search(limits("ttft.p99 < 300ms"), longest=8.0)
    search_of(Queue(slots=5), search)

    assert max(trial.held for trial in search.trials) <= 16.0


def test_levels_of_the_growing_load_are_short():
    search = Search(limits("ttft.p95 < 500ms"))
    search_of(Queue(slots=250), search)

    growing = [trial for trial in search.trials if trial.load in (4, 12, 36, 108)]
    assert len(growing) == 4
    assert max(trial.held for trial in growing) <= 3.0


def test_the_lag_of_results_lengthens_every_level():
    search = Search(limits("ttft.p95 < 500ms"), lag=4.0)
    search_of(Queue(), search)

    assert min(trial.held for trial in search.trials) >= 6.0


def test_warm_up_after_a_large_change_of_load_is_as_long_as_requests_may_take():
    search = Search(limits("ttft.p95 < 500ms"))
    assert search.warmup == 0.0

    tally = tally_of(20)
    tally.histogram("e2e").extend([2.0] * 20)
    assert search.decide(4.0, lambda level: tally)
    assert (search.load, search.warmup) == (12.0, pytest.approx(6.0))


@pytest.mark.parametrize(
    "text", ["throughput > 5/s", "goodput > 5/s", "ttft.mean < 1s", "e2e.max < 9s", "ttft.p95 > 1s"]
)
def test_thresholds_that_are_no_shares_of_requests_are_an_error(text):
    with pytest.raises(ValueError, match="cannot search by"):
        limits(text)


def test_failed_requests_count_as_infinitely_slow():
    tally = Tally()
    tally.outcomes.update(ok=50, http_503=50)
    tally.histogram("ttft").extend([0.01] * 50)
    judge = limits("ttft.p95 < 500ms")
    search = Search(judge, shortest=1.0)

    assert search.decide(30.0, lambda level: tally)
    assert (search.trials[0].verdict, search.trials[0].limited_by) == (VIOLATES, "ttft.p95 < 500ms")
    assert math.isnan(judge.judge(search._results[4.0], []).crossing)
