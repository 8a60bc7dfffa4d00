"""From a `Timeline` to a `Record`, in slices: a long stream must not hold the event loop while others' bytes wait."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from llmlocust.stream.delta import ANSWER, BAD, CHOICE, END, ERROR, REASONING, TOKEN_BEARING, TOOL, USAGE, Delta, Usage
from llmlocust.stream.dialects.base import Dialect
from llmlocust.stream.outcomes import outcome, plain
from llmlocust.stream.record import OK, STALL, Merged, Record
from llmlocust.stream.several import FIRST, Said, Several
from llmlocust.stream.sse import NotText
from llmlocust.stream.timeline import Timeline

SLICE = 32768
"""Bytes of a stream that are read at once: some 200 events, well under a millisecond."""

TOGETHER = 0.001
"""Chunks of one read that came within so many seconds are taken as come together: their gaps are wrong by at most \
that. Measured gaps are to be right within a millisecond."""

_NS = 1e-9
_TELLING = 16
"""So many bytes of a body tell what it is."""
_LONGEST_EVENT = 1 << 20
"""Where no event has ended within so many bytes, none is looked for until the end."""
_FAILED_FINISH = ("error", "abort")
"""Reasons to finish that vLLM and SGLang give where the engine gave the request up."""
_THINK, _THOUGHT = "<think>", "</think>"
_LONGEST_REASON = 100
"""Of a reason to finish, which every row of the requests file has: so many characters are kept."""


def read(timeline: Timeline, dialect: Dialect, *, name: str = "", stall: float = STALL) -> Record:
    """What a request came to, from what came over the wire."""
    return Reading(dialect, name=name, stall=stall).finish(timeline)


def has_token(dialect: Dialect, body: bytes) -> bool:
    """Whether a stream has brought its first token; for the transport's time-out, while there is none."""
    return any(delta.kind in TOKEN_BEARING for delta in _stream_deltas(dialect, body, complete=False))


