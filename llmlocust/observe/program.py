"""The observing process: a thread for each source, and one that counts. It is started by the run.

It reads commands from its standard input and writes messages to its standard output, a line of JSON each. A source that
is slow, or that sends nonsense, delays only its own thread. The process ends when its input ends, so it never outlives
the run.

Commands: {"do": "begin" or "end", "level", "time"} for the window of a level; {"do": "finish"}.
Messages: {"sources": […]} (metrics.telemetry.TelemetrySource); {"says"} for the console; {"values", "rows": […]}, the
values of the vocabulary now and rows of the file of telemetry; {"level", "levels": […]}, rows of the table of levels;
{"event"} (metrics.telemetry.TelemetryEvent); {"ready"}, when each source has answered or failed; {"done", "cpu"}, with the CPU seconds of this process after its start.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import msgspec

from llmlocust.metrics.telemetry import TelemetryEvent, TelemetrySource, TelemetrySummary
from llmlocust.observe.account import Account, Taken
from llmlocust.observe.exposition import Series
from llmlocust.observe.observer import Observer, SourceRow
from llmlocust.observe.rules import Engine
from llmlocust.observe.sources.source import Source, SourceError

_OWN_EVERY = 10.0
"""Seconds between two rows of a metric that is not in the vocabulary, in the file of telemetry."""
_MAX_END = 3.0
"""Seconds after which the end of a level, or of the run, no longer waits for a source."""
_MAX_START = 2.0
"""Seconds after which the beginning of the load no longer waits for a source."""
_SILENT = 3.0
"""Seconds without an answer that are an event."""
_TICK = 0.1
_SHOWN_EVERY = 60
"""Answers of a source after which its state is sent again."""
_DIGITS = 6
"""Significant digits of values in the file of telemetry."""


class Answer(msgspec.Struct):
    """The result of a scrape."""

    place: int
    began: float
    """Epoch seconds at which the scrape began."""
    seconds: float
    scrapes: list[tuple[float, bytes]]
    error: str = ""


class Reader(threading.Thread):
    """Scrapes one source at an interval, and at once where a level begins or ends."""

    def __init__(self, place: int, source: Source, interval: float, answers: queue.Queue[Answer]) -> None:
        super().__init__(daemon=True)
        self.place, self.source, self._interval, self._answers = place, source, interval, answers
        self.wake = threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        while True:
            self._answers.put(self._scrape())
            due = max(due + self._interval, time.monotonic())
            if self.wake.wait(due - time.monotonic()):
                self.wake.clear()
                due = time.monotonic()

    def _scrape(self) -> Answer:
        began, clock = time.time(), time.perf_counter()
        try:
            scrapes, error = [(scrape.time, scrape.text) for scrape in self.source.scrape()], ""
        except SourceError as problem:
            scrapes, error = [], str(problem)
        except Exception as problem:  # a defect of ours: the other sources continue
            scrapes, error = [], f"{type(problem).__name__}: {problem}"
        return Answer(self.place, began, time.perf_counter() - clock, scrapes, error)


@dataclass
class _Tally:
    """The cost and the failures of a source."""

    answers: int = 0
    failures: int = 0
    size: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    error: str = ""
    notice: str = ""
    """A remark of the source that was shown."""
    last_answer: float = math.nan
    failing_since: float = math.nan
    began: float = -math.inf
    """When the newest scrape that ended had begun."""
    own_rows_at: float = -math.inf


@dataclass
class _Server:
    """The server that one or several sources describe."""

    name: str
    """The name of its first source that asks the server itself, if there is one."""
    speaks: bool
    """Whether a source asks the server itself."""
    restarts: int = 0
    """The restarts that were sent. Each source sees each restart."""
    silent_until: float = -math.inf
    """The end of the last silence that was sent."""


class Program:
    """Counts the answers of all sources, and follows the commands of the run."""

    def __init__(self, sources: Sequence[Source], engines: Sequence[Engine], interval: float, out: BinaryIO) -> None:
        self._sources, self._interval, self._out = sources, interval, out
        self._observer = Observer(engines, interval)
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._commands: queue.Queue[dict[str, Any]] = queue.Queue()
        self._readers = [Reader(place, source, interval, self._answers) for place, source in enumerate(sources)]
        self._tallies = [_Tally() for _ in sources]
        self._names = _distinct([source.name for source in sources])
        self._servers = _servers_of(sources, self._names)
        """By place of the source."""
        self._pending_own: list[dict[Series, float]] = [{} for _ in sources]
        self._ending: dict[int, float] = {}
        """Levels whose rows are not sent yet, with the monotonic time at which they are sent in any case."""
        self._early: set[int] = set()
        """Levels whose rows were sent before each source had answered."""
        self._shown: list[Any] = []
        self._is_ready = False
        self._cpu_at_start = 0.0
        for name in self._names:
            self._observer.account(name)

    def run(self, commands: BinaryIO) -> None:
        """Run until the command to finish, or until the input ends."""
        threading.Thread(target=self._read_commands, args=(commands,), daemon=True).start()
        for reader in self._readers:
            reader.start()
        self._send_sources()
        until = time.monotonic() + _MAX_START
        while True:
            self._take_answer()
            was_asked = all(tally.answers or tally.failures for tally in self._tallies)
            if not self._is_ready and (was_asked or time.monotonic() > until):
                self._is_ready = True
                self._cpu_at_start = _cpu()
                self._send(ready=True)
            while not self._commands.empty():
                command = self._commands.get()
                if command["do"] == "finish":
                    self._finish()
                    return
                if command["do"] == "lost":
                    return
                self._follow(command)
            self._send_levels()

    def _read_commands(self, commands: BinaryIO) -> None:
        for line in commands:
            self._commands.put(msgspec.json.decode(line))
        self._commands.put({"do": "lost"})

    def _send(self, **message: Any) -> None:
        try:
            self._out.write(msgspec.json.encode(message) + b"\n")
            self._out.flush()
        except BrokenPipeError:  # the run is gone
            os._exit(0)

    # ── commands ──

    def _follow(self, command: Mapping[str, Any]) -> None:
        level, moment = int(command["level"]), float(command["time"])
        if command["do"] == "begin":
            self._observer.begin(level, moment)
        else:
            self._observer.end(level, moment)
            self._ending[level] = time.monotonic() + _MAX_END
        self._scrape_now()

    def _scrape_now(self) -> None:
        for reader in self._readers:
            reader.wake.set()

    def _finish(self) -> None:
        """Scrape once more, and send what is left."""
        last, until = time.time(), time.monotonic() + _MAX_END
        self._scrape_now()
        while time.monotonic() < until and any(
            tally.began < last and math.isnan(tally.failing_since) for tally in self._tallies
        ):
            self._take_answer()
        self._observer.finish()
        self._ending = dict.fromkeys((*self._ending, *self._early), 0.0)
        self._send_levels()
        now = time.time()
        for place, tally in enumerate(self._tallies):
            self._end_silence(place, tally, now)
        self._send_sources(is_last=True)
        self._send(done=True, cpu=_cpu() - self._cpu_at_start)

    # ── answers ──

    def _take_answer(self) -> None:
        try:
            answer = self._answers.get(timeout=_TICK)
        except queue.Empty:
            return
        tally = self._tallies[answer.place]
        tally.began = answer.began
        tally.longest = max(tally.longest, answer.seconds)
        if answer.error:
            tally.failures += 1
            tally.error = answer.error
            if math.isnan(tally.failing_since):
                tally.failing_since = answer.began
        else:
            self._show_notice(answer.place, tally)
            self._end_silence(answer.place, tally, answer.began + answer.seconds)
            tally.answers += 1
            tally.seconds += answer.seconds
            tally.size += sum(len(text) for _, text in answer.scrapes)
            tally.last_answer = answer.began + answer.seconds
            for moment, text in answer.scrapes:
                self._take_scrape(answer.place, moment, text)
        self._send_sources()

    def _take_scrape(self, place: int, moment: float, text: bytes) -> None:
        name, tally = self._names[place], self._tallies[place]
        try:
            taken = self._observer.take(name, moment, text)
        except ValueError as problem:
            tally.answers -= 1
            tally.failures += 1
            tally.error = str(problem)
            return
        if taken is None:
            return
        if taken.restarted:
            self._note_restart(place, moment)
        self._send(values=self._observer.now(moment), rows=self._rows(place, moment, taken))

    def _rows(self, place: int, moment: float, taken: Taken) -> list[list[Any]]:
        """Return the rows of a scrape for the file of telemetry."""
        name, tally, pending = self._names[place], self._tallies[place], self._pending_own[place]
        at = round(moment, 2)
        rows: list[list[Any]] = [
            [at, name, key, "", _short(value)] for key, value in taken.values.items() if not math.isnan(value)
        ]
        pending.update(taken.own)
        if moment - tally.own_rows_at >= _OWN_EVERY:
            tally.own_rows_at = moment
            rows += [[at, name, one.name, one.labels_text, _short(value)] for one, value in pending.items()]
            pending.clear()
        return rows

    def _show_notice(self, place: int, tally: _Tally) -> None:
        """Show a remark of a source once, such as on values that it may not read."""
        notice = self._sources[place].notice
        if notice and notice != tally.notice:
            tally.notice = notice
            self._send(says=f"{self._names[place]}: {notice}")

    def _note_restart(self, place: int, moment: float) -> None:
        """Send a restart, unless another source of the server has shown it."""
        server, restarts = self._servers[place], self._observer.account(self._names[place]).restarts
        if restarts > server.restarts:
            server.restarts = restarts
            self._send_event(TelemetryEvent(moment, "restart", server.name))

    def _end_silence(self, place: int, tally: _Tally, now: float) -> None:
        """Send a silence that ends, unless another source of the server has shown it."""
        since, server = tally.failing_since, self._servers[place]
        tally.failing_since = math.nan
        is_of_server = not (self._sources[place].is_beside and server.speaks)
        if now - since >= _SILENT and tally.answers and is_of_server and since >= server.silent_until:
            server.silent_until = now
            event = TelemetryEvent(round(since, 2), "silent", server.name, round(now - since, 2), tally.error)
            self._send_event(event)

    def _send_event(self, event: TelemetryEvent) -> None:
        self._send(event=asdict(event))

    # ── levels ──

    def _send_levels(self) -> None:
        for level, until in list(self._ending.items()):
            if self._observer.is_complete(level) or time.monotonic() >= until:
                del self._ending[level]
                if not self._observer.is_complete(level):
                    self._early.add(level)
                self._send(level=level, levels=[_cells(row) for row in self._observer.rows(level)])

    # ── sources ──

    def _send_sources(self, *, is_last: bool = False) -> None:
        """Send the state of the sources if it changed, and once a minute."""
        accounts = (self._observer.accounts[name] for name in self._names)
        shown = [
            (len(account.exposes), len(account.engines), tally.failures > 0, tally.answers // _SHOWN_EVERY)
            for account, tally in zip(accounts, self._tallies, strict=True)
        ]
        if shown != self._shown or is_last:
            self._shown = shown
            self._send(sources=[asdict(self._source(place)) for place in range(len(self._sources))])

    def _source(self, place: int) -> TelemetrySource:
        source, tally, account = self._sources[place], self._tallies[place], self._observer.accounts[self._names[place]]
        return TelemetrySource(
            name=self._names[place],
            url=source.url,
            engine=_engines_of(account, source.version),
            state="ok" if tally.answers else "failed",
            says=_says(tally, account),
            settings={**source.settings}
            | {
                option: value
                for engine in account.engines
                for option, setting in engine.settings.items()
                if (value := account.setting(setting)) is not None
            },
            exposes=tuple(account.exposes),
        )


def _says(tally: _Tally, account: Account) -> str:
    """Return how often a source answered and at what cost, in one line."""
    total = tally.answers + tally.failures
    parts = []
    if tally.answers:
        parts.append(
            f"{tally.answers} of {total} requests answered, "
            f"{tally.seconds / tally.answers * 1000.0:.0f} ms and {tally.size / tally.answers / 1000.0:.1f} kB each, "
            f"{tally.longest * 1000.0:.0f} ms at most"
        )
    if tally.failures and tally.error:
        parts.append(f"last failure: {tally.error}" if tally.answers else tally.error)
    if tally.notice:
        parts.append(tally.notice)
    if account.step:
        parts.append(f"it rounds its counters, the largest to {account.step:.0f}")
    if account.is_cut:
        parts.append("it has more series than are read")
    return "; ".join(parts)


def _cpu() -> float:
    """Return the CPU seconds of this process."""
    return time.process_time()


def _engines_of(account: Account, known: str) -> str | None:
    """Return the names and versions of the engines of a source. `known`: the version of the only one, if it is known."""
    names = []
    # a server in Python also has the metrics of its process
    own = [engine for engine in account.engines if not engine.is_fallback]
    for engine in own or account.engines:
        version = account.setting(f"{engine.version[0]}{{{engine.version[1]}}}") if engine.version else known
        names.append(f"{engine.name} {version}" if version else engine.name)
    return ", ".join(names) or None


def _servers_of(sources: Sequence[Source], names: Sequence[str]) -> list[_Server]:
    """Return the server of each source."""
    servers: dict[str, _Server] = {}
    for source, name in sorted(zip(sources, names, strict=True), key=lambda pair: pair[0].is_beside):
        servers.setdefault(source.server or name, _Server(name, speaks=not source.is_beside))
    return [servers[source.server or name] for source, name in zip(sources, names, strict=True)]


def _distinct(names: Iterable[str]) -> list[str]:
    """Return names of which no two are equal: "a", "a (2)"."""
    distinct: list[str] = []
    for name in names:
        number, new = 1, name
        while new in distinct:
            number += 1
            new = f"{name} ({number})"
        distinct.append(new)
    return distinct


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _cells(of_source: SourceRow) -> list[Any]:
    """Return a row of the table of levels, in the order of TELEMETRY_LEVEL_COLUMNS."""
    source, (level, metric, labels, kind, summary) = of_source
    return [level, source, metric, labels, kind, *_figures(summary)]


def _figures(summary: TelemetrySummary) -> list[Any]:
    figures = (summary.mean, summary.min, summary.max, summary.p50, summary.p95, summary.increase)
    pairs = (summary.increase_bounds, summary.p50_bounds, summary.p95_bounds)
    bounds = [bound for pair in pairs for bound in pair or (math.nan, math.nan)]
    # an increase of tokens must stay exact
    return [
        summary.samples,
        *("" if not math.isfinite(value) else float(f"{value:.12g}") for value in (*figures, *bounds)),
    ]
