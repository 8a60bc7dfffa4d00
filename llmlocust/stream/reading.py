"""From a `Timeline` to a `Record`, in slices: parsing a long stream at once would block the event loop."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from types import ModuleType

from llmlocust.stream.ask import Ask
from llmlocust.stream.choices import FIRST, Choices, ChoiceText
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
from llmlocust.stream.tolerant import valid_count, whole_text
from llmlocust.stream.unread import unread_fields
from llmlocust.stream.words import in_one_line, plain

SLICE = 32768
"""Bytes of a stream that are parsed at once: about 200 events, in well under a millisecond."""

TOGETHER = 0.001
"""Seconds. Chunks of one read that arrived within this time count as having arrived together. That makes their ITLs \
wrong by at most this time, which is the accuracy that ITLs must have."""

_NS = 1e-9
_FORMAT_BYTES = 16
"""Bytes at the beginning of a body that show its format."""
_FAILURES = {ERROR: "error_event", BAD: "bad_stream", EMPTY: "empty_answer"}
"""The outcome of a request for each kind of failure in its answer."""
_FAILED_FINISH = re.compile("error|abort|cancel|fail|insufficient|time[d_ ]*out|overload", re.IGNORECASE)
"""A finish reason that matches means that the engine aborted the request."""
_DONE = "[DONE]"
"""The end of the whole stream, after the finish reasons of its answers."""
_MIN_ECHO = 16
"""Characters. An answer may begin with the words of a shorter question by chance."""
_THINK, _THOUGHT = "<think>", "</think>"
_MIN_REPEATS = 3
"""Pieces. In an answer of fewer pieces, each may contain the one before by chance."""
_MAX_REPEATS = 10_000
"""Pieces. In an answer of more pieces, we do not look for pieces that repeat the ones before."""
_OF_PIECE, _OF_CHOICE, _OF_LAG = 200, 1000, 32
"""Approximate bytes of memory for each of them, until the answer has ended."""
_MAX_REASON = 100
"""Maximum characters of a finish reason, which is in every row of the requests file."""


def read(
    timeline: Timeline, dialect: Dialect, *, ask: Ask | None = None, name: str = "", stall: float = STALL
) -> Record:
    """Return the Record of a response that is complete or failed."""
    return Reading(dialect, ask=ask, name=name, stall=stall).finish(timeline)


def has_token(dialect: Dialect, body: bytes, ask: Ask | None = None) -> bool:
    """Whether a stream contains a token. The transport calls this until the first token has arrived, for its time-out."""
    deltas = _stream_deltas(dialect, dialect.framing_of(body), body, complete=False)
    tokens = [delta for delta in deltas if delta.kind in SOME_TOKEN]
    if ask is not None and len(tokens) == 1:
        return tokens[0].text not in _echoes(ask)
    return bool(tokens)


def _is_document(timeline: Timeline) -> bool:
    return "json" in timeline.content_type or beginning(timeline.body).startswith((b"{", b"["))


def _echoes(ask: Ask) -> list[str]:
    """Return the texts of the question that an answer may begin with, longest first."""
    return sorted((text for text in ask.echoes() if len(text) >= _MIN_ECHO), key=len, reverse=True)


class Reading:
    """Builds a Record: call `take` any number of times while the stream arrives, then `finish`."""

    def __init__(self, dialect: Dialect, *, ask: Ask | None = None, name: str = "", stall: float = STALL) -> None:
        self._dialect = dialect
        self._ask = ask or Ask()
        self._echoes: list[str] | None = None
        """The texts of the question that an answer may begin with; None until they are needed."""
        self._framing = dialect.framing
        """The framing of the stream, known once its beginning has arrived."""
        self._stall = stall
        self._record = Record(name=name)
        self._current = ChoiceText()
        """The text of the answer so far; of several answers, of the one that is being read. The next two are parts of it."""
        self._answer, self._reasoning = self._current.answer, self._current.reasoning
        self._done_at: int | None = None
        """Number of pieces before [DONE]; None until it arrives."""
        self._done_again = False
        """A piece followed [DONE], so [DONE] does not mark the end."""
        self._finish_unreliable = False
        """A piece followed a finish reason, so finish reasons of this server do not mark the end."""
        self._words = ""
        """The last text outside the protocol."""
        self._words_at = -1
        """Number of pieces before it."""
        self._usage = Usage()
        self._usage_reports = 0
        """Number of events with a count of output tokens."""
        self._reads = 0
        """Number of reads whose bytes were parsed and removed."""
        self._last_read = -1
        self._in_read = 0
        """Chunks of the last read so far: the next slice may contain more of them."""
        self._window = 0.0
        self._bytes = 0
        self._counted_at_first_chunk: int | None = None
        """Output tokens that the server had counted at the first chunk."""
        self._counted_in_first_read: int | None = None
        """Output tokens that the server had counted at the last chunk of the first read."""
        self._answer_at: int | None = None
        """Index of the answer's first chunk."""
        self._answer_chunks = self._current.answer_chunks
        """Index of the chunk that contained each piece of the answer."""
        self._so_far: tuple[list[str], int, str] | None = None
        """Where each chunk contains the whole text so far: the list of pieces, their number, and the text."""
        self._joined: tuple[list[str], int, str] = ([], 0, "")
        """The list of pieces that was joined last, the number of joined pieces, and the joined text."""
        self._choices: Choices | None = None
        """Set where the stream contains several answers."""
        self._is_too_large = False
        self._of_document: list[Delta] | None = None
        """The deltas of a long answer in one piece; None until it has been parsed."""
        self._slice_threshold = SLICE
        """Bytes of the body above which `take` looks for a slice."""

    def take(self, timeline: Timeline) -> bool:
        """Parse a slice of complete events and remove its bytes, or parse a long, complete answer in one piece. Returns False
        where less than a slice has arrived.
        """
        if not timeline.is_answered or len(timeline.body) <= self._slice_threshold:
            return False
        if not self._is_stream(timeline):
            return self._take_document(timeline)
        end = self._framing.end_near(timeline.body, SLICE, MAX_EVENT)
        if end and not self._is_too_large:
            self._take_deltas(timeline, self._deltas(bytes(timeline.body[:end]), complete=False))
        elif self._is_too_large or len(timeline.body) > MAX_EVENT:
            end = len(timeline.body)
            self._note_size(longer("an event of the answer", MAX_EVENT))
        else:  # a long event: looking for its end at every read would take long
            self._slice_threshold = min(MAX_EVENT, len(timeline.body) * 3 // 2)
            return False
        self._slice_threshold = SLICE
        self._take_lags(timeline, timeline.reads_within(end))
        self._reads += timeline.release(end)
        self._bytes += end
        self._note_growth(timeline)
        return True

    def _take_document(self, timeline: Timeline) -> bool:
        """Parse a complete answer in one piece before `finish`. Both in one step would block the event loop too long."""
        if self._of_document is not None or not (timeline.complete and _is_document(timeline)):
            return False
        self._of_document = self._document(bytes(timeline.body))
        return True

    def _note_growth(self, timeline: Timeline) -> None:
        """Report to the transport how much memory the answer takes, and whether it is too large."""
        pieces, choices = len(self._record.arrivals), 0 if self._choices is None else len(self._choices.all())
        if pieces > MAX_PIECES:
            self._note_size(f"the answer had more than {MAX_PIECES:,} pieces")
        elif choices > MAX_CHOICES:
            self._note_size(f"there were more than {MAX_CHOICES:,} answers in one stream")
        timeline.kept = pieces * _OF_PIECE + choices * _OF_CHOICE + len(self._record.lags) * _OF_LAG
        if self._is_too_large and not timeline.failure:
            timeline.failure, timeline.detail = "too_large", self._record.error

    def _note_size(self, words: str) -> None:
        """Mark the answer as too large. Its further bytes are dropped; the results so far are kept."""
        self._is_too_large = True
        if self._record.outcome == OK:
            self._record.outcome, self._record.error = "too_large", words

    def finish(self, timeline: Timeline) -> Record:
        """Parse the rest of a response that is complete or failed, and return its Record."""
        self._slice_threshold = SLICE
        while self.take(timeline):
            pass
        record = self._record
        began = timeline.sent_ns or timeline.requested_ns
        record.status, record.retry_after = timeline.status, timeline.retry_after
        record.sent = began * _NS
        record.duration = max(0, timeline.ended_ns - began) * _NS
        record.delay = max(0, began - timeline.due_ns) * _NS if timeline.due_ns else None
        record.client_queue, record.connect, record.tls = timeline.client_queue, timeline.connect, timeline.tls
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
        return bounded(record, one_answer=self._choices is None)

    def _is_stream(self, timeline: Timeline) -> bool:
        if self._bytes:
            return True
        self._framing = self._dialect.framing_of(timeline.body)
        return bool(self._framing.is_stream(timeline.content_type, timeline.body))

    def _has_ended(self, timeline: Timeline) -> bool:
        """Whether the answer is complete: the server's last message about it is that it ended.

        Some servers send a finish reason with every chunk. Where a piece followed a finish reason, a finish reason counts only
        if the response is complete by its framing, too.
        """
        is_done = self._done_at == self._pieces() and not self._done_again
        if self._choices is None:
            has_ended = self._current.has_ended
        else:
            has_ended = all(text.has_ended for text in self._choices.all() if text.pieces)
        if has_ended:
            return is_done or not self._finish_unreliable or (timeline.complete and not timeline.closed)
        # only [DONE] marks the end
        return is_done and not (self._words and self._words_at == self._done_at)

    def _finish_answer(self, timeline: Timeline, body: bytes) -> None:
        """Fill in everything but the outcome. Errors inside the body are left in the record for `outcome`."""
        streamed = self._is_stream(timeline)
        if streamed:
            deltas = self._deltas(body, complete=timeline.complete)
        elif _is_document(timeline):
            parsed = self._of_document
            deltas = self._document(body) if timeline.complete and parsed is None else parsed or []
        elif not timeline.complete and len(body) < _FORMAT_BYTES:
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
        """Whether the answer is still within its limits, and this part of it passes `check`."""
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

    # ── deltas ──

    def _take_deltas(self, timeline: Timeline, deltas: list[Delta], *, timed: bool = True) -> None:
        if self._dialect.cumulative:
            _mark_as_whole(deltas)
        was_silent = not self._answer
        for delta in deltas:
            if delta.kind == ANSWER:
                self._answer.append(delta.text)
            elif delta.kind == REASONING:
                self._reasoning.append(delta.text)
            elif delta.kind == TOOL:
                self._current.tools += 1
            elif delta.kind == END:
                self._note_end(delta.text)
            elif delta.kind in _FAILURES:
                if self._record.outcome == OK:
                    self._record.outcome, self._record.error = _FAILURES[delta.kind], delta.text
            elif delta.kind == USAGE and delta.usage is not None:
                self._usage = delta.usage.merged_with(self._usage)
                self._usage_reports += delta.usage.output_tokens is not None
            elif delta.kind == CHOICE:
                self._switch_to(delta.text or FIRST)
            elif delta.kind in WHOLE:
                self._take_whole(delta)
            elif delta.kind == WORDS:
                self._words, self._words_at = delta.text, self._pieces()
        if was_silent and self._answer and not self._dialect.cumulative:
            self._drop_echo(deltas)
        if timed:
            self._note_times(timeline, deltas)

    def _pieces(self) -> int:
        """Return the number of pieces of all answers."""
        return self._current.pieces if self._choices is None else sum(text.pieces for text in self._choices.all())

    def _drop_echo(self, deltas: list[Delta]) -> None:
        """Remove the question from the beginning of the answer: some servers repeat it."""
        text, current = self._answer[0], self._current
        rest = self._without_echo(text)
        if rest == text or self._choices is not None:
            return
        first = next(delta for delta in deltas if delta.kind == ANSWER)
        first.text = rest
        self._joined = ([], 0, "")
        if rest:
            self._answer[0] = rest
            return
        first.kind = ""
        del self._answer[0]
        current.ended_at = current.ended_at and current.ended_at - 1  # it was counted among the pieces
        self._done_at = self._done_at and self._done_at - 1
        self._words_at -= 1

    def _without_echo(self, text: str) -> str:
        if len(text) >= _MIN_ECHO:
            if self._echoes is None:
                self._echoes = _echoes(self._ask)
            for echo in self._echoes:
                if text.startswith(echo):
                    return text[len(echo) :]
        return text

    def _switch_to(self, choice: str) -> None:
        """Continue with this one of several answers."""
        if self._choices is None:
            self._choices = Choices(self._current, self._record)
        current = self._current = self._choices.text_of(choice)
        self._answer, self._reasoning, self._answer_chunks = current.answer, current.reasoning, current.answer_chunks

    def _take_whole(self, delta: Delta) -> None:
        """Keep only the new text of a delta that contains the whole text so far, as a piece of its kind."""
        kind = WHOLE[delta.kind]
        if kind == TOOL:
            new = not self._current.tools
            self._current.tools += new
        else:
            pieces = self._answer if kind == ANSWER else self._reasoning
            delta.text = self._new_text(pieces, self._without_echo(delta.text) if kind == ANSWER else delta.text)
            new = bool(delta.text)
        delta.kind = kind if new else ""

    def _new_text(self, pieces: list[str], text: str) -> str:
        """Return the new part of a whole text, after adding it to the pieces."""
        known = self._so_far
        only_wholes = not pieces or (known is not None and known[0] is pieces and known[1] == len(pieces))
        before = known[2] if pieces and known and only_wholes else self._join(pieces)
        whole, revised = True, False
        if text.startswith(before):
            new = text[len(before) :]
        elif self._dialect.cumulative:
            new, revised = text, True
        elif not only_wholes or before.endswith(text) or text.strip() == before.strip():
            new = ""  # the end repeats the whole text, formatted differently
        else:
            new, whole = text, False
        if new.strip() or (new and self._dialect.cumulative):
            if revised:
                pieces[:] = [""] * len(pieces)
                self._joined = ([], 0, "")
            pieces.append(new)
            self._so_far = (pieces, len(pieces), text if whole else before + new)
            return new
        return ""

    def _join(self, pieces: list[str]) -> str:
        """Return all pieces as one text. Only pieces that are new since the last call are joined."""
        joined, count, text = self._joined
        if joined is not pieces:
            count, text = 0, ""
        self._joined = (pieces, len(pieces), text + "".join(pieces[count:]))
        return self._joined[2]

    def _note_end(self, reason: str) -> None:
        """Note a finish reason; the last one counts. [DONE] ends all answers and gives no reason."""
        record, current = self._record, self._current
        if not reason or reason == _DONE:
            pieces = self._pieces()
            self._done_again = self._done_again or (self._done_at is not None and pieces > self._done_at)
            self._done_at = pieces
            return
        self._finish_unreliable = self._finish_unreliable or (
            current.ended_at is not None and current.pieces > current.ended_at
        )
        current.ended_at, current.finish = current.pieces, whole_text(reason)[:_MAX_REASON]
        if _FAILED_FINISH.search(reason) and record.outcome == OK:
            record.outcome, record.error = "error_event", f"finish_reason: {current.finish}"

    def _note_times(self, timeline: Timeline, deltas: Sequence[Delta]) -> None:
        arrivals, sent, times, ends = self._record.arrivals, timeline.sent_ns, timeline.times, timeline.ends
        index, last, chunk_end, choice, answered = 0, len(ends) - 1, -1, "", self._answer_chunks.append
        last_read = self._last_read - self._reads
        for delta in deltas:
            kind = delta.kind
            if kind not in TOKEN_BEARING:
                if kind == CHOICE:
                    self._switch_to(delta.text or FIRST)
                    answered, choice = self._answer_chunks.append, delta.text
                continue
            if choice and self._choices is not None:
                self._choices.note_chunk(len(arrivals), choice, begun=delta.end == chunk_end)
                choice = ""
            if delta.end != chunk_end:  # a chunk may contain several pieces, but it arrived once
                chunk_end = delta.end
                while index < last and ends[index] < chunk_end:  # find the read with the chunk's last byte
                    index += 1
                if index != last_read:
                    if self._in_read > 1:
                        self._close_read()
                    self._in_read, last_read = 1, index
                else:
                    if self._in_read == 1:
                        self._window = timeline.window(index) * _NS
                    self._in_read += 1
                arrivals.append((times[index] - sent) * _NS)
            if delta.usage is not None and len(arrivals) == self._in_read:
                self._counted_in_first_read = delta.usage.output_tokens
                if self._in_read == 1:
                    self._counted_at_first_chunk = delta.usage.output_tokens
            if kind == ANSWER:
                answered(len(arrivals) - 1)
            if self._answer_at is None and kind in (ANSWER, TOOL):
                self._answer_at = len(arrivals) - 1
        self._last_read = self._reads + last_read
        self._note_itls(len(arrivals) - self._in_read)

    def _close_read(self) -> None:
        """Finish a read whose chunks are all known. Chunks that were read late are placed at their most likely arrival times:
        the read's time is that of its last chunk, and the socket was empty when its window began.
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
        estimates = [later - earlier for earlier, later in pairwise(arrivals[max(0, first - 1) :])]
        if self._choices is not None:
            self._note_itls(first)
            record.merged += self._choices.merged(first, empty)
        elif first:
            record.merged.append(Merged(last - before, estimates))
        else:
            record.merged.append(Merged(last - empty, estimates, exact=False))
        if not first:
            record.ttft_bounds = (empty, last)

    def _note_itls(self, chunks: int) -> None:
        """Note the ITLs between the first `chunks` chunks that are not noted yet."""
        record = self._record
        if self._choices is None:
            itls = [later - earlier for earlier, later in pairwise(record.arrivals[len(record.itls) : chunks])]
        else:
            itls = self._choices.itls(chunks)
        record.itls += itls
        if itls and max(itls) > self._stall:
            record.stalls += sum(itl > self._stall for itl in itls)

    # ── results ──

    def _sum_up(self) -> None:
        record, usage = self._record, self._usage
        if self._choices is not None:
            self._switch_to(self._choices.first())
        record.finish = self._current.finish or ("" if self._done_at is None else _DONE)
        self._drop_repeat()
        record.text, record.reasoning = self._text(), whole_text("".join(self._reasoning))
        self._separate_thinking()
        self._close_read()
        self._note_itls(record.chunks)
        if record.arrivals:
            record.ttft, record.e2e = record.arrivals[0], record.arrivals[-1]
        if self._answer_at is not None:
            record.ttfo = record.arrivals[self._answer_at]
        # a custom dialect may pass on invalid counts of a server
        record.input_tokens, record.reasoning_tokens = usage.prompt_tokens, valid_count(usage.reasoning_tokens)
        output_tokens = valid_count(usage.output_tokens)
        if output_tokens is not None:
            record.output_tokens = output_tokens
            # a server that reports its count with each chunk has reported it more than once; the last count is right even for a
            # stream that was cut off
            record.token_source = "chunk_usage" if self._usage_reports > 1 else "usage"
        elif record.chunks:
            record.output_tokens, record.token_source = record.chunks, "chunks"
        self._sum_up_tpot()

    def _text(self) -> str:
        """Return the answer's text; where each piece contains the one before, that is the last piece."""
        pieces = self._answer
        if (
            _MIN_REPEATS <= len(pieces) <= _MAX_REPEATS
            and pieces[0] != pieces[-1]
            and all(later.startswith(before) for before, later in pairwise(pieces))
        ):
            return whole_text(pieces[-1])
        return whole_text("".join(pieces))

    def _drop_repeat(self) -> None:
        """Remove a last piece that repeats the whole answer. Its arrival is not that of a token."""
        pieces, arrivals = self._answer, self._record.arrivals
        if len(pieces) < _MIN_REPEATS or self._choices is not None or not self._in_read:
            return
        if len(pieces[-1]) < _MIN_ECHO or self._answer_chunks[-1:] != [len(arrivals) - 1]:
            return
        if pieces[-1] == "".join(pieces[:-1]):
            current, now = self._current, self._current.pieces - 1
            current.ended_at = now if current.ended_at == current.pieces else current.ended_at
            self._done_at = now if self._done_at == current.pieces else self._done_at
            pieces.pop(), self._answer_chunks.pop(), arrivals.pop()
            self._in_read -= 1

    def _separate_thinking(self) -> None:
        """Move the text between <think> and </think> from the answer to the reasoning.

        The templates of some models write the opening tag into the prompt, so that the answer has only the closing one.
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
        """Return the index of the chunk that contained a character of the answer's text."""
        ends = accumulate(map(len, self._answer))
        chunks = (chunk for end, chunk in zip(ends, self._answer_chunks, strict=True) if end > place)
        return next(chunks, self._answer_chunks[-1])

    def _sum_up_tpot(self) -> None:
        record = self._record
        if record.ttft is None or record.e2e is None or record.output_tokens is None:
            return
        after_first = record.output_tokens - self._tokens_at_ttft()
        if self._choices is not None:  # each answer has its own first token
            answers = self._choices.count
            after_first = record.output_tokens / answers - max(1.0, self._tokens_at_ttft() / answers)
        if after_first > 0 and record.e2e > record.ttft:
            record.tpot = (record.e2e - record.ttft) / after_first

    def _tokens_at_ttft(self) -> float:
        """Return the tokens of the first chunk and of all chunks that arrived together with it.

        The number is the server's where it reports a count with each chunk. Otherwise each chunk has an equal share of the output.
        """
        record = self._record
        counted = valid_count(
            self._counted_in_first_read if record.ttft_bounds is None else self._counted_at_first_chunk
        )
        if counted:
            return counted
        together = record.arrivals.count(record.arrivals[0])
        return 1 if together == 1 else together * (record.output_tokens or 0) / record.chunks


def _mark_as_whole(deltas: list[Delta]) -> None:
    """Mark the pieces of a dialect whose chunks each contain the whole answer so far."""
    for delta in deltas:
        if delta.kind == ANSWER:
            delta.kind = WHOLE_ANSWER


def _stream_deltas(dialect: Dialect, framing: ModuleType, body: bytes, *, complete: bool) -> list[Delta]:
    events = framing.events(body, complete=complete)
    deltas = dialect.deltas(events)
    if deltas and deltas[-1].kind == BAD and not events[-1].whole and deltas[-1].end == events[-1].end:
        deltas.pop()  # the rest of the event is missing: the answer was cut off, and is not malformed
    return deltas
