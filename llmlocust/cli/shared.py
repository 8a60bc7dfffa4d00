"""What several commands share: errors, exit codes, options, and the writing of pages."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from llmlocust.runfiles.writing import replacing
from llmlocust.text import media

if TYPE_CHECKING:
    from llmlocust.metrics.thresholds import Threshold
    from llmlocust.runfiles.reading.run_data import RunData

USAGE_ERROR, DOUBTED, GATE_FAILED = 2, 98, 99
"""Exit codes of bad usage, of a measurement that cannot be trusted, and of a gate or a comparison that failed; Locust's own failures keep
theirs (docs/design.md lists all).
"""

POSITIVE = click.FloatRange(min=0, min_open=True)

BESIDE = "beside"

Command = Callable[..., None]
Parsed = TypeVar("Parsed")


class OneLine(click.ClickException):
    """An error in one line, exit 2."""

    exit_code = USAGE_ERROR

    def format_message(self) -> str:
        return media.terminal(self.message)


class Stopped(OneLine):
    """The command was interrupted by Ctrl-C. The exit code is the one that shells use."""

    exit_code = 128 + signal.SIGINT


def say(line: str = "", *, err: bool = False) -> None:
    """Print a line, cleaned for a terminal: it may contain text from a server or from a run's files."""
    click.echo(media.terminal(line), err=err)


# ── options ──


def threshold_options(
    told: str, file: str = 'Thresholds from a TOML file: ttft.p95 = "< 500ms ~ 1s"'
) -> Callable[[Command], Command]:
    """--threshold and --thresholds, as `thresholds` and `thresholds_file`, with a help line for each."""

    def add(command: Command) -> Command:
        command = click.option("--thresholds", "thresholds_file", default="", metavar="FILE", help=file)(command)
        return click.option("--threshold", "thresholds", multiple=True, help=told)(command)

    return add


json_option = click.option("--json", "json_file", default="", metavar="FILE", help="JSON too; - prints it")


class Pages(NamedTuple):
    """Where a report goes, and in which language."""

    out: str = ""
    """The page's file; empty: the command's own."""
    markdown: str = ""
    """A file, - for the terminal, or BESIDE."""
    json_file: str = ""
    lang: str = "en"

    @property
    def takes_stdout(self) -> bool:
        """What is said goes to stderr then."""
        return "-" in (self.markdown, self.json_file)


DEFAULT_PAGES = Pages()


def page_options(default: str) -> Callable[[Command], Command]:
    """--out, --markdown, --json and --lang of a command that makes a page; `default` says where it goes without --out.
    The command gets them as `out`, `markdown`, `json_file` and `lang`: the fields of `Pages`.
    """
    options = (
        click.option("--out", default="", help=f"The page's file [default: {default}]"),
        click.option(
            "--markdown", is_flag=False, flag_value=BESIDE, default="", metavar="[FILE]", help="Markdown too; - prints it"
        ),
        json_option,
        click.option(
            "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="Language of the page"
        ),
    )  # fmt: skip

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def parse_limits(texts: tuple[str, ...], file: str = "") -> list[Threshold]:
    """Thresholds of the two options."""
    from llmlocust.metrics.thresholds import Threshold

    return parse_all(texts, file, Threshold.parse)


def parse_all(texts: tuple[str, ...], file: str, parse: Callable[[str], Parsed]) -> list[Parsed]:
    from llmlocust.metrics.thresholds import load_toml

    try:
        return [parse(text) for text in texts] + (load_toml(file, parse) if file else [])
    except ValueError as problem:
        raise OneLine(str(problem)) from None


# ── files ──


def load(prefix: str, table: str = "", think_time: str = "") -> RunData:
    """A run from its files, or a bare table."""
    from llmlocust.runfiles.reading.errors import RunError
    from llmlocust.runfiles.reading.locate import load_run
    from llmlocust.runfiles.reading.published_table import load_table

    try:
        return load_table(table, think_time) if table else load_run(prefix)
    except RunError as problem:
        raise OneLine(str(problem)) from None


class Renderers(NamedTuple):
    """What makes the outputs of a report or a comparison. They are called only where the output is asked for."""

    html: Callable[[str], tuple[str, list[str]]]
    """The page in a language, and its texts that stayed English."""
    markdown: Callable[[], str]
    json: Callable[[], str]


def write_pages(renderers: Renderers, pages: Pages, html: Path) -> None:
    """Write the page, and what was asked for beside it."""
    files: list[tuple[str, Callable[[], str]]] = [(str(html), lambda: _in_language(renderers, pages.lang))]
    if pages.markdown:
        files.append((str(html.with_suffix(".md")) if pages.markdown == BESIDE else pages.markdown, renderers.markdown))
    if pages.json_file:
        files.append((pages.json_file, renderers.json))
    write(files)


def _in_language(renderers: Renderers, lang: str) -> str:
    text, missing = renderers.html(lang)
    for sentence in missing:
        say(f"Not translated, left in English: {sentence}", err=True)
    return text


def write(files: list[tuple[str, Callable[[], str]]]) -> None:
    """Each to its name, whole or not at all; - is the terminal."""
    for name, make in files:
        if name == "-":
            click.echo(make(), nl=False)
            continue
        text = make()
        try:
            with replacing(Path(name)) as file:
                file.write(text)
        except OSError as problem:
            raise OneLine(f"cannot write {name}: {problem.strerror}; name another place") from None


def has_run(prefix: Path) -> bool:
    from llmlocust.runfiles import formats

    return Path(f"{prefix}_{formats.RUN}").exists()


def new_folder(name: str) -> Path:
    """A folder that a run's files may go to, made where there is none."""
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise OneLine(f"{folder} is a file: --out wants a folder")
    if has_run(folder / "run"):
        raise OneLine(f"{folder} holds a run already, which would be lost: give --out another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OneLine(f"cannot make the folder {folder}: {problem.strerror}; give another with --out") from None
    if not os.access(folder, os.W_OK):
        raise OneLine(f"cannot write to {folder}: give another folder with --out")
    return folder
