"""A report: what the files of a run say, judged, as HTML, Markdown, JSON and a few lines for a terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmlocust.analysis import words
from llmlocust.analysis.advice import Advice, advise
from llmlocust.analysis.breakpoints import Verdict, find
from llmlocust.analysis.gates import Outcome, judge
from llmlocust.analysis.parts import AFTER, climbs, of_the_ramp
from llmlocust.analysis.quality import KINDS as ANSWERS
from llmlocust.analysis.quality import changes
from llmlocust.analysis.recovery import Recovery
from llmlocust.analysis.replays import FEW_ERRORS, checks_of, of_windows
from llmlocust.analysis.steps import Finding, steps_of
from llmlocust.analysis.trust import Check, Facts, checks, empty_levels, standing, think_time_of
from llmlocust.load.prompts import load as load_prompts
from llmlocust.numbers.formats import FORMAT, PARTS, RECOVERY
from llmlocust.numbers.levels import EXACT, EXACT_SHARE, HEADLINE, RATE, USERS, LevelFigures, Summary
from llmlocust.numbers.thresholds import NOT_KNOWN, Threshold, golds, parse_gates, tier
from llmlocust.report import one_level, parts, pictures
from llmlocust.report.charts import NUMBERS, Scene
from llmlocust.report.frames import OURS, TABLE, RunFrames, parts_planned
from llmlocust.report.glossary import GLOSSARY, MEANS
from llmlocust.report.journeys import STEPS, Scenes, journeys
from llmlocust.report.parts import Parts, parts_in
from llmlocust.report.rendering import render
from llmlocust.report.translation import translated
from llmlocust.report.turns import HEADS, Turns, turns
from llmlocust.report.what_was_run import (
    FOREIGN,
    count,
    facts,
    is_replay,
    listed,
    mapping,
    messages,
    number,
    options,
    planned,
)
from llmlocust.report.within import cache_hits, courses, gone, stood_still, tokens_a_chunk, with_telemetry

_METRICS = ("ttft", "answer", "e2e", "gap", "tpot", "delay", "ttft_due", "e2e_due")


@dataclass
class Report:
    run: RunFrames
    verdict: Verdict
    checks: list[Check]
    goodput: Mapping[int, float]
    thresholds: Sequence[Threshold] = ()
    """Those that were asked for; `verdict.thresholds` has the derived ones where none were."""
    unknown: Sequence[str] = ()
    """Sentences: what could not be known."""
    gold: Finding | None = None
    """The limit of the gold tier, where the thresholds have two."""
    gates: Outcome | None = None
    """What the run's own gates say; None: it had none."""
    unit: str = field(init=False)
    parts: Parts = field(init=False)
    """Of its plan."""

    def __post_init__(self) -> None:
        self.unit = RATE if self.verdict.unit == RATE else USERS
        verdict = self.verdict
        self.parts = parts_in(self.run, verdict.thresholds, self.goodput, derived=verdict.derived)

    @property
    def levels(self) -> list[LevelFigures]:
        return self.run.levels

    @property
    def only_level(self) -> LevelFigures | None:
        """Of a run that has one: it says nothing of where a server breaks."""
        return one_level.only(self.levels)

    @property
    def has_limits(self) -> bool:
        """Whether limits say anything of the levels: what is derived from a level is kept by that level."""
        return self.only_level is None or not self.verdict.derived or self.verdict.slo_limit.reached

    @property
    def ramp(self) -> list[LevelFigures]:
        """Those that the four numbers rest on."""
        return of_the_ramp(self.levels)

    @property
    def comparable(self) -> list[LevelFigures]:
        """Those that show a load as it is, and not what a higher one left behind."""
        return [each for each in self.levels if each.part not in AFTER]

    @property
    def climbs(self) -> bool:
        """Whether there is a ramp that the four numbers can be read from."""
        return self.only_level is None and not self.verdict.windows and climbs(self.levels)

    @property
    def trusted(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def advice(self) -> list[Advice]:
        return advise(self.levels, self.verdict, self.checks, self.goodput, counted=_requests_of(self.run) is not None)

    @property
    def doubted(self) -> frozenset[int]:
        """The levels that a failed check marks, by their index."""
        return frozenset(level for check in self.checks if not check.ok for level in check.levels)

    def html(self) -> str:
        return _html(self)

    def html_in(self, language: str) -> tuple[str, list[str]]:
        """The page in one of LANGUAGES, and what of it stayed English because nobody translated it."""
        return (self.html(), []) if language == "en" else translated(self.html(), language)

    def markdown(self) -> str:
        return _markdown(self)

    def data(self) -> dict[str, Any]:
        """The report as plain values, of the shape that is promised to stay. Durations in milliseconds."""
        return _data(self)

    def json(self) -> str:
        return json.dumps(self.data(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def build(run: RunFrames, thresholds: Sequence[Threshold] = ()) -> Report:
    """Judge a run."""
    run.levels = with_telemetry(run.levels, run.telemetry, thresholds)
    # which requests are good needs limits: the given ones, or those that the verdict derives
    goodput = run.goodput(thresholds)
    empty = empty_levels(run.levels, run.empty())
    replayed = is_replay(run.info)
    ramp = of_the_ramp(run.levels)
    verdict = find(ramp, thresholds or ((FEW_ERRORS,) if replayed else ()), goodput, run.gone(), empty)
    gold = None
    if replayed:
        verdict = of_windows(verdict, run.levels, thresholds, goodput)
    elif any(each.gold for each in thresholds):
        gold = find(ramp, golds(thresholds), goodput, run.gone(), empty).slo_limit
        limit = verdict.slo_limit
        verdict = replace(verdict, slo_limit=replace(limit, why=f"{limit.why}; {_gold(gold, verdict.unit)}"))
    if not thresholds:
        goodput = run.goodput(verdict.thresholds)
    found = checks(run.levels, _facts(run, verdict), verdict.thresholds)
    found = checks_of(found) if replayed else found
    unknown = [*run.unknown, *_in_one_piece(run)]
    return Report(run, verdict, found, goodput, tuple(thresholds), unknown, gold, _gates(run, found))


def _gates(run: RunFrames, found: Sequence[Check]) -> Outcome | None:
    """The run's own gates, judged as `llmlocust check` does."""
    told = mapping(run.info.get("options"))
    try:
        gates = list(dict.fromkeys(parse_gates(str(told.get("llm_threshold") or ""))))
    except ValueError:  # of another version
        return None
    if not gates:
        return None
    levels = with_telemetry(run.levels, run.telemetry, [each.threshold for each in gates])
    accepted = [each.strip() for each in str(told.get("llm_accept") or "").split(",")]
    return judge(levels, gates, found, run.goodput, accepted, is_ramp=not is_replay(run.info))


def _gold(limit: Finding, unit: str) -> str:
    """The highest load of the gold tier, in a few words."""
    if not limit.reached:
        return f"gold {'cannot be told' if limit.why.startswith('cannot') else 'holds at every level'}"
    if limit.level_ok is None:
        return "gold at no level"
    return f"gold up to {words.with_unit(limit.level_ok, unit)}"


def _in_one_piece(run: RunFrames) -> list[str]:
    """Whether a server sent whole answers where streams are asked for; a user class may ask for none."""
    if not run.whole() or any(each.metric("ttft").count for each in run.levels):
        return []
    if mapping(run.info.get("options")).get("llm_stream") is False:
        return []
    said = (
        "Time to first token, gaps between tokens and TPOT: the answers came in one piece although a stream was asked "
        "for (unless a user class says stream = False); the server or something before it ignores stream: true."
    )
    return [said]


def _facts(run: RunFrames, verdict: Verdict) -> Facts:
    info = run.info
    counts, rows, classes = (mapping(info.get(name)) for name in ("counts", "rows", "user_classes"))
    return Facts(
        client_cpu=_by_level(run, "client_cpu"),
        loop_lag={level: value / 1000.0 for level, value in _by_level(run, "loop_lag").items()},
        cut_off="ended" in info and info["ended"] is None,
        planned=planned(mapping(info.get("plan"))) if run.source == OURS else (),
        hold=None if run.rebuilt else number(mapping(info.get("plan")).get("hold")),
        requests=_requests_of(run),
        holds=() if run.rebuilt else [hold for *_, hold in parts_planned(mapping(info.get("plan")))],
        stopped=info["stopped"] if isinstance(info.get("stopped"), bool) else None,
        empty=run.empty(),
        busy=run.busy(),
        courses=courses(run.levels, run.requests),
        settle=number(mapping(info.get("plan")).get("settle")),
        cache_hits=cache_hits(run.levels, run.telemetry),
        prompts=_repeated(mapping(info.get("options"))),
        shared=any(mapping(info.get("options")).get(name) for name in ("llm_system", "llm_prefix_tokens"))
        or bool(mapping(mapping(info.get("plan")).get("trace")).get("shared")),
        gone=gone(run.levels, run.workers),
        stood_still=stood_still(run.levels, run.workers),
        silent=_silent(run),
        tokens_a_chunk=tokens_a_chunk(run.successes()),
        length_noise=run.length_noise(),
        rows_seen=count(rows.get("seen")),
        rows_kept=count(rows.get("kept")),
        sent=count(counts.get("sent")),
        ended=count(counts.get("ended")),
        think_time=think_time_of(classes) if classes else None,
        clock=str(info["clock"]) if info.get("clock") else None,
        decisive=verdict.decisive(of_the_ramp(run.levels)),
        bare=run.source == TABLE,
        own=[made for told in listed(info.get("checks")) if (made := _own_check(told)) is not None],
    )


def _requests_of(run: RunFrames) -> int | None:
    """The fixed number that the run was of."""
    return count(mapping(run.info.get("plan")).get("requests"))


def _repeated(told: Mapping[str, Any]) -> int | None:
    """How many prompts were asked again and again; None where each was unique, 0 where nobody can tell how many."""
    if told.get("llm_unique") is not False:
        return None
    try:
        return len(load_prompts(str(told.get("llm_prompts") or "")))
    except ValueError:  # a file that is elsewhere
        return 0


def _silent(run: RunFrames) -> int:
    processes = count(run.info.get("processes"))
    if run.workers is None or processes is None:
        return 0
    return max(0, processes - int(run.workers["worker"].nunique()))


def stands(report: Report) -> dict[str, bool]:
    """Which of the four numbers rest on no level that a failed check marks."""
    return standing(report.checks, report.verdict.rests(report.ramp))


def _by_level(run: RunFrames, column: str) -> dict[int, float]:
    """The 90th percentile of a level's seconds: one late second is no late level."""
    if run.timeline is None or column not in run.timeline or "level" not in run.timeline:
        return {}
    known = run.timeline.dropna(subset=["level", column])
    found = known.groupby("level")[column].quantile(0.9)
    return {int(level): float(value) for level, value in found.items()}  # type: ignore[call-overload]


def _own_check(told: Any) -> Check | None:
    if not isinstance(told, dict) or "name" not in told:
        return None
    value, limit = (each if isinstance(each, int | float) else None for each in (told.get("value"), told.get("limit")))
    levels = tuple(each for each in listed(told.get("levels")) if isinstance(each, int))
    return Check(str(told["name"]), bool(told.get("ok", True)), value, limit, str(told.get("says") or ""), levels)


# -- in words


def headline(report: Report) -> str:
    """The verdict in a sentence that everybody understands; a second one where the run was stopped early."""
    said = [_safe(report)] if report.climbs or not report.parts.headlines else []
    return " ".join([*said, *report.parts.headlines]) + _stopped(report)


def _safe(report: Report) -> str:
    verdict, unit = report.verdict, report.unit
    limit = verdict.slo_limit
    if verdict.windows:
        return verdict.windows
    if not limit.reached:
        return _held(report)
    bad = words.with_unit(limit.level_bad or 0.0, unit)
    if verdict.gone is not None and verdict.gone[0] == limit.level_bad:
        if limit.level_ok is None:
            what = "The server was gone" if any(each.ok for each in report.levels) else "There was no server"
            return f"{what}: {verdict.gone[1]}."
        ok = words.with_unit(limit.level_ok, unit)
        return f"Safe up to {ok}; then the server was gone: {verdict.gone[1]}."
    why = _why_it_breaks(verdict, limit)
    if report.only_level:
        return f"Not safe at {bad}: {why}."
    if limit.level_ok is None:
        return f"Not safe even at the lowest level, {bad}: {why}."
    ok = words.load(limit.level_ok)
    return f"Safe up to {words.with_unit(limit.level_ok, unit)}; breaks between {ok} and {bad.split()[0]}: {why}."


def _held(report: Report) -> str:
    """Nothing broke: what held, and at which levels that is known."""
    verdict, unit = report.verdict, report.unit
    steps = steps_of(report.ramp)
    judged = [each for step in steps for each in step.levels]
    told = [each for each in verdict.thresholds if any(_told(report, each, level) for level in judged)]
    held = [each for each in judged if _holds(report, each) == "holds" or _held_so_far(report, told, each)]
    if judged and {each.level for each in judged} <= verdict.empty:
        return "Whether it is safe cannot be told: the answers brought no tokens."
    if not held:
        return "Whether it is safe cannot be told from these figures: no level has what the limits speak of."
    top = words.with_unit(max(each.load for each in held), unit)
    if len(steps) == 1 and verdict.derived:
        return one_level.says(report.only_level) if report.only_level else f"Only {top}: nothing to compare them with."
    what = "Held every limit"
    if verdict.derived and not any(each.is_duration for each in told):
        what = f"Errors held their limit ({words.series([str(each) for each in told])}), latency is not known,"
    elif len(told) < len(verdict.thresholds):
        what = f"Held what is known of the limits ({words.series([str(each) for each in told])})"
    where = "at all levels"
    if len(held) < len(judged):
        where = "at the levels where they are known"
    elif _stopped(report):
        where = "at the levels measured"
    elif len(steps) == 1:
        where = "at the one level"
    breaks = _first_break(verdict)
    return f"{what} {where}, up to {top}; {breaks or 'where it breaks was not reached'}."


def _held_so_far(report: Report, told: Sequence[Threshold], figures: LevelFigures) -> bool:
    """Whether a level holds whatever any level tells of the limits."""
    return bool(told) and figures.level not in report.verdict.empty and all(_told(report, t, figures) for t in told)


def _told(report: Report, threshold: Threshold, figures: LevelFigures) -> bool:
    return threshold.holds(figures, report.goodput.get(figures.level)) is not None


def _stopped(report: Report) -> str:
    """That the run was stopped early, as a sentence to add; nothing where it was not."""
    check = next((each for each in report.checks if each.name == "run completed" and not each.ok), None)
    if check is None:
        return ""
    over = report.run.info.get("ended") is not None
    said = "The run was stopped early" if over else "The run was cut off, or still goes on"
    if gate := ended_by(report.run):
        said = f"The run was ended by its gate {gate}"
    if check.limit is None or (check.value or 0) >= check.limit:
        return f" {said}."
    return f" {said}, after {check.value:.0f} of {check.limit:.0f} {check.unit or 'levels'}."


def ended_by(run: RunFrames) -> str:
    """The gate for which the run ended before its plan was through; empty where none did."""
    told = run.info.get("ended_by")
    return " ".join(told.split()) if isinstance(told, str) else ""


def _why_it_breaks(verdict: Verdict, limit: Finding) -> str:
    cause = limit.cause or limit.why
    for cliff in verdict.cliffs:
        if cliff.between == (limit.level_ok, limit.level_bad):
            told = cliff.why.split(":")[0].split(";")[0]
            if told.startswith(("requests queue", "answers get slower", "requests wait")):
                return f"{told} ({cause})"
    return cause


def _first_break(verdict: Verdict) -> str:
    for name in ("capacity", "collapse"):
        finding = verdict.numbers()[name]
        if finding.reached:
            return f"yet {NUMBERS[name].lower()} is {place(finding, verdict.unit)}"
    return ""


def place(finding: Finding, unit: str) -> str:
    """Where a number lies: about 45 users (40 to 50)."""
    if not finding.reached:
        return "cannot be told" if finding.why.startswith("cannot") else "not reached"
    if finding.load is None:
        return f"at or below {words.with_unit(finding.high or 0.0, unit)}"
    about = f"about {words.with_unit(_rounded(finding.load), unit)}"
    between = range_of(finding)
    return f"{about} ({between})" if between else about


def range_of(finding: Finding) -> str:
    """The 95 % interval of a number that was reached, in words; one end may not be known."""
    low, high = (None if load is None else words.load(_rounded(load)) for load in (finding.low, finding.high))
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"{low} or more" if low is not None else f"{high} or less" if high is not None else ""


def _rounded(load: float) -> float:
    """A load as precise as such a number can be: whole from 10 on, else a tenth."""
    return float(round(load)) if load >= 10 else round(load, 1)


def trust_line(report: Report) -> str:
    failed = [check for check in report.checks if not check.ok]
    if not failed:
        if not any(check.name == "client CPU" for check in report.checks):
            return (
                f"Nothing speaks against the measurement ({len(report.checks)} checks), but whether the load "
                "generator itself kept up is not known."
            )
        return f"The measurement can be believed: {len(report.checks)} checks, none failed."
    names = words.series([check.name for check in failed])
    said = f"Read these numbers with care: {len(failed)} of {len(report.checks)} checks failed ({names})."
    return said if report.verdict.windows else f"{said} {_still_stands(report)}".rstrip()


def _still_stands(report: Report) -> str:
    """Which of the four numbers can be used in spite of what failed; without a ramp, which parts."""
    if report.only_level:
        return "They doubt the only level." if report.doubted else ""
    if not report.climbs:
        return _parts_that_stand(report)
    told = {"slo_limit": "the SLO limit", "knee": "the knee", "capacity": "capacity", "collapse": "collapse"}
    held = stands(report)
    fallen = [told[name] for name, holds in held.items() if not holds]
    kept = [told[name] for name, holds in held.items() if holds]
    if not kept:
        return "All four numbers rest on what they doubt."
    if not fallen:
        return "The four numbers rest on other levels and stand."
    stand = f"{words.series(kept)} {'stand' if len(kept) > 1 else 'stands'}"
    rest = f"{words.series(fallen)} {'rest' if len(fallen) > 1 else 'rests'} on doubted levels"
    return f"{_sentence(rest)[:-1]}; {stand}."


def _parts_that_stand(report: Report) -> str:
    rests = {part.name: {each.level for each in part.levels} for part in report.parts.parts}
    fallen = [name for name, holds in standing(report.checks, rests).items() if not holds]
    return f"They are about {words.series(fallen)}." if fallen else "They are about no level that was measured."


_MARKS = {"✓": "passed", "✗": "failed", "•": "to note"}


def mark(check: Check) -> str:
    """✗ where the numbers are hurt, • where something limits how far those of some levels reach, else ✓."""
    return "✗" if not check.ok else "•" if check.levels else "✓"


def summary(report: Report) -> list[str]:
    """The verdict in about five lines, for a terminal."""
    lines = [headline(report)]
    if report.only_level:
        return [*lines, *one_level.lines(report.only_level), f"{'Trust:':<21} {trust_line(report)}"]
    for name in ("capacity", "knee", "collapse") if report.climbs else ():
        finding = report.verdict.numbers()[name]
        lines.append(f"{NUMBERS[name] + ':':<10} {place(finding, report.unit)}" + _because(finding))
    lines += [f"{each.name + ':':<10} {parts.brief(each, report.parts, report.unit)}" for each in report.parts.parts]
    lines.append(f"{'Trust:':<10} {trust_line(report)}")
    return lines


def _because(finding: Finding) -> str:
    return f" – {finding.why}" if finding.reached else ""


# -- as data


def _data(report: Report) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "load": report.unit,
        "levels": [_level(each, report.goodput) | {"limits": _limits(report, each)} for each in report.levels],
        "parts": [{name: _any(value) for name, value in part.items()} for part in report.parts.data()],
        "recoveries": [_recovery(each) for each in report.parts.recoveries],
        "verdict": verdict_data(report),
        "trust": {
            "ok": report.trusted,
            "stands": stands(report),
            "checks": [_check(each) for each in report.checks],
        },
        "advice": [{"do": each.do, "because": each.because} for each in report.advice],
        "source": report.run.source,
        "unknown": list(report.unknown),
        "notes": report.run.notes,
    }


def verdict_data(report: Report) -> dict[str, Any]:
    verdict: dict[str, Any] = {name: _finding(each) for name, each in report.verdict.numbers().items()}
    verdict["cliffs"] = [
        {"between": [plain(load) for load in cliff.between], "what": cliff.what, "why": cliff.why}
        for cliff in report.verdict.cliffs
    ]
    verdict["thresholds"] = [str(each) for each in report.verdict.thresholds]
    verdict["derived"] = report.verdict.derived
    if report.gold is not None:
        verdict["gold"] = _finding(report.gold)
    return verdict | {"says": headline(report)}


def _any(value: Any) -> Any:
    if isinstance(value, list):
        return [_any(each) for each in value]
    return plain(value) if isinstance(value, float) else value


def _recovery(found: Recovery) -> dict[str, Any]:
    times = ("limit", "seconds", "low", "high", "within")
    told = {name: None if (value := getattr(found, name)) is None else plain(value * 1000.0) for name in times}
    well = found.seconds is not None if found.is_known else None
    return {"after": found.after, "load": plain(found.load), "well": well, **told, "says": str(found)}


def _limits(report: Report, figures: LevelFigures) -> str:
    met = _tier(report, figures)
    return NOT_KNOWN if met == words.UNKNOWN else met


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "reached": finding.reached,
        "load": plain(finding.load, 4),
        "low": plain(finding.low),
        "high": plain(finding.high),
        "level_ok": plain(finding.level_ok),
        "level_bad": plain(finding.level_bad),
        "why": finding.why,
    }


def _level(figures: LevelFigures, goodput: Mapping[int, float]) -> dict[str, Any]:
    told = {
        "load": plain(figures.load),
        "users": plain(figures.users),
        "reached": figures.reached,
        "window": plain(figures.window * 1000.0),
        "requests": figures.requests if figures.counted else None,
        "ok": figures.ok if figures.counted else None,
        "aborted": figures.aborted,
        "due": figures.due,
        "held_back": figures.held_back,
        "errors": plain(figures.errors),
        "error_kinds": dict(figures.error_kinds) if figures.counted else {},
        "throughput": plain(figures.throughput),
        "goodput": plain(goodput.get(figures.level)),
        "output_tokens_per_s": plain(figures.output_tokens_per_s),
        "judged": figures.judged,
        **{kind: plain(getattr(figures, kind)) for kind in ANSWERS},
    }
    if figures.part:
        told["part"] = figures.part
    if figures.inputs_per_s > 0:
        told |= {name: plain(getattr(figures, name)) for name in ("inputs_per_s", "input_tokens_per_s")}
    durations = {
        metric: {name: plain(figures.metric(metric)[name] * 1000.0) for name in one_level.STATISTICS}
        | _ranges(figures.metric(metric))
        for metric in _METRICS
    }
    return told | durations


def _ranges(summary: Summary) -> dict[str, Any]:
    """Where the load generator was late, between what the percentiles lie."""
    told = {name: [plain(end * 1000.0) for end in summary.ranges[name]] for name in HEADLINE if name in summary.ranges}
    return {"ranges": told} if told else {}


def _check(check: Check) -> dict[str, Any]:
    scale = 1000.0 if check.unit == "s" else 1.0
    value, limit = (None if each is None else plain(each * scale) for each in (check.value, check.limit))
    return {
        "name": check.name,
        "ok": check.ok,
        "value": value,
        "limit": limit,
        "says": check.says,
        "levels": list(check.levels),
    }


def plain(value: float | None, digits: int = 7) -> float | int | None:
    """A number for JSON: null where it is not known or infinite, whole where it is whole."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


# -- the table of levels


@dataclass(frozen=True)
class Column:
    head: str
    group: str
    cells: list[str]
    broken: list[str]
    """For each cell the threshold that it breaks, or nothing."""
    judged: list[str]
    """For each cell how it was judged, where failed requests decided; or nothing."""


def columns(report: Report) -> list[Column]:
    """The columns of the table that have anything to tell."""
    made = [
        _column(report, "sent", "requests", [_sent(each) for each in report.levels], None),
        _column(report, "failed", "requests", [words.share(each.errors) for each in report.levels], "errors"),
        _rate(report, "ok/s", "requests", "throughput", [each.throughput for each in report.levels]),
        _rate(report, "good/s", "requests", "goodput", [_goodput(report, each) for each in report.levels]),
        _rate(report, "out/s", "tokens", "output_tokens_per_s", [each.output_tokens_per_s for each in report.levels]),
    ]
    if any(each.inputs_per_s > 0 for each in report.levels):  # texts were embedded, or documents ranked
        made += [
            _rate(report, "inputs/s", "requests", "inputs_per_s", [each.inputs_per_s for each in report.levels]),
            _rate(report, "in/s", "tokens", "input_tokens_per_s", [each.input_tokens_per_s for each in report.levels]),
        ]
    wanted = {
        "ttft": ("p50", "p95", "p99"),
        "answer": ("p95",),
        "gap": ("p50", "p99"),
        "tpot": ("p50",),
        "e2e": ("p50", "p95", "p99"),
    }
    asked = {(each.metric, each.statistic) for each in report.verdict.thresholds if each.is_duration}
    for metric, statistics in wanted.items():
        named = [name for name in one_level.STATISTICS if name in statistics or (metric, name) in asked]
        if metric == "e2e" and not _known(report, metric, "p50"):
            named = ["mean", *(name for name in named if name != "mean")]
        if metric == "answer" and _same_as_ttft(report):
            continue
        for statistic in named:
            if _known(report, metric, statistic):
                values = [one_level.of_summary(each.metric(metric), statistic) for each in report.levels]
                made.append(_column(report, statistic.replace("_", "."), _GROUPS[metric], values, (metric, statistic)))
    for metric in ("ttft", "e2e"):
        late = f"{metric}_due"
        if any(_differs(each.metric(metric)["p95"], each.metric(late)["p95"]) for each in report.levels):
            values = [one_level.of_summary(each.metric(late), "p95") for each in report.levels]
            made.append(_column(report, "p95", _GROUPS[late], values, (late, "p95")))
    for kind in ANSWERS:
        shares = [getattr(each, kind) for each in report.levels]
        if any(each.judged if kind == "right" else getattr(each, kind) > 0 for each in report.levels):
            made.append(_column(report, _ANSWERS[kind], "answers", [words.share(each) for each in shares], None))
    for limit in {each.name: each for each in report.verdict.thresholds if each.is_telemetry}.values():
        values = [_foreign(limit, limit.measured(each)) for each in report.levels]
        made.append(_column(report, limit.name, "telemetry", values, (limit.metric, limit.statistic)))
    return [each for each in made if any(cell != words.UNKNOWN for cell in each.cells)]


def _differs(sent: float, due: float) -> bool:
    """Whether latency from when requests were due is another than from when they were sent."""
    return due - sent > max(EXACT, EXACT_SHARE * sent)


def _foreign(limit: Threshold, value: float) -> str:
    return words.share(value) if limit.unit == "%" else words.digits(value)


def _goodput(report: Report, figures: LevelFigures) -> float:
    return report.goodput.get(figures.level, math.nan) if report.has_limits else math.nan


def _sent(figures: LevelFigures) -> str:
    return f"{figures.requests}" if figures.counted else words.UNKNOWN


_ANSWERS = {"right": "right", "empty": "without text", "cut": "cut", "repeated": "repeated"}
_GROUPS = {
    "ttft": "first token",
    "answer": "first answer",
    "gap": "token gap",
    "tpot": "per token",
    "e2e": "end to end",
    "ttft_due": "first token, from due",
    "e2e_due": "end to end, from due",
}


def _known(report: Report, metric: str, statistic: str) -> bool:
    return any(not math.isnan(each.metric(metric)[statistic]) for each in report.levels)


def _same_as_ttft(report: Report) -> bool:
    """Nothing reasons: the first token is the first of the answer."""
    pairs = [(each.metric("answer")["p95"], each.metric("ttft")["p95"]) for each in report.levels]
    return all(math.isnan(answer) or answer == ttft for answer, ttft in pairs)


def _rate(report: Report, head: str, group: str, metric: str, values: Sequence[float]) -> Column:
    return _column(report, head, group, [words.digits(each) for each in values], metric)


def _column(report: Report, head: str, group: str, cells: list[str], of: str | tuple[str, str] | None) -> Column:
    metric, statistic = of if isinstance(of, tuple) else (of, "")
    limits = [each for each in report.verdict.thresholds if (each.metric, each.statistic) == (metric, statistic)]
    broken, judged = [], []
    cells = list(cells)
    for place, figures in enumerate(report.levels):
        limit = next((t for t in limits if t.holds(figures, report.goodput.get(figures.level)) is False), None)
        broken.append(str(limit or ""))
        judged.append("")
        if limit is not None and limit.is_duration and figures.failed:
            seen, counted = figures.metric(metric or "")[statistic], limit.measured(figures)
            if counted == seen or (not math.isnan(seen) and not limit.met_by(seen)):
                continue
            plain = "\N{INFINITY}" if math.isinf(counted) else words.duration(counted)
            judged[-1] = f"{plain} with the {words.share(figures.errors)} that failed counted as infinitely slow"
            if math.isnan(seen):
                cells[place] = plain
                continue
            judged[-1] += f", {cells[place]} of those that succeeded"
            cells[place] = f"{plain} ({cells[place]})"
    return Column(head, group, cells, broken, judged)


_FAILURES_DECIDE = (
    "\N{INFINITY}: in a limit failed requests count as infinitely slow, and so many failed that they decide; in "
    "brackets the figure of those that succeeded"
)


def _failures_decide(table: Iterable[Column]) -> bool:
    return any(any(column.judged) for column in table)


def _holds(report: Report, figures: LevelFigures) -> str:
    told = [each.holds(figures, report.goodput.get(figures.level)) for each in report.verdict.thresholds]
    if False in told:
        return "fails"
    if figures.level in report.verdict.empty:
        return "not known"
    if not report.has_limits or not told or (None in told and True not in told):
        return words.UNKNOWN
    return "not known" if None in told else "holds"


def _tier(report: Report, figures: LevelFigures) -> str:
    """How a level stands to the limits: which of two tiers it meets, where there are two."""
    holds = _holds(report, figures)
    if holds != "holds" or report.gold is None:
        return holds
    return tier(report.verdict.thresholds, figures, report.goodput.get(figures.level))


# -- HTML


def _html(report: Report) -> str:
    cards = [
        {
            "key": name,
            "name": NUMBERS[name],
            "means": MEANS[name],
            "number": card_number(finding, report.unit),
            "range": card_range(finding, report.unit),
            "why": _sentence(finding.why),
            "reached": finding.reached,
        }
        for name, finding in report.verdict.numbers().items()
    ]
    table = columns(report)
    scene = _scene(report)
    level = report.only_level
    shown = report.ramp if report.climbs else [each for each in report.levels if each.part != RECOVERY]
    told = journeys(report.run.requests, shown, report.verdict)
    return render(
        "report.html.j2",
        title=_title(report),
        headline=headline(report),
        climbs=report.climbs,
        parts=_parts(report),
        parts_say=report.parts.says,
        cards=one_level.cards(level) if level else cards,
        one_level=level is not None,
        percentiles=one_level.percentiles(level) if level else None,
        collapse=_sentence(report.verdict.collapse.why),
        cliffs=[
            {
                "where": f"{words.load(cliff.between[0])} → {words.with_unit(cliff.between[1], report.unit)}",
                "what": cliff.what,
                "why": _sentence(cliff.why),
            }
            for cliff in report.verdict.cliffs
        ],
        advice=report.advice,
        trusted=report.trusted,
        trust_line=trust_line(report),
        checks=[(each, mark(each), _MARKS[mark(each)]) for each in report.checks],
        limits=[str(each) for each in report.verdict.thresholds] if report.has_limits else [],
        derived=report.verdict.derived,
        unit=words.unit_of(report.unit),
        load_unit=report.unit,
        columns=table,
        groups=_grouped(table),
        failures_decide=_FAILURES_DECIDE if _failures_decide(table) else "",
        rows=[
            {
                "load": words.load(each.load) if math.isfinite(each.load) else words.UNKNOWN,
                "part": each.part,
                "known": each.part in PARTS,
                "holds": _holds(report, each),
                "tier": _tier(report, each),
                "doubted": each.level in scene.doubted,
                "cells": [(column.cells[place], column.broken[place], column.judged[place]) for column in table],
            }
            for place, each in enumerate(report.levels)
        ],
        quality=_quality(report),
        turn_heads=HEADS,
        turns=(talks := turns(report.run, report.verdict)),
        turns_at=_turns_at(report, talks) if talks else "",
        scenes=told,
        steps={name: does for name, does in STEPS.items() if name in _steps_of(told)},
        longest=_longest(told),
        glance=pictures.at_a_glance(scene) if report.climbs else None,
        no_ramp=_sentence(report.verdict.slo_limit.why) if report.verdict.windows else None,
        gates=report.gates,
        search=pictures.how_it_was_found(report.run, scene),
        pictures=pictures.pictures(report.run, scene),
        failed=any(each.failed for each in report.levels),
        messages=messages(report.run),
        facts=facts(report.run, report.unit),
        foreign=FOREIGN,
        options=options(report.run),
        notes=report.run.notes,
        unknown=report.unknown,
        files=[each.name for each in report.run.files],
        again=_again(report),
        glossary=GLOSSARY,
    )


def _parts(report: Report) -> dict[str, Any] | None:
    """The table of the parts."""
    told = report.parts
    if not told:
        return None
    columns = told.columns()
    rows = [
        {
            "name": part.name,
            "means": PARTS.get(part.name, ""),
            "load": parts.loads(part),
            "time": parts.time(part),
            "limits": _standing(report, part.levels),
            "cells": [cells[place] for _, cells in columns],
        }
        for place, part in enumerate(told.parts)
    ]
    return {"heads": [head for head, _ in columns], "rows": rows}


def _standing(report: Report, levels: Sequence[LevelFigures]) -> str:
    """How the levels of a part stand to the limits."""
    found = [_tier(report, each) for each in levels]
    if len(set(found)) == 1:
        return found[0]
    return f"fails at {found.count('fails')} of {len(found)}" if "fails" in found else "holds where it is known"


def _quality(report: Report) -> list[str]:
    """Sentences: whether answers get worse under load."""
    return [] if report.verdict.windows else [each.says(report.unit) for each in changes(report.ramp)]


def _steps_of(told: Iterable[Scenes]) -> set[str]:
    return {name for each in told for journey in each.journeys for name, _ in journey.steps}


def _longest(told: Iterable[Scenes]) -> float:
    """Seconds of the longest request that is shown: the width of the timelines."""
    return max((journey.seconds for each in told for journey in each.journeys), default=0.0)


def _scene(report: Report) -> Scene:
    standing = {each.level: _tier(report, each) for each in report.levels}
    return Scene(report.ramp, report.verdict, report.goodput, standing, report.doubted)


def _title(report: Report) -> str:
    model = mapping(report.run.info.get("target")).get("model")
    return f"Load test of {model}" if model else f"Load test {report.run.prefix.name}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def card_number(finding: Finding, unit: str) -> str:
    """A number without its unit; why there is none."""
    if not finding.reached:
        return place(finding, unit)
    if finding.load is None:
        return f"≤ {words.load(finding.high or 0.0)}"
    return words.load(_rounded(finding.load))


def card_range(finding: Finding, unit: str) -> str:
    if not finding.reached:
        return ""
    between = "" if finding.load is None else range_of(finding)
    return f"{words.unit_of(unit)}, 95 %: {between}" if between else words.unit_of(unit)


def _grouped(table: Iterable[Column]) -> list[tuple[str, int]]:
    groups: list[tuple[str, int]] = []
    for column in table:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups


def _again(report: Report) -> str:
    limits = "".join(f' --threshold "{each}"' for each in report.thresholds)
    if report.run.source == TABLE:
        return f"llmlocust report --table {report.run.files[0].name}{limits}"
    return f"llmlocust report {report.run.prefix.name}{limits}"


# -- Markdown


def _markdown(report: Report) -> str:
    lines = [f"# {line(_title(report))}", "", f"**{line(headline(report))}**", ""]
    lines += [f"{'✓' if report.trusted else '⚠'} {line(trust_line(report))}", ""]
    lines += _markdown_parts(report)
    if report.only_level:
        lines += _markdown_figures(report.only_level)
    elif report.climbs:
        lines += ["| | load | why |", "|---|---|---|"]
        for name, finding in report.verdict.numbers().items():
            lines.append(f"| **{NUMBERS[name]}** | {place(finding, report.unit)} | {line(_sentence(finding.why))} |")
    if report.verdict.cliffs:
        lines += ["", "## Cliffs", ""]
        for cliff in report.verdict.cliffs:
            low, high = (words.load(each) for each in cliff.between)
            lines.append(f"- {low} → {high} {words.unit_of(report.unit)}: {line(cliff.what)}. {line(cliff.why)}.")
    if advice := report.advice:
        lines += ["", "## What to try next", ""]
        lines += [f"- {line(each.do)} {line(each.because)}" for each in advice]
    lines += ["", "## Levels", "", *_markdown_table(report)]
    lines += [each for said in _quality(report) for each in ("", line(said))]
    lines += _markdown_turns(report)
    if told := messages(report.run):
        lines += ["", "## Errors", "", "| kind | message | count |", "|---|---|---:|"]
        lines += [f"| {line(kind)} | {_code(text)} | {count} |" for kind, text, count in told]
    lines += ["", "## Can it be believed?", ""]
    lines += [f"- {mark(each)} **{line(each.name)}**: {line(each.says)}" for each in report.checks]
    lines += ["", "## What was run", ""]
    lines += [f"- {name}: {line(value)}" for name, value in facts(report.run, report.unit)]
    if report.run.notes or report.unknown:
        lines += ["", "## What could not be known", ""]
        lines += [f"- {line(each)}" for each in (*report.run.notes, *report.unknown)]
    return "\n".join(lines) + "\n"


def _markdown_figures(level: LevelFigures) -> list[str]:
    heads, rows = one_level.percentiles(level)
    told = [
        f"- {each['name']}: {each['number']}" + f" ({each['range']})" * bool(each["range"])
        for each in one_level.cards(level)
    ]
    return [*told, "", *in_table(["", *heads], [[name, *map(str, figures)] for name, figures in rows])]


def _markdown_parts(report: Report) -> list[str]:
    told = _parts(report)
    if told is None:
        return []
    heads = ["part", words.unit_of(report.unit), "measured for", *told["heads"], "limits"]
    rows = [[row["name"], row["load"], row["time"], *row["cells"], row["limits"]] for row in told["rows"]]
    said = [f"- {line(each)}" for each in report.parts.says]
    return ["## Parts", "", *in_table(heads, rows), "", *said, *([""] if said else [])]


def _turns_at(report: Report, talks: Turns) -> str:
    """Of which levels the turns are."""
    lowest = min(each.load for each in report.levels)
    where = "Of" if talks.top == lowest else "Of the levels up to"
    return f"{where} {words.with_unit(talks.top, report.unit)}"


def _markdown_turns(report: Report) -> list[str]:
    talks = turns(report.run, report.verdict)
    if talks is None:
        return []
    table = in_table(HEADS, [(each.name, *each.cells()) for each in talks.turns])
    return ["", "## Conversations by turn", "", *table, "", f"{_turns_at(report, talks)}."]


def _markdown_table(report: Report) -> list[str]:
    table = columns(report)
    heads = [f"{column.group} {column.head}" for column in table]
    named = any(each.part for each in report.levels)
    words_first = [*["part"] * named, *["limits"] * report.has_limits]
    lines = [f"| {' | '.join([words.unit_of(report.unit), *words_first, *heads])} |"]
    lines.append("|---:|" + "---|" * len(words_first) + "---:|" * len(table))
    for row, each in enumerate(report.levels):
        cells = [f"**{column.cells[row]}** ✗" if column.broken[row] else column.cells[row] for column in table]
        load = words.load(each.load) if math.isfinite(each.load) else words.UNKNOWN
        told = [*[line(each.part)] * named, *[_tier(report, each)] * report.has_limits]
        lines.append(f"| {' | '.join([load, *told, *cells])} |")
    if not report.has_limits:
        return lines
    asked = words.series([f"`{each}`" for each in report.verdict.thresholds])
    source = "derived from the lowest level, as none were given" if report.verdict.derived else "as given"
    lines += ["", f"Limits: {asked} ({source})."]
    return [*lines, "", f"{_FAILURES_DECIDE}."] if _failures_decide(table) else lines


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def line(text: str) -> str:
    """Text from anywhere as one line of Markdown that means nothing else."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def in_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of Markdown whose first column is text; cells are Markdown already, heads are not."""
    lines = [f"| {' | '.join(map(line, heads))} |", "|---|" + "---:|" * (len(heads) - 1)]
    return lines + [f"| {' | '.join((line(row[0]), *row[1:]))} |" for row in rows]


def _code(text: str) -> str:
    return "`` " + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + " ``"


def write(path: Path, text: str) -> None:
    """Write a report; OSError as it comes."""
    path.write_text(text, encoding="utf-8")
