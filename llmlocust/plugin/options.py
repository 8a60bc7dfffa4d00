"""The options of a run: `--llm-…` on the command line, LLMLOCUST_… in the environment, fields of the web form.

An attribute of the user or shape class that a locustfile sets wins over its option. API keys are no option, and the
values of headers need not be in one: they come from each node's own environment, and are written nowhere (plugin.headers).

Names hold no digit behind a letter and defaults are never None: Locust's web form would lose or mistype them.
"""

from __future__ import annotations

import math
import random
from argparse import ArgumentParser, Namespace, _AppendAction
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from llmlocust.analysis.checks.check import accepted_keys
from llmlocust.analysis.gates import can_abort
from llmlocust.load.answer_key import load as load_answers
from llmlocust.load.arrivals import Process
from llmlocust.load.curves import DEFAULT_LEVELS, DEFAULT_RATES, parse_levels, parse_rates
from llmlocust.load.distributions import Distribution, is_named, parse, think_time
from llmlocust.load.plans import SHAPES, STEPPED, Setting
from llmlocust.load.prompts import load as load_prompts
from llmlocust.load.search import Judge, Limits, Queueing
from llmlocust.load.search_rates import Answered
from llmlocust.load.tokens import counter
from llmlocust.metrics.levels import RATE, USERS
from llmlocust.metrics.thresholds import Gate, Threshold, load_toml, parse_gates, thresholds_of
from llmlocust.plugin.http import headers
from llmlocust.plugin.http.headers import SEPARATOR
from llmlocust.stream.dialects import DIALECTS, named

AUTO = "auto"
"""A dialect that is found out."""


class Option(NamedTuple):
    name: str
    default: str | float | bool
    help: str
    separator: str = ""
    """Where it may be given several times: what stands between them in one text, as in the environment and the web form."""
    is_private: bool = False
    """It may hold secrets: the web form has no field for it, and files have it without values."""
    is_fixed: bool = False
    """It is set when Locust starts: the web form has no field for it."""

    @property
    def dest(self) -> str:
        return "llm_" + self.name.replace("-", "_")


_LEVELS = ",".join(map(str, DEFAULT_LEVELS))
_PEAK = 50.0
_FEW_ERRORS = Threshold.parse("errors < 1%")
"""Who turns requests away does not answer them."""

