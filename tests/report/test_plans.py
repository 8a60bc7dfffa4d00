"""`llmlocust plan`, and the section on capacity planning of a report."""

import json

import pytest
from click.testing import CliRunner
from made_run import MadeRun
from pages import english_in

from llmlocust.assessment.assessment import assess
from llmlocust.assessment.plans import limit_in, plan_in
from llmlocust.cli import main
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import data
from llmlocust.report.html import html, html_in
from llmlocust.report.markdown import markdown
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.text import media
from tests.simulators import ROOT

GRADIO = ROOT / "tests" / "analysis" / "cases" / "gradio_gpu.csv"
"""A published load test. Its author concluded: "45 users at one question per 15 s are 10,800 questions an hour, and so 360
daily users at 30 questions each"."""
LIMITS = [Threshold.parse("ttft.p95 < 500ms")]
CAPACITY = ("concurrent_users", "requests_per_hour", "daily_users")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the prefix of a run whose limit is near its 24 slots."""
    simulated = MadeRun((5, 10, 20, 30, 40, 60), info={"options": {"llm_threshold": "ttft.p95 < 500ms"}})
    return simulated.write(tmp_path_factory.mktemp("plan") / "x")


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """Return the prefix of a run with the same server twice."""
    return MadeRun((20, 40, 60, 80, 100), slots=48).write(tmp_path_factory.mktemp("plan") / "y")


def plan(*args, code=0):
    """Return the JSON of the command, and its standard error."""
    result = CliRunner().invoke(main, ["plan", *map(str, args), "--json", "-"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout), result.stderr


def error(*args):
    """Return the error message of a command that cannot be carried out: one line."""
    result = CliRunner().invoke(main, ["plan", *map(str, args)])
    assert result.exit_code == 2, result.output
    (line,) = result.output.strip().splitlines()
    return line


def test_json_has_the_capacity_and_its_assumptions(run):
    document, stderr = plan(run, "--think", "15s", "--per-user-day", "30", "--peak-share", "15%")
    capacity = document["capacity"]
    assert capacity["at_least"] is False
    for name in CAPACITY:
        assert 0 < capacity[name]["low"] <= capacity[name]["value"] <= capacity[name]["high"]
    hourly = capacity["requests_per_hour"]["value"]
    assert capacity["daily_users"]["value"] == pytest.approx(hourly / 4.5)
    assert document["usable"]["requests_per_hour"]["value"] == pytest.approx(0.7 * hourly)
    assert document["replicas"] is None
    assert document["cost"] is None
    assert {"name": "think_time", "value": 15, "source": "given"} in document["assumptions"]
    assert {"name": "headroom", "value": 0.3, "source": "default"} in document["assumptions"]
    assert all(sentence in stderr for sentence in document["says"])


def test_the_runs_own_think_time_gives_the_users_of_its_own_limit(run):
    document, _ = plan(run)
    assert {"name": "think_time", "value": 1, "source": "measured"} in document["assumptions"]
    report = assess(load_run(str(run)), LIMITS)
    users = document["capacity"]["concurrent_users"]["value"]
    assert users == pytest.approx(report.verdict.slo_limit.load, rel=0.05)


@pytest.mark.parametrize("think", [(0.0, 0.0), (1.0, 3.0)])
def test_the_interval_contains_the_limit_of_users_with_another_think_time(tmp_path, think):
    """The same server is tested by users with the think time of the plan."""
    options = {"hold": 120.0, "warmup": 20.0}
    info = {"think_times": {"ChatUser": sum(think) / 2}}
    tested = MadeRun((10, 20, 24, 28, 32, 40, 50), think=think, info=info, **options).write(tmp_path / "tested")
    planned = MadeRun((80, 100, 110, 120, 130, 140, 160), think=(10.0, 20.0), **options).write(tmp_path / "planned")
    assessment = assess(load_run(str(tested)), LIMITS)
    users = plan_in({1: assessment}, {1: limit_in(assessment)}, {"think_time": 15.0}).capacity.concurrent_users
    truth = assess(load_run(str(planned)), LIMITS).verdict.slo_limit
    assert truth.reached
    assert users.low <= truth.load <= users.high
    assert users.value == pytest.approx(truth.load, rel=0.2)


def test_a_target_gives_replicas_of_a_linear_basis(run):
    document, _ = plan(run, "--target", "100k requests/hour", "--spare", "2")
    replicas = document["replicas"]
    assert replicas["basis"] == "linear"
    assert replicas["target"] == "100k requests/hour"
    usable = document["usable"]["requests_per_hour"]
    assert replicas["value"] == -(-100_000 // usable["value"]) + 2
    assert replicas["low"] <= replicas["value"] <= replicas["high"]
    assert "which no run has shown" in document["says"][-1]


def test_runs_of_several_replicas_give_a_measured_basis(run, larger):
    document, stderr = plan(f"{run}=1", f"{larger}=2", "--threshold", "ttft.p95 < 500ms", "--target", "30k requests/h")
    assert document["replicas"]["basis"] == "measured"
    one, two = document["instances"]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert two["efficiency"] == pytest.approx(1.0, abs=0.1)
    assert "from runs of 1 and 2 replicas" in document["says"][-1]
    assert "efficiency" in stderr
    same, _ = plan(run, larger, "--instances", "1,2", "--threshold", "ttft.p95 < 500ms", "--target", "30k requests/h")
    assert same == document


def test_a_limit_that_was_not_reached_is_at_least(run):
    document, _ = plan(run, "--threshold", "ttft.p95 < 100s")
    assert document["capacity"]["at_least"] is True
    assert document["capacity"]["requests_per_hour"]["high"] is None
    assert document["says"][0].startswith("At least ")
    assert "the SLO limit was not reached up to the highest measured level, 60 users" in document["says"][0]


def test_a_run_that_is_not_valid_says_so_first(tmp_path):
    run = MadeRun((5, 10, 20, 30, 40), info={"think_times": {"ChatUser": 5.0}}).write(tmp_path / "x")
    document, _ = plan(run, "--threshold", "ttft.p95 < 500ms")
    assert document["says"][0] == "The run is not valid (think time), so its SLO limit and this plan may be wrong."
    assert document["says"][1].startswith("N = X·(R + Z) does not fit the run itself")


# -- a published table


def test_gradios_author_is_right_only_without_response_time_and_with_all_questions_in_one_hour():
    options = ("--threshold", "e2e.p95 < 4s", "--think", "15s", "--per-user-day", "30", "--headroom", "0")
    document, _ = plan("--table", GRADIO, *options, "--peak-share", "1")
    capacity = document["capacity"]
    assert capacity["concurrent_users"]["value"] == pytest.approx(45, abs=1)  # as its author says
    assert capacity["concurrent_users"]["low"] == 40
    assert capacity["concurrent_users"]["high"] == 50
    # an answer takes 2.9 s more than the 15 s between two questions
    assert capacity["requests_per_hour"]["value"] == pytest.approx(45 / (15 + 2.88) * 3600, rel=0.01)
    assert capacity["requests_per_hour"]["high"] < 10_800
    assert capacity["daily_users"]["high"] < 360
    by_response = next(sentence for sentence in document["says"] if "if answers took no time" in sentence)
    assert (
        "45 users with one request every 15 s would be 10\N{NARROW NO-BREAK SPACE}826 requests an hour" in by_response
    )
    assert "an answer takes 2.88 s, so it is 9083" in by_response
    assert "100 % of them in the busiest hour; if that were 15 %, there could be 2018" in document["says"][-1]


def test_gradios_table_has_no_throughput_so_its_users_are_assumed_to_think_as_planned():
    document, _ = plan("--table", GRADIO, "--threshold", "e2e.p95 < 4s", "--think", "15s")
    assert "its users are assumed to have had a think time of 15 s" in document["says"][1]
    shorter, _ = plan("--table", GRADIO, "--threshold", "e2e.p95 < 4s", "--think", "15s", "--tested-think", "5s")
    hourly = [result["capacity"]["requests_per_hour"]["value"] for result in (document, shorter)]
    assert hourly[0] < hourly[1]


# -- bad input


@pytest.mark.parametrize(
    "args, words",
    [
        ((), "give either the PREFIX of a run or a table"),
        (("RUN", "--table", "x.csv"), "give either the PREFIX of a run or a table"),
        (("RUN", "--think", "soon"), "--think takes a time such as 15s"),
        (("RUN", "--think", "-1s"), "--think takes a time such as 15s"),
        (("RUN", "--peak-share", "2"), "the share of the busiest hour is above 0 and at most 1"),
        (("RUN", "--peak-share", "most"), "--peak-share takes a number"),
        (("RUN", "--headroom", "100%"), "head-room is a share from 0 to below 1"),
        (("RUN", "--per-user-day", "0"), "requests per user and day are a number above 0"),
        (("RUN", "--per-user-day", "30%"), "--per-user-day takes a count, not a share"),
        (("RUN", "--spare", "1.5"), "replicas that may fail are a whole number"),
        (("RUN", "--growth", "-2"), "growth is a share"),
        (("RUN", "--target", "many users"), "cannot read the target"),
        (("RUN", "RUN"), "several runs need their numbers of replicas"),
        (("RUN=2", "RUN=2"), "two runs have the same number of replicas"),
        (("RUN=0",), "the number of replicas is a whole number from 1"),
        (("RUN", "--instances", "1,2"), "--instances has 2 numbers for 1 PREFIXes"),
        (("RUN", "--instances", "one"), "--instances takes whole numbers"),
        (("nothing-here",), "nothing-here"),
    ],
)
def test_bad_input_gets_one_line(run, args, words):
    assert words in error(*(arg.replace("RUN", str(run)) for arg in args))


def test_a_run_that_shows_no_limit_gets_one_line(tmp_path):
    run = MadeRun((5,), hold=10.0).write(tmp_path / "x")
    assert "no plan, because the SLO limit is not known" in error(run)


# -- the report


@pytest.fixture(scope="module")
def assessment(run):
    return assess(load_run(str(run)), LIMITS)


@pytest.mark.usefixtures("text_only_pictures")
def test_the_page_has_the_section_in_both_languages(assessment):
    page = html(assessment)
    assert '<h2 id="plan">Capacity planning</h2>' in page
    chinese, missing = html_in(assessment, "zh")
    assert missing == []
    section = chinese[chinese.index('<section aria-labelledby="plan"') :]
    assert english_in(section[: section.index("</section>") + 10]) == set()


def test_markdown_and_json_have_the_section(assessment):
    text = markdown(assessment)
    assert "## Capacity planning" in text
    assert "| share of a day's requests in the busiest hour | 15 % | default |" in text
    document = data(assessment)["plan"]
    assert document["capacity"]["at_least"] is False
    assert media.markdown(document["says"][0]) in text


def test_a_report_without_a_limit_has_no_section(tmp_path):
    report = assess(load_run(str(MadeRun((5,), hold=10.0).write(tmp_path / "x"))))
    assert data(report)["plan"] is None
    assert "Capacity planning" not in markdown(report)
