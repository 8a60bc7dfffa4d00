"""Continuous batching as a pure state machine: no clock, no network; time is an argument, in seconds.

Sequences wait in one FIFO queue until a slot and enough cache are free. Then they run: every step reads some of the
prompts of the newly admitted (a budget of tokens a step, first come first) and gives one token to every sequence
whose prompt has been read, the first one at the end of the step that read the last of it.

A step ends at an absolute time: where the one before ended, plus its own duration. How late `advance` is called
changes nothing but how late its caller is, so lateness never adds up, and the throughput of a full engine is known:
slots / (step + slots x step per sequence).
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple, TypeAlias

from llmlocust.simulator.settings import Settings

MOST_WAITING = 100_000
"""Maximum number of waiting requests where no limit is given."""

Refusal: TypeAlias = Literal["too_long", "out_of_memory", "queue_full"]


@dataclass(eq=False, slots=True)
class Sequence:
    """One request, as the engine sees it. `owner` is the caller's; the engine never looks at it."""

    prompt_tokens: int
    output_tokens: int
    streamed: bool = True
    cached_tokens: int = 0
    owner: Any = None
    arrived: float = 0.0
    admitted: float | None = None
    unread: int = 0  # tokens of the prompt that no step has read yet
    produced: int = 0

    @property
    def kv_tokens(self) -> int:
        """The cache that it takes, reserved at once: nothing is ever preempted."""
        return self.prompt_tokens + self.output_tokens


class Step(NamedTuple):
    """A step ended: each of these sequences got one token."""

    began: float
    due: float
    sequences: list[Sequence]
    started: list[Sequence]  # those for whom it was the first


class Expired(NamedTuple):
    """A request was silent for too long and has been given up."""

    due: float
    sequence: Sequence


Event: TypeAlias = Step | Expired
_Line: TypeAlias = OrderedDict[Sequence, None]  # a queue that also forgets from its middle in constant time


class Engine:
    """Decides what happens when; whoever calls it does it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: _Line = OrderedDict()
        self._reading: _Line = OrderedDict()
        self._decoding: _Line = OrderedDict()
        self._silent: _Line = OrderedDict()  # in order of arrival, so the first expires first
        self._kv_used = 0
        self._step_began, self._step_ends = -inf, inf  # no step is under way
        self._events: deque[Event] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._reading) + len(self._decoding)

    @property
    def kv_used(self) -> int:
        return self._kv_used

    @property
    def due(self) -> float:
        """When `advance` has something to tell; infinity when nothing runs."""
        return -inf if self._events else min(self._step_ends, self._expiry())

    def submit(self, sequence: Sequence, now: float) -> Refusal | None:
        """Take a request in, or say why not."""
        self._catch_up(now)
        if refusal := self._refusal(sequence):
            return refusal
        sequence.arrived = now
        sequence.unread = sequence.prompt_tokens - sequence.cached_tokens
        self._waiting[sequence] = None
        if self._settings.timeout_s:
            self._silent[sequence] = None
        self._admit(now)
        return None

    def cancel(self, sequence: Sequence, now: float) -> bool:
        """Forget a request whose client went away; False when it had ended before."""
        self._catch_up(now)
        if not self._remove(sequence):
            return False
        self._admit(now)
        return True

    def advance(self, now: float) -> Event | None:
        """The next thing that happened by now, in order; None when that is all."""
        while not self._events and self.due <= now:
            self._turn()
        return self._events.popleft() if self._events else None

    def _catch_up(self, now: float) -> None:
        # what happened before now comes first, or a late caller would find a longer queue than there was
        while min(self._step_ends, self._expiry()) <= now:
            self._turn()

    def _turn(self) -> None:
        if self._step_ends <= self._expiry():
            self._end_step()
        else:
            self._expire()

    def _expiry(self) -> float:
        if not self._silent:
            return inf
        return next(iter(self._silent)).arrived + self._settings.timeout_s

    def _expire(self) -> None:
        sequence = next(iter(self._silent))
        due = self._expiry()
        self._remove(sequence)
        self._events.append(Expired(due, sequence))
        self._admit(due)

    def _refusal(self, sequence: Sequence) -> Refusal | None:
        settings = self._settings
        if 0 < settings.kv_tokens < sequence.kv_tokens:
            return "too_long"
        if 0 < settings.oom_at <= self.running + self.waiting:
            return "out_of_memory"
        must_wait = self._waiting or not self._fits(sequence)
        limit = MOST_WAITING if settings.queue_limit < 0 else settings.queue_limit
        if must_wait and self.waiting >= limit:
            return "queue_full"
        return None

    def _fits(self, sequence: Sequence) -> bool:
        kv_tokens = self._settings.kv_tokens
        has_room = not kv_tokens or self._kv_used + sequence.kv_tokens <= kv_tokens
        return has_room and self.running < self._settings.slots

    def _admit(self, now: float) -> None:
        # the first in the queue is never overtaken, not even by one that would fit
        while self._waiting and self._fits(next(iter(self._waiting))):
            sequence, _ = self._waiting.popitem(last=False)
            sequence.admitted = now
            self._kv_used += sequence.kv_tokens
            self._reading[sequence] = None
        if self._step_ends == inf:
            self._start_step(now)

    def _start_step(self, now: float) -> None:
        if not self.running:
            self._step_ends = inf
            return
        running = self.running
        read = self._read_prompts()
        self._step_began = now
        self._step_ends = now + self._settings.step_seconds(running) + read * self._settings.prefill_ms_per_token / 1e3

    def _read_prompts(self) -> int:
        """Read prompts up to the budget of a step; those read to the end get a token when it ends."""
        budget = self._settings.prefill_chunk or inf
        read = 0
        while self._reading:
            sequence = next(iter(self._reading))
            part = int(min(sequence.unread, budget - read))
            sequence.unread -= part
            read += part
            if sequence.unread:
                break
            self._decoding[self._reading.popitem(last=False)[0]] = None
        return read

    def _end_step(self) -> None:
        due = self._step_ends
        sequences = list(self._decoding)
        for sequence in sequences:
            self._give_token(sequence)
        if sequences:
            started = [sequence for sequence in sequences if sequence.produced == 1]
            self._events.append(Step(self._step_began, due, sequences, started))
        self._step_ends = inf
        self._admit(due)

    def _give_token(self, sequence: Sequence) -> None:
        sequence.produced += 1
        if sequence.produced == sequence.output_tokens:
            self._remove(sequence)
        elif sequence.streamed and self._silent:
            self._silent.pop(sequence, None)

    def _remove(self, sequence: Sequence) -> bool:
        for line in (self._waiting, self._reading, self._decoding):
            if sequence in line:
                del line[sequence]
                self._silent.pop(sequence, None)
                self._kv_used -= sequence.kv_tokens if sequence.admitted is not None else 0
                return True
        return False