OPTIONS = (
    Option("model", "", "Model to ask for. Empty: the first one that the server lists"),
    Option("dialect", "openai-chat", f"What the server speaks: {', '.join(each.name for each in DIALECTS)}; or {AUTO}: ask it"),
    Option("path", "", "Path of the endpoint, such as /chat/completions. Empty: the dialect's own, joined with that of the host"),
    Option("header", "", r"Header of every request, such as 'api-key: $API_KEY', with $NAME from each node's environment; repeatable, or with \n between them", separator=SEPARATOR, is_private=True),
    Option("prompts", "short", "Built-in sets (short, long, reasoning, multilingual, code; several with commas) or a file: one prompt a line, JSONL, CSV, or ShareGPT's JSON; or a set of Hugging Face's, hf:NAME:SPLIT:COLUMN"),
    Option("prompt-tokens", "", "Tokens of a prompt, filled up with prose or cut: 512, whole:100-2000, lognormal:256,200. Empty: as they are"),
    Option("tokenizer", "", "To count tokens of prompts by: a tokenizer.json, a model's name on Hugging Face's hub, or tiktoken:NAME. Empty: they are estimated"),
    Option("unique", True, "Make each prompt unique, so that a prefix cache does not answer for the model"),
    Option("prefix-tokens", 0, "Tokens of a text that prompts begin with, all with the same, to test a prefix cache"),
    Option("prefix-share", 1.0, "Share of the prompts that begin with it, such as 0.8"),
    Option("turns", "1", "Turns of a conversation whose history grows: 3, or whole:2-6. 1: single questions"),
    Option("right-answers", "", 'JSONL of prompts with their answers, {"prompt": …, "answer": …}: how many are right is counted at each level'),
    Option("seed", "", "Any word: the same prompts and values at each run that has it, however many workers there are. Empty: others each time"),
    Option("system", "", "System prompt of every chat"),
    Option("max-tokens", "256", "Most tokens of an answer: 256, or drawn, such as whole:64-2048; 0: the server's own limit"),
    Option("max-tokens-field", "max_tokens", "What the server calls it: max_tokens or max_completion_tokens"),
    Option("usage", True, "Ask for the server's token counts with stream_options; a few old servers refuse that"),
    Option("force-length", False, "Have answers go on to exactly --llm-max-tokens, with ignore_eos and min_tokens, where the server knows these"),
    Option("temperature", "-1", "Sampling temperature: 0.7, or drawn, such as 0.1-1.0; negative: the server's own"),
    Option("body", "", 'Further fields of every request, as JSON: {"ignore_eos": true}, or drawn: {"top_p": "uniform:0.5-1"}'),
    Option("wait", "0", "Think time between a user's requests in seconds: 5, 1-3 for anything between, or lognormal:5,3"),
    Option("levels", _LEVELS, "Levels of a stepped ramp: users, or requests a second where --llm-rate is given"),
    Option("settle", 5.0, "Seconds between a level's users being there and measuring"),
    Option("hold", 30.0, "Seconds for which a level is measured"),
    Option("requests", 0, "A fixed number of requests in all, by the users of one level (--llm-levels 20, or -u 20), instead of --llm-settle and --llm-hold; 0: none"),
    Option("rate", 0.0, "Open load: requests a second, sent when they are due, whatever the server does; 0: users, who wait for their answers. With --llm-levels, those are the rates; with --llm-search, the rate that it begins with"),
    Option("arrivals", "poisson", "How requests arrive in open load: constant, poisson, gamma:CV (above 1: burstier than poisson) or bursts:N (N at once)"),
    Option("most-in-flight", 4000, "Open load: requests that a load process lets be in flight; what is due above that is counted and not sent"),
    Option("shape", STEPPED, f"What the load does: {STEPPED} (--llm-levels), {', '.join(SHAPES)}"),
    Option("shape-base", 0.0, "Users, or with --llm-rate requests a second, that a shape is at rest with; 0: a tenth of its peak"),
    Option("shape-peak", 0.0, "Users, or requests a second, that a shape goes up to, or that a soak holds; 0: the --llm-rate, or 50 users"),
    Option("shape-seconds", 600.0, "Seconds that a shape takes"),
    Option("trace", "", "Replay a recorded trace as open load: Mooncake's JSONL, the CSVs of Azure and BurstGPT, or a CSV seconds,prompt_tokens,output_tokens. Its requests have the recorded times and lengths"),
    Option("trace-speed", 1.0, "How many times as fast as it was recorded a trace is replayed"),
    Option("trace-from", 0.0, "Seconds of the trace to leave out at its beginning"),
    Option("trace-seconds", 0.0, "Seconds of the trace to replay; 0: all of it"),
    Option("search", False, "Search for the limit instead of going through levels"),
    Option("search-limits", "", "What to search the limit of, with commas: ttft.p95 < 500ms, errors < 1%. Empty: capacity, where requests begin to wait"),
    Option("search-start", 4, "Users that a search begins with"),
    Option("search-most", 300, "Users, or requests a second, that a search goes up to"),
    Option("search-precision", 0.05, "How near a search comes to the limit, as a share of it; one user is the least"),
    Option("search-hold", 15.0, "Most seconds for which a search measures a level, unless its requests are long"),
    Option("threshold", "", "What the run has to keep, or it exits 99: ttft.p95 < 500ms at every level, ttft.p95 < 500ms @ 100 at those of 100 users; repeatable, or with commas", separator=", "),
    Option("thresholds", "", 'A TOML file of thresholds, as of llmlocust check: ttft.p95 = "< 500ms @ 100"'),
    Option("accept", "", "Trust checks that may fail and the exit code is not 98, such as prefix_cache; repeatable, or with commas", separator=", "),
    Option("junit", "", "File for the thresholds as JUnit XML, at the end of a headless run", is_fixed=True),
    Option("metrics-port", 0, "Port on which Prometheus finds /metrics, also where there is no web UI; 0: none", is_fixed=True),
    Option("metrics-host", "127.0.0.1", "Address that the metrics port listens on; 0.0.0.0: every interface", is_fixed=True),
    Option("web-hosts", "", "Host names under which browsers may reach the web UI, such as a reverse proxy's, separated by commas. localhost, IP addresses and this machine's own name always work", is_fixed=True),
    Option("any-host", False, "Allow the web form to name any host; API keys and headers are then sent there", is_fixed=True),
    Option("abort-on-breach", False, "End the run where a level surely breaks a threshold"),
    Option("abort-grace", 10.0, "Seconds for which a level is measured before a breach may end the run"),
    Option("drain", 30.0, "Most seconds that requests in flight may take to end when the ramp is over"),
    Option("timeout-connect", 10.0, "Seconds for name look-up, TCP and TLS"),
    Option("timeout-first-token", 120.0, "Seconds from sending to the first token"),
    Option("timeout-stall", 60.0, "Seconds between two pieces of a stream"),
    Option("timeout-total", 600.0, "Seconds from sending to the end"),
    Option("error-text", True, "Keep the beginning of a server's error message; false: its kind and status alone, for servers that repeat prompts in it"),
    Option("insecure", False, "Do not verify the server's TLS certificate"),
    Option("preflight", True, "Send one request before the load, in what each class of users speaks, and do not start where it fails"),
)  # fmt: skip

