"""Continuous batching as a pure state machine: no clock, no network; time is an argument, in seconds.

Sequences wait in one FIFO queue until a slot and enough cache for their prompt are free. Then they run: each step reads
some of the prompts of newly admitted sequences (a budget of tokens per step, in order of arrival), and produces one token
for every sequence whose prompt has been read. The first token comes at the end of the step that read the end of the prompt.

The cache is allocated in blocks, as in vLLM V1: for the prompt at admission, then one block whenever a sequence has filled
its last one. If no block is free, the sequence that was admitted last is preempted: it loses its blocks, waits at the
front of the queue, and has its prompt and its tokens computed again.

A step ends at an absolute time: the end of the step before, plus its own duration. If `advance` is called late, only the
caller is late: lateness does not add up, and the throughput of a full engine is exactly
slots / (step + slots x step per sequence).
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple, TypeAlias

from llmlocust.simulator.pace import Pace, Work
from llmlocust.simulator.settings import BLOCK_TOKENS, Settings

MAX_WAITING = 100_000
"""Maximum number of waiting requests where no limit is given."""

Refusal: TypeAlias = Literal["too_long", "out_of_memory", "queue_full"]


@dataclass(eq=False, slots=True)
class Sequence:
    """One request in the engine. `owner` belongs to the caller; the engine does not use it."""

    prompt_tokens: int
    output_tokens: int
    streamed: bool = True
    cached_tokens: int = 0
    owner: Any = None
    arrived: float = 0.0
    admitted: float | None = None  # the first time, if it was preempted
    unread: int = 0  # tokens of the prompt that no step has read yet; after a preemption, also of the answer
    produced: int = 0
    blocks: int = 0
    preemptions: int = 0

    @property
    def tokens(self) -> int:
        """Tokens so far, of the prompt and of the answer."""
        return self.prompt_tokens + self.produced

    @property
    def uncached(self) -> int:
        """Tokens to compute at admission. A prompt in the prefix cache stays there during a preemption."""
        return self.tokens - self.cached_tokens

    @property
    def max_blocks(self) -> int:
        """Blocks at the last step. The last token is never read, so it needs no place in the cache."""
        return blocks_of(self.prompt_tokens + self.output_tokens - 1)


class Step(NamedTuple):
    """A step ended: each of these sequences has one more token. There may be none: the step only read prompts."""

    began: float
    due: float
    sequences: list[Sequence]
    work: Work


class Expired(NamedTuple):
    """A request had no token for too long and has been aborted."""

    due: float
    sequence: Sequence


Event: TypeAlias = Step | Expired
_Queue: TypeAlias = OrderedDict[Sequence, None]  # a queue from whose middle an entry is removed in constant time


def blocks_of(tokens: int) -> int:
    """Return the number of blocks for this number of tokens."""
    return -(-tokens // BLOCK_TOKENS)


class Engine:
    """The engine decides what happens at which time; its caller does the I/O."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: _Queue = OrderedDict()
        self._reading: _Queue = OrderedDict()
        self._decoding: _Queue = OrderedDict()
        self._silent: _Queue = OrderedDict()  # in order of arrival, so the first expires first
        self._blocks, self._blocks_used = settings.kv_blocks, 0
        self._pace = Pace(settings)
        self.work: Work | None = None
        """The step under way."""
        self._step_ends = inf
        self.preemptions = 0
        self._events: deque[Event] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return len(self._reading) + len(self._decoding)

    @property
    def blocks_used(self) -> int:
        return self._blocks_used

    @property
    def kv_usage(self) -> float:
        """Share of the cache that is in use; 0 if the cache has no limit."""
        return self._blocks_used / self._blocks if self._blocks else 0.0

    @property
    def due(self) -> float:
        """The time of the next event; infinity when nothing runs."""
        return -inf if self._events else min(self._step_ends, self._expiry())

    def submit(self, sequence: Sequence, now: float) -> Refusal | None:
        """Accept a request, or return why it is rejected."""
        self._catch_up(now)
        if refusal := self._refusal(sequence):
            return refusal
        sequence.arrived = now
        self._waiting[sequence] = None
        if self._settings.timeout_s:
            self._silent[sequence] = None
        self._schedule(now)
        return None

    def cancel(self, sequence: Sequence, now: float) -> bool:
        """Remove a request whose client has disconnected. Returns False if it had ended before."""
        self._catch_up(now)
        if not self._remove(sequence):
            return False
        self._schedule(now)
        return True

    def advance(self, now: float) -> Event | None:
        """Return the next event up to `now`, in order; None if there are no more."""
        while not self._events and self.due <= now:
            self._next_event()
        return self._events.popleft() if self._events else None

    def _catch_up(self, now: float) -> None:
        # earlier events come first: otherwise a late caller would find a longer queue than there was
        while min(self._step_ends, self._expiry()) <= now:
            self._next_event()

    def _next_event(self) -> None:
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
        self._schedule(due)

    def _refusal(self, sequence: Sequence) -> Refusal | None:
        settings = self._settings
        if 0 < self._blocks < sequence.max_blocks:
            return "too_long"
        if 0 < settings.oom_at <= self.running + self.waiting:
            return "out_of_memory"
        must_wait = self._waiting or not self._fits(sequence)
        limit = MAX_WAITING if settings.queue_limit < 0 else settings.queue_limit
        if must_wait and self.waiting >= limit:
            return "queue_full"
        return None

    def _fits(self, sequence: Sequence) -> bool:
        has_room = not self._blocks or self._blocks_used + blocks_of(sequence.tokens) <= self._blocks
        return has_room and self.running < self._settings.slots

    def _schedule(self, now: float) -> None:
        if self._step_ends == inf:
            self._start_step(now)
        else:
            self._admit(now)

    def _admit(self, now: float) -> None:
        # the first in the queue is never overtaken, even if a later one would fit
        while self._waiting and self._fits(next(iter(self._waiting))):
            sequence, _ = self._waiting.popitem(last=False)
            if sequence.admitted is None:
                sequence.admitted = now
            sequence.unread = sequence.uncached
            if self._blocks:
                sequence.blocks = blocks_of(sequence.tokens)
                self._blocks_used += sequence.blocks
            self._reading[sequence] = None

    def _start_step(self, now: float) -> None:
        # as in vLLM, running sequences get their blocks first, and a step that preempts admits none
        if not (self._blocks and self._allocate()):
            self._admit(now)
        if not self.running:
            return
        running = self.running
        read = self._read_prompts()
        self.work = self._pace.work(now, running, read, len(self._decoding))
        self._step_ends = self.work.due

    def _allocate(self) -> bool:
        """Give each decoding sequence room for its next token. Returns whether a sequence was preempted for that."""
        preempted = False
        for sequence in list(self._decoding):
            if sequence not in self._decoding:
                break  # preempted, and with it all that were admitted later
            if sequence.tokens <= sequence.blocks * BLOCK_TOKENS:
                continue
            while self._blocks_used == self._blocks and sequence in self._decoding:
                preempted |= self._preempt(next(reversed(self._reading or self._decoding)))
            if sequence in self._decoding:
                sequence.blocks += 1
                self._blocks_used += 1
        return preempted

    def _preempt(self, sequence: Sequence) -> bool:
        """Return a running sequence to the front of the queue, and whether computed tokens are lost by that."""
        # vLLM admits at the start of a step, and has no running sequence without computed tokens
        is_computed = sequence in self._decoding or sequence.unread < sequence.uncached
        (self._decoding if sequence in self._decoding else self._reading).pop(sequence)
        self._release(sequence)
        if is_computed:
            self.preemptions += 1
            sequence.preemptions += 1
        elif not sequence.preemptions:
            sequence.admitted = None
        self._waiting[sequence] = None
        self._waiting.move_to_end(sequence, last=False)
        return is_computed

    def _release(self, sequence: Sequence) -> None:
        self._blocks_used -= sequence.blocks
        sequence.blocks = 0

    def _read_prompts(self) -> int:
        """Read prompts up to the budget of a step. Sequences whose prompt is read completely have a token at its end."""
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
        work = self.work
        assert work
        sequences = list(self._decoding)
        for sequence in sequences:
            self._add_token(sequence)
        self._events.append(Step(work.began, work.due, sequences, work))
        self.work, self._step_ends = None, inf
        self._start_step(work.due)

    def _add_token(self, sequence: Sequence) -> None:
        sequence.produced += 1
        if sequence.produced == sequence.output_tokens:
            self._remove(sequence)
        elif sequence.streamed and self._silent:
            self._silent.pop(sequence, None)

    def _remove(self, sequence: Sequence) -> bool:
        for queue in (self._waiting, self._reading, self._decoding):
            if sequence in queue:
                del queue[sequence]
                self._silent.pop(sequence, None)
                self._release(sequence)
                return True
        return False
