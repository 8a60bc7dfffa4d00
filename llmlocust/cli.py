"""The `llmlocust` command: wiring of the packages, nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

USAGE_ERROR, DOUBTED, REGRESSION = 2, 98, 99
"""Exit codes of bad usage, of a measurement that cannot be trusted, and of a gate that failed; Locust's own failures keep
theirs (docs/design.md lists all).
"""

_RUN_DEFAULTS = {"levels": "1,2,5,10,20,50,100,150,200,300", "settle": 5.0, "hold": 30.0}
_DEMO_SERVER = {"slots": 120, "queue_limit": 150}
_DEMO = {"settle": 3.0, "hold": 10.0, "max_tokens": 64}

_THRESHOLDS_FILE = 'Thresholds from a TOML file: ttft.p95 = "< 500ms ~ 1s"'

_POSITIVE = click.FloatRange(min=0, min_open=True)


class OneLine(click.ClickException):
    """An error in one line, exit 2."""

    exit_code = USAGE_ERROR


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("llmlocust"), prog_name="llmlocust")
def main() -> None:
    """How many users can your LLM endpoint take, where does it break, why, and can you believe the answer?

    \b
    llmlocust demo                               a ramp against a simulated server, and its report
    llmlocust run http://localhost:8000          a ramp against yours, and its report
    llmlocust report reports/NAME                the report again, from the files of a run
    llmlocust check reports/NAME --threshold …   whether it keeps its limits, for a CI
    llmlocust compare reports/BASE reports/NEW   what is faster or slower, and what is noise
    llmlocust calibrate                          how far this machine's measurements can be believed
    llmlocust simulate                           an LLM server of known capacity, to try things on

    For locustfiles, the web UI and many machines use `locust` itself: see locustfiles/ and the README.
    """


# ── simulate ──


def _with_knobs(command: Callable[..., None]) -> Callable[..., None]:
    """An option for every setting of the simulator."""
    from llmlocust.simulator.settings import knobs

    for knob in reversed(list(knobs())):
        if knob.kind is bool:
            command = click.option(knob.option, is_flag=True, help=knob.help)(command)
        else:
            command = click.option(
                knob.option, type=knob.kind, default=knob.default, show_default=bool(str(knob.default)), help=knob.help
            )(command)
    return command


@main.command()
@_with_knobs
def simulate(**settings: Any) -> None:
    """Serve a simulated LLM of known capacity, over OpenAI's API.

    It behaves like continuous batching: every step gives each running request a token, and takes longer the more
    run; --slots of them run at once and the rest wait. It says the truth about itself at /truth: when it received
    each request and when it wrote each token. Its defaults never exceed 3,333 tokens/s.

    A key is demanded where LLMLOCUST_SIMULATOR_KEY is set.
    """
    from llmlocust.simulator.server import serve
    from llmlocust.simulator.settings import Settings

    try:
        checked = Settings(**settings)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    serve(checked)


# ── run ──


@main.command(context_settings={"ignore_unknown_options": False})
@click.argument("url")
@click.option("--model", default="", help="Model to ask for [default: the first one that the server lists]")
@click.option(
    "--dialect", default="openai-chat", show_default=True,
    help="What the server speaks: anthropic, ollama-chat, tgi, gradio, … (docs/dialects.md); auto: ask it",
)  # fmt: skip
@click.option("--levels", default=_RUN_DEFAULTS["levels"], show_default=True, help="Levels of users")
@click.option(
    "--rate", type=_POSITIVE, default=None,
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
@click.option("--trace-speed", type=_POSITIVE, default=1.0, show_default=True, help="So many times as fast as it was")
@click.option("--trace-from", type=float, default=0.0, help="Seconds of the trace to leave out at its beginning")
@click.option("--trace-seconds", type=float, default=0.0, help="Seconds of the trace to replay [default: all of it]")
@click.option("--hold", type=float, default=_RUN_DEFAULTS["hold"], show_default=True, help="Seconds to measure a level")
@click.option(
    "--settle", type=float, default=_RUN_DEFAULTS["settle"], show_default=True,
    help="Seconds from a level's users being there to measuring",
)  # fmt: skip
@click.option(
    "--search",
    is_flag=True,
    help="Find the most users, or with --rate the highest rate, that keep every --threshold; without any, where requests wait",
)
@click.option("--max-tokens", default="256", show_default=True, help="Most tokens of an answer: 256, or whole:64-2048")
@click.option(
    "--prompts", default="short", show_default=True, help="short, long, reasoning, multilingual, code, or a file"
)
@click.option("--wait", default="0", show_default=True, help="Think time of a user in seconds: 5, or 1-3")
@click.option("--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True)
@click.option(
    "--threshold", "thresholds", multiple=True,
    help='Such as "ttft.p95 < 500ms", or gold and tolerated: "ttft.p95 < 500ms ~ 1s"; repeatable',
)  # fmt: skip
@click.option("--thresholds", "thresholds_file", default="", metavar="FILE", help=_THRESHOLDS_FILE)
@click.option("--out", default="", help="Folder for the files and the report [default: reports/ and the time]")
@click.argument("locust_args", nargs=-1, type=click.UNPROCESSED)
def run(
    url: str,
    out: str,
    search: bool,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    locust_args: tuple[str, ...],
    **options: Any,
) -> None:
    """Drive the server at URL up a staircase of users, or of requests a second, and report where it breaks.

    This is Locust with a packaged locustfile. A key is taken from LLMLOCUST_API_KEY or OPENAI_API_KEY. What stands
    behind -- goes to Locust as it is: `llmlocust run URL -- --processes 4 --llm-temperature 0.2`.

    \b
    llmlocust run http://localhost:8000 --levels 1,5,10,20,40 --hold 60
    llmlocust run https://api.example.com/v1 --model some-model --max-tokens 200 --threshold "ttft.p95 < 1s"
    llmlocust run http://localhost:8000 --search --threshold "ttft.p95 < 1s"
    llmlocust run http://localhost:8000 --rate 10 --levels 10,20,50,100
    llmlocust run http://localhost:8000 --trace mooncake.jsonl --trace-speed 2
    """
    checked = _thresholds(thresholds, thresholds_file)
    _refuse_what_is_ours(locust_args)
    searched = ["--llm-search", "--llm-search-limits", _searched(checked)] if search else []
    folder = _new_folder(out or f"reports/{time.strftime('%Y%m%d-%H%M%S')}")
    raise SystemExit(_run_and_report(url, folder, options, [*searched, *locust_args], checked))


def _searched(thresholds: list[Any]) -> str:
    """Thresholds as the option of a search has them."""
    from llmlocust.load.search import Limits

    try:
        Limits(thresholds)
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    return ", ".join(str(each) for each in thresholds)


def _refuse_what_is_ours(locust_args: tuple[str, ...]) -> None:
    if locust_args and not locust_args[0].startswith("-"):
        raise OneLine(f"what is {locust_args[0]!r}? One URL is wanted, and Locust's own options behind --")
    taken = [arg for arg in locust_args if arg.split("=")[0] in ("--csv", "--host", "-H", "-f", "--locustfile")]
    if taken:
        raise OneLine(f"{taken[0]} is set by `llmlocust run` itself: give the URL and --out, or use `locust`")


def _run_and_report(url: str, folder: Path, options: dict[str, Any], more: list[str], thresholds: list[Any]) -> int:
    """Exit code of the run, or of the report where the run was well."""
    prefix = folder / "run"
    api = options.pop("api", "chat")
    if not options.get("model"):
        options.pop("model", None)
    told = {f"--llm-{name.replace('_', '-')}": value for name, value in options.items() if value is not None}
    command = [
        *(sys.executable, "-m", "locust", "-f", str(_locustfile())),
        *("--headless", "--only-summary", "--host", url, "--csv", str(prefix)),
        "--skip-log-setup",  # its tables are left out, ours is the report
        # an overload ramp is meant to fail some requests: they are results, and the run is well
        *("--exit-code-on-error", "0"),
        *(f"{name}={value}" for name, value in told.items()),
        *more,
        {"chat": "Chat", "completions": "Completion"}[api],
    ]
    code = _locust(command)
    if not _has_run(prefix):
        _remove_headers(folder)
        return code or 1
    try:
        _report(str(prefix), None, thresholds)
    except OneLine as problem:
        problem.show()
        return code or problem.exit_code
    return code


def _locust(command: list[str]) -> int:
    """Locust as a child, which Ctrl-C, SIGTERM and a closed terminal end well. Returns a shell's exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    ends = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(end, lambda *_: child.terminate()) for end in ends]
    try:
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:  # the terminal has sent it to the child too
                continue
            return code if code >= 0 else 128 - code
    finally:
        for end, handler in zip(ends, before, strict=True):
            signal.signal(end, handler)


