"""The life of an injection, with an injector and a clock of the test."""

from collections import deque

import pytest

from llmlocust.faults.injectors.injector import Context, Injector, InjectorError
from llmlocust.faults.life import Life
from llmlocust.faults.schedule import injections, parse
from llmlocust.text.message import Message, message


class Fake(Injector):
    """An injector whose methods do what a test has written: `fails` names those that raise, and how often."""

    poll = 0.1

    def __init__(self, clock, *, present_after=0.0, gone_after=0.0, can_be_lifted_after=0.0, fails=(), steps=()):
        super().__init__("1.1", Context())
        self._clock, self._steps, self.fails = clock, list(steps), dict(fails)
        self.delays = {"present": present_after, "gone": gone_after, "can": can_be_lifted_after}
        self.calls = []
        self.moments = {}

    def _call(self, name):
        self.calls.append(name)
        self.moments.setdefault(name, self._clock())
        if self.fails.get(name, 0):
            self.fails[name] -= 1
            raise InjectorError(f"no {name}")

    def describe(self):
        return "fake"

    @property
    def steps(self):
        return self._steps

    def prepare(self):
        self._call("prepare")

    def inject(self):
        self._call("inject")

    def present(self):
        self._call("present")
        return message("there") if self._clock() - self.moments["inject"] >= self.delays["present"] else None

    def can_be_lifted(self):
        return self._clock() - self.moments["inject"] >= self.delays["can"]

    def lift(self):
        self._call("lift")

    def gone(self):
        self._call("gone")
        return message("away") if self._clock() - self.moments["lift"] >= self.delays["gone"] else None


class Played:
    """A life played on a clock of its own: `run` goes to the end, or to the moment at which the run is stopped."""

    def __init__(self, text, **behaviour):
        self.now, self.windows, self.journal = 100.0, [], []
        self.injector = Fake(lambda: self.now, **behaviour)
        (injection, *_) = injections([parse(text)], {"run": 100.0}, 10_000.0)
        self.life = Life(
            injection,
            self.injector,
            self.windows.append,
            lambda *entry: self.journal.append(entry),
            lambda: self.now,
            10.0,
        )

    def run(self, stop_at=1e9):
        limit = deque(maxlen=1)
        steps = 0
        while (moment := self.life.step()) is not None:
            steps += 1
            assert steps < 10_000
            if moment > stop_at and not limit:
                limit.append(stop_at)
                self.now = max(self.now, stop_at)
                self.life.stop()
            else:
                self.now = max(self.now, moment)
        return self.life.window


def times(window):
    return tuple(
        None if moment is None else round(moment - 100.0, 3)
        for moment in (window.began, window.confirmed_began, window.lifted, window.confirmed_lifted)
    )


def test_a_fault_begins_and_ends_at_its_moments_and_is_confirmed():
    played = Played("at 60s for 20s: down", present_after=0.25, gone_after=1.0)
    window = played.run()
    assert times(window) == (60.0, 60.25, 80.0, 81.1)
    assert window.is_confirmed
    assert (window.evidence, window.problem) == ("there; away", "")
    assert isinstance(window.evidence, Message)
    assert (window.name, window.kind, window.id, window.action) == ("down", "down", "1.1", "down")


def test_the_steps_that_lift_a_fault_are_known_before_it_is_injected_and_until_it_is_lifted():
    steps = [{"shell": "true"}]
    played = Played("at 60s for 20s: down", steps=steps)
    while played.injector.calls != ["prepare"]:
        played.life.step()
    assert played.journal == [("1.1", steps)]
    played.run()
    assert [entry for _, entry in played.journal] == [steps, steps, None]


def test_a_moment_is_lifted_at_once_after_it_was_seen():
    window = Played('at 60s: kill port 1 restart "x"', can_be_lifted_after=2.0, present_after=1.0).run()
    began, seen, lifted, gone = times(window)
    assert began == 60.0
    assert 61.0 <= seen <= 61.1
    assert 62.0 <= lifted <= 62.1
    assert gone == lifted


