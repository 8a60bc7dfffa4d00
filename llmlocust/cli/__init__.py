"""The `llmlocust` command: wiring of the packages, nothing more. A module a command; what they share is in `shared`."""

from __future__ import annotations

import errno
from importlib.metadata import version
from typing import Any

import click

from llmlocust.cli import calibrate, check, compare, demo, report, run, simulate
from llmlocust.cli.shared import OneLine, Stopped


class _Group(click.Group):
    """A group whose commands report Ctrl-C and an unexpected OSError, such as a file name that is too long, in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as problem:
            if problem.errno == errno.EPIPE or not problem.strerror:  # click ends the first quietly
                raise
            name = f"{str(problem.filename)[:60]}: " if problem.filename else ""
            raise OneLine(f"{name}{problem.strerror.lower()}") from None
        except KeyboardInterrupt:
            raise Stopped("stopped") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


main.add_command(simulate.simulate)
main.add_command(run.run)
main.add_command(report.report)
main.add_command(check.check)
main.add_command(compare.compare)
main.add_command(demo.demo)
main.add_command(calibrate.calibrate)
