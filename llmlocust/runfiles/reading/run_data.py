"""A run's files, found by their prefix and read. What is broken is left out and said; what is missing is said.

Ours (numbers.formats) are taken where they exist, else Locust's own CSVs of any test. Tables are pandas frames with
the files' columns and units (milliseconds); levels are LevelFigures (seconds).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llmlocust.metrics import vocabulary as formats
from llmlocust.metrics.histogram import Histogram
from llmlocust.metrics.levels import COUNTED, USERS, Level, LevelFigures, Summary, Tally
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.thresholds import Threshold
from llmlocust.metrics.vocabulary import OK
from llmlocust.runfiles.reading import locust_files
from llmlocust.runfiles.reading.locust_files import EXCEPTIONS, FAILURES, HISTORY, STATS
from llmlocust.stream.record import CUT
from llmlocust.text import media

OURS = "llmlocust"
LOCUST = "locust"
TABLE = "table"

# Columns that hold words; all others are numbers.
_WORDS = {
    "name",
    "outcome",
    "error",
    "token_source",
    "finish",
    "unread",
    "worker",
    "metric",
    "unit",
    "source",
    "labels",
}
_LOCUST_WORDS = {"Type", "Name", "Method", "Error", "First Seen", "Last Seen"}
_SHORTEST_PLATEAU = 8.0
_SETTLE = 10.0
_BANDS = 8


class RunError(Exception):
    """The files cannot be read as a run. The text is one line that says what to do."""


class ForeignFile(RunError):
    """A file that has the name of one of a run's files but other content."""


@dataclass
class RunFrames:
    """All that is known of a run."""

    prefix: Path
    source: str
    """OURS or LOCUST: whose files these are; TABLE: a bare table of levels."""
    levels: list[LevelFigures] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    """run.json, or nothing."""
    requests: pd.DataFrame | None = None
    histograms: pd.DataFrame | None = None
    timeline: pd.DataFrame | None = None
    """A second a row; TIMELINE_COLUMNS, those that are known."""
    workers: pd.DataFrame | None = None
    """A second of a process a row; WORKER_COLUMNS."""
    telemetry: pd.DataFrame | None = None
    """What the server's side said of itself; TELEMETRY_COLUMNS."""
    failures: pd.DataFrame | None = None
    """kind, error, count: what the failed requests were told, most frequent first."""
    files: list[Path] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Sentences: what these files could not tell."""
    notes: list[str] = field(default_factory=list)
    """Sentences: what was wrong with the files, and was done about it."""

    rebuilt: bool = False
    """Whether the levels were worked out again from the requests: their windows then are a little short."""

    def goodput(self, thresholds: Sequence[Threshold]) -> dict[int, float]:
        """Requests a second that met every latency threshold, by level; empty where the requests are not known.

        The good share of the level's successful requests times its throughput: rows may be a sample.
        """
        rows = self.successes()
        if rows is None:
            return {}
        weights = weights_of(rows)
        by_level = rows["level"]
        share = (weights * good(rows, thresholds)).groupby(by_level).sum() / weights.groupby(by_level).sum()
        shares = _of_levels(share.clip(0.0, 1.0))
        return {
            each.level: shares.get(each.level, 0.0) * each.throughput
            for each in self.levels
            if math.isfinite(each.throughput) and (each.level in shares or each.throughput == 0.0)
        }

    def successes(self) -> pd.DataFrame | None:
        """The rows of requests that count in their level's latencies."""
        if self.requests is None:
            return None
        rows = self.requests
        return rows[(rows["outcome"] == OK) & (rows["measured"] == 1) & rows["level"].notna()]

    def whole_rows(self) -> int:
        """Return the number of request rows that are not torn; 0 without a file."""
        return 0 if self.requests is None else int(_is_whole(self.requests).sum())

    def rows_outside(self) -> int:
        """Return the number of request rows whose time lies before or after the run."""
        if self.requests is None:
            return 0
        sent = self.requests["sent"]
        started, ended = (_or_nan(number(self.info.get(name))) for name in ("started", "ended"))
        return int(((sent < started - _BEFORE) | (sent > ended + _AFTER)).sum())

    def empty(self) -> dict[int, float]:
        """Share of each level's successful requests that brought no token."""
        rows = self.successes()
        return {} if rows is None else _weighted(rows, _is_empty(rows)[rows["chunks"].notna()])

    def unread(self) -> dict[int, float]:
        """Share of each level's successful requests whose tokens the server counted, and of which none was seen."""
        rows = self.successes()
        return {} if rows is None else _weighted(rows, _is_unread(rows)[rows["chunks"].notna()])

    def unread_fields(self) -> str:
        """The fields that most of those requests name; empty where they name none."""
        rows = self.successes()
        named = [] if rows is None else rows.loc[_is_unread(rows), "unread"].value_counts().index
        return next((fields for fields in map(str, named) if fields), "")

    def whole(self) -> bool:
        """Whether answers came in one piece: known from end to end, and never in chunks."""
        rows = self.successes()
        if rows is None or rows.empty:
            return False
        return bool((rows["e2e"].notna() & rows["ttft"].isna() & (rows["chunks"] == 0)).mean() > 0.99)

    def busy(self) -> dict[int, float]:
        """Mean seconds of a successful request, its connection and the end of its response included, by level.

        How long it waited in the load generator is left out: that is no part of the server's time.
        """
        rows = self.successes()
        if rows is None:
            return {}
        told = rows["duration"] + rows["connect"].fillna(0.0)
        return _weighted(rows, told.dropna() / 1000.0)

    def length_noise(self) -> dict[int, float]:
        """Standard error of each level's mean output tokens, as a share of it."""
        rows = self.successes()
        if rows is None:
            return {}
        lengths = rows[rows["output_tokens"] > 0].groupby("level")["output_tokens"]
        # one length alone tells nothing of their spread
        known = (lengths.std() / lengths.mean() / lengths.count() ** 0.5)[lengths.count() >= 5]
        return _of_levels(known)

    def gone(self) -> dict[int, float]:
        """Levels in which nothing could connect from some second on until their end, with that second."""
        if self.requests is None:
            return {}
        rows = self.requests[~self.requests["outcome"].isin(formats.NOT_THE_SERVERS)]
        over = rows["sent"] + rows["duration"] / 1000.0
        found = {each.level: _gone_from(each, rows, over) for each in self.levels}
        return {level: seconds for level, seconds in found.items() if seconds is not None}

    def outages(self) -> dict[int, tuple[float, float]]:
        """Return the levels with an outage: nothing could connect for some seconds, and requests succeeded before and, at no
        lower load, after. For each: the second of the level at which the outage began, and its length in seconds.
        """
        if self.requests is None:
            return {}
        rows = self.requests[self.requests["outcome"] != formats.ABORTED]
        times = [each for each in _times_without_server(rows) if not _ends_with_the_load(*each, self.levels)]
        found: dict[int, tuple[float, float]] = {}
        for level, outage in product([each for each in self.levels if math.isfinite(each.began)], times):
            began, ended = max(outage[0], level.began), min(outage[1], _end_of_level(level))
            if ended - began > found.get(level.level, (0.0, 0.0))[1]:
                found[level.level] = (began - level.began, ended - began)
        return found

    def distributions(self, metric: str) -> dict[int, Histogram]:
        """How a duration (seconds) was spread, by level."""
        if self.histograms is not None and not self.histograms.empty:
            of_metric = self.histograms[self.histograms["metric"] == metric].dropna(subset=["level", "bucket", "count"])
            counts = of_metric.groupby(["level", "bucket"])["count"].sum()
            by_level: dict[int, dict[int, int]] = {}
            for (level, bucket), count in counts.items():  # type: ignore[misc]
                by_level.setdefault(int(level), {})[int(bucket)] = int(count)
            return {level: Histogram.from_counts(buckets) for level, buckets in by_level.items()}
        if self.requests is None or metric not in self.requests:
            return {}
        rows = self.requests[(self.requests["outcome"] == OK) & (self.requests["measured"] == 1)]
        rows = rows.dropna(subset=[metric, "level"])
        return {int(level): Histogram(group[metric] / 1000.0) for level, group in rows.groupby("level")}