class Reading:
    """A Record in the making: `take` slices of what has come of a stream, as often as one likes, then `finish`."""

    def __init__(self, dialect: Dialect, *, name: str = "", stall: float = STALL) -> None:
        self._dialect = dialect
        self._stall = stall
        self._record = Record(name=name)
        self._answer: list[str] = []
        self._reasoning: list[str] = []
        self._usage = Usage()
        self._times_told = 0
        """How often the server told its usage."""
        self._reads = 0
        """Reads whose bytes were taken and let go."""
        self._last_read = -1
        self._in_read = 0
        """Chunks of the last read, so far: it may bring more of them in the next slice."""
        self._window = 0.0
        self._bytes = 0
        self._told_by_first: int | None = None
        """Output tokens that the server had counted when it wrote the first chunk,"""
        self._told_in_first_read: int | None = None
        """and the last chunk of the first read."""
        self._answer_at: int | None = None
        """Which chunk was the first of the answer."""
        self._answer_chunks: list[int] = []
        """Which chunk brought each piece of the answer."""
        self._so_far = ""
        """The answer, where each chunk holds all of it."""
        self._several: Several | None = None
        """Where several answers come at once."""

    def take(self, timeline: Timeline) -> bool:
        """Read a slice of the events that are whole, and let its bytes go. False where less than a slice has come."""
        if timeline.status != 200 or len(timeline.body) <= SLICE or not self._is_stream(timeline):
            return False
        end = self._dialect.framing.end_near(timeline.body, SLICE, _LONGEST_EVENT)
        if not end:
            return False
        self._take_deltas(timeline, _stream_deltas(self._dialect, bytes(timeline.body[:end]), complete=False))
        self._take_lags(timeline, timeline.reads_within(end))
        self._reads += timeline.let_go(end)
        self._bytes += end
        return True

    def finish(self, timeline: Timeline) -> Record:
        """The response is over, or failed: read what is left."""
        while self.take(timeline):
            pass
        record = self._record
        began = timeline.sent_ns or timeline.asked_ns
        record.status, record.retry_after = timeline.status, timeline.retry_after
        record.sent = began * _NS
        record.duration = max(0, timeline.ended_ns - began) * _NS
        record.delay = max(0, began - timeline.due_ns) * _NS if timeline.due_ns else None
        record.wait, record.connect, record.tls = timeline.wait, timeline.connect, timeline.tls
        record.size = self._bytes + len(timeline.body)
        record.clock = timeline.clock if self._reads or timeline.times else ""
        body = bytes(timeline.body)
        if timeline.status == 200:
            self._finish_answer(timeline, body)
        self._take_lags(timeline, len(timeline.lags))
        record.outcome, record.error = outcome(record, timeline, body)
        return record

    def _is_stream(self, timeline: Timeline) -> bool:
        return bool(self._bytes) or self._dialect.framing.is_stream(timeline.content_type, timeline.body)

    def _finish_answer(self, timeline: Timeline, body: bytes) -> None:
        """Everything but the outcome; what went wrong inside the body is left in the record for `outcome`."""
        streamed = self._is_stream(timeline)
        if streamed:
            deltas = _stream_deltas(self._dialect, body, complete=timeline.complete)
        elif "json" in timeline.content_type or body[:_TELLING].lstrip().startswith(b"{"):
            deltas = self._dialect.document(body) if timeline.complete else []
        elif not timeline.complete and len(body) < _TELLING:
            deltas = []
        else:
            called = timeline.content_type or "no content type"
            deltas = [Delta(BAD, len(body), f"HTTP 200 with {called}: {plain(body)}")]
        self._take_deltas(timeline, deltas, timed=streamed)
        if not streamed and timeline.times and timeline.complete:
            self._record.e2e = (timeline.times[-1] - timeline.sent_ns) * _NS
        self._sum_up()

    def _take_lags(self, timeline: Timeline, reads: int) -> None:
        record, lags = self._record, timeline.lags[:reads]
        if lags:
            longest = max(lags)
            if record.lag_max is None or longest * _NS > record.lag_max:
                record.lag_max = longest * _NS
                record.lag_max_at = (timeline.times[lags.index(longest)] - timeline.sent_ns) * _NS
            record.lags += [lag * _NS for lag in lags]

    # ── what deltas bring ──

    def _take_deltas(self, timeline: Timeline, deltas: list[Delta], *, timed: bool = True) -> None:
        if self._dialect.cumulative:
            deltas = self._what_is_new(deltas)
        for delta in deltas:
            if delta.kind == ANSWER:
                self._answer.append(delta.text)
            elif delta.kind == REASONING:
                self._reasoning.append(delta.text)
            elif delta.kind == END:
                self._note_end(delta.text)
            elif delta.kind in (ERROR, BAD) and self._record.outcome == OK:
                self._record.outcome = "error_event" if delta.kind == ERROR else "bad_stream"
                self._record.error = delta.text
            elif delta.kind == USAGE and delta.usage is not None:
                self._usage = delta.usage.and_before(self._usage)
                self._times_told += delta.usage.output_tokens is not None
            elif delta.kind == CHOICE:
                self._read_on_in(delta.text or FIRST)
        if timed:
            self._note_times(timeline, deltas)

    def _read_on_in(self, choice: str) -> None:
        """What comes now belongs to this one of several answers."""
        if self._several is None:
            self._several = Several(Said(self._answer, self._reasoning, self._answer_chunks), self._record)
        said = self._several.said(choice)
        self._answer, self._reasoning, self._answer_chunks = said.answer, said.reasoning, said.answer_chunks

    def _what_is_new(self, deltas: list[Delta]) -> list[Delta]:
        """Of answers that are told from the beginning each time: what the last one did not say yet."""
        found = []
        for delta in deltas:
            if delta.kind == ANSWER:
                text, before = delta.text, self._so_far
                if text == before:  # the end says all of it once more
                    continue
                self._so_far = text
                delta.text = text.removeprefix(before)
            found.append(delta)
        return found

    def _note_end(self, reason: str) -> None:
        """`finish` is empty where the answer does not say that it ended; a reason says more than [DONE]."""
        record = self._record
        if reason in _FAILED_FINISH and record.outcome == OK:
            record.outcome, record.error = "error_event", f"finish_reason: {reason}"
        if record.finish in ("", "[DONE]"):
            record.finish = reason[:_LONGEST_REASON] or "[DONE]"

    def _note_times(self, timeline: Timeline, deltas: Sequence[Delta]) -> None:
        arrivals, sent, times, ends = self._record.arrivals, timeline.sent_ns, timeline.times, timeline.ends
        index, last, chunk_end, answered = 0, len(ends) - 1, -1, self._answer_chunks.append
        for delta in deltas:
            if delta.kind not in TOKEN_BEARING:
                if delta.kind == CHOICE:
                    self._read_on_in(delta.text or FIRST)
                    answered = self._answer_chunks.append
                    if self._several is not None and delta.text:
                        self._several.note_chunk(len(arrivals), delta.text, begun=delta.end == chunk_end)
                continue
            if delta.end != chunk_end:  # a chunk may bring several pieces; it arrived once
                chunk_end = delta.end
                while index < last and ends[index] < chunk_end:  # the read that brought the chunk's last byte
                    index += 1
                if self._reads + index != self._last_read:
                    self._close_read()
                    self._last_read = self._reads + index
                elif self._in_read == 1:
                    self._window = timeline.window(index) * _NS
                self._in_read += 1
                arrivals.append((times[index] - sent) * _NS)
            if delta.usage is not None and len(arrivals) == self._in_read:
                self._told_in_first_read = delta.usage.output_tokens
                if self._in_read == 1:
                    self._told_by_first = delta.usage.output_tokens
            if delta.kind == ANSWER:
                answered(len(arrivals) - 1)
            if self._answer_at is None and delta.kind in (ANSWER, TOOL):
                self._answer_at = len(arrivals) - 1
        self._note_gaps(len(arrivals) - self._in_read)

    def _close_read(self) -> None:
        """The chunks of a read are all known. Those that waited for us are put where they most likely came: their
        read's time is the last one's, and the socket was empty when its window began.
        """
        record, chunks, window = self._record, self._in_read, self._window
        self._in_read = 0
        if chunks < 2:
            return
        record.coalesced += chunks - 1
        record.coalesced_at.append((record.arrivals[-1], chunks - 1))
        if window <= TOGETHER:
            return
        arrivals = record.arrivals
        first, last = len(arrivals) - chunks, arrivals[-1]
        before = arrivals[first - 1] if first else 0.0
        empty = max(before, last - window)
        arrivals[first:-1] = [empty + (last - empty) * (number + 1) / chunks for number in range(chunks - 1)]
        guesses = [later - earlier for earlier, later in pairwise(arrivals[max(0, first - 1) :])]
        if self._several is not None:
            self._note_gaps(first)
            record.merged += self._several.merged(first, empty)
        elif first:
            record.merged.append(Merged(last - before, guesses))
        else:
            record.merged.append(Merged(last - empty, guesses, exact=False))
        if not first:
            record.ttft_bounds = (empty, last)

    def _note_gaps(self, chunks: int) -> None:
        """The gaps between so many chunks, as far as they are not noted yet."""
        record = self._record
        if self._several is None:
            gaps = [later - earlier for earlier, later in pairwise(record.arrivals[len(record.gaps) : chunks])]
        else:
            gaps = self._several.gaps(chunks)
        record.gaps += gaps
        record.stalls += sum(gap > self._stall for gap in gaps)

    # ── what they come to ──

    def _sum_up(self) -> None:
        record, usage = self._record, self._usage
        if self._several is not None:
            self._read_on_in(self._several.first())
        record.text, record.reasoning = self._so_far or "".join(self._answer), "".join(self._reasoning)
        self._part_thinking()
        self._close_read()
        self._note_gaps(record.chunks)
        if record.arrivals:
            record.ttft, record.e2e = record.arrivals[0], record.arrivals[-1]
        if self._answer_at is not None:
            record.answer = record.arrivals[self._answer_at]
        record.input_tokens, record.reasoning_tokens = usage.input_tokens, usage.reasoning_tokens
        if usage.output_tokens is not None:
            record.output_tokens = usage.output_tokens
            # a server that counts along has told more than once, and what it told last holds even for a cut stream
            record.token_source = "chunk_usage" if self._times_told > 1 else "usage"
        elif record.chunks:
            record.output_tokens, record.token_source = record.chunks, "chunks"
        self._sum_up_tpot()

    def _part_thinking(self) -> None:
        """What a model thinks in its text, between <think> and </think>, is no answer yet.

        Some models' templates open the tag in the prompt, so that only its end is written.
        """
        record = self._record
        begins = record.text.lstrip().startswith(_THINK)
        if record.reasoning or not (begins or _THOUGHT in record.text):
            return
        thought, closed, answer = record.text.partition(_THOUGHT)
        record.reasoning, record.text = thought.lstrip().removeprefix(_THINK), answer
        if self._answer_at is not None:
            before = len(thought) + len(closed) + len(answer) - len(answer.lstrip())
            self._answer_at = self._chunk_of(before) if answer.strip() else None

    def _chunk_of(self, place: int) -> int:
        """Which chunk brought a character of the answer's text."""
        ends = accumulate(map(len, self._answer))
        chunks = (chunk for end, chunk in zip(ends, self._answer_chunks, strict=True) if end > place)
        return next(chunks, self._answer_chunks[-1])

    def _sum_up_tpot(self) -> None:
        record = self._record
        if record.ttft is None or record.e2e is None or record.output_tokens is None:
            return
        after_first = record.output_tokens - self._tokens_at_ttft()
        if self._several is not None:  # each of them has a first token of its own
            answers = self._several.count
            after_first = record.output_tokens / answers - max(1.0, self._tokens_at_ttft() / answers)
        if after_first > 0 and record.e2e > record.ttft:
            record.tpot = (record.e2e - record.ttft) / after_first

    def _tokens_at_ttft(self) -> float:
        """Those of the first chunk, and of every chunk that came together with it.

        Where the server counts along, by its count; else each chunk has its share of the output.
        """
        record = self._record
        told = self._told_in_first_read if record.ttft_bounds is None else self._told_by_first
        if told:
            return told
        together = record.arrivals.count(record.arrivals[0])
        return 1 if together == 1 else together * (record.output_tokens or 0) / record.chunks


def _stream_deltas(dialect: Dialect, body: bytes, *, complete: bool) -> list[Delta]:
    try:
        found, fault = dialect.framing.events(body, complete=complete), []
    except NotText as problem:
        found, fault = problem.events, [Delta(BAD, len(body), str(problem))]
    deltas = dialect.deltas(found)
    if deltas and deltas[-1].kind == BAD and not found[-1].whole and deltas[-1].end == found[-1].end:
        deltas.pop()  # the rest of it never came: that makes it cut off, not bad
    return deltas + fault
