"""From a `Timeline` to a `Record`, in slices: a long stream must not hold the event loop while others' bytes wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from types import ModuleType

from llmlocust.stream.ask import Ask
from llmlocust.stream.choices import FIRST, Said, Several
from llmlocust.stream.delta import (
    ANSWER,
    BAD,
    CHOICE,
    EMPTY,
    END,
    ERROR,
    REASONING,
    SOME_TOKEN,
    TOKEN_BEARING,
    TOOL,
    USAGE,
    WHOLE,
    WHOLE_ANSWER,
    WORDS,
    Delta,
    Usage,
)
from llmlocust.stream.dialects.base import Dialect
from llmlocust.stream.limits import MAX_CHOICES, MAX_EVENT, MAX_PIECES, TooLarge, check_document, check_event, longer
from llmlocust.stream.outcomes import outcome, without_ids
from llmlocust.stream.record import OK, STALL, Merged, Record, bounded
from llmlocust.stream.sse import beginning
from llmlocust.stream.timeline import Timeline
from llmlocust.stream.tolerant import believable, whole_text
from llmlocust.stream.unread import unread_fields
from llmlocust.stream.words import in_one_line, plain

SLICE = 32768
"""Bytes of a stream that are read at once: some 200 events, well under a millisecond."""

TOGETHER = 0.001
"""Chunks of one read that came within so many seconds are taken as come together: their gaps are wrong by at most \
that. Measured gaps are to be right within a millisecond."""

_NS = 1e-9
_TELLING = 16
"""So many bytes of a body tell what it is."""
_FAILURES = {ERROR: "error_event", BAD: "bad_stream", EMPTY: "empty_answer"}
"""What becomes of a request by what is found in its answer."""
_FAILED_FINISH = re.compile("error|abort|cancel|fail|insufficient|time[d_ ]*out|overload", re.IGNORECASE)
"""In a reason to finish: the engine gave the request up."""
_DONE = "[DONE]"
"""What ends a stream as a whole, after the reasons of its answers."""
_SHORTEST_ECHO = 16
"""Characters: a shorter question may be the first words of an answer too."""
_THINK, _THOUGHT = "<think>", "</think>"
_FEW = 3
"""Pieces of an answer: of fewer, each may hold the one before by chance."""
_MANY = 10_000
"""In an answer of more pieces than this, no piece is taken to repeat the ones before it."""
_OF_PIECE, _OF_CHOICE, _OF_LAG = 200, 1000, 32
"""Bytes of memory that each takes, about, until the answer has ended."""
_LONGEST_REASON = 100
"""Of a reason to finish, which every row of the requests file has: so many characters are kept."""


def read(
    timeline: Timeline, dialect: Dialect, *, ask: Ask | None = None, name: str = "", stall: float = STALL
) -> Record:
    """What a request came to, from what came over the wire."""
    return Reading(dialect, ask=ask, name=name, stall=stall).finish(timeline)


def has_token(dialect: Dialect, body: bytes, ask: Ask | None = None) -> bool:
    """Whether a stream has brought its first token; for the transport's time-out, while there is none."""
    deltas = _stream_deltas(dialect, dialect.framing_of(body), body, complete=False)
    found = [delta for delta in deltas if delta.kind in SOME_TOKEN]
    if ask is not None and len(found) == 1:
        return found[0].text not in _echoes(ask)
    return bool(found)


def _is_document(timeline: Timeline) -> bool:
    return "json" in timeline.content_type or beginning(timeline.body).startswith((b"{", b"["))


def _echoes(ask: Ask) -> list[str]:
    """Texts that are the question's where they come first, longest first."""
    return sorted((text for text in ask.echoes() if len(text) >= _SHORTEST_ECHO), key=len, reverse=True)


