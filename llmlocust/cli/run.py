"""`llmlocust run`: run a ramp or a search against a server, and report it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from llmlocust.cli.driving import LEVELS, run_and_report
from llmlocust.cli.several import run_each, targets_of
from llmlocust.cli.shared import POSITIVE, OneLine, new_folder, parse_all, parse_thresholds, threshold_options

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold

_WHOLE = click.IntRange(min=1)
_FEW_TOKENS = "100"
"""Maximum tokens of an answer with --short and --long, as in the ramp of llm-benchmark."""


class _WithLocustArgs(click.Command):
    """A command that passes the arguments after -- to Locust, as `ctx.meta["locust_args"]`.

    A click argument for them would take all URLs except the first.
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
    help="Model [default: the first that the server lists]; repeatable, or several with commas: one run for each",
)  # fmt: skip
@click.option(
    "--dialect", default="openai-chat", show_default=True,
    help="Protocol of the server: anthropic, ollama-chat, tgi, gradio, … (docs/dialects.md); auto detects it",
)  # fmt: skip
@click.option(
    "--path",
    default=None,
    help="Path of the endpoint, such as /chat/completions [default: that of the dialect, or of URL]",
)
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
    help="Header of every request; $NAME is taken from the environment: 'api-key: $API_KEY'; repeatable",
)  # fmt: skip
@click.option("--levels", default=LEVELS, show_default=True, help="Numbers of users, one for each level")
@click.option(
    "--concurrency", type=_WHOLE, default=None, help="Number of users for a run of one level; instead of --levels"
)
@click.option(
    "--requests", type=_WHOLE, default=None,
    help="Total number of requests, shared by --concurrency users; instead of --hold and --warmup",
)  # fmt: skip
@click.option(
    "--rate", type=POSITIVE, default=None,
    help="Open load: requests per second, sent when they are due; --levels are then rates",
)  # fmt: skip
@click.option(
    "--arrivals", default="poisson", show_default=True,
    help="Arrivals of open load: constant, poisson, gamma:CV or bursts:N",
)  # fmt: skip
@click.option(
    "--trace", default="", metavar="FILE",
    help="Replay a recorded trace: Mooncake, Azure, BurstGPT, or a CSV seconds,prompt_tokens,output_tokens (docs/traces.md)",
)  # fmt: skip
@click.option(
    "--trace-speed",
    type=POSITIVE,
    default=1.0,
    show_default=True,
    help="Playback speed; 2 replays the trace in half the time",
)
@click.option("--trace-from", type=float, default=0.0, help="Seconds to skip at the beginning of the trace")
@click.option("--trace-seconds", type=float, default=0.0, help="Seconds of the trace to replay [default: all of it]")
@click.option(
    "--shape", default="stepped", show_default=True,
    help="Shape of the load: stepped (--levels), linear, spike, surge, soak, wave, progressive (docs/shapes.md)",
)  # fmt: skip
@click.option("--shape-base", type=float, default=0.0, help="Baseline load of the shape [default: a tenth of its peak]")
@click.option("--shape-peak", type=float, default=0.0, help="Highest load of the shape [default: --rate, or 50 users]")
@click.option("--shape-seconds", type=float, default=600.0, show_default=True, help="Duration of the shape in seconds")
@click.option("--hold", type=float, default=30.0, show_default=True, help="Seconds to measure each level")
@click.option(
    "--warmup", type=float, default=5.0, show_default=True,
    help="Warm-up: seconds to wait after all users of a level have started before measuring",
)  # fmt: skip
@click.option(
    "--search",
    is_flag=True,
    help="Find the highest number of users, or with --rate the highest rate, that meets every --threshold; without thresholds, the load at which requests begin to queue",
)
@click.option("--short", is_flag=True, help=f"Short questions, answers of at most {_FEW_TOKENS} tokens")
@click.option("--long", is_flag=True, help=f"Questions about a long text, answers of at most {_FEW_TOKENS} tokens")
@click.option(
    "--max-tokens", default="256", show_default=True, help="Maximum tokens of an answer: 256, or whole:64-2048"
)
@click.option(
    "--prompts", default="short", show_default=True, help="short, long, reasoning, multilingual, code, or a file"
)
@click.option(
    "--observe",
    multiple=True,
    metavar="SOURCE",
    help="Source of telemetry beside the server itself: a URL of metrics such as http://gpu-box:9400/metrics, port:8000, "
    "machine, gpu, …; none: only the sources that are named; repeatable (docs/telemetry.md)",
)
@click.option(
    "--fault", "faulted", multiple=True, metavar="FAULT",
    help='Fault to inject: "at 60s for 20s: down", "at 60s: kill port 8000 restart \'COMMAND\'"; repeatable (docs/faults.md)',
)  # fmt: skip
@click.option("--faults", default=None, metavar="FILE", help="Faults to inject, from a TOML file")
@click.option(
    "--fault-stop",
    default=None,
    metavar="CONDITION",
    help='Condition on which faults are lifted and the run ends, such as "errors > 90% for 30s"',
)
@click.option("--fault-allow", default=None, metavar="HOST", help="Public hosts that faults may concern")
@click.option("--fault-dry-run", is_flag=True, help="Print what would be injected and lifted, and send no load")
@click.option(
    "--retries", type=click.IntRange(min=0), default=0, show_default=True,
    help="Retries of a failed request, with the waits of OpenAI's SDK (docs/metrics.md#retries)",
)  # fmt: skip
@click.option("--think-time", default="0", show_default=True, help="Think time of users in seconds: 5, or 1-3")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True)
@threshold_options(
    'Pass/fail threshold; the run exits 99 if one is violated. "ttft.p95 < 500ms" applies to every level, '
    '"ttft.p95 < 500ms @ 100" to levels of 100 users, "ttft.p95 < 500ms ~ 1s" is gold and tolerated; repeatable. '
    "With --search: what the load that is searched for must meet"
)
@click.option("--out", default="", help="Folder for the files and the report [default: reports/TIME]")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    urls: tuple[str, ...],
    models: tuple[str, ...],
    headers: tuple[str, ...],
    observe: tuple[str, ...],
    faulted: tuple[str, ...],
    fault_dry_run: bool,
    out: str,
    search: bool,
    short: bool,
    long: bool,
    concurrency: int | None,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    **options: Any,
) -> None:
    """Ramp the server at URL up through levels of users, or of requests per second, and report where it breaks.

    URL is the server's base address, or that of its endpoint. The command runs Locust with a packaged locustfile. It
    reads the key from LLMLOCUST_API_KEY or OPENAI_API_KEY. Arguments after -- go to Locust unchanged: `llmlocust run
    URL -- --processes 4 --llm-temperature 0.2`. With --threshold, the exit code is 99 if a threshold is violated, and 98
    if the measurement is not valid.

    With several URLs, or several --model, the runs follow one after the other. Each has its own folder and report, and
    one page compares them.

    \b
    llmlocust run http://localhost:8000 --levels 1,5,10,20,40 --hold 60
    llmlocust run https://api.example.com/v1 --model some-model --max-tokens 200 --threshold "ttft.p95 < 1s"
    llmlocust run http://localhost:8000 --search --threshold "ttft.p95 < 1s"
    llmlocust run http://localhost:8000 --rate 10 --levels 10,20,50,100
    llmlocust run http://localhost:8000 --trace mooncake.jsonl --trace-speed 2
    llmlocust run http://localhost:8000 --requests 200 --concurrency 20 --long
    llmlocust run http://localhost:8000 http://localhost:8001 --levels 1,10,50
    llmlocust run http://localhost:8000 --rate 20 --levels 20 --hold 120 --fault "at 40s for 10s: down"
    """
    from llmlocust.plugin.http.headers import SEPARATOR

    locust_args: list[str] = ctx.meta["locust_args"]
    _refuse_own_options(locust_args)
    judged = _searched(thresholds, thresholds_file) if search else _gates(thresholds, thresholds_file)
    given = {name for name in ctx.params if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    options |= _one_level_options(concurrency, given) | _length_options(short=short, long=long, given=given)
    options["header"] = SEPARATOR.join(headers) or None
    options["observe"] = SEPARATOR.join(observe) or None
    options["fault"] = SEPARATOR.join(faulted) or None
    arguments = [*judged.options, *locust_args, *(["--llm-fault-dry-run"] if fault_dry_run else [])]
    targets = targets_of(urls, models)
    out = out or f"reports/{time.strftime('%Y%m%d-%H%M%S')}"
    if len(targets) > 1:
        raise SystemExit(run_each(targets, out, options, arguments, judged.thresholds))
    options["model"] = targets[0].model or None
    raise SystemExit(run_and_report(targets[0].url, new_folder(out), options, arguments, judged.thresholds).code)


class _RunThresholds(NamedTuple):
    """The thresholds of a run."""

    options: list[str]
    """Locust's options for them."""
    thresholds: list[Threshold]
    """The thresholds by which the report judges levels, and by which runs are compared."""


def _gates(texts: tuple[str, ...], file: str) -> _RunThresholds:
    """Parse thresholds that decide the exit code."""
    from llmlocust.metrics.thresholds import Gate, thresholds_of

    gates = parse_all(_split_at_commas(texts), file, Gate.parse)
    return _RunThresholds([f"--llm-threshold={gate}" for gate in gates], thresholds_of(gates))


def _searched(texts: tuple[str, ...], file: str) -> _RunThresholds:
    """Parse thresholds of a search, which finds the highest load that meets them."""
    from llmlocust.load.search import Limits

    parsed = parse_thresholds(_split_at_commas(texts), file)
    try:
        Limits(parsed)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    return _RunThresholds(["--llm-search", "--llm-search-limits", ", ".join(map(str, parsed))], parsed)


def _split_at_commas(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The thresholds as one text each; commas separate those that share a text."""
    return tuple(text for joined in texts for text in joined.split(",") if text.strip())


def _one_level_options(concurrency: int | None, given: set[str]) -> dict[str, Any]:
    """The options that --concurrency and --requests stand for. `given`: the names of all options that the user gave."""
    if "requests" in given and concurrency is None:
        raise OneLine("--requests needs --concurrency: the number of users that share the requests, such as 20")
    others = {"levels", "rate", "search", "shape", "trace"} | ({"hold", "warmup"} if "requests" in given else set())
    if concurrency is not None and (conflicting := sorted(others & given)):
        raise OneLine(
            f"leave out --{conflicting[0]}: with --{'requests' if 'requests' in given else 'concurrency'} there is "
            "one level of users" + (", which ends with the last request" if "requests" in given else "")
        )
    return {} if concurrency is None else {"levels": concurrency}


def _length_options(*, short: bool, long: bool, given: set[str]) -> dict[str, Any]:
    """The options that --short and --long stand for."""
    if not (short or long):
        return {}
    if short and long:
        raise OneLine(
            "--short and --long are two runs: give one of them, and compare the runs with `llmlocust compare`"
        )
    if "prompts" in given:
        raise OneLine("--prompts, --short and --long all choose the prompts: leave one out")
    prompts = {"prompts": "long" if long else "short"}
    return prompts if "max_tokens" in given else prompts | {"max_tokens": _FEW_TOKENS}


def _refuse_own_options(locust_args: list[str]) -> None:
    if locust_args and not locust_args[0].startswith("-"):
        raise OneLine(f"{locust_args[0]!r} is not an option of Locust: only these follow --, and URLs come before it")
    taken = [arg for arg in locust_args if arg.split("=")[0] in ("--csv", "--host", "-H", "-f", "--locustfile")]
    if taken:
        raise OneLine(f"{taken[0]} is set by `llmlocust run` itself: give the URL and --out, or use `locust`")