DEFAULTS: dict[str, Any] = {option.dest: option.default for option in OPTIONS}


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    for option in OPTIONS:
        flag = {"action": "store_true"} if option.default is False else {}
        if option.default is True:
            flag = {"type": _truth, "nargs": "?", "const": True, "metavar": "true|false"}
        elif not flag:
            flag = {"type": type(option.default)}
        if option.separator:
            flag = {"action": partial(_Joined, separator=option.separator)}
        parser.add_argument(
            f"--llm-{option.name}",
            default=option.default,
            env_var="LLMLOCUST_" + option.name.replace("-", "_").upper(),
            help=option.help,
            include_in_web_ui=not (option.is_private or option.is_fixed),
            **flag,
        )


class _Joined(_AppendAction):
    """A web form's field and an environment's variable are one text: so is an option that was given several times.

    ConfigArgParse lets a configuration file give a list to actions that append, and to no others.
    """

    def __init__(self, *, separator: str, **of_option: Any) -> None:
        super().__init__(**of_option)
        self.separator = separator

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        texts = [getattr(namespace, self.dest), *values.splitlines()]
        setattr(namespace, self.dest, self.separator.join(text.strip() for text in texts if text.strip()))


def listed(text: str) -> list[str]:
    """What stands between the commas of an option's text."""
    return [each.strip() for each in text.split(",") if each.strip()]


def _truth(text: str) -> bool:
    return text.strip().lower() not in ("false", "no", "off", "0")


def option(environment: Environment, name: str) -> Any:
    """An option's value by its name ("max_tokens"), its default where Locust is used as a library without a parser."""
    dest = f"llm_{name}"
    return getattr(environment.parsed_options or Namespace(), dest, DEFAULTS[dest])


def found_targets(environment: Environment, host: str) -> dict[str, str]:
    """Where a host was found to answer, by the dialects' paths, where that is not where it was expected to."""
    found: dict[str, dict[str, str]] = getattr(environment.parsed_options, "llm_found_targets", {})
    return found.get(host, {})


def is_found_out(environment: Environment) -> bool:
    """Whether the server was, or will be, asked for its dialect."""
    name = option(environment, "dialect")
    return name in (AUTO, getattr(environment.parsed_options, "llm_found_dialect", AUTO))


def written(environment: Environment) -> dict[str, Any]:
    """The options of a run as its files have them."""
    values = {each: option(environment, each.dest.removeprefix("llm_")) for each in OPTIONS}
    return {each.dest: headers.names(value) if each.is_private else value for each, value in values.items()}


def check(environment: Environment) -> None:
    """Whether every option can be meant; ValueError in one line where not."""
    check_values(environment)
    _check_dialect(environment)
    headers.listed(option(environment, "header"))
    is_rate = option(environment, "rate") > 0.0 or getattr(environment.shape_class, "is_open", False)
    _check_shape(environment, is_rate=is_rate)
    levels(environment, is_rate=is_rate)
    if option(environment, "force_length") and not distribution(environment, "max_tokens").low >= 1:
        raise ValueError("--llm-force-length wants a --llm-max-tokens of 1 or more, to which answers go on")
    _check_trace(environment)
    _check_gates(environment)


