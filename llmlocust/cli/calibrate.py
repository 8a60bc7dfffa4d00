"""`llmlocust calibrate`: how far this machine's measurements can be believed."""

from __future__ import annotations

import time

import click

from llmlocust.cli.shared import POSITIVE, OneLine, new_folder, say, write


@click.command()
@click.option(
    "--streams", default="", help="Only so many streams: 10,100 [default: 10 to 300, at 500 to 75,000 tokens/s]"
)
@click.option(
    "--gap", type=POSITIVE, default=10.0, show_default=True,
    help="Milliseconds between tokens, where --streams is given",
)  # fmt: skip
@click.option("--seconds", type=POSITIVE, default=6.0, show_default=True, help="How long each point is measured")
@click.option("--out", default="", help="Folder for the page and the runs [default: reports/calibration- and the time]")
def calibrate(streams: str, gap: float, seconds: float, out: str) -> None:
    """Find out how far this machine's measurements can be believed: about two minutes.

    Real runs of Locust against a simulated server, at several numbers of streams and speeds. Each request is compared
    with what the server knows of it: when it wrote the first token, and how far apart the others were. Prints the
    errors as they come, and saves them as a page and as JSON.
    """
    from llmlocust.calibration import errors, page
    from llmlocust.calibration.measure import GRID, machine, measure

    grid = [(number, gap) for number in _streams(streams)] if streams else GRID
    folder = new_folder(out or f"reports/calibration-{time.strftime('%Y%m%d-%H%M%S')}")
    points: list[errors.Point] = []
    for line in errors.head():
        say(line)
    for number, between in grid:
        try:
            points.append(measure(number, between, seconds, folder))
        except RuntimeError as problem:
            raise OneLine(f"at {number} streams: {problem}") from None
        say(errors.line(points[-1]))
    say(errors.verdict(points))
    where = machine()
    html, data = folder / "calibration.html", folder / "calibration.json"
    write([(str(html), lambda: page.html(points, where)), (str(data), lambda: page.as_json(points, where))])
    say(f"Page: {html}")


def _streams(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(each.strip().isdecimal() and int(each) for each in numbers):
        raise OneLine(f"--streams wants whole numbers from 1 up, such as 10,100 — got {text!r}")
    return [int(each) for each in numbers]
