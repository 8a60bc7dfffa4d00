"""`llmlocust check` on the files of simulated runs: its output, its files and its exit codes."""

import json
import re
from html import unescape
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import pytest
from made_run import MadeRun

from llmlocust.assessment.assessment import assess
from llmlocust.cli import main
from llmlocust.report.html import html
from llmlocust.runfiles.reading.locate import load_run
from tests.command import llmlocust

PLAIN = Path(__file__).parent / "plain"
MET, VIOLATED = "ttft.p95 < 1s @ 5", "ttft.p95 < 1s"
RAMP = {"loads": (5, 20, 60), "slots": 24, "hold": 30.0}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return MadeRun(**RAMP).write(tmp_path_factory.mktemp("run") / "demo")


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def check(capsys, monkeypatch):
    """Return a function that runs the command in this process."""

    def run(prefix, *thresholds, more=()):
        monkeypatch.chdir(prefix.parent)
        options = [f"--threshold={threshold}" for threshold in thresholds]
        with pytest.raises(SystemExit) as exit_:
            main(["check", str(prefix), *options, *more])
        return Result(exit_.value.code, *capsys.readouterr())

    return run


def test_every_output_has_the_same_result(check, prefix, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    files = [f"--{name}={tmp_path / name}" for name in ("junit", "json", "markdown")]

    result = check(prefix, VIOLATED, "errors < 1% @ 5", more=files)

    assert result.returncode == 99, result.stderr
    document = json.loads((tmp_path / "json").read_text())
    assert (document["status"], document["exit_code"]) == ("failed", 99)
    assert [(case["load"], case["status"]) for case in document["cases"]] == [
        (5, "passed"),
        (20, "passed"),
        (60, "failed"),
        (5, "passed"),
    ]
    bad = document["cases"][2]
    assert bad["limit"] == 1000
    assert bad["low"] is None or bad["low"] > 1000
    line = f"  failed: ttft.p95 < 1s at 60 users: {bad['says']}"
    assert result.stdout.splitlines()[:2] == ["Gates: 1 of 4 failed", line]
    assert f"  passed: errors < 1% at 5 users: {document['cases'][3]['says']}" in result.stdout
    markdown = (tmp_path / "markdown").read_text()
    assert f"| ❌ failed | ttft.p95 &lt; 1s | 60 users | {bad['says']} |" in markdown
    assert markdown.count("| ✅ passed |") == 3
    assert summary.read_text() == f"before\n{markdown}\n"


@pytest.mark.usefixtures("text_only_pictures")
def test_the_page_of_a_run_has_its_gates(check, tmp_path):
    gates = ["ttft.p95 < 500ms ~ 1s @ 5", "ttft.p95 < 1s", "errors < 1% @ 7"]
    info = {"options": {"llm_threshold": ", ".join(gates), "llm_accept": "drift, warm_up"}}
    prefix = MadeRun(**RAMP, info=info).write(tmp_path / "demo")
    accepted = ["--accept", "drift", "--accept", "warm_up"]
    check(prefix, *gates, more=[*accepted, "--json", str(tmp_path / "gates.json")])
    cases = json.loads((tmp_path / "gates.json").read_text())["cases"]

    page = html(assess(load_run(prefix)))
    _, heading, table = page.partition('<h2 id="gates">Gates: 2 of 5 failed</h2>')
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [[text(cell) for cell in re.findall("<t[hd].*?</t[hd]>", row)] for row in re.findall("<tr.*?</tr>", body)]
    signs = {"passed": "✓ passed", "failed": "✗ failed"}
    loads = [f"{case['load']:g} users" for case in cases]
    assert heading
    assert rows == [
        [signs[case["status"]], case["threshold"], load, case["says"]] for case, load in zip(cases, loads, strict=True)
    ]
    assert {case["status"] for case in cases} == {"passed", "failed"}


@pytest.mark.usefixtures("text_only_pictures")
def test_the_page_of_a_run_without_gates_has_none(prefix):
    assert 'id="gates"' not in html(assess(load_run(prefix)))


def text(markup):
    return unescape(re.sub("<.*?>", "", markup)).replace("\N{NO-BREAK SPACE}", " ").strip()


def test_junit_has_the_form_that_ci_servers_read(check, prefix, tmp_path):
    """The file has a suite with counts, and a case for each threshold and level, distinguished by class and name."""
    check(prefix, VIOLATED, "errors < 1% @ 5", more=["--junit", str(tmp_path / "gates.xml")])

    root = ET.parse(tmp_path / "gates.xml").getroot()
    (suite,) = root
    cases = list(suite)
    assert (root.tag, suite.tag, {case.tag for case in cases}) == ("testsuites", "testsuite", {"testcase"})
    for element in (root, suite):
        assert {name: element.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
            "tests": "4",
            "failures": "1",
            "errors": "0",
            "skipped": "0",
        }
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == 4
    assert cases[2].get("name") == "ttft.p95 < 1s at 60 users"
    (failure,) = cases[2]
    assert failure.tag == "failure"
    assert failure.text == f"ttft.p95 < 1s at 60 users: {failure.get('message')}"
    assert [child.tag for child in cases[0]] == ["system-out"]


def test_an_invalid_result_is_an_error_and_exits_with_98(check, prefix, tmp_path):
    MadeRun(**RAMP, info={"counts": {"sent": 5000, "ended": 4000}}).write(tmp_path / "lost")

    result = check(tmp_path / "lost", MET, more=["--junit", "gates.xml"])

    assert result.returncode == 98
    assert result.stdout.startswith("Gates: 1 of 1 not valid\n  not valid: ttft.p95 < 1s at 5 users: ")
    assert "lost requests: 1000 of 5000 requests were sent and never accounted for" in result.stdout
    (error,) = ET.parse(tmp_path / "gates.xml").getroot()[0][0]
    assert error.tag == "error"
    assert "1000 of 5000 requests were sent and never accounted for" in error.text
    assert check(tmp_path / "lost", MET, more=["--accept", "lost_requests"]).returncode == 0


def test_a_run_that_was_cut_off_does_not_pass(check, tmp_path):
    prefix = MadeRun(**RAMP).write(tmp_path / "cut", ended=False)

    result = check(prefix, MET)

    assert result.returncode == 98
    assert "run ended: The run did not end properly" in result.stdout
    assert check(prefix, VIOLATED).returncode == 99


def test_a_load_that_never_ran_is_reported_with_the_loads_that_did(check, prefix):
    result = check(prefix, "ttft.p95 < 1s @ 100")

    assert result.returncode == 99
    assert "ttft.p95 < 1s at 100 users: no such level ran: there were 5, 20 and 60 users" in result.stdout


def test_json_on_stdout_is_the_only_output_there(check, prefix):
    result = check(prefix, MET, more=["--json", "-"])

    assert json.loads(result.stdout)["exit_code"] == result.returncode == 0
    assert result.stderr.startswith("Gates: all 1 passed")


def test_thresholds_come_from_a_file_too(check, prefix, tmp_path):
    (tmp_path / "gates.toml").write_text('ttft.p95 = "< 1s @ 60"\nerrors = "< 50%"\n')

    result = check(prefix, more=["--thresholds", str(tmp_path / "gates.toml")])

    assert result.returncode == 99
    assert "passed: errors < 50%, at 3 levels" in result.stdout


def test_the_output_names_the_gate_that_ended_the_run(check, tmp_path):
    info = {"ended_by": "ttft.p95 < 1s at 60 users", "stopped": True}
    prefix = MadeRun(**RAMP, last_hold=12.0, info=info).write(tmp_path / "aborted")

    result = check(prefix, VIOLATED)

    assert result.returncode == 99
    assert result.stdout.splitlines()[1] == "The run was ended by its gate ttft.p95 < 1s at 60 users."


def test_a_summary_that_cannot_be_written_does_not_change_the_exit_code(check, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))

    result = check(prefix, MET)

    assert result.returncode == 0
    assert f"cannot write {tmp_path} (GITHUB_STEP_SUMMARY): Is a directory" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nosuch", "--threshold", MET], "no run has this prefix"),
        (["demo"], "no threshold to check: give --threshold"),
        (["demo", "--threshold", "speed > 5"], "ttft.p95 < 500ms"),
        (["demo", "--threshold", "ttft.p95 < 1s @ many"], "cannot read the load after @"),
        (["demo", "--thresholds", "nosuch.toml"], "nosuch.toml: cannot be read"),
        (["empty", "--threshold", MET], "empty: no level of this run has a request yet"),
        (["headers", "--threshold", MET], "no level of this run has a request yet"),
        (["demo", "--threshold", MET, "--junit", "nosuch/x.xml"], "cannot write nosuch/x.xml"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(check, prefix, args, words):
    for name in ("llm_levels.csv", "llm_requests.csv"):
        header = (prefix.parent / f"demo_{name}").read_text().partition("\n")[0]
        (prefix.parent / f"headers_{name}").write_text(f"{header}\n")
        (prefix.parent / f"empty_{name}").write_text("")

    result = check(prefix.parent / args[0], more=args[1:])

    assert result.returncode == 2, result
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_plain_locust_files_can_be_judged(check):
    result = check(PLAIN / "steps", "throughput > 1/s")

    assert result.returncode == 0, result
    assert result.stdout.startswith("Gates: all ")


def test_the_command_exits_with_its_code(prefix):
    codes = {}
    for threshold in (MET, VIOLATED, "speed > 5"):
        codes[threshold] = llmlocust("check", str(prefix), "--threshold", threshold).returncode
    assert codes == {MET: 0, VIOLATED: 99, "speed > 5": 2}


@pytest.mark.parametrize("threshold", ["e2e.p95 < 1s", "errors < 1% @ 5"])
def test_json_of_a_run_without_levels_is_one_document(check, tmp_path, threshold):
    (tmp_path / "flat_stats.csv").write_bytes((PLAIN / "flat_stats.csv").read_bytes())

    result = check(tmp_path / "flat", threshold, more=["--json", "-"])

    (case,) = json.loads(result.stdout)["cases"]
    assert result.returncode == 99
    assert case["load"] == (5 if "@" in threshold else None)
    assert case["says"].endswith(("the load of this level is not known", "the load of no level is known"))
