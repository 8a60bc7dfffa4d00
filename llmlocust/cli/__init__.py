"""The `llmlocust` command: it only connects the packages. Each subcommand has a module; `shared` has the common code."""

from __future__ import annotations

import errno
from importlib.metadata import version
from typing import Any

import click

from llmlocust.cli import calibrate, check, compare, demo, observe, plan, proxy, report, run, simulate
from llmlocust.cli.shared import OneLine, Stopped


class _Group(click.Group):
    """A group whose commands report Ctrl-C and unexpected OSErrors, such as a file name that is too long, in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as problem:
            if problem.errno == errno.EPIPE or not problem.strerror:  # click itself ends quietly on a broken pipe
                raise
            name = f"{str(problem.filename)[:60]}: " if problem.filename else ""
            raise OneLine(f"{name}{problem.strerror.lower()}") from None
        except KeyboardInterrupt:
            raise Stopped("stopped") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("llmlocust"), prog_name="llmlocust")
def main() -> None:
    """Load tests for LLM servers: how many users one can serve, where it breaks, why, and whether the result is valid.

    \b
    llmlocust demo                               run a ramp against a simulated server, and report it
    llmlocust run http://localhost:8000          run a ramp against your server, and report it
    llmlocust report reports/NAME                write the report again, from the files of a run
    llmlocust check reports/NAME --threshold …   check a run against thresholds, for CI
    llmlocust compare reports/BASE reports/NEW   compare runs, and separate changes from noise
    llmlocust plan reports/NAME                  compute users, requests an hour and replicas from a run
    llmlocust calibrate                          measure how accurate this machine's measurements are
    llmlocust observe                            serve this machine's state to a load test on another machine
    llmlocust proxy http://localhost:8000        break connections and requests on purpose, between load and server
    llmlocust simulate                           start an LLM server of known capacity, for experiments

    For locustfiles, the web UI and several machines, use `locust`: see locustfiles/ and the README.
    """


main.add_command(simulate.simulate)
main.add_command(run.run)
main.add_command(report.report)
main.add_command(check.check)
main.add_command(compare.compare)
main.add_command(plan.plan)
main.add_command(demo.demo)
main.add_command(calibrate.calibrate)
main.add_command(observe.observe)
main.add_command(proxy.proxy)