def load_run(prefix: str | Path) -> RunFrames:
    """Read the run that a prefix, a folder with one run in it, or one of the run's files names. Raises RunError."""
    path = Path(prefix)
    try:
        path, locust = _locate(path)
        return _load(path, locust)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, LookupError, ArithmeticError, csv.Error) as problem:
        # what no reader foresaw in a file that somebody damaged; UnicodeError and pandas' errors are ValueErrors
        said = " ".join(str(problem).split())[:160]
        raise RunError(f"{path}: its files are damaged ({said}); llmlocust cannot read them as a run") from problem


def _load(path: Path, locust: Files) -> RunFrames:
    ours = _existing(path, {name: (name,) for name in formats.FILES})
    if formats.LEVELS in ours or formats.REQUESTS in ours:
        run = _load_ours(path, ours)
        if run.levels:
            return run
        if HISTORY not in locust:
            raise RunError(f"{path}: no level of this run has a request yet; let it run until a level is measured")
        fallback = _load_locust(path, locust)
        fallback.notes[:0] = [*run.notes, "llmlocust's own files hold no level, so Locust's were read."]
        return fallback
    if HISTORY in locust or STATS in locust:
        return _load_locust(path, locust)
    if locust:
        kind, file = next(iter(locust.items()))
        raise RunError(f"{file}: {locust_files.why_not_alone(kind)}")
    raise RunError(_nothing_found(path))


# -- finding

_MOVED_ASIDE = r"\.\d+$"
"""The end of a prefix that a later run has moved aside. A folder refers to its newest run, not to these."""

Files = dict[str, Path]
"""Files by their kind, which is the end of their name: llmlocust's own, or that of --csv."""


def _existing(prefix: Path, names: Mapping[str, Sequence[str]]) -> Files:
    """Return the files of a prefix by kind; of several names of one kind the first that exists."""
    paths = {kind: [prefix.with_name(f"{prefix.name}_{end}") for end in ends] for kind, ends in names.items()}
    files = {kind: next((path for path in candidates if path.is_file()), None) for kind, candidates in paths.items()}
    return {kind: path for kind, path in files.items() if path is not None}


def _locate(path: Path) -> tuple[Path, Files]:
    """Return the prefix that a path names, and Locust's files of that prefix."""
    if path.is_dir():
        found = _prefixes_in(path)
        prefixes = [name for name in found if re.sub(_MOVED_ASIDE, "", name) not in {*found} - {name}]
        if not prefixes:
            return _locate_by_content(path)
        if len(prefixes) > 1:
            raise RunError(f"{path}: {len(prefixes)} runs in this folder, name one: {_some(path, prefixes)}")
        path = path / prefixes[0]
    elif path.is_file():
        end = _end_of(path)
        if not end:
            return path.with_suffix(""), {_locust_kind(path): path}
        path = path.with_name(path.name.removesuffix(f"_{end}"))
    return path, _existing(path, locust_files.NAMES)


def _locust_kind(path: Path) -> str:
    """Return the kind of a file of Locust whose name does not show it."""
    if kind := _kind_of(path):
        return kind
    raise RunError(
        f"{path}: not a file of llmlocust or Locust; give the prefix that was given to --csv, or a table of levels with "
        f"--table"
    )


