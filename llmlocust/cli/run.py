"""`llmlocust run`: a ramp against a server, or a search, and its report."""

from __future__ import annotations

import time
from typing import Any

import click

from llmlocust.cli.driving import LEVELS, run_and_report
from llmlocust.cli.shared import POSITIVE, OneLine, new_folder, parse_limits, threshold_options


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("url")
@click.option("--model", default="", help="Model to ask for [default: the first one that the server lists]")
@click.option(
    "--dialect", default="openai-chat", show_default=True,
    help="What the server speaks: anthropic, ollama-chat, tgi, gradio, … (docs/dialects.md); auto: ask it",
)  # fmt: skip
@click.option("--levels", default=LEVELS, show_default=True, help="Levels of users")
@click.option(
    "--rate", type=POSITIVE, default=None,
    help="Open load: requests a second, sent when they are due; --levels, where given, are rates then",
)  # fmt: skip
@click.option(
    "--arrivals", default="poisson", show_default=True,
    help="How requests arrive at a rate: constant, poisson, gamma:CV or bursts:N",
)  # fmt: skip
@click.option("--hold", type=float, default=30.0, show_default=True, help="Seconds to measure a level")
@click.option(
    "--settle", type=float, default=5.0, show_default=True,
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
@threshold_options('Such as "ttft.p95 < 500ms", or gold and tolerated: "ttft.p95 < 500ms ~ 1s"; repeatable')
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
    """
    checked = parse_limits(thresholds, thresholds_file)
    _refuse_what_is_ours(locust_args)
    searched = ["--llm-search", "--llm-search-limits", _searched(checked)] if search else []
    folder = new_folder(out or f"reports/{time.strftime('%Y%m%d-%H%M%S')}")
    raise SystemExit(run_and_report(url, folder, options, [*searched, *locust_args], checked))


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