def check_values(environment: Environment) -> None:
    """Check each option by itself, on this node. ValueError in one line."""
    for name in RULES:
        check_value(environment, name)


def check_value(environment: Environment, name: str) -> None:
    """Check one option by itself. ValueError in one line."""
    flag, value = f"--llm-{name.replace('_', '-')}", option(environment, name)
    try:
        wanted = RULES[name](value)
    except ValueError as problem:
        raise ValueError(str(problem) if str(problem).startswith("--llm-") else f"{flag}: {problem}") from None
    if wanted:
        raise ValueError(f"{flag} must be {wanted}")


Rule = Callable[[Any], str]
"""A function that returns what an option's value must be; empty where the value is valid. It may raise ValueError instead."""


def _rule(is_met: Callable[[Any], bool], wanted: str) -> Rule:
    return lambda value: "" if is_met(value) else wanted


def _read_by(read: Callable[[Any], object], *, empty: bool = False) -> Rule:
    """Return a rule: a value is valid if `read` accepts it. `empty`: it may also be empty."""

    def rule(value: Any) -> str:
        if value or not empty:
            read(value)
        return ""

    return rule


def _read_turns(value: str) -> str:
    return "" if parse(value).low >= 1 else "1 or more"


_ABOVE_ZERO = _rule(lambda value: 0.0 < value < math.inf, "above 0 seconds")
_FROM_ZERO = _rule(lambda value: 0.0 <= value < math.inf, "0 seconds or more")
_FROM_ONE = _rule(lambda value: 1 <= value < math.inf, "1 user or more")


def _check_shape(environment: Environment, *, is_rate: bool) -> None:
    name = option(environment, "shape")
    if name == STEPPED:
        return
    if option(environment, "search"):
        raise ValueError(
            f"--llm-search finds its own levels, and --llm-shape {name} has its own: leave out one of them"
        )
    if option(environment, "levels") != _LEVELS:
        raise ValueError(
            f"--llm-levels are of a stepped ramp: --llm-shape {name} goes by --llm-shape-base and --llm-shape-peak"
        )
    shape_setting(environment.shape_class, environment, is_rate=is_rate)


def _check_dialect(environment: Environment) -> None:
    name = option(environment, "dialect")
    if name != AUTO:
        named(name)
    elif not option(environment, "preflight"):
        raise ValueError(f"--llm-dialect {AUTO} asks the server, which --llm-preflight=false forbids: name a dialect")
    path = option(environment, "path")
    if "://" in path or not path.isprintable() or " " in path:
        raise ValueError(f"--llm-path is a path such as /v1/chat/completions, and --host the address — got {path!r}")


def ramp_setting(environment: Environment, name: str) -> Any:
    """What a ramp says itself, or else the option."""
    own = getattr(environment.shape_class, name, None)
    return option(environment, name) if own is None else own


def planned_users(environment: Environment) -> float:
    """Return the most users that a run is planned to have; 0 where that is not known (open load, a shape of Locust's).
    ValueError where the plan is wrong.
    """
    shape = environment.shape_class
    if shape is None:
        return float(getattr(environment.parsed_options, "num_users", None) or 0)
    if getattr(shape, "unit", RATE) != USERS:
        return 0.0
    if shape.searches():
        own = getattr(shape, "most", None)
        return float(option(environment, "search_most") if own is None else own)
    return float(max(shape.planned_levels(), default=0.0))


def _check_trace(environment: Environment) -> None:
    if not ramp_setting(environment, "trace"):
        return
    others = {
        "search": "a search makes its own load",
        "rate": "a trace says itself when its requests are due",
        "prompt_tokens": "a trace says itself how long its prompts are",
    }
    for name, why in others.items():
        if option(environment, name):
            raise ValueError(f"--llm-trace and --llm-{name.replace('_', '-')} do not go together: {why}")
    if option(environment, "levels") != _LEVELS:
        raise ValueError(
            "--llm-trace and --llm-levels do not go together: its levels are windows of --llm-hold seconds"
        )
    if option(environment, "turns") != "1":
        raise ValueError("--llm-trace and --llm-turns do not go together: each row of a trace is one request")