class Reading:
    """A Record in the making: `take` slices of what has come of a stream, as often as one likes, then `finish`."""

    def __init__(self, dialect: Dialect, *, ask: Ask | None = None, name: str = "", stall: float = STALL) -> None:
        self._dialect = dialect
        self._ask = ask or Ask()
        self._echoes: list[str] | None = None
        """What of the question may come before the answer, once that was asked."""
        self._framing = dialect.framing
        """How the stream is cut into events, once its beginning is there."""
        self._stall = stall
        self._record = Record(name=name)
        self._said = Said()
        """What was said so far; of several answers, in the one that is read now. The next two are its own."""
        self._answer, self._reasoning = self._said.answer, self._said.reasoning
        self._done_at: int | None = None
        """How many pieces had come at [DONE]; None before."""
        self._done_again = False
        """A piece followed [DONE], which therefore says nothing of the end."""
        self._doubted = False
        """A piece followed a reason to finish: this server's reasons say nothing of the end."""
        self._words = ""
        """The last words outside the protocol,"""
        self._words_at = -1
        """and how many pieces had come then."""
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
        self._answer_chunks = self._said.answer_chunks
        """Which chunk brought each piece of the answer."""
        self._so_far: tuple[list[str], int, str] | None = None
        """Where chunks hold all that was said so far: in which list, in how many of its pieces, and what."""
        self._joined: tuple[list[str], int, str] = ([], 0, "")
        """Which pieces were put together, how many of them, and as what."""
        self._several: Several | None = None
        """Where several answers come at once."""
        self._is_too_large = False
        self._of_document: list[Delta] | None = None
        """The deltas of a long answer in one piece; None until it has been read."""
        self._looked_from = SLICE
        """Bytes of the body above which a slice is looked for."""

    def take(self, timeline: Timeline) -> bool:
        """Read a slice of the events that are whole, and let its bytes go; or a long answer in one piece that is whole.
        False where less than a slice has come.
        """
        if not timeline.is_answered or len(timeline.body) <= self._looked_from:
            return False
        if not self._is_stream(timeline):
            return self._take_document(timeline)
        end = self._framing.end_near(timeline.body, SLICE, MAX_EVENT)
        if end and not self._is_too_large:
            self._take_deltas(timeline, self._deltas(bytes(timeline.body[:end]), complete=False))
        elif self._is_too_large or len(timeline.body) > MAX_EVENT:
            end = len(timeline.body)
            self._note_size(longer("an event of the answer", MAX_EVENT))
        else:  # a long event: to look for its end at every read would take long
            self._looked_from = min(MAX_EVENT, len(timeline.body) * 3 // 2)
            return False
        self._looked_from = SLICE
        self._take_lags(timeline, timeline.reads_within(end))
        self._reads += timeline.let_go(end)
        self._bytes += end
        self._note_growth(timeline)
        return True

    def _take_document(self, timeline: Timeline) -> bool:
        """Read a whole answer in one piece before `finish`. Both in one step would hold the event loop too long."""
        if self._of_document is not None or not (timeline.complete and _is_document(timeline)):
            return False
        self._of_document = self._document(bytes(timeline.body))
        return True

    def _note_growth(self, timeline: Timeline) -> None:
        """Report to the transport how much memory the answer takes, and whether it is too large."""
        pieces, choices = len(self._record.arrivals), 0 if self._several is None else len(self._several.all())
        if pieces > MAX_PIECES:
            self._note_size(f"the answer had more than {MAX_PIECES:,} pieces")
        elif choices > MAX_CHOICES:
            self._note_size(f"there were more than {MAX_CHOICES:,} answers in one stream")
        timeline.kept = pieces * _OF_PIECE + choices * _OF_CHOICE + len(self._record.lags) * _OF_LAG
        if self._is_too_large and not timeline.failure:
            timeline.failure, timeline.detail = "too_large", self._record.error

    def _note_size(self, words: str) -> None:
        """The answer is too large to be read: what comes now is let go. What was found before that stays."""
        self._is_too_large = True
        if self._record.outcome == OK:
            self._record.outcome, self._record.error = "too_large", words

    def finish(self, timeline: Timeline) -> Record:
        """The response is over, or failed: read what is left."""
        self._looked_from = SLICE
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
        if timeline.is_answered:
            self._finish_answer(timeline, body)
        self._take_lags(timeline, len(timeline.lags))
        ended = self._has_ended(timeline)
        record.outcome, words = outcome(record, timeline, body, ended=ended, last_words=self._words)
        if words:
            record.words = in_one_line(words)
            record.error = without_ids(record.words)
        return bounded(record, one_answer=self._several is None)

    def _is_stream(self, timeline: Timeline) -> bool:
        if self._bytes:
            return True
        self._framing = self._dialect.framing_of(timeline.body)
        return bool(self._framing.is_stream(timeline.content_type, timeline.body))

    def _has_ended(self, timeline: Timeline) -> bool:
        """Whether the answer reached its end: the last thing said of it is that it ended.

        Some servers give a reason to finish with every chunk. Where a piece followed one, a reason counts only if the
        response is whole by its framing, too.
        """
        is_done = self._done_at == self._pieces() and not self._done_again
        if self._several is None:
            has_ended = self._said.has_ended
        else:
            has_ended = all(said.has_ended for said in self._several.all() if said.pieces)
        if has_ended:
            return is_done or not self._doubted or (timeline.complete and not timeline.closed)
        # nothing but [DONE] says that it ended
        return is_done and not (self._words and self._words_at == self._done_at)

    def _finish_answer(self, timeline: Timeline, body: bytes) -> None:
        """Everything but the outcome; what went wrong inside the body is left in the record for `outcome`."""
        streamed = self._is_stream(timeline)
        if streamed:
            deltas = self._deltas(body, complete=timeline.complete)
        elif _is_document(timeline):
            found = self._of_document
            deltas = self._document(body) if timeline.complete and found is None else found or []
        elif not timeline.complete and len(body) < _TELLING:
            deltas = []
        else:
            called = timeline.content_type or "no content type"
            deltas = [Delta(BAD, len(body), f"HTTP {timeline.status} with {called}: {plain(body)}")]
        self._take_deltas(timeline, deltas, timed=streamed)
        if not streamed and timeline.times and timeline.complete:
            self._record.e2e = (timeline.times[-1] - timeline.sent_ns) * _NS
        self._sum_up()
        if streamed and self._record.output_tokens and not self._record.chunks and not self._is_too_large:
            self._record.unread = unread_fields(self._framing.events(body))

    def _deltas(self, body: bytes, *, complete: bool) -> list[Delta]:
        if not self._may_be_read(body, check_event):
            return []
        return _stream_deltas(self._dialect, self._framing, body, complete=complete)

    def _document(self, body: bytes) -> list[Delta]:
        if not self._may_be_read(body, check_document):
            return []
        deltas = self._dialect.document(body)
        if not deltas or any(delta.kind in _FAILURES for delta in deltas):
            return deltas
        lacks = self._dialect.lacks(self._ask, deltas)
        return [Delta(EMPTY, len(body), lacks), *deltas] if lacks else deltas

    def _may_be_read(self, body: bytes, check: Callable[[bytes], None]) -> bool:
        """Whether neither what came before nor this, by its check, is too large to be read."""
        if not self._is_too_large:
            try:
                check(body)
            except TooLarge as problem:
                self._note_size(str(problem))
        return not self._is_too_large

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
            _tell_whole(deltas)
        was_silent = not self._answer
        for delta in deltas:
            if delta.kind == ANSWER:
                self._answer.append(delta.text)
            elif delta.kind == REASONING:
                self._reasoning.append(delta.text)
            elif delta.kind == TOOL:
                self._said.tools += 1
            elif delta.kind == END:
                self._note_end(delta.text)
            elif delta.kind in _FAILURES:
                if self._record.outcome == OK:
                    self._record.outcome, self._record.error = _FAILURES[delta.kind], delta.text
            elif delta.kind == USAGE and delta.usage is not None:
                self._usage = delta.usage.and_before(self._usage)
                self._times_told += delta.usage.output_tokens is not None
            elif delta.kind == CHOICE:
                self._read_on_in(delta.text or FIRST)
            elif delta.kind in WHOLE:
                self._take_whole(delta)
            elif delta.kind == WORDS:
                self._words, self._words_at = delta.text, self._pieces()
        if was_silent and self._answer and not self._dialect.cumulative:
            self._drop_echo(deltas)
        if timed:
            self._note_times(timeline, deltas)

    def _pieces(self) -> int:
        """How many pieces have come, of all answers."""
        return self._said.pieces if self._several is None else sum(said.pieces for said in self._several.all())

    def _drop_echo(self, deltas: list[Delta]) -> None:
        """Some servers repeat the question before they answer it."""
        text, said = self._answer[0], self._said
        rest = self._without_echo(text)
        if rest == text or self._several is not None:
            return
        first = next(delta for delta in deltas if delta.kind == ANSWER)
        first.text = rest
        self._joined = ([], 0, "")
        if rest:
            self._answer[0] = rest
            return
        first.kind = ""
        del self._answer[0]
        said.ended_at = said.ended_at and said.ended_at - 1  # it was counted among the pieces
        self._done_at = self._done_at and self._done_at - 1
        self._words_at -= 1

    def _without_echo(self, text: str) -> str:
        if len(text) >= _SHORTEST_ECHO:
            if self._echoes is None:
                self._echoes = _echoes(self._ask)
            for echo in self._echoes:
                if text.startswith(echo):
                    return text[len(echo) :]
        return text

    def _read_on_in(self, choice: str) -> None:
        """What comes now belongs to this one of several answers."""
        if self._several is None:
            self._several = Several(self._said, self._record)
        said = self._said = self._several.said(choice)
        self._answer, self._reasoning, self._answer_chunks = said.answer, said.reasoning, said.answer_chunks

    def _take_whole(self, delta: Delta) -> None:
        """Of a piece that holds all that was said from the beginning on: keep what is new, as a piece of its kind."""
        kind = WHOLE[delta.kind]
        if kind == TOOL:
            new = not self._said.tools
            self._said.tools += new
        else:
            said = self._answer if kind == ANSWER else self._reasoning
            delta.text = self._what_is_new(said, self._without_echo(delta.text) if kind == ANSWER else delta.text)
            new = bool(delta.text)
        delta.kind = kind if new else ""

    def _what_is_new(self, said: list[str], text: str) -> str:
        """What a whole text says beyond what was said, to which it is added."""
        known = self._so_far
        only_wholes = not said or (known is not None and known[0] is said and known[1] == len(said))
        before = known[2] if said and known and only_wholes else self._together(said)
        whole, revised = True, False
        if text.startswith(before):
            new = text[len(before) :]
        elif self._dialect.cumulative:
            new, revised = text, True
        elif not only_wholes or before.endswith(text) or text.strip() == before.strip():
            new = ""  # the end says all of it once more, in its own way
        else:
            new, whole = text, False
        if new.strip() or (new and self._dialect.cumulative):
            if revised:
                said[:] = [""] * len(said)
                self._joined = ([], 0, "")
            said.append(new)
            self._so_far = (said, len(said), text if whole else before + new)
            return new
        return ""

    def _together(self, said: list[str]) -> str:
        """All pieces as one text; of those that were put together before, only the new ones are added."""
        pieces, count, text = self._joined
        if pieces is not said:
            count, text = 0, ""
        self._joined = (said, len(said), text + "".join(said[count:]))
        return self._joined[2]

    def _note_end(self, reason: str) -> None:
        """The last reason counts; [DONE] ends all answers, and says nothing of why."""
        record, said = self._record, self._said
        if not reason or reason == _DONE:
            pieces = self._pieces()
            self._done_again = self._done_again or (self._done_at is not None and pieces > self._done_at)
            self._done_at = pieces
            return
        self._doubted = self._doubted or (said.ended_at is not None and said.pieces > said.ended_at)
        said.ended_at, said.finish = said.pieces, whole_text(reason)[:_LONGEST_REASON]
        if _FAILED_FINISH.search(reason) and record.outcome == OK:
            record.outcome, record.error = "error_event", f"finish_reason: {said.finish}"

    def _note_times(self, timeline: Timeline, deltas: Sequence[Delta]) -> None:
        arrivals, sent, times, ends = self._record.arrivals, timeline.sent_ns, timeline.times, timeline.ends
        index, last, chunk_end, choice, answered = 0, len(ends) - 1, -1, "", self._answer_chunks.append
        for delta in deltas:
            if delta.kind not in TOKEN_BEARING:
                if delta.kind == CHOICE:
                    self._read_on_in(delta.text or FIRST)
                    answered, choice = self._answer_chunks.append, delta.text
                continue
            if choice and self._several is not None:
                self._several.note_chunk(len(arrivals), choice, begun=delta.end == chunk_end)
                choice = ""
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
        record.finish = self._said.finish or ("" if self._done_at is None else _DONE)
        self._drop_repeat()
        record.text, record.reasoning = self._text(), whole_text("".join(self._reasoning))
        self._part_thinking()
        self._close_read()
        self._note_gaps(record.chunks)
        if record.arrivals:
            record.ttft, record.e2e = record.arrivals[0], record.arrivals[-1]
        if self._answer_at is not None:
            record.answer = record.arrivals[self._answer_at]
        # a dialect of a user's own may pass on what a server says
        record.input_tokens, record.reasoning_tokens = usage.prompt_tokens, believable(usage.reasoning_tokens)
        output_tokens = believable(usage.output_tokens)
        if output_tokens is not None:
            record.output_tokens = output_tokens
            # a server that counts along has told more than once, and what it told last holds even for a cut stream
            record.token_source = "chunk_usage" if self._times_told > 1 else "usage"
        elif record.chunks:
            record.output_tokens, record.token_source = record.chunks, "chunks"
        self._sum_up_tpot()

    def _text(self) -> str:
        """The answer's text; where each piece holds the one before, it is the last piece."""
        pieces = self._answer
        if (
            _FEW <= len(pieces) <= _MANY
            and pieces[0] != pieces[-1]
            and all(later.startswith(before) for before, later in pairwise(pieces))
        ):
            return whole_text(pieces[-1])
        return whole_text("".join(pieces))

    def _drop_repeat(self) -> None:
        """A last piece that says all of the answer once more brought nothing, and came at no token's time."""
        pieces, arrivals = self._answer, self._record.arrivals
        if len(pieces) < _FEW or self._several is not None or not self._in_read:
            return
        if len(pieces[-1]) < _SHORTEST_ECHO or self._answer_chunks[-1:] != [len(arrivals) - 1]:
            return
        if pieces[-1] == "".join(pieces[:-1]):
            said, now = self._said, self._said.pieces - 1
            said.ended_at = now if said.ended_at == said.pieces else said.ended_at
            self._done_at = now if self._done_at == said.pieces else self._done_at
            pieces.pop(), self._answer_chunks.pop(), arrivals.pop()
            self._in_read -= 1

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
        told = believable(self._told_in_first_read if record.ttft_bounds is None else self._told_by_first)
        if told:
            return told
        together = record.arrivals.count(record.arrivals[0])
        return 1 if together == 1 else together * (record.output_tokens or 0) / record.chunks


def _tell_whole(deltas: list[Delta]) -> None:
    """Pieces of a dialect whose every chunk tells all of the answer."""
    for delta in deltas:
        if delta.kind == ANSWER:
            delta.kind = WHOLE_ANSWER


def _stream_deltas(dialect: Dialect, framing: ModuleType, body: bytes, *, complete: bool) -> list[Delta]:
    found = framing.events(body, complete=complete)
    deltas = dialect.deltas(found)
    if deltas and deltas[-1].kind == BAD and not found[-1].whole and deltas[-1].end == found[-1].end:
        deltas.pop()  # the rest of it never came: that makes it cut off, not bad
    return deltas
