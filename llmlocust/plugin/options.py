"""The options of a run: `--llm-…` on the command line, LLMLOCUST_… in the environment, fields of the web form.

An attribute that a locustfile sets in a user or shape class has priority over its option. API keys have no option, and
values of headers need none: they come from each node's own environment, and are written nowhere (plugin.http.headers).

Names contain no digit after a letter and defaults are never None: Locust's web form would lose or mistype them.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _AppendAction
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from locust import events
from locust.argument_parser import LocustArgumentParser

from llmlocust.load.backoff import OPENAI
from llmlocust.load.curves import DEFAULT_LEVELS
from llmlocust.load.plans import SHAPES, STEPPED
from llmlocust.observe import setup
from llmlocust.plugin.findings import HasOptions, findings
from llmlocust.plugin.http import headers
from llmlocust.plugin.http.headers import SEPARATOR
from llmlocust.stream.dialects import DIALECTS

AUTO = "auto"
"""The value of --llm-dialect for a dialect that is detected."""


class InvalidValue(ValueError):
    """The value of an option is invalid. `problem`: the rest of the sentence that begins with the name of the option."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"--llm-{name.replace('_', '-')}{problem}")
        self.problem = problem


class Option(NamedTuple):
    """An option `--llm-NAME` of a run."""

    name: str
    default: str | float | bool
    help: str
    separator: str = ""
    """The separator of several values in one text, as in the environment and the web form; empty: it has one value."""
    is_private: bool = False
    """It may contain secrets: the web form has no field for it, and files contain it without values."""
    is_fixed: bool = False
    """It is set when Locust starts: the web form has no field for it."""

    @property
    def dest(self) -> str:
        return "llm_" + self.name.replace("-", "_")