def test_a_fault_without_an_end_is_lifted_when_the_run_ends():
    assert times(Played("at 60s: down").run(stop_at=250.0)) == (60.0, 60.0, 150.0, 150.0)


def test_a_run_that_ends_before_the_fault_injects_nothing():
    played = Played("at 60s for 20s: down", steps=[{"shell": "true"}])
    window = played.run(stop_at=120.0)
    assert "inject" not in played.injector.calls
    assert times(window) == (None, None, None, None)
    assert window.problem == "the run ended before the fault was due"
    assert played.journal[-1] == ("1.1", None)


def test_a_run_that_ends_during_the_fault_lifts_it():
    assert times(Played("at 60s for 20s: down").run(stop_at=165.0)) == (60.0, 60.0, 65.0, 65.0)


def test_a_fault_that_nothing_confirms_says_so():
    window = Played("at 60s for 5s: down", present_after=1e6, gone_after=1e6).run()
    assert times(window) == (60.0, None, 65.0, None)
    assert window.problem == (
        "nothing but the users showed that the fault was present; nothing but the users showed that the fault was over"
    )


def test_a_missing_target_is_a_problem_and_nothing_is_injected():
    played = Played("at 60s for 5s: down", fails={"prepare": 1})
    window = played.run()
    assert window.problem == "the fault could not be injected: no prepare"
    assert played.injector.calls == ["prepare"]


def test_a_fault_that_is_injected_in_part_is_lifted():
    played = Played("at 60s for 5s: down", fails={"inject": 1})
    window = played.run()
    assert played.injector.calls[:3] == ["prepare", "inject", "lift"]
    assert window.problem.startswith("the fault could not be injected: no inject")
    assert played.injector.moments["lift"] == 160.0


@pytest.mark.parametrize("failures, is_lifted", [(2, True), (3, False)])
def test_a_lift_that_fails_is_tried_again(failures, is_lifted):
    played = Played("at 60s for 5s: down", fails={"lift": failures}, steps=[{"shell": "true"}])
    window = played.run()
    assert played.injector.calls.count("lift") == 3
    assert (window.lifted is not None) == is_lifted
    assert (window.problem == "the fault could not be lifted: no lift") == (not is_lifted)
    assert (played.journal[-1] == ("1.1", None)) == is_lifted


def test_a_process_that_does_not_end_is_waited_for_and_not_longer_than_the_patience_after_the_run():
    window = Played('at 60s: term port 1 restart "x"', can_be_lifted_after=1e6).run(stop_at=200.0)
    assert times(window)[2] == pytest.approx(110.0, abs=0.1)


@pytest.mark.parametrize("name", ["present", "gone"])
def test_a_look_that_fails_is_repeated(name):
    window = Played("at 60s for 5s: down", fails={name: 3}).run()
    assert window.is_confirmed
    assert window.problem == ""


def test_the_last_failure_of_a_look_is_shown_where_nothing_was_confirmed():
    window = Played("at 60s for 1s: down", fails={"gone": 10**6}).run()
    assert window.problem.endswith("the last look failed: no gone")


@pytest.mark.parametrize("name", ["prepare", "inject", "present", "lift", "gone"])
def test_a_defect_of_an_injector_is_a_problem_and_the_fault_is_lifted(name):
    played = Played("at 60s for 5s: down")
    healthy = getattr(played.injector, name)
    defects = []

    def defect():
        if not defects:
            defects.append(name)
            raise KeyError("oops")
        return healthy()

    setattr(played.injector, name, defect)
    window = played.run()
    assert window.problem.startswith("the injector failed: KeyError: 'oops'")
    assert ("lift" in played.injector.calls) == (name != "prepare")


def test_a_short_fault_is_looked_at_often():
    window = Played("at 60s for 50ms: down", present_after=0.005).run()
    assert window.is_confirmed
    assert times(window)[1] == 60.01


def test_looks_stop_when_the_fault_is_seen():
    played = Played("at 60s for 20s: down")
    played.run()
    assert played.injector.calls == ["prepare", "inject", "present", "lift", "gone"]
