"""The fault plan: which fault is injected when, and its notation. Pure.

    at 60s for 20s: down
    outage = at level 100 + 10s for 20s every 2m x3: status 503 on 50% of requests
    at phase surge + 5s: kill port 8000 restart "./serve.sh"

A moment is relative to the beginning of the run, or to the end of the warm-up of a level, or of the first level of a phase.
"""

from __future__ import annotations

import heapq
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from llmlocust.faults import actions, notation
from llmlocust.faults.actions import PHRASES, Action
from llmlocust.faults.notation import duration, quoted
from llmlocust.metrics.vocabulary import PHASES

RUN = "run"
EXAMPLE = "at 60s for 20s: down"
_REPEATED = "at 60s for 20s every 2m x3: down"
_MAX_LOAD = 1e12
_NAME = r"[\w][\w .()/-]{0,79}"
_HEAD = re.compile(rf"\s*(?:(?P<name>{_NAME}?)\s*=\s*)?at\s+(?P<when>[^:]+?)\s*:\s*(?P<action>\S.*)", re.DOTALL)
_ANCHORED = re.compile(r"(?P<anchor>(?:level|phase) [^\s+]+)(?: ?\+ ?(?P<offset>\S+(?: (?:ms|s|m|h)\b)?))?")
_OPTION = re.compile(rf" (?:(?P<key>for|every) (?P<time>{notation.DURATION})|x ?(?P<times>[0-9]{{1,6}}))(?= |$)")
_MAX_NAME = 80
_KEYS = {"name", "at", "for", "every", "times", "do", *PHRASES}