OPTIONS = (
    Option("model", "", "Model to request. Empty: the first model that the server lists"),
    Option("dialect", "openai-chat", f"API of the server: {', '.join(dialect.name for dialect in DIALECTS)}; or {AUTO}: detect it"),
    Option("path", "", "Path of the endpoint, such as /chat/completions. Empty: the dialect's default path, joined with that of the host"),
    Option("header", "", r"Header of every request, such as 'api-key: $API_KEY', with $NAME from each node's environment; repeatable, or separated by \n", separator=SEPARATOR, is_private=True),
    Option("prompts", "short", "Built-in sets (short, long, reasoning, multilingual, code; several with commas) or a file: one prompt per line, JSONL, CSV, or ShareGPT's JSON; or a Hugging Face dataset, hf:NAME:SPLIT:COLUMN"),
    Option("prompt-tokens", "", "Length of prompts in tokens; prompts are extended with prose or cut: 512, whole:100-2000, lognormal:256,200. Empty: unchanged"),
    Option("tokenizer", "", "Tokenizer to count prompt tokens: a tokenizer.json, a model name on Hugging Face's hub, or tiktoken:NAME. Empty: tokens are estimated"),
    Option("unique", True, "Make each prompt unique, so that a prefix cache does not answer for the model"),
    Option("prefix-tokens", 0, "Tokens of a text that prompts begin with, the same for all, to test a prefix cache"),
    Option("prefix-share", 1.0, "Share of the prompts that begin with this text, such as 0.8"),
    Option("turns", "1", "Turns of a conversation whose history grows: 3, or whole:2-6. 1: single questions"),
    Option("right-answers", "", 'JSONL of prompts with their right answers, {"prompt": …, "answer": …}: right answers are counted at each level'),
    Option("seed", "", "Any text: runs with the same seed send the same prompts and values, for any number of workers. Empty: different ones in each run"),
    Option("system", "", "System prompt of every chat"),
    Option("max-tokens", "256", "Maximum tokens of an answer: 256, or a distribution such as whole:64-2048; 0: the server's own limit"),
    Option("max-tokens-field", "max_tokens", "Name of this field in requests: max_tokens or max_completion_tokens"),
    Option("usage", True, "Request the server's token counts with stream_options; a few old servers reject this"),
    Option("force-length", False, "Make answers exactly --llm-max-tokens long, with ignore_eos and min_tokens, if the server supports these"),
    Option("temperature", "-1", "Sampling temperature: 0.7, or a distribution such as 0.1-1.0; negative: the server's default"),
    Option("body", "", 'Additional fields of every request as JSON: {"ignore_eos": true}, or with distributions: {"top_p": "uniform:0.5-1"}'),
    Option("think-time", "0", "Think time between the requests of a user in seconds: 5, 1-3 (uniform), or lognormal:5,3"),
    Option("levels", ",".join(map(str, DEFAULT_LEVELS)), "Levels of a stepped ramp: users, or requests per second with --llm-rate"),
    Option("warmup", 5.0, "Warm-up: seconds to wait after all users of a level have started before measuring"),
    Option("hold", 30.0, "Seconds for which a level is measured"),
    Option("requests", 0, "Total number of requests, by the users of one level (--llm-levels 20, or -u 20), instead of --llm-warmup and --llm-hold; 0: no fixed number"),
    Option("rate", 0.0, "Open load: requests per second, sent when they are due, independent of the server; 0: closed load, whose users wait for their answers. With --llm-levels, those are the rates; with --llm-search, this is the first rate"),
    Option("arrivals", "poisson", "Arrivals in open load: constant, poisson, gamma:CV (burstier than poisson if CV is above 1) or bursts:N (N at once)"),
    Option("max-in-flight", 4000, "Open load: maximum requests in flight per process. Arrivals above it are counted as dropped"),
    Option("shape", STEPPED, f"Shape of the load: {STEPPED} (--llm-levels), {', '.join(SHAPES)}"),
    Option("shape-base", 0.0, "Baseline of a shape in users, or in requests per second with --llm-rate; 0: a tenth of its peak"),
    Option("shape-peak", 0.0, "Peak of a shape, or the load of a soak, in users or requests per second; 0: the --llm-rate, or 50 users"),
    Option("shape-seconds", 600.0, "Duration of a shape in seconds"),
    Option("trace", "", "Replay a recorded trace as open load: Mooncake's JSONL, the CSVs of Azure and BurstGPT, or a CSV seconds,prompt_tokens,output_tokens. Requests have the recorded times and lengths"),
    Option("trace-speed", 1.0, "Playback speed; 2 replays the trace in half the time"),
    Option("trace-from", 0.0, "Seconds to skip at the beginning of the trace"),
    Option("trace-seconds", 0.0, "Seconds of the trace to replay; 0: all of it"),
    Option("search", False, "Search for the limit instead of running fixed levels"),
    Option("search-limits", "", "Thresholds whose limit is searched for, separated by commas: ttft.p95 < 500ms, errors < 1%. Empty: saturation, where requests begin to wait"),
    Option("search-start", 4, "Number of users at which a search begins"),
    Option("search-max", 300, "Maximum users, or requests per second, of a search"),
    Option("search-precision", 0.05, "Precision of a search as a share of the limit; at least one user"),
    Option("search-hold", 15.0, "Maximum seconds for which a search measures a level, unless its requests are long"),
    Option("observe", "", r"Source of telemetry: a URL of metrics such as http://gpu-box:9400/metrics, prometheus:URL?query=SELECTOR, machine, gpu, port:8000, process:NAME, pid:123 or docker:NAME; none: do not search the server under test for sources. Repeatable, or separated by \n", separator=SEPARATOR, is_private=True),
    Option("observe-interval", 1.0, "Seconds between two scrapes of a source of telemetry"),
    Option("fault", "", r"Fault to inject: at 60s for 20s: down, at level 100 + 10s for 30s: latency 200ms, or at 2m: kill port 8000 restart 'COMMAND' (docs/faults.md). Repeatable, or separated by \n", separator=SEPARATOR, is_fixed=True),
    Option("faults", "", "TOML file of faults to inject", is_fixed=True),
    Option("fault-stop", "", "Condition on which faults are lifted and the run ends: errors > 90% for 30s, or a metric of telemetry, waiting > 500 for 1m", is_fixed=True),
    Option("fault-heal", False, "If the service has not recovered from a fault at the end of the plan, lower the load in steps to find the load at which it recovers", is_fixed=True),
    Option("fault-listen", "127.0.0.1:0", "Address of the proxy that breaks connections. Workers on other machines must reach it", is_fixed=True),
    Option("fault-allow", "", "Hosts that faults may concern although their address is neither loopback nor private; several with commas", is_fixed=True),
    Option("fault-dry-run", False, "Print what would be injected and lifted, and end without any load", is_fixed=True),
    Option("threshold", "", "Pass/fail threshold; the run exits 99 if one is violated. ttft.p95 < 500ms applies to every level, ttft.p95 < 500ms @ 100 to levels of 100 users; repeatable, or separated by commas", separator=", "),
    Option("thresholds", "", 'TOML file of thresholds, as for llmlocust check: ttft.p95 = "< 500ms @ 100"'),
    Option("accept", "", "Validity check that may fail without exit code 98, such as prefix_cache; repeatable, or separated by commas", separator=", "),
    Option("junit", "", "File for the thresholds as JUnit XML, written at the end of a headless run", is_fixed=True),
    Option("metrics-port", 0, "Port of /metrics for Prometheus, also without a web UI; 0: none", is_fixed=True),
    Option("metrics-host", "127.0.0.1", "Address that the metrics port listens on; 0.0.0.0: every interface", is_fixed=True),
    Option("web-hosts", "", "Host names under which browsers may open the web UI, such as a reverse proxy's, separated by commas. localhost, IP addresses and this machine's own name always work", is_fixed=True),
    Option("any-host", False, "Allow the web form to name any host; API keys and headers are then sent there", is_fixed=True),
    Option("abort-on-breach", False, "Stop the run as soon as a level is certain to violate a threshold"),
    Option("abort-grace", 10.0, "Seconds for which a level is measured before a violation may stop the run"),
    Option("drain", 30.0, "Maximum seconds that requests in flight may take to end after the ramp"),
    Option("retries", 0, "Retries of a failed request, as an SDK does them; the request counts once, with the times and the outcome that its user felt. 0: none"),
    Option("retry-backoff", OPENAI, "Waits before retries: the first wait, the factor of further ones, their maximum, and by how much chance shortens them; the longest Retry-After that is obeyed; until head or token: up to which point a stream is tried again. The default is that of OpenAI's Python SDK"),
    Option("timeout-connect", 10.0, "Seconds for name look-up, TCP and TLS"),
    Option("timeout-first-token", 120.0, "Seconds from sending to the first token"),
    Option("timeout-stall", 60.0, "Seconds between two pieces of a stream"),
    Option("timeout-total", 600.0, "Seconds from sending to the end"),
    Option("error-text", True, "Keep the beginning of a server's error message; false: only its kind and status, for servers that repeat prompts in it"),
    Option("insecure", False, "Do not verify the server's TLS certificate"),
    Option("preflight", True, "Send one request before the load, in the dialect of each user class, and do not start if it fails"),
)  # fmt: skip