def _locate_by_content(folder: Path) -> tuple[Path, Files]:
    """Return the files of the only Locust test in a folder, whatever their names."""
    kinds = {
        path: _kind_of(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in (".csv", ".html", ".gz")
    }
    by_kind = {kind: [path for path, its in kinds.items() if its == kind] for kind in kinds.values() if kind}
    runs = by_kind.get(STATS) or by_kind.get(HISTORY) or []
    if len(runs) > 1:
        raise RunError(
            f"{folder}: {len(runs)} runs in this folder, name one: {_some(folder, [each.name for each in runs])}"
        )
    if not by_kind:
        raise RunError(f"{folder}: no run in this folder; a run leaves PREFIX_{formats.LEVELS} or PREFIX_{HISTORY}")
    files = {kind: paths[0] for kind, paths in by_kind.items() if len(paths) == 1 or not runs}
    return (runs or next(iter(by_kind.values())))[0].with_suffix(""), files


def names_a_run(path: Path) -> bool:
    """Tell whether a file belongs to a run: by its name or, for Locust's files, by its content."""
    return bool(_end_of(path) or _kind_of(path))


def _end_of(path: Path) -> str:
    """Return the name of a run's file without its prefix; empty for other files."""
    ends = sorted((*formats.FILES, *(HISTORY, STATS, FAILURES, EXCEPTIONS)), key=len, reverse=True)
    end = next((end for end in ends if path.name.endswith(f"_{end}")), "")
    if end:
        return end
    others = [end for names in locust_files.NAMES.values() for end in names if path.name.endswith(f"_{end}")]
    return max(others, key=len) if others and _kind_of(path) else ""


def _kind_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return locust_files.kind_of_file(file.read(_HEAD))
    except OSError:
        return ""


_HEAD = 2**16
"""Bytes at the beginning of a file that are enough to know its kind."""


def _prefixes_in(folder: Path) -> list[str]:
    names = (formats.LEVELS, formats.REQUESTS, HISTORY, STATS)
    prefixes = {path.name.removesuffix(f"_{name}") for name in names for path in folder.glob(f"*_{name}")}
    others = [end for kind in (STATS, HISTORY) for end in locust_files.NAMES[kind][1:]]
    downloads = [(path, end) for end in others for path in folder.glob(f"*_{end}")]
    ours = tuple(f"_{name}" for name in formats.FILES)
    prefixes |= {
        path.name.removesuffix(f"_{end}") for path, end in downloads if not path.name.endswith(ours) and _kind_of(path)
    }
    return sorted(prefixes)


def _some(folder: Path, names: Sequence[str]) -> str:
    listed = ", ".join(str(folder / name) for name in names[:5])
    return listed + (", …" if len(names) > 5 else "")


def _nothing_found(prefix: Path) -> str:
    if not prefix.parent.is_dir():
        return f"{prefix}: no such folder as {prefix.parent}; give the prefix that was given to --csv"
    others = _prefixes_in(prefix.parent)
    hint = f"; there are: {_some(prefix.parent, others)}" if others else ""
    return (
        f"{prefix}: no run has this prefix (neither {prefix.name}_{formats.LEVELS} nor {prefix.name}_{HISTORY}){hint}"
    )


# -- reading


def _read(
    path: Path,
    required: Iterable[str],
    words: set[str],
    notes: list[str],
    *,
    columns_of: Callable[[list[str]], list[str]] = list,
    grows: bool = True,
) -> pd.DataFrame:
    """A CSV as a frame, its columns called as `columns_of` says.

    The last line of a file that grows is dropped where it has no end: a number in it may be cut short. Other files are
    written as a whole, by old versions of Locust without that end.
    """
    data = _bytes_of(path)
    whole = data.rstrip(b"\0")
    whole = whole[: whole.rfind(b"\n") + 1]
    header = _columns_of((whole or data).split(b"\n", 1)[0])
    columns = columns_of(header)
    missing = [each for each in required if each not in columns]
    if missing:
        raise ForeignFile(f"{path}: not a file of llmlocust or Locust, it has no column {missing[0]!r}")
    if not grows and len(_columns_of(data[len(whole) :])) == len(columns):
        whole = data
    if len(whole) < len(data):
        notes.append(f"The last line of {path.name} was cut off and is left out.")
    frame, dropped = _parse(whole or data, columns, words, renamed=columns != header)
    if missing := [each for each in required if each not in frame]:
        raise RunError(f"{path}: damaged, its column {missing[0]!r} cannot be read")
    if dropped:
        notes.append(f"{path.name}: {dropped} broken lines at its end are left out.")
    for name in frame.columns:
        if name not in words:
            numbers = pd.to_numeric(frame[name], errors="coerce").astype(float)
            frame[name] = numbers.where(numbers.abs() <= MOST)
    return frame


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if not data.strip(b"\0\r\n\t "):
        raise RunError(f"{path}: empty; the run wrote nothing, so run it again (or longer)")
    return locust_files.as_locust_writes(data)


def _read_locusts(path: Path, required: Iterable[str], notes: list[str], *, grows: bool = False) -> pd.DataFrame:
    """One of Locust's CSVs, with the columns of Locust 2."""
    return _read(path, required, _LOCUST_WORDS, notes, columns_of=locust_files.columns_of, grows=grows)


MOST = 1e15
"""No number of ours is larger; what is, is damage."""


def _columns_of(header: bytes) -> list[str]:
    """The names in a header line. A carriage return inside it is no end of a line to us, as it is none to a writer."""
    text = header.decode("utf-8-sig", "replace").replace("\r", "")
    try:
        return next(csv.reader([text]), [])
    except csv.Error:  # a NUL, or a field without an end
        return []


def _parse(data: bytes, columns: Sequence[str], words: set[str], *, renamed: bool = False) -> tuple[pd.DataFrame, int]:
    for dropped in range(20):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of lines that are too long
                frame = pd.read_csv(
                    io.BytesIO(data),
                    header=0,
                    names=list(columns) if renamed else None,
                    dtype={name: str for name in columns if name in words},
                    keep_default_na=False,
                    na_values={name: ["", "N/A"] for name in columns if name not in words},
                    encoding="utf-8",
                    encoding_errors="replace",
                    on_bad_lines="skip",
                    index_col=False,
                    low_memory=False,
                )
        except pd.errors.EmptyDataError:
            break
        except pd.errors.ParserError:  # a quoted text that was cut off before its end
            data = data[: data.rstrip(b"\r\n").rfind(b"\n") + 1]
        else:
            return frame, dropped
    return pd.DataFrame(columns=list(columns)), 20


def _read_info(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} cannot be read, so what was run is not known.")
        return {}
    if not isinstance(info, dict):
        notes.append(f"{path.name} is not what llmlocust writes, so what was run is not known.")
        return {}
    told = info.get("format")
    if isinstance(told, int) and told > formats.FORMAT:
        raise RunError(
            f"{path}: written in format {told}, this llmlocust reads up to {formats.FORMAT}; "
            "upgrade it (pip install -U llmlocust)"
        )
    return info


# -- our files


def _load_ours(prefix: Path, files: dict[str, Path]) -> RunFrames:
    run = RunFrames(prefix, OURS, files=list(files.values()))
    if formats.RUN in files:
        run.info = _read_info(files[formats.RUN], run.notes)
    else:
        run.unknown.append(f"What was run (no {prefix.name}_{formats.RUN}).")
    required = {
        formats.REQUESTS: ("sent", "outcome", "duration"),
        formats.HISTOGRAMS: formats.HISTOGRAM_COLUMNS,
        formats.TIMELINE: ("time", "users"),
        formats.WORKERS: ("time", "worker"),
        formats.TELEMETRY: formats.TELEMETRY_COLUMNS,
    }
    frames = {name: _optional(files, name, columns, run.notes) for name, columns in required.items()}
    run.requests = _with_columns(frames[formats.REQUESTS])
    run.histograms, run.timeline = frames[formats.HISTOGRAMS], frames[formats.TIMELINE]
    run.workers, run.telemetry = frames[formats.WORKERS], frames[formats.TELEMETRY]
    if formats.LEVELS in files:
        run.levels = _read_levels(files[formats.LEVELS], run.notes)
    if not run.levels and run.requests is not None and not run.requests.empty:
        run.levels = _rebuilt(run)
        run.rebuilt = bool(run.levels)
        if run.levels:
            run.notes.append(
                f"No whole {prefix.name}_{formats.LEVELS}: the levels were worked out again from the requests."
            )
    if run.histograms is not None and not _agrees(run):
        run.histograms = None
        run.notes.append(
            f"{prefix.name}_{formats.HISTOGRAMS} does not agree with the levels (another version wrote it), so "
            "distributions are left out or drawn from the requests."
        )
    if run.requests is None:
        run.unknown.append("Single requests (no file of them): goodput and the servers' words on errors.")
    else:
        run.failures = _failures_of(run.requests)
    if run.timeline is None:
        run.unknown.append("The run second by second (no timeline file): users, in flight, the client's own load.")
    return run


def _optional(files: dict[str, Path], name: str, required: Sequence[str], notes: list[str]) -> pd.DataFrame | None:
    """A file that the report can do without: a broken one is said and left out."""
    if name not in files:
        return None
    try:
        frame = _read(files[name], required, _WORDS, notes)
    except RunError as error:
        notes.append(f"{error}.")
        return None
    return None if frame.empty else frame


def _with_columns(requests: pd.DataFrame | None) -> pd.DataFrame | None:
    if requests is None:
        return None
    missing = [name for name in formats.REQUEST_COLUMNS if name not in requests]
    requests = requests.assign(**{name: ("" if name in _WORDS else math.nan) for name in missing})
    from_due = {
        key: requests[metric.from_due] + requests["delay"] for key, metric in METRICS.items() if metric.from_due
    }
    return requests.assign(**from_due)


def _read_levels(path: Path, notes: list[str]) -> list[LevelFigures]:
    kept: list[str] = []
    try:
        frame = _read(path, ("level", "load", "requests"), _all_words(path), kept)
    except ForeignFile:
        raise
    except RunError as error:
        notes.append(f"{error}.")
        return []
    notes.extend(kept)
    levels, broken = [], 0
    for row in frame.to_dict("records"):
        try:
            read = LevelFigures.of_row({str(name): str(value) for name, value in row.items()})
        except (ValueError, OverflowError):
            broken += 1
            continue
        if _makes_sense(read):
            levels.append(read)
        else:
            broken += 1
    if broken:
        notes.append(f"{path.name}: {broken} rows hold what is no number and are left out.")
    levels = [replace(each, part=_short(each.part)) for each in levels]
    kept_levels = [_with_own_intervals(each) for each in levels]
    if kept_levels != levels:
        notes.append(f"{path.name}: some intervals do not contain their values and are left out.")
    return kept_levels


def _with_own_intervals(read: LevelFigures) -> LevelFigures:
    """Return the figures without the intervals that belong to other values."""
    metrics = {
        metric: replace(
            summary,
            intervals={
                name: (low, high)
                for name, (low, high) in summary.intervals.items()
                if not (summary[name] < low or summary[name] > high)
            },
        )
        for metric, summary in read.metrics.items()
    }
    return replace(read, metrics=metrics)


def _makes_sense(read: LevelFigures) -> bool:
    """Whether figures can be what was counted, whatever a damaged file says."""
    counts = (
        read.level,
        read.requests,
        read.ok,
        read.aborted,
        read.due,
        read.held_back,
        read.stalls,
        *read.error_kinds.values(),
    )
    times = (read.load, read.users, read.began, read.settled, read.ended, read.window, read.throughput)
    shares = (read.coalesced, read.counted_chunks, read.right, read.empty, read.cut, read.repeated)
    means = (read.output_tokens_per_s, read.output_tokens, read.input_tokens)
    durations = [value for each in read.metrics.values() for value in (each.mean, each.most, *each.quantiles.values())]
    return (
        all(0 <= each <= MOST for each in counts)
        and read.ok <= read.requests
        and all(math.isnan(each) or 0.0 <= each <= MOST for each in (*times, *means, *durations))
        and all(math.isnan(each) or 0.0 <= each <= 1.0 for each in shares)
    )


def _all_words(path: Path) -> set[str]:
    try:
        with path.open("rb") as file:
            return set(_columns_of(file.readline()))
    except OSError:
        return set()


_BEFORE = 10.0
"""Seconds: a worker knows the beginning of the run to within the travel time of a message."""
_AFTER = 120.0
"""Seconds: a worker that is cut off from its master continues for a minute."""


def _is_whole(requests: pd.DataFrame) -> pd.Series:
    is_known = requests["outcome"].isin([OK, *formats.ERROR_KINDS])
    return is_known & requests["sent"].notna() & requests["duration"].notna()


_LEAST_REFUSED = 5
_NO_SERVER = ("connect", "reset")
_OUT = (*formats.NO_CONNECTION, "reset")
_SAME_LOAD = 0.9
"""A load that is lower by no more than this factor counts as the same: windows of a replayed trace differ a little."""
_SHORTEST_OUTAGE = 3.0
"""Seconds: a server that is full may refuse everybody for less."""


def _gone_from(level: LevelFigures, rows: pd.DataFrame, over: pd.Series) -> float | None:
    """Seconds after the level began from which on nothing succeeded, where every attempt failed to connect."""
    failed = level.failed
    # a server that dies cuts its streams, too
    lost = sum(level.error_kinds.get(kind, 0) for kind in (*_NO_SERVER, "truncated"))
    if not failed or lost < 0.9 * failed or math.isnan(level.began):
        return None
    inside = (over >= level.began) & (rows["outcome"] == OK) & (rows["sent"] < _end_of_level(level))
    last = max(level.began, float(over[inside].max())) if inside.any() else level.began
    after = rows[(rows["level"] == level.level) & (rows["sent"] > last)]
    refused = int(after["outcome"].isin(_NO_SERVER).sum())
    if refused < _LEAST_REFUSED or refused < 0.9 * len(after):
        return None
    first = float(over[(rows["level"] == level.level) & (over > last)].min())
    return first - level.began if inside.any() else 0.0


def _times_without_server(rows: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the times (epoch seconds) between two successes in which all that ended were failed connections."""
    rows = rows.assign(over=rows["sent"] + rows["duration"] / 1000.0).dropna(subset=["over"]).sort_values("over")
    moments, is_out = rows["over"].to_numpy(), rows["outcome"].isin(_OUT).to_numpy()
    successes = np.flatnonzero((rows["outcome"] == OK).to_numpy())
    found = []
    for place in np.flatnonzero(np.diff(moments[successes]) >= _SHORTEST_OUTAGE):
        before, after = successes[place], successes[place + 1]
        between = np.flatnonzero(is_out[before + 1 : after]) + before + 1
        if len(between) < _LEAST_REFUSED or len(between) < 0.9 * (after - before - 1):
            continue
        began, ended = float(moments[between[0]]), float(moments[between[-1]])
        if ended - began >= _SHORTEST_OUTAGE:
            found.append((began, ended))
    return found


def _ends_with_the_load(began: float, ended: float, levels: Sequence[LevelFigures]) -> bool:
    """Whether the server answered again only at a lower load. The load may then have caused the outage."""
    before, after = (
        next((level.load for level in reversed(levels) if level.began <= moment), math.nan) for moment in (began, ended)
    )
    return after < _SAME_LOAD * before


def _end_of_level(level: LevelFigures) -> float:
    return level.ended if math.isfinite(level.ended) else math.inf


def number(value: Any) -> float | None:
    """Return a number of run.json; None for other types, and for numbers that llmlocust never writes because of their size."""
    is_known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST
    return float(value) if is_known else None


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _is_empty(rows: pd.DataFrame) -> pd.Series:
    """Requests that brought no token: none told, none seen, and not an answer in one piece, whose tokens nobody told."""
    told = rows["output_tokens"]
    return (rows["chunks"] == 0) & ((told == 0) | (told.isna() & rows["e2e"].isna()))


def _is_unread(rows: pd.DataFrame) -> pd.Series:
    """Requests whose tokens were counted and not seen. An answer in one piece has an end, and needs no token to be seen."""
    return (rows["chunks"] == 0) & (rows["output_tokens"] > 0) & rows["e2e"].isna()


def _weighted(rows: pd.DataFrame, values: pd.Series) -> dict[int, float]:
    """The weighted mean of the values by level."""
    weights, levels = weights_of(rows)[values.index], rows["level"][values.index]
    return _of_levels((values * weights).groupby(levels).sum() / weights.groupby(levels).sum())


def _of_levels(values: pd.Series) -> dict[int, float]:
    known = values.dropna()
    return {int(level): float(value) for level, value in zip(known.index.tolist(), known.tolist(), strict=True)}


def weights_of(rows: pd.DataFrame) -> pd.Series:
    return rows["weight"].fillna(1.0).clip(lower=1.0)


def good(requests: pd.DataFrame, thresholds: Sequence[Threshold]) -> pd.Series:
    """thresholds.is_good for a whole frame at once. An answer without a token is none."""
    good = (requests["outcome"] == OK) & ~_is_empty(requests)
    for threshold in thresholds:
        if threshold.column is not None:
            seconds = requests[threshold.column] / 1000.0
            good &= seconds.isna() | threshold.met_by(seconds)
    return good


def _failures_of(requests: pd.DataFrame) -> pd.DataFrame:
    failed = requests[requests["outcome"] != OK]
    counted = weights_of(failed).groupby([failed["outcome"], failed["error"]]).sum().sort_values(ascending=False)
    frame = counted.rename("count").reset_index()
    return frame.rename(columns={"outcome": "kind"})


def _agrees(run: RunFrames) -> bool:
    """Whether the buckets mean what they say: medians of the levels' file and of the histograms are the same."""
    for metric in ("ttft", "e2e"):
        found = run.distributions(metric)
        for each in run.levels:
            told, histogram = each.metric(metric)["p50"], found.get(each.level)
            if histogram and told > 0 and abs(histogram.quantile(0.5) / told - 1.0) > 0.1:
                return False
    return True


def _rebuilt(run: RunFrames) -> list[LevelFigures]:
    """Levels from the requests, where their own file is missing."""
    requests = run.requests
    assert requests is not None  # the caller looked
    measured = requests[(requests["measured"] == 1) & requests["level"].notna() & requests["sent"].notna()]
    gaps = run.histograms is not None
    distributions = {metric: run.distributions(metric) for metric in COUNTED} if gaps else {}
    if not measured.empty and not gaps:
        run.unknown.append("Gaps between tokens by level (they are only in the histograms file).")
    if not measured.empty:
        run.unknown.append("Output tokens a second are those of requests that ended in the level, not of arrivals.")
    levels = []
    for index, rows in measured.groupby("level"):
        number = int(index)  # type: ignore[call-overload]
        level = Level(number, _load_of(run, number), _unit_of(run), began=0.0, settled=float(rows["sent"].min()))
        level.ended = float(rows["sent"].max())
        level.part = _part_of(run, number)
        tally = _tally(requests, rows, level)
        for metric, by_level in distributions.items():
            if number in by_level:
                tally.histograms[metric] = by_level[number]
        made = LevelFigures.of(level, tally, level.ended, users=_users_of(run, number))
        levels.append(replace(made, empty=math.nan, repeated=math.nan))  # answers themselves are in no file
    return levels


def _tally(requests: pd.DataFrame, rows: pd.DataFrame, level: Level) -> Tally:
    tally = Tally()
    weights = weights_of(rows).round().astype(int).clip(lower=1)
    for outcome, count in weights.groupby(rows["outcome"]).sum().items():
        tally.outcomes[str(outcome)] = int(count)
    ok, times = rows[rows["outcome"] == OK], weights[rows["outcome"] == OK]
    for name in ("input_tokens", "inputs", "output_tokens", "chunks", "coalesced", "stalls"):
        tally.numbers[name] = int((ok[name].fillna(0) * times).sum())
    if "finish" in ok:
        tally.numbers["cut"] = int(times[ok["finish"].astype(str).str.lower().isin(CUT)].sum())
    if "right" in ok:
        tally.numbers["judged"] = int(times[ok["right"].notna()].sum())
        tally.numbers["right"] = int(times[ok["right"] == 1].sum())
    tally.numbers["counted_chunks"] = int(times[ok["token_source"] == "chunks"].sum())
    for metric in COUNTED:
        if metric in ok:
            for value, count in zip(ok[metric], times, strict=True):
                if not math.isnan(value):
                    tally.histogram(metric).add(value / 1000.0, int(count))
    over = requests["sent"] + requests["duration"] / 1000.0
    inside = requests[(requests["outcome"] == OK) & (over >= level.settled) & (over < level.ended)]
    tally.numbers["ended_ok"] = int(weights_of(inside).sum())
    tally.numbers["tokens_in_window"] = int((inside["output_tokens"].fillna(0) * weights_of(inside)).sum())
    return tally


def _plan(run: RunFrames) -> dict[str, Any]:
    plan = run.info.get("plan")
    return plan if isinstance(plan, dict) else {}


def _unit_of(run: RunFrames) -> str:
    return str(_plan(run).get("unit") or USERS)


def _load_of(run: RunFrames, level: int) -> float:
    planned = _plan(run).get("levels")
    if isinstance(planned, list) and level < len(planned) and isinstance(planned[level], int | float):
        return float(planned[level])
    users = _timeline_of(run, level)
    return math.nan if users is None else float(users.max())


def _part_of(run: RunFrames, level: int) -> str:
    names = [name for name, _, _ in parts_planned(_plan(run))]
    return names[level] if level < len(names) else ""


def parts_planned(plan: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Of each level of a plan of several parts its part's name, and for how many seconds it was to settle and be held."""
    parts = plan.get("parts")
    made: list[tuple[str, float, float]] = []
    for each in parts if isinstance(parts, list) else ():
        told = each if isinstance(each, dict) else {}
        many, *seconds = (told.get(name) for name in ("levels", "settle", "hold"))
        if not isinstance(many, int) or not 0 < many <= MOST_LEVELS:
            return []
        settle, hold = (_or_nan(number(value)) for value in seconds)
        made += [(_short(str(told.get("name") or "")), settle, hold)] * many
    return made


def _short(name: str) -> str:
    """Return a name cut for labels of pictures, where a long one would leave no room for the picture."""
    return media.one_line(name[:_LONGEST_NAME])


_LONGEST_NAME = 80
MOST_LEVELS = 10_000
"""No plan has more levels."""


def _users_of(run: RunFrames, level: int) -> float:
    users = _timeline_of(run, level)
    return math.nan if users is None else float(users.median())


def _timeline_of(run: RunFrames, level: int) -> pd.Series | None:
    if run.timeline is None or "level" not in run.timeline:
        return None
    users = run.timeline.loc[run.timeline["level"] == level, "users"].dropna()
    return None if users.empty else users


# -- Locust's files


def _load_locust(prefix: Path, files: dict[str, Path]) -> RunFrames:
    run = RunFrames(prefix, LOCUST, files=list(files.values()))
    if FAILURES in files:
        run.failures = _locust_failures(files[FAILURES], run.notes)
    run.unknown.append(
        "Time to first token, gaps between tokens, TPOT and tokens: Locust's files know whole requests only, and for "
        "streamed answers their times may end at the first byte."
    )
    run.unknown.append("The load generator's own state: its CPU, its event loop, requests lost on the way.")
    run.unknown.append("Latencies of successful requests alone: Locust counts failed requests in its percentiles.")
    if HISTORY not in files:
        run.unknown.append(
            f"Levels, users and the run over time: there is no {run.prefix.name}_{HISTORY}, so the whole test is one row."
        )
        run.levels = [_whole_test(files[STATS], run.notes)]
        return run
    history = _read_locusts(files[HISTORY], ("Timestamp", "Name", "Total Request Count"), run.notes, grows=True)
    names = set(history["Name"].unique())
    total = _rows_of_all(history, "Timestamp", "Total Request Count")
    total = total.drop_duplicates("Timestamp", keep="last").sort_values("Timestamp").reset_index(drop=True)
    if total.empty or total["Total Request Count"].max() <= 0:
        raise RunError(f"{files[HISTORY]}: no request in it; run the test again, longer, or see why none was sent")
    if "Total Failure Count" not in total:
        run.unknown.append("Errors: the history does not count failures, so every request is taken to have succeeded.")
    if "User Count" not in total:
        return _without_users(run, files, total)
    total = total.dropna(subset=["User Count"]).reset_index(drop=True)
    full = len(names) > 1
    spans = _plateaus(total)
    if not spans:
        spans = _bands(total)
        run.unknown.append(
            "Levels: the number of users never stood still, so the run is cut into bands of time and each band is "
            "shown at its mean users. Hold each load for a minute to know more."
        )
    else:
        run.unknown.append("When each level began and settled: worked out from where the user count stood still.")
    run.levels = [
        figures
        for index, (first, last, settle) in enumerate(spans)
        if (figures := _of_span(total.iloc[first : last + 1], index, settle, full=full, alone=len(spans) == 1))
    ]
    run.timeline = _locust_timeline(total, run.levels)
    if full:
        run.unknown.append(
            "Exact percentiles of a level: each is put together from those of Locust's 10 s windows inside it, of rounded times."
        )
    elif len(run.levels) > 1:
        run.unknown.append(
            "Percentiles by level: without --csv-full-history Locust writes those of the whole test so far. Means by "
            "level are exact."
        )
    if not run.levels:
        raise RunError(f"{files[HISTORY]}: too short to hold a level; let the test run for a minute or more")
    return run


def _rows_of_all(frame: pd.DataFrame, *known: str) -> pd.DataFrame:
    """Return the rows of all requests together in which these columns are known."""
    names = frame["Name"]
    return frame[names == locust_files.total_name(set(names.unique()))].dropna(subset=list(known))


def _without_users(run: RunFrames, files: Files, total: pd.DataFrame) -> RunFrames:
    """Read the whole test as one level: before Locust 1.0 a history has no user counts to tell levels apart."""
    run.unknown.append(
        "Levels and users: the history has no user counts (Locust before 1.0), so the whole test is one row."
    )
    run.levels = [_of_history(total)] if STATS not in files else [_whole_test(files[STATS], run.notes)]
    return run


def _of_history(total: pd.DataFrame) -> LevelFigures:
    """Make the whole test a level, from the last row of a history, whose percentiles and rates are of the last seconds."""
    times, counts = total["Timestamp"], total["Total Request Count"]
    seconds = float(times.iloc[-1] - times.iloc[0])
    recent = {*_OF_TOTALS.values(), "Failures/s"}
    row = {name.removeprefix("Total "): value for name, value in total.iloc[-1].items() if name not in recent}
    row["Requests/s"] = float(counts.iloc[-1] - counts.iloc[0]) / seconds if seconds > 0 else math.nan
    return _of_totals(row)


def _plateaus(total: pd.DataFrame) -> list[tuple[int, int, float]]:
    """Rows (first, last) during which the user count stood still, and the seconds until it had settled."""
    users, times = total["User Count"].to_numpy(), total["Timestamp"].to_numpy()
    spans, first = [], 0
    for row in range(1, len(users) + 1):
        if row < len(users) and users[row] == users[first]:
            continue
        lasted = float(times[row - 1] - times[first])
        if users[first] > 0 and lasted >= _SHORTEST_PLATEAU:
            spans.append((first, row - 1, min(_SETTLE, lasted / 3.0)))
        first = row
    return spans


def _bands(total: pd.DataFrame) -> list[tuple[int, int, float]]:
    used = total.index[total["User Count"] > 0]
    if len(used) < 2:
        return []
    first, last = int(used[0]), int(used[-1])
    count = max(1, min(_BANDS, (last - first) // 5))
    edges = [first + (last - first) * band // count for band in range(count + 1)]
    return [(low, high, 0.0) for low, high in pairwise(edges) if high > low]


def _of_span(rows: pd.DataFrame, index: int, settle: float, *, full: bool, alone: bool) -> LevelFigures | None:
    """A level from the differences of Locust's running totals between two of its rows: those are exact."""
    began = float(rows["Timestamp"].iloc[0])
    inside = rows[rows["Timestamp"] >= began + settle]
    first, last = inside.iloc[0], inside.iloc[-1]
    window = float(last["Timestamp"] - first["Timestamp"])
    ended = int(last["Total Request Count"] - first["Total Request Count"])
    failed = int(last.get("Total Failure Count", 0) - first.get("Total Failure Count", 0))
    if window <= 0:
        return None
    users = float(inside["User Count"].mean())
    return LevelFigures(
        level=index,
        load=round(users, 1),
        users=users,
        began=began,
        settled=float(first["Timestamp"]),
        ended=float(last["Timestamp"]),
        window=window,
        requests=ended,
        ok=ended - failed,
        error_kinds={"failed": failed} if failed else {},
        throughput=(ended - failed) / window,
        metrics={"e2e": _locust_latency(inside, ended, full=full, alone=alone)} if ended > 0 else {},
    )


_PERCENTILES = {each: each / 100.0 for each in (50.0, 66.0, 75.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.9, 99.99, 100.0)}
_LOCUST_WINDOW = 10.0
"""Seconds before a row, of which its percentiles are with --csv-full-history."""


def _locust_latency(rows: pd.DataFrame, ended: int, *, full: bool, alone: bool) -> Summary:
    totals = rows["Total Average Response Time"] * rows["Total Request Count"]
    mean = float(totals.iloc[-1] - totals.iloc[0]) / ended / 1000.0
    if full:
        return _of_windows(rows, ended, mean)
    columns = {"p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%", "p99_9": "99.9%"}
    seen = rows.iloc[-1] if alone else {}
    quantiles = {name: float(seen[column]) / 1000.0 for name, column in columns.items() if column in seen}
    return Summary(ended, mean, quantiles={name: value for name, value in quantiles.items() if value > 0})


def _of_windows(rows: pd.DataFrame, ended: int, mean: float) -> Summary:
    """Percentiles of a level from those of Locust's windows that lie inside it, each as heavy as its requests."""
    # one after the other, back from the end, so that every second counts once
    ends = np.arange(rows["Timestamp"].iloc[-1], rows["Timestamp"].iloc[0] + _LOCUST_WINDOW - 0.5, -_LOCUST_WINDOW)
    inside = rows[rows["Timestamp"].isin(ends)]
    inside = inside if len(inside) else rows.iloc[-1:]
    told = {column: share for each, share in _PERCENTILES.items() if (column := f"{each:g}%") in inside}
    values = inside[list(told)].to_numpy(dtype=float) / 1000.0
    before = np.interp(inside["Timestamp"] - _LOCUST_WINDOW, rows["Timestamp"], rows["Total Request Count"])
    weights = np.maximum(inside["Total Request Count"].to_numpy() - before, 1.0)
    # a window without a request is written as 0
    known = (values > 0.0).all(axis=1) if told else np.zeros(len(values), dtype=bool)
    if not known.any():
        return Summary(ended, mean)
    values, counts = values[known], weights[known]
    weights = counts / counts.sum()
    # of n times Locust's percentile q is the one after the n·q smallest, which stands for the middle of its own n-th
    shares = (np.floor(np.outer(counts, list(told.values()))).clip(max=counts[:, None] - 1.0) + 0.5) / counts[:, None]
    # up to its lowest percentile, a window's times are taken as spread from half of that on
    values = np.column_stack([values[:, 0] / 2.0, values])
    shares = np.column_stack([np.zeros(len(values)), shares])
    edges = np.unique(values)
    reached = sum(
        weight * np.interp(edges, each, share, left=0.0, right=1.0)
        for weight, each, share in zip(weights, values, shares, strict=True)
    )

    def at(share: float) -> float:
        return float(np.interp(min(max(share, 0.0), 1.0), reached, edges))

    def interval(share: float) -> tuple[float, float]:
        spread = 1.96 * math.sqrt(share * (1.0 - share) / max(1, ended))
        low, high = at(share - spread), at(share + spread)
        return low - _rounding(low), high + _rounding(high)

    return Summary(
        ended,
        mean,
        quantiles={name: at(share) for name, share in formats.QUANTILES.items()},
        intervals={name: interval(share) for name, share in formats.QUANTILES.items()},
    )


def _rounding(seconds: float) -> float:
    """Half of the step to which Locust rounds a response time: two digits, below 100 ms one millisecond."""
    return 0.0005 if seconds < 0.1 else 0.5 * 10.0 ** (math.floor(math.log10(seconds)) - 1.0)


def _whole_test(path: Path, notes: list[str]) -> LevelFigures:
    stats = _read_locusts(path, ("Name", "Request Count", "Failure Count"), notes)
    rows = _rows_of_all(stats, "Request Count")
    if rows.empty and len(stats) == 1:
        rows = stats.dropna(subset=["Request Count"])
    if rows.empty and len(stats):
        raise RunError(
            f"{path}: it has no row Aggregated, in which Locust adds up all requests; give the file as Locust wrote it"
        )
    if rows.empty or rows["Request Count"].iloc[-1] <= 0:
        raise RunError(f"{path}: no request in it; run the test again, longer, or see why none was sent")
    return _of_totals(rows.iloc[-1].to_dict())


_OF_TOTALS = {"p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%", "p99_9": "99.9%"}


def _of_totals(row: Mapping[str, Any]) -> LevelFigures:
    """Make the whole test a level, from Locust's totals. Locust 0.9 has no percentiles but the median."""
    count, failed = int(row["Request Count"]), int(_number_in(row, "Failure Count", 0.0))
    if failed > count:
        raise ValueError("Locust's totals have more failures than requests")
    times = {name: _number_in(row, column) / 1000.0 for name, column in _OF_TOTALS.items()}
    median = _number_in(row, "Median Response Time") / 1000.0
    times["p50"] = median if math.isnan(times["p50"]) else times["p50"]
    rate = _number_in(row, "Requests/s")
    lost = _number_in(row, "Failures/s")
    return LevelFigures(
        level=0,
        load=math.nan,
        requests=count,
        ok=count - failed,
        error_kinds={"failed": failed} if failed else {},
        throughput=rate * (1.0 - failed / count) if math.isnan(lost) else rate - lost,
        metrics={
            "e2e": Summary(
                count,
                _number_in(row, "Average Response Time") / 1000.0,
                _number_in(row, "Max Response Time") / 1000.0,
                {name: value for name, value in times.items() if not math.isnan(value)},
            )
        },
    )


def _number_in(row: Mapping[str, Any], column: str, default: float = math.nan) -> float:
    value = row.get(column, math.nan)
    return default if pd.isna(value) else float(value)


def _locust_failures(path: Path, notes: list[str]) -> pd.DataFrame | None:
    try:
        frame = _read_locusts(path, ("Name", "Error", "Occurrences"), notes)
    except RunError as error:
        notes.append(f"{error}.")
        return None
    counted = frame.groupby("Error")["Occurrences"].sum().sort_values(ascending=False).reset_index()
    return counted.rename(columns={"Error": "error", "Occurrences": "count"}).assign(kind="failed")


def _locust_timeline(total: pd.DataFrame, levels: Sequence[LevelFigures]) -> pd.DataFrame:
    span = total["Timestamp"].diff()
    ended = total["Total Request Count"].diff() / span
    failed = total["Total Failure Count"].diff() / span if "Total Failure Count" in total else math.nan
    frame = pd.DataFrame({"time": total["Timestamp"], "users": total["User Count"], "ended": ended, "failed": failed})
    frame["level"] = math.nan
    for each in levels:
        frame.loc[(frame["time"] >= each.began) & (frame["time"] <= each.ended), "level"] = each.level
    return frame