def notes(environment: Environment) -> list[str]:
    """What whoever starts a run should know of its options."""
    sized = any(option(environment, name) for name in ("prompt_tokens", "prefix_tokens", "trace"))
    if not sized or option(environment, "tokenizer"):
        return []
    said = "lengths of prompts are estimated, at 4 letters a token (1 in scripts such as Chinese)"
    return [f"{said}: --llm-tokenizer counts them. The server's own counts are in the files"]


def _add_gates_of_file(environment: Environment) -> None:
    """From here on they are those of --llm-threshold, whatever becomes of the file."""
    file = option(environment, "thresholds")
    if file and environment.parsed_options is not None:
        given = parse_gates(option(environment, "threshold"))
        try:
            gates = [*given, *load_toml(file, Gate.parse)]
        except ValueError as problem:
            raise ValueError(f"--llm-thresholds {problem}") from None
        environment.parsed_options.llm_threshold = ", ".join(map(str, dict.fromkeys(gates)))


def _check_gates(environment: Environment) -> None:
    _add_gates_of_file(environment)
    gates = parse_gates(option(environment, "threshold"))
    try:
        accepted_keys(listed(option(environment, "accept")))
    except ValueError as problem:
        raise ValueError(f"--llm-accept: {problem}") from None
    junit = Path(option(environment, "junit") or ".")
    if not junit.absolute().parent.is_dir():
        raise ValueError(f"--llm-junit cannot be {junit}: there is no folder {junit.parent}")
    if option(environment, "junit") and junit.is_dir():
        raise ValueError(f"--llm-junit cannot be {junit}: it is a folder")
    if option(environment, "abort_on_breach") and not any(map(can_abort, gates)):
        raise ValueError(
            "--llm-abort-on-breach wants a --llm-threshold that a running level can break: a percentile of requests' "
            "times or errors with an upper limit, such as 'ttft.p95 < 500ms' or 'errors < 1%'"
        )


def limits(environment: Environment) -> str:
    """What a level must keep, as it was written: what is searched for, where nothing else is asked for."""
    searched = option(environment, "search_limits") if option(environment, "search") else ""
    return str(option(environment, "threshold") or searched)


def thresholds(environment: Environment) -> list[Threshold]:
    """The same, read. ValueError in one line."""
    return thresholds_of(parse_gates(limits(environment)))


def levels(environment: Environment, *, is_rate: bool) -> Sequence[float]:
    """The levels of a ramp. A rate without levels of its own is one level, and so are the users (-u) of a fixed number of
    requests. ValueError in one line.
    """
    text = option(environment, "levels")
    if not is_rate and text == _LEVELS and option(environment, "requests"):
        return [getattr(environment.parsed_options, "num_users", None) or 1]
    if not is_rate:
        return parse_levels(text)
    if text != _LEVELS:
        return parse_rates(text)
    rate = option(environment, "rate")
    return [rate] if rate > 0.0 else DEFAULT_RATES


def shape_setting(shape: Any, environment: Environment, *, is_rate: bool) -> Setting:
    """What a plan is made from: the shape's own attributes where it has them, else options. ValueError in one line."""

    def setting(name: str, option_name: str) -> float:
        own = getattr(shape, name, None)
        return float(option(environment, option_name) if own is None else own)

    peak = setting("peak", "shape_peak") or option(environment, "rate") or _PEAK
    base = setting("base", "shape_base") or (peak / 10.0 if is_rate else float(max(1, round(peak / 10.0))))
    try:
        return Setting(
            base,
            peak,
            setting("seconds", "shape_seconds"),
            settle=setting("settle", "settle"),
            whole=not is_rate,
            surge=float(getattr(shape, "surge", None) or 0.0),
            soak=float(getattr(shape, "soak", None) or 0.0),
        )
    except ValueError as problem:
        raise ValueError(f"{problem} (--llm-shape-base, --llm-shape-peak, --llm-shape-seconds)") from None


