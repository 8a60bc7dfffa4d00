"""`llmlocust run`: a ramp against a server, or a search, and its report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from llmlocust.cli.driving import LEVELS, run_and_report
from llmlocust.cli.several import run_each, targets_of
from llmlocust.cli.shared import POSITIVE, OneLine, new_folder, parse_all, parse_limits, threshold_options

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold

_WHOLE = click.IntRange(min=1)
_FEW_TOKENS = "100"
"""Of an answer with --short and --long, as llm-benchmark's own ramp asks for."""


class _WithLocustArgs(click.Command):
    """What stands behind -- is Locust's, and comes as `ctx.meta["locust_args"]`: an argument of its own would take all
    URLs but the first.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["locust_args"] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- LOCUST_ARGS...]"]


@click.command(cls=_WithLocustArgs)
@click.argument("urls", nargs=-1, required=True, metavar="URL [URL]...")
@click.option(
    "--model", "models", multiple=True,
    help="Model to ask for [default: the first one that the server lists]; several, or with commas: a run of each",
)  # fmt: skip
@click.option(
    "--dialect", default="openai-chat", show_default=True,
    help="What the server speaks: anthropic, ollama-chat, tgi, gradio, … (docs/dialects.md); auto: ask it",
)  # fmt: skip
@click.option(
    "--path",
    default=None,
    help="Path of the endpoint, such as /chat/completions [default: the dialect's, or as in URL]",
)
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
    help="Header of every request; $NAME is taken from the environment: 'api-key: $API_KEY'; repeatable",
)  # fmt: skip
@click.option("--levels", default=LEVELS, show_default=True, help="Levels of users")
@click.option("--concurrency", type=_WHOLE, default=None, help="Users at once, at one level, instead of --levels")
@click.option(
    "--requests", type=_WHOLE, default=None,
    help="A fixed number of requests in all, by --concurrency users; instead of --hold and --warmup",
)  # fmt: skip
@click.option(
    "--rate", type=POSITIVE, default=None,
    help="Open load: requests a second, sent when they are due; --levels, where given, are rates then",
)  # fmt: skip
@click.option(
    "--arrivals", default="poisson", show_default=True,
    help="How requests arrive at a rate: constant, poisson, gamma:CV or bursts:N",
)  # fmt: skip
@click.option(
    "--trace", default="", metavar="FILE",
    help="Replay a recorded trace: Mooncake, Azure, BurstGPT, or a CSV seconds,prompt_tokens,output_tokens (docs/traces.md)",
)  # fmt: skip
@click.option("--trace-speed", type=POSITIVE, default=1.0, show_default=True, help="So many times as fast as it was")
@click.option("--trace-from", type=float, default=0.0, help="Seconds of the trace to leave out at its beginning")
@click.option("--trace-seconds", type=float, default=0.0, help="Seconds of the trace to replay [default: all of it]")
@click.option(
    "--shape", default="stepped", show_default=True,
    help="What the load does: stepped (--levels), linear, spike, surge, soak, wave, progressive (docs/shapes.md)",
)  # fmt: skip
@click.option("--shape-base", type=float, default=0.0, help="Its load at rest [default: a tenth of its peak]")
@click.option("--shape-peak", type=float, default=0.0, help="Its highest load [default: --rate, or 50 users]")
@click.option("--shape-seconds", type=float, default=600.0, show_default=True, help="How long it takes")
@click.option("--hold", type=float, default=30.0, show_default=True, help="Seconds to measure a level")
@click.option(
    "--warmup", type=float, default=5.0, show_default=True,
    help="Seconds from a level's users being there to measuring",
)  # fmt: skip
@click.option(
    "--search",
    is_flag=True,
    help="Find the most users, or with --rate the highest rate, that keep every --threshold; without any, where requests wait",
)
@click.option("--short", is_flag=True, help=f"Short questions, answers of up to {_FEW_TOKENS} tokens")
@click.option("--long", is_flag=True, help=f"Questions about a long text, answers of up to {_FEW_TOKENS} tokens")
@click.option("--max-tokens", default="256", show_default=True, help="Most tokens of an answer: 256, or whole:64-2048")
@click.option(
    "--prompts", default="short", show_default=True, help="short, long, reasoning, multilingual, code, or a file"
)
@click.option("--think-time", default="0", show_default=True, help="Think time of a user in seconds: 5, or 1-3")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True)
@threshold_options(
    'What the run must keep, or it exits 99: "ttft.p95 < 500ms" at every level, "ttft.p95 < 500ms @ 100" at those of 100 '
    'users, "ttft.p95 < 500ms ~ 1s" as gold and tolerated; repeatable. With --search: what is searched for'
)
@click.option("--out", default="", help="Folder for the files and the report [default: reports/ and the time]")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    urls: tuple[str, ...],
    models: tuple[str, ...],
    headers: tuple[str, ...],
    out: str,
    search: bool,
    short: bool,
    long: bool,
    concurrency: int | None,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    **options: Any,
) -> None:
    """Drive the server at URL up a staircase of users, or of requests a second, and report where it breaks.

    URL is the server's base address, or that of its endpoint. This is Locust with a packaged locustfile. A key is taken
    from LLMLOCUST_API_KEY or OPENAI_API_KEY. What stands behind -- goes to Locust as it is: `llmlocust run URL --
    --processes 4 --llm-temperature 0.2`. With --threshold, the exit code is 99 where one is broken, and 98 where the
    measurement cannot be trusted.

    Several URLs, or several --model: a run of each, one after the other, with a folder and a report of its own, and one
    page that compares them.

    \b
    llmlocust run http://localhost:8000 --levels 1,5,10,20,40 --hold 60
    llmlocust run https://api.example.com/v1 --model some-model --max-tokens 200 --threshold "ttft.p95 < 1s"
    llmlocust run http://localhost:8000 --search --threshold "ttft.p95 < 1s"
    llmlocust run http://localhost:8000 --rate 10 --levels 10,20,50,100
    llmlocust run http://localhost:8000 --trace mooncake.jsonl --trace-speed 2
    llmlocust run http://localhost:8000 --requests 200 --concurrency 20 --long
    llmlocust run http://localhost:8000 http://localhost:8001 --levels 1,10,50
    """
    from llmlocust.plugin.http.headers import SEPARATOR

    locust_args: list[str] = ctx.meta["locust_args"]
    _refuse_what_is_ours(locust_args)
    judged = _searched(thresholds, thresholds_file) if search else _gates(thresholds, thresholds_file)
    given = {name for name in ctx.params if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    options |= _at_one_level(concurrency, given) | _of_a_length(short=short, long=long, given=given)
    options["header"] = SEPARATOR.join(headers) or None
    more = [*judged.options, *locust_args]
    targets = targets_of(urls, models)
    out = out or f"reports/{time.strftime('%Y%m%d-%H%M%S')}"
    if len(targets) > 1:
        raise SystemExit(run_each(targets, out, options, more, judged.limits))
    options["model"] = targets[0].model or None
    raise SystemExit(run_and_report(targets[0].url, new_folder(out), options, more, judged.limits).code)


class _Judged(NamedTuple):
    """What a run's thresholds are for it."""

    options: list[str]
    """Of Locust."""
    limits: list[Threshold]
    """By which levels are judged in the report, and runs compared."""


