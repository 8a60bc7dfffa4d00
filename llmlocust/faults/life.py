"""`Life`: one injection from its beginning to the confirmation of its end, step by step. It has no clock and no thread of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from llmlocust.faults.injectors.injector import Injector, InjectorError
from llmlocust.faults.schedule import Injection
from llmlocust.faults.undo import Step
from llmlocust.metrics.fault_window import FaultWindow
from llmlocust.text.message import Message, clauses, message

_TRIES, _PAUSE = 3, 0.5
"""Tries of a lift that fails, and the seconds between two."""
_LOOK = 0.05
"""Seconds between two looks at whether a fault can be lifted."""

NEVER_DUE = message("the run ended before the fault was due")

Report = Callable[[FaultWindow], None]
Journal = Callable[[str, Sequence[Step] | None], None]


class Life:
    """One injection. Call `step` at the moment that it returned, until it returns None."""

    def __init__(
        self,
        injection: Injection,
        injector: Injector,
        report: Report,
        journal: Journal,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        """`report` gets the window whenever it changes; `journal` gets the steps that lift the fault before it is injected,
        and None when it is lifted. `patience`: the seconds in which the end of a fault must be seen.
        """
        self._injection, self._injector, self._clock, self._patience = injection, injector, clock, patience
        self._report, self._journal = report, journal
        planned = injection.fault
        self.window = FaultWindow(
            planned.shown_name, planned.action.kind, None, None, id=injection.id, action=planned.action.shown
        )
        self._stage: Callable[[float], float | None] = self._prepare
        self._is_stopped = False
        self._problems: list[Message] = []
        self._reason = ""
        """The last failure of a look."""
        self._look_seconds = 0.0
        """How long the last look took."""
        self._pause = injector.poll / 10.0
        self._lift_by = math.inf
        """When the fault is lifted, although a process that is to be started again has not ended."""
        self._tries = 0
        self._until = math.inf
        """When the wait for the end of the fault is over."""

    def stop(self) -> None:
        """Let the next step lift the fault, or let it never begin. It may be called by another thread."""
        self._is_stopped = True

    def step(self) -> float | None:
        """Do what is due, and return the moment of the next step; None when the injection is over."""
        try:
            return self._stage(self._clock())
        except Exception as problem:  # whatever happens, the fault must be lifted
            self._tell(message("the injector failed: {reason}", reason=f"{type(problem).__name__}: {problem}"))
            return self._after_defect()

    def _after_defect(self) -> float | None:
        is_injected = self.window.began is not None and self.window.lifted is None
        if is_injected and self._tries < _TRIES:
            self._tries += 1
            self._stage = self._lift
            return self._clock()
        return None

    # ── stages ──

    def _prepare(self, now: float) -> float | None:
        if self._is_stopped:
            self._tell(NEVER_DUE)
            return None
        try:
            self._injector.prepare()
        except InjectorError as problem:
            self._fail(problem)
            return None
        if steps := self._injector.steps:
            self._journal(self._injection.id, steps)
        self._stage = self._inject
        return self._injection.due

    def _inject(self, now: float) -> float | None:
        if self._is_stopped:
            self._journal(self._injection.id, None)
            self._tell(NEVER_DUE)
            return None
        if now < self._injection.due:
            return self._injection.due
        self._change(began=self._clock())
        try:
            self._injector.inject()
        except InjectorError as problem:
            self._fail(problem)
            self._stage = self._lift  # a part of it may be injected
            return now
        if steps := self._injector.steps:
            self._journal(self._injection.id, steps)
        self._report(self.window)
        self._stage = self._wait_for_lift
        return self._clock()

    def _wait_for_lift(self, now: float) -> float | None:
        lift = now if self._is_stopped else self._lift_moment
        is_moment = self._injection.lift is None and not self._is_stopped and lift <= now
        if self.window.confirmed_began is None and (is_moment or now + self._look_seconds < lift):
            self._look_for_presence()  # unless that would delay the lift
        if (now := self._clock()) < lift:
            is_seen = self.window.confirmed_began is not None
            return lift if is_seen else min(lift, now + max(self._next_pause(), self._look_seconds))
        if self._is_stopped:
            self._lift_by = min(self._lift_by, now + self._patience)
        if now < self._lift_by and not self._injector.can_be_lifted():
            return now + _LOOK
        self._stage = self._lift
        return now

    def _next_pause(self) -> float:
        """Return the seconds until the next look: short ones first, because a fault may be short."""
        pause, self._pause = self._pause, min(2.0 * self._pause, self._injector.poll)
        return pause

    @property
    def _lift_moment(self) -> float:
        """When the plan lifts the fault."""
        if self._injection.lift is not None:
            return self._injection.lift
        return (self.window.began or 0.0) if self._injection.fault.action.is_moment else math.inf

    def _look_for_presence(self) -> None:
        began = self._clock()
        try:
            evidence = self._injector.present()
        except InjectorError as problem:
            self._reason, evidence = str(problem), None
        self._look_seconds = self._clock() - began
        if evidence is not None:
            self._reason = ""
            self._change(confirmed_began=self._injector.present_at or self._clock(), evidence=evidence)
            self._report(self.window)

    def _lift(self, now: float) -> float | None:
        self._tries += 1
        try:
            self._injector.lift()
        except InjectorError as problem:
            if self._tries < _TRIES:
                return now + _PAUSE
            self._tell(message("the fault could not be lifted: {reason}", reason=problem))
            return None
        self._journal(self._injection.id, None)
        self._change(lifted=now)
        self._report(self.window)
        self._until = now + max(self._patience, self._injector.patience)
        self._stage = self._wait_for_end
        return self._clock()

    def _wait_for_end(self, now: float) -> float | None:
        if self.window.confirmed_began is None and self._injector.remembers:
            self._look_for_presence()
        if self._is_stopped:
            self._until = min(self._until, now + self._patience)
        if self._look_for_end() or now >= self._until:
            self._end()
            return None
        return now + self._injector.poll

    def _look_for_end(self) -> bool:
        try:
            evidence = self._injector.gone()
        except InjectorError as problem:
            self._reason, evidence = str(problem), None
        if evidence is None:
            return False
        parts = [self.window.evidence, evidence] if self.window.evidence else [evidence]
        self._change(confirmed_lifted=self._clock(), evidence=clauses(parts))
        return True

    def _end(self) -> None:
        if self.window.confirmed_began is None:
            self._note(message("nothing but the users showed that the fault was present"))
        if self.window.confirmed_lifted is None:
            self._note(message("nothing but the users showed that the fault was over"))
        if self._reason and not self.window.is_confirmed:
            self._note(message("the last look failed: {reason}", reason=self._reason))
        self._report(self.window)

    # ── problems ──

    def _fail(self, problem: InjectorError) -> None:
        self._tell(message("the fault could not be injected: {reason}", reason=problem))

    def _note(self, problem: Message) -> None:
        self._problems.append(problem)
        self._change(problem=clauses(self._problems))

    def _tell(self, problem: Message) -> None:
        self._note(problem)
        self._report(self.window)

    def _change(self, **fields: object) -> None:
        self.window = replace(self.window, **fields)  # type: ignore[arg-type]