def search_judge(text: str, first_rate: float | None = None) -> Judge:
    """What a search looks for, from an option's text; of a rate, where one is told. ValueError in one line."""
    looked_for = [Threshold.parse(each) for each in listed(text)]
    if first_rate is not None:
        return Answered(Limits(looked_for or [_FEW_ERRORS], closed=False), first_rate)
    return Limits(looked_for) if looked_for else Queueing()


def extra_fields(text: str) -> dict[str, Any]:
    """Fields for every request's body from an option's text. ValueError in one line."""
    try:
        fields = msgspec.json.decode(text) if text.strip() else {}
    except msgspec.DecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise ValueError(  # noqa: TRY004  # every bad option is a ValueError
            f'--llm-body must be a JSON object such as {{"ignore_eos": true}} — got {text!r}'
        )
    return fields


def drawn_fields(fields: dict[str, Any], source: random.Random) -> dict[str, Any]:
    """Fields of a body with a value drawn for each that is a distribution's text. ValueError in one line."""
    return {name: _drawn(value, source) for name, value in fields.items()}


def _drawn(value: Any, source: random.Random) -> Any:
    if isinstance(value, dict):
        return drawn_fields(value, source)
    return parse(value).draw(source) if isinstance(value, str) and is_named(value) else value


def forced(tokens: int) -> dict[str, Any]:
    """Fields of a body by which an answer has so many tokens, on servers that know them (vLLM, SGLang, others)."""
    return {"ignore_eos": True, "min_tokens": tokens}


def distribution(environment: Environment, name: str) -> Distribution:
    """What an option's values are drawn from. ValueError in one line."""
    try:
        return parse(str(option(environment, name)))
    except ValueError as problem:
        raise ValueError(f"--llm-{name.replace('_', '-')}: {problem}") from None


RULES: dict[str, Rule] = {
    "wait": _read_by(think_time),
    "shape": lambda name: (
        "" if name in (STEPPED, *SHAPES) else f"{STEPPED}, {', '.join(SHAPES)} — got {str(name)[:40]!r}"
    ),
    "arrivals": _read_by(Process.parse),
    "rate": _rule(lambda value: 0.0 <= value < math.inf, "requests a second such as 50; 0: users instead"),
    "most_in_flight": _rule(lambda value: 1 <= value < math.inf, "1 request or more"),
    "requests": _rule(lambda value: 0 <= value < math.inf, "a number of requests such as 200; 0: no fixed number"),
    "max_tokens": _read_by(parse),
    "temperature": _read_by(parse),
    "turns": _read_turns,
    "prompt_tokens": _read_by(parse, empty=True),
    "prefix_share": _rule(lambda value: 0.0 <= value <= 1.0, "a share from 0 to 1, such as 0.8"),
    "prefix_tokens": _rule(lambda value: 0 <= value < math.inf and value == int(value), "0 tokens or more"),
    "tokenizer": _read_by(counter),
    "prompts": _read_by(load_prompts),
    "right_answers": _read_by(load_answers, empty=True),
    "trace_speed": _rule(
        lambda value: 0.0 < value < math.inf, "a number above 0, such as 2 for twice as fast as it was"
    ),
    "trace_from": _rule(lambda value: 0.0 <= value < math.inf, "0 seconds of the trace or more"),
    "trace_seconds": _rule(lambda value: 0.0 <= value < math.inf, "0 seconds of the trace or more"),
    "search_limits": _read_by(search_judge),
    "search_start": _FROM_ONE,
    "search_most": _FROM_ONE,
    "search_precision": _rule(lambda value: 0.0 < value <= 0.5, "a share above 0 and not above 0.5, such as 0.05"),
    "body": _read_by(lambda text: drawn_fields(extra_fields(text), random.Random())),
    "metrics_port": _rule(lambda value: 0 <= value < 65536, "a port from 1 to 65535; 0: none"),
    **dict.fromkeys(
        ("hold", "search_hold", "timeout_connect", "timeout_first_token", "timeout_stall", "timeout_total"), _ABOVE_ZERO
    ),
    **dict.fromkeys(("settle", "drain", "abort_grace"), _FROM_ZERO),
}
"""The rule of each option whose value can be invalid by itself."""