def _die_with_parent() -> None:
    """Called in a child before it begins: where this process is killed, Linux ends the child too, and no load goes on
    without anybody.
    """
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _remove_headers(folder: Path) -> None:
    """Locust had made its files when the run was refused: they hold a header each, and stand in the next run's way."""
    for path in folder.glob("run_*.csv"):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _locustfile() -> Path:
    return Path(__file__).with_name("plugin") / "locustfile.py"


def _has_run(prefix: Path) -> bool:
    from llmlocust.numbers import formats

    return Path(f"{prefix}_{formats.RUN}").exists()


def _new_folder(name: str) -> Path:
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise OneLine(f"{folder} is a file: --out wants a folder")
    if _has_run(folder / "run"):
        raise OneLine(f"{folder} holds a run already, which would be lost: give --out another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OneLine(f"cannot make the folder {folder}: {problem.strerror}; give another with --out") from None
    if not os.access(folder, os.W_OK):
        raise OneLine(f"cannot write to {folder}: give another folder with --out")
    return folder


# ── report ──


@main.command()
@click.argument("prefix", default="")
@click.option("--table", default="", metavar="FILE", help="A bare table instead: a CSV with a row a level")
@click.option("--wait", default="", help="Think time of the table's users in seconds: 5, or 1-3")
@click.option(
    "--threshold", "thresholds", multiple=True,
    help='Such as "ttft.p95 < 500ms", "errors < 1%", or gold and tolerated: "ttft.p95 < 500ms ~ 1s"; repeatable',
)  # fmt: skip
@click.option("--thresholds", "thresholds_file", default="", metavar="FILE", help=_THRESHOLDS_FILE)
@click.option("--out", default="", help="The page's file [default: PREFIX_report.html]")
@click.option(
    "--markdown", is_flag=False, flag_value="beside", default="", metavar="[FILE]", help="Markdown too; - prints it"
)
@click.option("--json", "json_file", default="", metavar="FILE", help="JSON too; - prints it")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of the page")
def report(
    prefix: str,
    table: str,
    wait: str,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    out: str,
    markdown: str,
    json_file: str,
    lang: str,
) -> None:
    """Make the report of a run from its files: one HTML page that needs no network.

    PREFIX is what --csv was given, a folder with one run in it, or one of the run's files. The CSVs of any Locust
    test will do, with less to say. So will a table that somebody published: --table, with columns such as users (or
    rate), mean, p95, ttft_mean, rps and errors; times in milliseconds unless the header says otherwise (p95_s).
    """
    if bool(prefix) == bool(table):
        raise OneLine("give either a run's PREFIX or a table (--table levels.csv)")
    if wait and not table:
        raise OneLine("--wait is of a table's users (--table): a run tells the think time of its own")
    limits = _thresholds(thresholds, thresholds_file)
    _report(prefix, Path(out) if out else None, limits, markdown, json_file, lang, table=table, wait=wait)


def _of_the_run(info: dict[str, Any]) -> list[Any]:
    """The limits that it was run with; none where they cannot be read, as those of another version."""
    from llmlocust.numbers.thresholds import parse_gates, thresholds_of

    try:
        return thresholds_of(parse_gates(str(info.get("options", {}).get("llm_threshold", ""))))
    except (AttributeError, ValueError):
        return []


def _thresholds(texts: tuple[str, ...], file: str = "") -> list[Any]:
    from llmlocust.numbers.thresholds import Threshold

    return _parsed(texts, file, Threshold.parse)


def _parsed(texts: tuple[str, ...], file: str, parse: Callable[[str], Any]) -> list[Any]:
    from llmlocust.numbers.thresholds import parse_toml

    try:
        given = [parse(text) for text in texts]
    except ValueError as problem:
        raise OneLine(str(problem)) from None
    if not file:
        return given
    try:
        return given + parse_toml(Path(file).read_text(encoding="utf-8"), parse)
    except OSError as problem:
        raise OneLine(f"{file}: cannot be read ({problem.strerror})") from None
    except ValueError as problem:  # also of what is no UTF-8
        raise OneLine(f"{file}: {problem}") from None


def _report(
    prefix: str,
    out: Path | None,
    thresholds: list[Any],
    markdown: str = "",
    json_file: str = "",
    lang: str = "en",
    *,
    table: str = "",
    wait: str = "",
) -> None:
    from llmlocust.report import page

    run = _load(prefix, table, wait)
    made = page.build(run, thresholds or _of_the_run(run.info))
    html = out or Path(f"{run.prefix}_report.html")
    _write_pages(html, lambda: _in_language(made, lang), made, markdown, json_file)
    to_stderr = "-" in (markdown, json_file)
    for line in page.summary(made):
        click.echo(line, err=to_stderr)
    click.echo(f"Report:    {html}", err=to_stderr)


def _write_pages(html: Path, page: Callable[[], str], made: Any, markdown: str, json_file: str) -> None:
    """The page, and what was asked for beside it."""
    pages = [(str(html), page)]
    if markdown:
        pages.append((str(html.with_suffix(".md")) if markdown == "beside" else markdown, made.markdown))
    if json_file:
        pages.append((json_file, made.json))
    _write(pages)


def _load(prefix: str, table: str = "", wait: str = "") -> Any:
    from llmlocust.report.frames import RunError, load_run
    from llmlocust.report.tables import load_table

    try:
        return load_table(table, wait) if table else load_run(prefix)
    except RunError as problem:
        raise OneLine(str(problem)) from None


def _in_language(made: Any, lang: str) -> str:
    text, missing = made.html_in(lang)
    for sentence in missing:
        click.echo(f"Not translated, left in English: {sentence}", err=True)
    return str(text)


def _write(pages: list[tuple[str, Callable[[], str]]]) -> None:
    from llmlocust.report import page

    for name, make in pages:
        if name == "-":
            click.echo(make(), nl=False)
            continue
        beside = Path(name + ".part")
        try:
            page.write(beside, make())
            beside.replace(name)
        except OSError as problem:
            beside.unlink(missing_ok=True)
            raise OneLine(f"cannot write {name}: {problem.strerror}; name another place") from None


# ── check ──


@main.command()
@click.argument("prefix")
@click.option(
    "--threshold", "thresholds", multiple=True,
    help='Such as "ttft.p95 < 500ms", at every level, or "ttft.p95 < 500ms @ 100", at those of one load; repeatable',
)  # fmt: skip
@click.option(
    "--thresholds", "thresholds_file", default="", metavar="FILE", help='From a TOML file: ttft.p95 = "< 500ms @ 100"'
)
@click.option(
    "--accept", multiple=True, metavar="CHECK", help='A trust check that may fail, such as "prefix cache"; repeatable'
)
@click.option("--junit", default="", metavar="FILE", help="JUnit XML, a test for each threshold and level; - prints it")
@click.option("--markdown", default="", metavar="FILE", help="Markdown too; - prints it")
@click.option("--json", "json_file", default="", metavar="FILE", help="JSON too; - prints it")
def check(
    prefix: str,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    accept: tuple[str, ...],
    junit: str,
    markdown: str,
    json_file: str,
) -> None:
    """Judge a run's files by thresholds: exit 0 where all hold, 99 where one does not, 98 where the measurement that
    one rests on cannot be trusted.

    PREFIX as for the report. Where GITHUB_STEP_SUMMARY names a file, as in GitHub's workflows, Markdown is added to it.
    See docs/ci.md.

    \b
    llmlocust check reports/NAME --threshold "ttft.p95 < 1s @ 50" --threshold "errors < 1% @ 50" --junit gates.xml
    """
    from llmlocust.numbers.thresholds import Gate

    given = _parsed(thresholds, thresholds_file, Gate.parse)
    if not given:
        raise OneLine('no threshold to check: give --threshold "ttft.p95 < 500ms", or a file with --thresholds')
    from llmlocust.report import gates

    judged = gates.build(_load(prefix), list(dict.fromkeys(given)), accept)
    outputs = [(junit, judged.junit), (markdown, judged.markdown), (json_file, judged.json)]
    to_stderr = any(name == "-" for name, _ in outputs)
    for line in judged.lines():
        click.echo(line, err=to_stderr)
    _write([(name, make) for name, make in outputs if name])
    _add_to_summary(judged.markdown())
    raise SystemExit(judged.outcome.exit_code)


def _add_to_summary(markdown: str) -> None:
    """GitHub shows on a job's page what its steps append to this file."""
    name = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not name:
        return
    try:
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(f"{markdown}\n")
    except OSError as problem:  # the summary is a copy: what was judged stands without it
        click.echo(f"cannot write {name} (GITHUB_STEP_SUMMARY): {problem.strerror}", err=True)


# ── compare ──


class _Share(click.ParamType):
    """5 % or 0.05."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        number, percent, _ = value.strip().partition("%")
        try:
            share = float(number) / (100.0 if percent else 1.0)
        except ValueError:
            share = -1.0
        if not 0.0 < share < 1.0:
            self.fail(f"{value!r} is none: 5% is one, and so is 0.05", param, ctx)
        return share


@main.command()
@click.argument("base")
@click.argument("new", nargs=-1, required=True)
@click.option(
    "--label", "labels", multiple=True, help="Name of a run, one for each in their order [default: its files']"
)
@click.option(
    "--tolerance",
    type=_Share(),
    default="5%",
    show_default=True,
    help="A change that does not matter, such as 5% or 0.05",
)
@click.option(
    "--threshold", "thresholds", multiple=True,
    help='Limits for all of the runs, such as "ttft.p95 < 500ms"; repeatable [default: derived from BASE]',
)  # fmt: skip
@click.option("--thresholds", "thresholds_file", default="", metavar="FILE", help=_THRESHOLDS_FILE)
@click.option("--out", default="", help="The page's file [default: PREFIX_compare.html, of the first NEW]")
@click.option(
    "--markdown", is_flag=False, flag_value="beside", default="", metavar="[FILE]", help="Markdown too; - prints it"
)
@click.option("--json", "json_file", default="", metavar="FILE", help="JSON too; - prints it")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of the page")
def compare(
    base: str,
    new: tuple[str, ...],
    labels: tuple[str, ...],
    tolerance: float,
    thresholds: tuple[str, ...],
    thresholds_file: str,
    out: str,
    markdown: str,
    json_file: str,
    lang: str,
) -> None:
    """Compare one run or more with BASE: level by level, figure by figure, and say what noise does not explain.

    Runs are named as for `llmlocust report`: by prefix, folder or file; the CSVs of any Locust test and tables of levels
    will do, with less to say. Levels that both runs held are compared; up to nine NEW beside one BASE.

    Exit code 99: a regression, that is, NEW is worse by more than the tolerance and noise does not explain it. 98: none,
    but checks doubt a level that was compared. 0: neither.

    \b
    llmlocust compare reports/monday reports/tuesday
    llmlocust compare reports/a reports/b reports/c --label vLLM --label SGLang --label TGI --markdown -
    """
    limits = _thresholds(thresholds, thresholds_file)
    raise SystemExit(_compare([base, *new], list(labels), tolerance, limits, out, markdown, json_file, lang))


def _compare(
    names: list[str],
    labels: list[str],
    tolerance: float,
    thresholds: list[Any],
    out: str,
    markdown: str,
    json_file: str,
    lang: str,
) -> int:
    """The exit code."""
    from llmlocust.report import comparing
    from llmlocust.report.frames import RunError

    if len(names) > comparing.MOST_RUNS:
        raise OneLine(f"{len(names)} runs are more than a page can show: compare at most {comparing.MOST_RUNS}")
    if labels and len(labels) != len(names):
        raise OneLine(f"{len(labels)} labels for {len(names)} runs: give --label once for each, BASE first, or none")
    if len(set(labels)) < len(labels):
        raise OneLine("two runs have the same --label: give each its own")
    try:
        runs = [comparing.load(name) for name in names]
        made = comparing.build(runs, labels or comparing.labels_of(runs), thresholds, tolerance)
    except RunError as problem:
        raise OneLine(str(problem)) from None
    html = Path(out or f"{runs[1].prefix}_compare.html")
    _write_pages(html, lambda: _in_language(made, lang), made, markdown, json_file)
    to_stderr = "-" in (markdown, json_file)
    for line in comparing.summary(made):
        click.echo(line, err=to_stderr)
    click.echo(f"Comparison: {html}", err=to_stderr)
    return REGRESSION if made.regressed else DOUBTED if made.doubted else 0


# ── demo ──


@main.command()
@click.option("--levels", default=_RUN_DEFAULTS["levels"], show_default=True, help="Levels of users")
@click.option("--hold", type=float, default=_DEMO["hold"], show_default=True, help="Seconds to measure a level")
@click.option("--settle", type=float, default=_DEMO["settle"], show_default=True, help="Seconds before measuring")
@click.option("--out", default="", help="Folder for the files and the report [default: reports/demo- and the time]")
def demo(levels: str, hold: float, settle: float, out: str) -> None:
    """Ramp a simulated LLM server from 1 to 300 users and report where it breaks: under four minutes.

    The server takes 120 requests at once, lets 150 more wait and refuses the rest. Real sockets, real token streams,
    the real Locust: only the model is made up.
    """
    folder = _new_folder(out or f"reports/demo-{time.strftime('%Y%m%d-%H%M%S')}")
    options = {"levels": levels, "hold": hold, "settle": settle, "max_tokens": _DEMO["max_tokens"]}
    with _simulator() as url:
        click.echo(
            f"A simulated LLM server at {url}: {_DEMO_SERVER['slots']} at once, {_DEMO_SERVER['queue_limit']} may wait"
        )
        code = _run_and_report(url, folder, options, [], [])
    raise SystemExit(code)


# ── calibrate ──


@main.command()
@click.option(
    "--streams", default="", help="Only so many streams: 10,100 [default: 10 to 300, at 500 to 75,000 tokens/s]"
)
@click.option(
    "--gap", type=_POSITIVE, default=10.0, show_default=True,
    help="Milliseconds between tokens, where --streams is given",
)  # fmt: skip
@click.option("--seconds", type=_POSITIVE, default=6.0, show_default=True, help="How long each point is measured")
@click.option("--out", default="", help="Folder for the page and the runs [default: reports/calibration- and the time]")
def calibrate(streams: str, gap: float, seconds: float, out: str) -> None:
    """Find out how far this machine's measurements can be believed: about two minutes.

    Real runs of Locust against a simulated server, at several numbers of streams and speeds. Each request is compared
    with what the server knows of it: when it wrote the first token, and how far apart the others were. Prints the
    errors as they come, and saves them as a page and as JSON.
    """
    from llmlocust.analysis import calibration as judged
    from llmlocust.calibration import GRID, machine, measure
    from llmlocust.report import calibration as page

    grid = [(number, gap) for number in _streams(streams)] if streams else GRID
    folder = _new_folder(out or f"reports/calibration-{time.strftime('%Y%m%d-%H%M%S')}")
    points: list[judged.Point] = []
    for line in judged.head():
        click.echo(line)
    for number, between in grid:
        try:
            points.append(measure(number, between, seconds, folder))
        except RuntimeError as problem:
            raise OneLine(f"at {number} streams: {problem}") from None
        click.echo(judged.line(points[-1]))
    click.echo(judged.verdict(points))
    where = machine()
    html, data = folder / "calibration.html", folder / "calibration.json"
    _write([(str(html), lambda: page.html(points, where)), (str(data), lambda: page.as_json(points, where))])
    click.echo(f"Page: {html}")


def _streams(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(each.strip().isdecimal() and int(each) for each in numbers):
        raise OneLine(f"--streams wants whole numbers from 1 up, such as 10,100 — got {text!r}")
    return [int(each) for each in numbers]


@contextmanager
def _simulator() -> Iterator[str]:
    settings = [f"--{name.replace('_', '-')}={value}" for name, value in _DEMO_SERVER.items()]
    command = [sys.executable, "-m", "llmlocust.simulator", "--port=0", *settings]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the run; a server that went first would be blamed
        preexec_fn=_die_with_parent,
    )
    try:
        line = child.stdout.readline() if child.stdout else ""
        if "http" not in line:
            raise OneLine(f"the simulated server did not start (exit {child.wait()})")
        yield line.split()[-1]
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    main()