def _gates(texts: tuple[str, ...], file: str) -> _Judged:
    """Thresholds that decide the exit code."""
    from llmlocust.metrics.thresholds import Gate, thresholds_of

    gates = parse_all(_one_by_one(texts), file, Gate.parse)
    return _Judged([f"--llm-threshold={gate}" for gate in gates], thresholds_of(gates))


def _searched(texts: tuple[str, ...], file: str) -> _Judged:
    """Thresholds that a search finds the highest load for."""
    from llmlocust.load.search import Limits

    limits = parse_limits(_one_by_one(texts), file)
    try:
        Limits(limits)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    return _Judged(["--llm-search", "--llm-search-limits", ", ".join(map(str, limits))], limits)


def _one_by_one(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Thresholds that may stand in one text, with commas."""
    return tuple(text for given in texts for text in given.split(",") if text.strip())


def _at_one_level(concurrency: int | None, given: set[str]) -> dict[str, Any]:
    """The options that --concurrency and --requests stand for, as `given` says what else there is."""
    if "requests" in given and concurrency is None:
        raise OneLine("--requests wants --concurrency: how many users share them, such as 20")
    others = {"levels", "rate", "search", "shape", "trace"} | ({"hold", "warmup"} if "requests" in given else set())
    if concurrency is not None and (too_many := sorted(others & given)):
        raise OneLine(
            f"leave out --{too_many[0]}: with --{'requests' if 'requests' in given else 'concurrency'} there is "
            "one level of users" + (", which ends with the last request" if "requests" in given else "")
        )
    return {} if concurrency is None else {"levels": concurrency}


def _of_a_length(*, short: bool, long: bool, given: set[str]) -> dict[str, Any]:
    """The options that --short and --long stand for."""
    if not (short or long):
        return {}
    if short and long:
        raise OneLine("--short and --long are two runs: give one, and compare them with `llmlocust compare`")
    if "prompts" in given:
        raise OneLine("--prompts says what is asked, and so do --short and --long: leave one out")
    prompts = {"prompts": "long" if long else "short"}
    return prompts if "max_tokens" in given else prompts | {"max_tokens": _FEW_TOKENS}


def _refuse_what_is_ours(locust_args: list[str]) -> None:
    if locust_args and not locust_args[0].startswith("-"):
        raise OneLine(f"what is {locust_args[0]!r}? Behind -- stand Locust's own options; URLs stand before them")
    taken = [arg for arg in locust_args if arg.split("=")[0] in ("--csv", "--host", "-H", "-f", "--locustfile")]
    if taken:
        raise OneLine(f"{taken[0]} is set by `llmlocust run` itself: give the URL and --out, or use `locust`")
