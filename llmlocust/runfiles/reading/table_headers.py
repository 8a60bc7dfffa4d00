"""Meanings of the column names that tools and people write. Pure.

A name is split into words, each word gets the tag of its synonyms, and a few rules derive the meaning from the tags. A
column whose name has an unknown word is telemetry: the rules do not guess.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from llmlocust.metrics.levels import RATE, USERS
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.vocabulary import QUANTILES

TELEMETRY = "telemetry"
UNCLEAR_ERRORS = "unclear errors"
"""Kind of a column whose name is about failures, but not understood."""

LATENCIES = tuple(key for key, metric in METRICS.items() if metric.table_words)
"""Metrics that a table may have columns of."""
_SYNONYMS = {
    # durations
    **{key: METRICS[key].table_words for key in LATENCIES},
    "latency": "latency latencies rt",
    "time": "time times",
    "duration": "duration window runtime",
    # statistics
    "mean": "mean avg average averaged",
    "p50": "median med",
    "max": "max maximum highest",
    "peak": "peak burst",
    "spread": "min minimum std stdev stddev sd sigma var variance stderr",
    # units
    "ms": "ms msec msecs millis milliseconds millisecond",
    "s": "s sec secs second seconds",
    "us": "us μs usec microseconds microsecond",
    "ns": "ns nanoseconds nanosecond",
    "minutes": "minutes minute mins",
    "percent": "percent pct percentage perc",
    # forms of a number
    "rate": "rate ratio share fraction proportion probability",
    "count": "count counts num number cnt amount n",
    "total": "total",
    "asked": "target requested offered nominal desired planned configured",
    "measured": "achieved actual measured observed effective",
    # counts
    "error": "error errors err errs errored failure failures failed fail fails failing ko unsuccessful "
    "fehler erreur erreurs errores errori erros ошибки エラー 錯誤 失敗",
    "kind of failure": "timeout timeouts timedout exception exceptions rejected refused aborted 4xx 5xx",
    "kind of error": "connection connect network server client socket read dns tls ssl api oom status",
    "http": "http https",
    "success": "success successes successful succeeded completed ok passed",
    "request": "request requests req reqs prompts samples queries calls transactions",
    "token": "token tokens tok toks",
    "output": "output generated generation generate completion",
    "throughput": "throughput thruput tput",
    "speed": "speed",
    "rps": "rps qps",
    "tps": "tps",
    "arrival": "arrival arrivals",
    "users": "users user vus vu clients threads thread streams sessions connections",
    "concurrency": "concurrency concurrent conc parallel parallelism simultaneous",
    "filler": "of in the a at for with by line all overall value values test benchmark response sent issued complete virtual load level levels",
}
_WORDS = {word: tag for tag, words in _SYNONYMS.items() for word in words.split()}
_PHRASES = {
    "time to first token": "ttft",
    "time to the first token": "ttft",
    "first token": "ttft",
    "time per output token": "tpot",
    "per output token": "tpot",
    "per token": "tpot",
    "inter token": "itl",
    "between tokens": "itl",
    "between output tokens": "itl",
    "token gap": "itl",
    "token gaps": "itl",
    "end to end": "e2e",
    "response time": "latency",
    "response times": "latency",
    "resp time": "latency",
    "request time": "latency",
    "time per request": "latency",
    "request duration": "latency",
    "req duration": "latency",
    "run time": "duration",
    "max concurrent requests": "peak concurrency",  # vLLM's name for the maximum in flight
    "concurrent requests": "concurrency",
    "concurrent reqs": "concurrency",
    "parallel requests": "concurrency",
    "concurrent connections": "concurrency",
    "standard deviation": "std",
    "std dev": "std",
    "std err": "std",
    "standard error": "std",
    "error bar": "std",
    "error bars": "std",
    "margin of error": "std",
    "timed out": "timeouts",
    "no of": "count",
    "non 2xx": "failed",
    "non 200": "failed",
    "user count": "users",
    "thread count": "threads",
    "client count": "clients",
    **{f"per {second}": "persecond" for second in ("s", "sec", "second", "seconds")},
    **{f"per {minute}": "perminute" for minute in ("min", "minute", "minutes")},
    **{f"per {unit}": unit for unit in ("ms", "us", "percent", "value")},  # a unit behind a slash: TTFT/ms
    "rpm": "request perminute",
    "qpm": "request perminute",
}
_WORDS |= {"persecond": "per second", "perminute": "per minute"}
_PHRASE = re.compile("|".join(rf"(?<= ){phrase}(?= )" for phrase in sorted(_PHRASES, key=len, reverse=True)))
_CHINESE = {
    "并发": "concurrency",
    "线程": "threads",
    "用户": "users",
    "客户端": "clients",
    "错误": "errors",
    "失败": "failed",
    "报错": "errors",
    "异常": "errors",
    "超时": "timeouts",
    "成功": "success",
    "完成": "completed",
    "请求速率": "request rate",
    "到达": "arrival",
    "目标": "target",
    "实际": "actual",
    "请求": "requests",
    "样本": "samples",
    "中位数": "median",
    "中位": "median",
    "分位数": "percentile",
    "分位": "percentile",
    "平均": "mean",
    "均值": "mean",
    "最大": "max",
    "最小": "min",
    "标准差": "std",
    "响应时间": "latency",
    "响应时延": "latency",
    "响应延迟": "latency",
    "延迟": "latency",
    "时延": "latency",
    "耗时": "latency",
    "端到端": "e2e",
    "吞吐量": "throughput",
    "吞吐率": "throughput",
    "吞吐": "throughput",
    "每秒": "per s",
    "毫秒": "ms",
    "微秒": "us",
    "秒": "s",
    "时长": "duration",
    "时间": "time",
    "输出": "output",
    "生成": "output",
    "输入": "input",
    "百分比": "percent",
    "比例": "ratio",
    "占比": "ratio",
    "率": "rate",
    "次数": "count",
    "数量": "count",
    "个数": "count",
    "总数": "total",
    "数": "count",
    "总": "total",
    "值": "value",
    "个": "value",
    "次": "value",
    "人": "value",
}
_CHINESE_TOKENS = {
    r"首\s*个?\s*(?:token|字|包)": "ttft",
    r"每\s*个?\s*(?:输出)?\s*token": "tpot",
    r"token\s*间隔?": "itl",
}
_HAN = re.compile("|".join(sorted(_CHINESE, key=len, reverse=True)))
_PERCENTILES = (
    # p95, p(95), p99.9, p99_9, p999, tp99, pct95, percentile 95
    re.compile(
        r"(?<![a-z0-9])(?:percentile|perc|pctl|pct|tp|p)[\s_(\[:-]*(99[._]9{1,2}|\d{2}\.\d+|9{3,4}|100|\d{2})(?!\d)\)?"
    ),
    # 95%, 95 %ile, 95th percentile, 90% line
    re.compile(
        r"(?<![\d.a-z])(\d{2}\.\d+|100|\d{2})\s*(?:st|nd|rd|th)?[\s_-]*(?:%\s*(?:ile|tile)?|percentile|pctl|pct|percent)"
        r"(?![a-z])"
    ),
    re.compile(r"(?<![\d.a-z])(\d{2})(?:st|nd|rd|th)(?![a-z])"),
)
_STATUS = re.compile(r"40[0-8]|429|50[0-4]")
_FAILED = re.compile(r"error|fail|timeout|timedout|^err")
_STATISTICS = {"mean", "max", "spread", *QUANTILES}
TIME_UNITS = {"ms": 1e-3, "s": 1.0, "us": 1e-6, "ns": 1e-9, "minutes": 60.0}
SCALES = {**TIME_UNITS, "per second": 1.0, "per minute": 1 / 60}
"""Factors from a unit to seconds, or per second."""
MEASURED = 9
"""Rank of a measured load. All others are requested loads."""


@dataclass(frozen=True)
class Meaning:
    """Meaning of a column."""

    kind: str
    """USERS, RATE, a metric, "throughput", "output_tokens_per_s", "errors", "success", "requests", "window", \