@dataclass(frozen=True)
class PlannedFault:
    """A fault of the plan. `str` writes it in the notation."""

    action: Action
    at: float
    """Seconds after the anchor."""
    anchor: str = RUN
    """`run`, `level 100` or `phase surge`."""
    seconds: float | None = None
    """How long each injection lasts; None: until the end of the run, or a moment."""
    every: float | None = None
    """Seconds between the beginnings of two injections; None: one injection."""
    times: int | None = None
    """The number of injections; None: one, or with `every` as many as the run has time for."""
    name: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError in one line."""
        if not self.action.can_last and self.seconds is not None:
            raise ValueError(
                f"'{self.action.shown}' cannot be lifted after a time: leave out 'for', or {_lifted_by(self.action)}"
            )
        if self.seconds == 0.0 or self.every == 0.0 or self.times == 0:
            raise ValueError(f"a length, an interval and a number of injections must be above zero: '{_REPEATED}'")
        if self.times is not None and self.every is None:
            raise ValueError(f"'x{self.times}' needs the interval of the injections: '{_REPEATED}'")
        if self.every is not None and self.action.is_once:
            raise ValueError(f"'{self.action.shown}' works once, because the next process has another pid: name a port")
        if self.every is not None and self.seconds is None and not self.action.is_moment:
            raise ValueError(f"the injections overlap, because they last until the end of the run: '{_REPEATED}'")
        if self.every is not None and self.seconds is not None and self.seconds >= self.every:
            raise ValueError(
                f"the injections overlap: each lasts {duration(self.seconds)}, and the next one begins after "
                f"{duration(self.every)}: '{_REPEATED}'"
            )

    @property
    def shown_name(self) -> str:
        return self.name or self.action.title[:_MAX_NAME]

    def __str__(self) -> str:
        when = duration(self.at) if self.anchor == RUN else f"{self.anchor} + {duration(self.at)}"
        head = f"{self.name} = at {when}" if self.name else f"at {when}"
        for key, value in (("for", self.seconds), ("every", self.every)):
            head += "" if value is None else f" {key} {duration(value)}"
        return head + ("" if self.times is None else f" x{self.times}") + f": {self.action}"


def _lifted_by(action: Action) -> str:
    return "give 'restart \"COMMAND\"'" if action.kind in ("kill", "term") else "give 'until …'"


# ── reading ──


def parse(text: str) -> PlannedFault:
    """Read a fault of the plan. Raises ValueError with a one-line message that has a valid example."""
    shown = " ".join(text.split())[:80]
    match = _HEAD.fullmatch(text)
    if not match or any(not letter.isprintable() for letter in text.strip()):
        raise ValueError(f"cannot read the fault '{shown}': write it like '{EXAMPLE}'")
    try:
        options = _when(" ".join(match["when"].split()))
    except ValueError as problem:
        raise ValueError(f"fault '{shown}': {problem}") from None
    return PlannedFault(actions.parse(match["action"].strip()), name=(match["name"] or "").strip(), **options)


def _when(text: str) -> dict[str, Any]:
    """Read `60s for 20s every 2m x3`."""
    options: dict[str, Any] = {}
    matches = list(_OPTION.finditer(text))
    for match in matches:
        key = {"for": "seconds", "every": "every", None: "times"}[match["key"]]
        if key in options:
            raise ValueError(f"'{match[0].strip()}' is one too many: write it like '{_REPEATED}'")
        options[key] = int(match["times"]) if key == "times" else notation.seconds(match["time"])
    when = text[: matches[0].start()] if matches else text
    if matches and _OPTION.sub("", text) != when:
        raise ValueError(f"cannot read '{_OPTION.sub('', text)[len(when) :].strip()}': write it like '{_REPEATED}'")
    anchored = _ANCHORED.fullmatch(when)
    if anchored:
        offset = notation.seconds(anchored["offset"]) if anchored["offset"] else 0.0
        return {"anchor": anchor_of(anchored["anchor"]), "at": offset, **options}
    if not re.fullmatch(notation.DURATION, when):
        raise ValueError(
            f"cannot read the moment '{when}': write 'at 60s', 'at level 100 + 10s' or 'at phase surge + 5s'"
        )
    return {"at": notation.seconds(when), **options}


def anchor_of(text: str) -> str:
    """Return an anchor in its usual form: `level 100`, for `level 100.0`. Raises ValueError in one line."""
    kind, _, name = text.partition(" ")
    if kind == "level":
        return f"level {_load(name)}"
    if kind == "phase" and name not in PHASES:
        raise ValueError(f"there is no phase '{name}': the phases are {', '.join(PHASES)}")
    return text


def _load(text: str) -> str:
    """Return the load of a level in its usual form, also for 1e+06."""
    try:
        load = float(text)
    except ValueError:
        load = math.nan
    if not 0.0 <= load < _MAX_LOAD:
        raise ValueError(f"'{text}' is no load of a level: write it like 'at level 100 + 10s for 20s: down'")
    return notation.plain(load)


def fault(
    do: str,
    *,
    at: str | float,
    for_: str | float | None = None,
    every: str | float | None = None,
    times: int | None = None,
    name: str = "",
) -> PlannedFault:
    """Return a fault for a locustfile: `fault("down", at="level 100 + 10s", for_="20s")`. Numbers are seconds.

    Raises ValueError in one line.
    """
    head = f"at {_text(at)}"
    for key, value in (("for", for_), ("every", every)):
        head += "" if value is None else f" {key} {_text(value)}"
    head += "" if times is None else f" x{times}"
    return parse(f"{name} = {head}: {do}" if name else f"{head}: {do}")


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else duration(value)


def read_toml(path: str | Path) -> list[PlannedFault]:
    """Read the faults of a file, `[[fault]]` tables. Raises ValueError in one line, and OSError."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path}: {problem}") from None
    tables = document.pop("fault", None)
    if document or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f'{path}: a fault plan has only [[fault]] tables with keys such as at = "60s" and do = "down"')
    return [_planned(f"{path}: fault {number}", table) for number, table in enumerate(tables, 1)]


