"""`llmlocust calibrate`: how accurate this machine's measurements are."""

from __future__ import annotations

import time

import click

from llmlocust.cli.shared import POSITIVE, OneLine, new_folder, say, write


@click.command()
@click.option(
    "--streams", default="", help="Numbers of streams, such as 10,100 [default: 10 to 300, at 500 to 75,000 tokens/s]"
)
@click.option(
    "--itl", type=POSITIVE, default=10.0, show_default=True,
    help="Inter-token latency of the server in milliseconds; needs --streams",
)  # fmt: skip
@click.option("--seconds", type=POSITIVE, default=6.0, show_default=True, help="Seconds to measure each point")
@click.option("--out", default="", help="Folder for the page and the runs' files [default: reports/calibration-TIME]")
def calibrate(streams: str, itl: float, seconds: float, out: str) -> None:
    """Measure how accurate this machine's measurements are. Takes about two minutes.

    Locust runs against a simulated server with several numbers of streams and token rates. Each request is compared
    with the server's record of it: when the first token was written, and the times between tokens. The errors are
    printed as they are measured, and saved as a page and as JSON.
    """
    from llmlocust.calibration import errors, page
    from llmlocust.calibration.measure import GRID, machine, measure

    grid = [(number, itl) for number in _streams(streams)] if streams else GRID
    folder = new_folder(out or f"reports/calibration-{time.strftime('%Y%m%d-%H%M%S')}")
    points: list[errors.Point] = []
    for line in errors.head():
        say(line)
    for number, itl_ms in grid:
        try:
            points.append(measure(number, itl_ms, seconds, folder))
        except RuntimeError as problem:
            raise OneLine(f"at {number} streams: {problem}") from None
        say(errors.line(points[-1]))
    say(errors.verdict(points))
    facts = machine()
    html, data = folder / "calibration.html", folder / "calibration.json"
    write([(str(html), lambda: page.html(points, facts)), (str(data), lambda: page.as_json(points, facts))])
    say(f"Page: {html}")


def _streams(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(number.strip().isdecimal() and int(number) for number in numbers):
        raise OneLine(f"--streams takes whole numbers from 1, such as 10,100; got {text!r}")
    return [int(number) for number in numbers]
