"""The options of a run: `--llm-…` on the command line, LLMLOCUST_… in the environment, fields of the web form.

An attribute of the user or shape class that a locustfile sets wins over its option. API keys are no option, and the
values of headers need not be in one: they come from each node's own environment, and are written nowhere (plugin.http.headers).

Names hold no digit behind a letter and defaults are never None: Locust's web form would lose or mistype them.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _AppendAction
from functools import partial
from typing import Any, NamedTuple

from locust import events
from locust.argument_parser import LocustArgumentParser

from llmlocust.load.curves import DEFAULT_LEVELS
from llmlocust.load.plans import SHAPES, STEPPED
from llmlocust.plugin.findings import HasOptions, findings
from llmlocust.plugin.http import headers
from llmlocust.plugin.http.headers import SEPARATOR
from llmlocust.stream.dialects import DIALECTS

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
    Option("levels", ",".join(map(str, DEFAULT_LEVELS)), "Levels of a stepped ramp: users, or requests a second where --llm-rate is given"),
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


def option(environment: HasOptions, name: str) -> Any:
    """An option's value by its name ("max_tokens"): what was found out, or else what was given."""
    values = findings(environment)["values"]
    return values[name] if name in values else given(environment, name)


def given(environment: HasOptions, name: str) -> Any:
    """An option's value as it was given, its default where Locust is used as a library without a parser."""
    dest = f"llm_{name}"
    return getattr(environment.parsed_options, dest, DEFAULTS[dest])


def has_default(environment: HasOptions, name: str) -> bool:
    """Whether an option has its default value."""
    return bool(option(environment, name) == DEFAULTS[f"llm_{name}"])


def asks_for_dialect(environment: HasOptions) -> bool:
    """Whether the server was, or will be, asked for its dialect."""
    return bool(given(environment, "dialect") == AUTO)


def written(environment: HasOptions) -> dict[str, Any]:
    """The options of a run as its files have them."""
    values = {each: option(environment, each.dest.removeprefix("llm_")) for each in OPTIONS}
    return {each.dest: headers.names(value) if each.is_private else value for each, value in values.items()}