UNCLEAR_ERRORS or TELEMETRY."""
    name: str
    """The statistic of a metric; otherwise the column's name in small letters."""
    scale: float | None = None
    """Factor from the unit in the name to seconds, or per second; None without a unit."""
    rank: int = 0
    """Order of preference among columns of one kind; the lowest is used."""
    tags: frozenset[str] = frozenset()
    """Tags of the words in the name."""


# -- words


def words(text: str) -> list[str]:
    """Split a name or a unit into words, in small letters. Phrases become one word, percentiles p95."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z]\d\d)(?=[A-Z])", " ", text).lower()
    for chinese, word in _CHINESE_TOKENS.items():
        text = re.sub(chinese, f" {word} ", text)
    text = _HAN.sub(lambda match: f" {_CHINESE[match[0]]} ", text)
    for shape in _PERCENTILES:
        text = shape.sub(lambda match: f" {_percentile(match[1])} ", text)
    text = re.sub(r"/\s*\(", " ", text).replace("%", " percent ").replace("#", " count ").replace("/", " per ")
    text = " ".join(["", *re.findall(r"[^\W_]+", text), ""])
    return [part for word in _PHRASE.sub(lambda match: _PHRASES[match[0]], text).split() for part in _parts(word)]


def _parts(word: str) -> list[str]:
    """Split a word that is two known ones, such as "errorrate"; keep any other."""
    cuts = range(3, len(word) - 2) if not _tag(word) else ()
    return next(([word[:at], word[at:]] for at in cuts if _tag(word[:at]) and _tag(word[at:])), [word])


def _percentile(digits: str) -> str:
    """Name a percentile: 50 → median, 95 → p95, 99.9 and 999 → p999, 100 → max."""
    known = {"50": "median", "100": "max"}
    return known.get(digits, "p" + re.sub(r"\D", "", digits))


def _statistic(word: str) -> str:
    """Return the name of a statistic, "spread" for those that are not used, and an empty string for other words."""
    if _WORDS.get(word) in ("mean", "p50", "max", "spread"):
        return _WORDS[word]
    name = {"p999": "p99_9"}.get(word, word)
    if name in QUANTILES:
        return name
    return "spread" if re.fullmatch(r"p\d+", word) else ""


def _tag(word: str) -> str:
    if statistic := _statistic(word):
        return statistic
    return _WORDS.get(word) or ("kind of failure" if _STATUS.fullmatch(word) else "")


# -- meanings


def meaning_of(name: str, units: AbstractSet[str] = frozenset()) -> Meaning:
    """Derive the meaning of a column from its name and from the tags of the units in its cells."""
    parts = words(name)
    tags = frozenset({_tag(word) for word in parts} | units) - {"", "filler"}
    is_about_failures = any(_FAILED.search(word) for word in parts if _tag(word) != "spread")
    has_unknown = any(not _tag(word) for word in parts)
    split = _Name(_plain(name), parts, tags, has_unknown, is_about_failures)
    return next((meaning for rule in _RULES if (meaning := rule(split))), Meaning(TELEMETRY, split.plain, tags=tags))


def _plain(name: str) -> str:
    """Write a name in small letters of ASCII, as in a threshold; a name without any stays as it is."""
    text = name.strip().lower().replace("%", " percent ").replace("/", "_per_")
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_") or name.strip().lower()


@dataclass(frozen=True)
class _Name:
    """The name of a column, split into words."""

    plain: str
    words: Sequence[str]
    tags: frozenset[str]
    has_unknown: bool
    """Whether a word of it has no tag."""
    is_about_failures: bool
    """Whether a word of it is about failures, known or not."""

    def has(self, *tags: str) -> bool:
        return bool(self.tags.intersection(tags))

    def has_all(self, *tags: str) -> bool:
        return self.tags.issuperset(tags)

    def is_within(self, *tags: str) -> bool:
        """Return whether all words are known and have no other tags than these."""
        return not self.has_unknown and self.tags.issubset(tags)

    def without(self, *tags: str) -> _Name:
        return replace(self, tags=self.tags - set(tags))

    def as_(self, kind: str, name: str = "", rank: int = 0) -> Meaning:
        scales = [scale for unit, scale in SCALES.items() if unit in self.tags]
        return Meaning(kind, name or self.plain, scales[0] if len(scales) == 1 else None, rank, self.tags)


_FORMS = ("request", "count", "total", "rate", "percent", "mean", "measured")
"""Tags of words for the form in which failures or successes are counted."""
_PER = ("per second", "per minute")


def _errors(name: _Name) -> Meaning | None:
    if name.has("spread") or not (name.has("error", "kind of failure") or name.is_about_failures):
        return None
    if not name.is_within("error", "kind of failure", "kind of error", "http", *_FORMS, *_PER):
        return name.as_(UNCLEAR_ERRORS) if name.has("error") or name.is_about_failures else None
    return name.as_("errors", rank=int(name.has("kind of failure", "kind of error")))


def _success(name: _Name) -> Meaning | None:
    if not name.has("success"):
        return None
    if name.is_within("success", "http", *_FORMS):
        return name.as_("success")
    # successful requests/s, or the latency of successful requests
    meaning = _latency(name.without("success")) or _throughput(name.without("success"))
    return meaning and replace(meaning, tags=name.tags)


def _latency(name: _Name) -> Meaning | None:
    metrics, statistics = name.tags.intersection(LATENCIES), name.tags & _STATISTICS
    is_time = metrics or name.has("latency") or (statistics and not name.has("request"))
    is_time = is_time or (statistics and name.has("time", "duration"))
    if metrics or name.has("latency"):  # "TTFT/s" is in seconds: there are no latencies a second
        name = replace(name, tags=frozenset("s" if tag == "per second" else tag for tag in name.tags))
    of_times = {"latency", "time", "request", "http", "total", *LATENCIES, *_STATISTICS, *TIME_UNITS}
    if not is_time or len(metrics) > 1 or len(statistics) > 1 or "spread" in statistics:
        return None
    if not name.is_within(*of_times, *(["duration"] if statistics else [])):
        return None
    # a latency without a statistic is usually the mean
    return name.as_(next(iter(metrics), "e2e"), next(iter(statistics), "mean"))


def _tokens(name: _Name) -> Meaning | None:
    if not name.has("token") and not name.has_all("output", "throughput"):
        return None
    is_rate = name.has("throughput", "speed", "tps", "s", *_PER)
    known = name.is_within("token", "output", "throughput", "speed", "tps", "s", "mean", "measured", "rate", *_PER)
    # without a word for output, it may be the rate of all tokens
    return name.without("s").as_("output_tokens_per_s", rank=int(not name.has("output"))) if is_rate and known else None


def _rate(name: _Name) -> Meaning | None:
    is_rate = name.has("rate", "arrival") and not name.has("measured")
    is_target = name.has("asked") and (
        name.has("throughput", "rps", "tps") or (name.has("request") and name.has(*_PER))
    )
    known = name.is_within("rate", "arrival", "asked", "request", "count", "throughput", "rps", "tps", *_PER)
    return name.as_(RATE) if (is_rate or is_target) and known else None


def _throughput(name: _Name) -> Meaning | None:
    of_requests = name.has("rps") or (name.has("request") and name.has("throughput", "s", *_PER))
    # "total throughput" is that of tokens, of prompts and answers together
    if not of_requests and (name.has("total") or not name.has("throughput")):
        return None
    known = name.is_within(
        "throughput", "rps", "request", "http", "s", "count", "total", "mean", "measured", "rate", *_PER
    )
    is_named = name.has("throughput", "measured")
    return name.without("s").as_("throughput", rank=int(not is_named)) if known else None


def _load(name: _Name) -> Meaning | None:
    if not name.has("users", "concurrency") or (name.has("request") and not name.has("concurrency")):
        return None
    if not name.is_within(
        "users", "concurrency", "count", "total", "asked", "measured", "max", "mean", "peak", "request"
    ):
        return None
    if name.has("measured", "mean", "peak"):
        return name.as_(USERS, rank=MEASURED)
    return name.as_(USERS, rank=0 if name.has("asked", "max") else 1 if name.has("users") else 2)


def _requests(name: _Name) -> Meaning | None:
    known = name.has("request", "count", "total") and name.is_within("request", "http", "count", "total")
    if not known or list(name.words) == ["n"]:
        return None
    return name.as_("requests", rank=int(not name.has("request")))


def _window(name: _Name) -> Meaning | None:
    known = name.has("duration") and name.is_within("duration", "s", "minutes", "total", "time", "asked", "measured")
    return name.as_("window") if known or list(name.words) == ["seconds"] else None


_RULES = (_errors, _success, _latency, _tokens, _rate, _throughput, _load, _requests, _window)
"""The first rule that knows a name decides."""


# -- units

_UNITS = {*SCALES, "percent", "per second", "request", "token", "output", "users", "concurrency", "count"}


def unit_tags(text: str) -> frozenset[str] | None:
    """Return the tags of a unit behind a number, such as "ms", "%" or "req/s"; None for an unknown unit."""
    if re.fullmatch(r"[\s.]*", text):
        return frozenset()
    parts = ["minutes" if word in ("min", "m") else word for word in words(text)]
    tags = frozenset(_tag(word) for word in parts)
    return tags - {"filler"} if tags <= _UNITS | {"filler"} else None