DEFAULTS: dict[str, Any] = {option.dest: option.default for option in OPTIONS}


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    for option in OPTIONS:
        flag: dict[str, Any] = {"action": "store_true"} if option.default is False else {}
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
    """The action of an option that may be given several times. It joins the values to one text, as in a field of the web
    form or a variable of the environment.

    It derives from the action that appends, because ConfigArgParse accepts lists in a configuration file only for that.
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
    """Return the entries of an option's text that are separated by commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _truth(text: str) -> bool:
    return text.strip().lower() not in ("false", "no", "off", "0")


def option(environment: HasOptions, name: str) -> Any:
    """Return an option's value by its name ("max_tokens"): that of the preflight's findings, otherwise the given one."""
    values = findings(environment)["values"]
    return values[name] if name in values else given(environment, name)


def given(environment: HasOptions, name: str) -> Any:
    """Return an option's value as it was given; its default if Locust is used as a library, without a parser."""
    dest = f"llm_{name}"
    return getattr(environment.parsed_options, dest, DEFAULTS[dest])


def has_default(environment: HasOptions, name: str) -> bool:
    """Return whether an option has its default value."""
    return bool(option(environment, name) == DEFAULTS[f"llm_{name}"])


def asks_for_dialect(environment: HasOptions) -> bool:
    """Return whether the dialect is detected, before or after the detection."""
    return bool(given(environment, "dialect") == AUTO)


def written(environment: HasOptions) -> dict[str, Any]:
    """Return the options of a run for its files: without the values of private ones."""
    values = {known: option(environment, known.dest.removeprefix("llm_")) for known in OPTIONS}
    return {
        known.dest: _SHOWN.get(known.name, str)(value) if known.is_private else value for known, value in values.items()
    }


_SHOWN: dict[str, Callable[[str], str]] = {"header": headers.names, "observe": setup.shown}
"""The texts of private options for the files."""