def _planned(where: str, table: Mapping[str, Any]) -> PlannedFault:
    if unknown := sorted(table.keys() - _KEYS):
        raise ValueError(f"{where}: unknown key '{unknown[0]}'; the keys are {', '.join(sorted(_KEYS))}")
    for key, value in table.items():
        kinds = (int,) if key == "times" else (str, int, float) if key in ("at", "for", "every", "within") else (str,)
        if isinstance(value, bool) or not isinstance(value, kinds):
            example = 'at = "60s", do = "down", times = 3'
            raise ValueError(f"{where}: {key} = {value!r} has the wrong type; write {example}")  # noqa: TRY004  # a user's
    if missing := [key for key in ("at", "do") if key not in table]:
        raise ValueError(f'{where}: \'{missing[0]}\' is missing: write at = "60s" and do = "down"')
    phrases = "".join(f" {key} {quoted(_text(table[key]))}" for key in PHRASES if key in table)
    times = {key: table.get(name) for key, name in (("for_", "for"), ("every", "every"), ("times", "times"))}
    try:
        return fault(table["do"] + phrases, at=table["at"], name=table.get("name", ""), **times)
    except ValueError as problem:
        raise ValueError(f"{where}: {problem}") from None


# ── the schedule ──


class Injection(NamedTuple):
    """One injection of a planned fault, with its moments as epoch seconds."""

    due: float
    lift: float | None
    """None: at the end of the run, or a moment."""
    id: str
    """The number of the fault in the plan and that of its injection, such as 1.1."""
    fault: PlannedFault


@dataclass
class Schedule:
    """The injections of a plan, in order of time. It learns when each anchor began."""

    plan: Sequence[PlannedFault]
    _queue: list[tuple[float, int, int]] = field(default_factory=list)
    """Moment, place of the fault in the plan and number of the injection: of each fault that has begun, the next one."""
    _begun: set[str] = field(default_factory=set)

    def start(self, anchor: str, moment: float) -> None:
        """Note the moment at which an anchor began. Only its first beginning counts."""
        if anchor not in self._begun:
            self._begun.add(anchor)
            for place, planned in enumerate(self.plan):
                if planned.anchor == anchor:
                    heapq.heappush(self._queue, (moment + planned.at, place, 1))

    @property
    def next_due(self) -> float | None:
        """The moment of the next injection, as far as it is known."""
        return self._queue[0][0] if self._queue else None

    def take(self, until: float) -> list[Injection]:
        """Remove and return the injections that are due until this moment."""
        taken = []
        while self._queue and self._queue[0][0] <= until:
            moment, place, number = heapq.heappop(self._queue)
            planned = self.plan[place]
            taken.append(_injection(planned, moment, place, number))
            if planned.every is not None and (planned.times is None or number < planned.times):
                heapq.heappush(self._queue, (moment + planned.every, place, number + 1))
        return taken

    def left(self) -> Iterator[tuple[str, PlannedFault]]:
        """Yield the ids of the injections that were never due, with their faults. Faults without a number of injections
        have such injections only if they never began.
        """
        begun = {place: number for _, place, number in self._queue}
        for place, planned in enumerate(self.plan):
            first = begun.get(place, 1 if planned.anchor not in self._begun else None)
            if first is not None:
                last = planned.times or (1 if planned.every is None or first == 1 else 0)
                yield from ((f"{place + 1}.{number}", planned) for number in range(first, last + 1))


def _injection(planned: PlannedFault, due: float, place: int, number: int) -> Injection:
    lift = None if planned.seconds is None else due + planned.seconds
    return Injection(due, lift, f"{place + 1}.{number}", planned)


def injections(plan: Sequence[PlannedFault], anchors: Mapping[str, float], until: float) -> list[Injection]:
    """Return the injections that are due until a moment, in order, for anchors whose moments are known."""
    schedule = Schedule(plan)
    for anchor, moment in anchors.items():
        schedule.start(anchor, moment)
    return schedule.take(until)


def moments(injected: Iterable[Injection]) -> list[tuple[float, str, str]]:
    """Return the moments of injections in order, each with what happens ("inject" or "lift") and the id."""
    begins = [(one.due, "inject", one.id) for one in injected]
    return sorted([*begins, *((one.lift, "lift", one.id) for one in injected if one.lift is not None)])
