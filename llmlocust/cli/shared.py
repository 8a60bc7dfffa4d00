"""Errors, exit codes and options that several commands share, and the writing of pages."""

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

USAGE_ERROR, NOT_VALID, GATE_FAILED = 2, 98, 99
"""Exit codes of bad usage, of a measurement that is not valid, and of a gate or a comparison that failed.
docs/design.md lists all exit codes.
"""

POSITIVE = click.FloatRange(min=0, min_open=True)

BESIDE = "beside"
"""Value of --markdown without a file: write it beside the page."""

Command = Callable[..., None]
Parsed = TypeVar("Parsed")


class OneLine(click.ClickException):
    """An error that is shown in one line; exit code 2."""

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
    threshold_help: str, file_help: str = 'Thresholds from a TOML file: ttft.p95 = "< 500ms ~ 1s"'
) -> Callable[[Command], Command]:
    """Add --threshold and --thresholds to a command, as `thresholds` and `thresholds_file`, with these help texts."""

    def add(command: Command) -> Command:
        command = click.option("--thresholds", "thresholds_file", default="", metavar="FILE", help=file_help)(command)
        return click.option("--threshold", "thresholds", multiple=True, help=threshold_help)(command)

    return add


json_option = click.option("--json", "json_file", default="", metavar="FILE", help="Write JSON, too; - prints it")


class Pages(NamedTuple):
    """The files of a report, and its language."""

    out: str = ""
    """File of the page; empty: the command's default."""
    markdown: str = ""
    """File of the Markdown, - for standard output, or BESIDE; empty: none."""
    json_file: str = ""
    """File of the JSON, or - for standard output; empty: none."""
    lang: str = "en"

    @property
    def takes_stdout(self) -> bool:
        """Whether Markdown or JSON is written to standard output; other lines are then written to standard error."""
        return "-" in (self.markdown, self.json_file)


DEFAULT_PAGES = Pages()


def page_options(default: str) -> Callable[[Command], Command]:
    """Add --out, --markdown, --json and --lang to a command that writes a page. `default` describes its default file.

    The command gets them as `out`, `markdown`, `json_file` and `lang`: the fields of `Pages`.
    """
    options = (
        click.option("--out", default="", help=f"File of the page [default: {default}]"),
        click.option(
            "--markdown", is_flag=False, flag_value=BESIDE, default="", metavar="[FILE]", help="Write Markdown, too; - prints it"
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


def parse_thresholds(texts: tuple[str, ...], file: str = "") -> list[Threshold]:
    """Parse the values of --threshold and --thresholds. Raises OneLine."""
    from llmlocust.metrics.thresholds import Threshold

    return parse_all(texts, file, Threshold.parse)


def parse_all(texts: tuple[str, ...], file: str, parse: Callable[[str], Parsed]) -> list[Parsed]:
    """Parse texts, and the entries of a TOML file, with `parse`. Raises OneLine."""
    from llmlocust.metrics.thresholds import load_toml

    try:
        return [parse(text) for text in texts] + (load_toml(file, parse) if file else [])
    except ValueError as problem:
        raise OneLine(str(problem)) from None


# ── files ──


def load(prefix: str, table: str = "", think_time: str = "") -> RunData:
    """Read a run's files, or a table. Raises OneLine."""
    from llmlocust.runfiles.reading.errors import RunError
    from llmlocust.runfiles.reading.locate import load_run
    from llmlocust.runfiles.reading.published_table import load_table

    try:
        return load_table(table, think_time) if table else load_run(prefix)
    except RunError as problem:
        raise OneLine(str(problem)) from None


class Renderers(NamedTuple):
    """Functions that render a report or a comparison. They are called only for outputs that the user asks for."""

    html: Callable[[str], tuple[str, list[str]]]
    """Renders the page in a language; also returns the texts that stayed English."""
    markdown: Callable[[], str]
    json: Callable[[], str]


def write_pages(renderers: Renderers, pages: Pages, html: Path) -> None:
    """Write the page, and the Markdown and JSON that `pages` asks for."""
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
    """Write each output to the file of that name, complete or not at all; - is standard output. Raises OneLine."""
    for name, render in files:
        if name == "-":
            click.echo(render(), nl=False)
            continue
        text = render()
        try:
            with replacing(Path(name)) as file:
                file.write(text)
        except OSError as problem:
            raise OneLine(f"cannot write {name}: {problem.strerror}; name another file") from None


def has_run(prefix: Path) -> bool:
    from llmlocust.runfiles import formats

    return Path(f"{prefix}_{formats.RUN}").exists()


def new_folder(name: str) -> Path:
    """Make the folder for the files of a run, unless it exists. Raises OneLine if it cannot be used."""
    folder = Path(name)
    if folder.exists() and not folder.is_dir():
        raise OneLine(f"{folder} is a file: --out takes a folder")
    if has_run(folder / "run"):
        raise OneLine(f"{folder} already contains a run, which would be lost: give --out another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OneLine(f"cannot make the folder {folder}: {problem.strerror}; give another with --out") from None
    if not os.access(folder, os.W_OK):
        raise OneLine(f"cannot write to {folder}: give another folder with --out")
    return folder
