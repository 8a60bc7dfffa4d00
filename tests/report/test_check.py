"""`llmlocust check` on the files of made-up runs: what it says, writes and exits with."""

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
KEPT, BROKEN = "ttft.p95 < 1s @ 5", "ttft.p95 < 1s"
RAMP = {"loads": (5, 20, 60), "slots": 24, "hold": 30.0}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return MadeRun(**RAMP).write(tmp_path_factory.mktemp("run") / "demo")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def check(capsys, monkeypatch):
    """The command, in this process."""

    def run(prefix, *thresholds, more=()):
        monkeypatch.chdir(prefix.parent)
        asked = [f"--threshold={each}" for each in thresholds]
        with pytest.raises(SystemExit) as ended:
            main(["check", str(prefix), *asked, *more])
        return Done(ended.value.code, *capsys.readouterr())

    return run


def test_every_output_tells_the_same(check, prefix, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    files = [f"--{name}={tmp_path / name}" for name in ("junit", "json", "markdown")]

    done = check(prefix, BROKEN, "errors < 1% @ 5", more=files)

    assert done.returncode == 99, done.stderr
    told = json.loads((tmp_path / "json").read_text())
    assert (told["status"], told["exit_code"]) == ("failed", 99)
    assert [(case["load"], case["status"]) for case in told["cases"]] == [
        (5, "passed"),
        (20, "passed"),
        (60, "failed"),
        (5, "passed"),
    ]
    bad = told["cases"][2]
    assert bad["limit"] == 1000
    assert bad["low"] is None or bad["low"] > 1000
    line = f"  failed: ttft.p95 < 1s at 60 users: {bad['says']}"
    assert done.stdout.splitlines()[:2] == ["Gates: 1 of 4 failed", line]
    assert f"  passed: errors < 1% at 5 users: {told['cases'][3]['says']}" in done.stdout
    markdown = (tmp_path / "markdown").read_text()
    assert f"| ❌ failed | ttft.p95 &lt; 1s | 60 users | {bad['says']} |" in markdown
    assert markdown.count("| ✅ passed |") == 3
    assert summary.read_text() == f"before\n{markdown}\n"


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_a_run_has_the_gates_that_it_had(check, tmp_path):
    asked = ["ttft.p95 < 500ms ~ 1s @ 5", "ttft.p95 < 1s", "errors < 1% @ 7"]
    told = {"options": {"llm_threshold": ", ".join(asked), "llm_accept": "drift, warm_up"}}
    prefix = MadeRun(**RAMP, told=told).write(tmp_path / "demo")
    accepted = ["--accept", "drift", "--accept", "warm_up"]
    check(prefix, *asked, more=[*accepted, "--json", str(tmp_path / "gates.json")])
    cases = json.loads((tmp_path / "gates.json").read_text())["cases"]

    page = html(assess(load_run(prefix)))
    _, found, table = page.partition('<h2 id="gates">Gates: 2 of 5 failed</h2>')
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [[text(cell) for cell in re.findall("<t[hd].*?</t[hd]>", row)] for row in re.findall("<tr.*?</tr>", body)]
    signs = {"passed": "✓ passed", "failed": "✗ failed"}
    where = [f"{each['load']:g} users" for each in cases]
    assert found
    assert rows == [
        [signs[each["status"]], each["threshold"], at, each["says"]] for each, at in zip(cases, where, strict=True)
    ]
    assert {each["status"] for each in cases} == {"passed", "failed"}


@pytest.mark.usefixtures("undrawn")
def test_the_page_of_a_run_without_gates_has_none(prefix):
    assert 'id="gates"' not in html(assess(load_run(prefix)))


def text(markup):
    return unescape(re.sub("<.*?>", "", markup)).replace("\N{NO-BREAK SPACE}", " ").strip()


def test_junit_is_what_ci_servers_read(check, prefix, tmp_path):
    """A suite with counts, and a case for each threshold and level, told apart by class and name."""
    check(prefix, BROKEN, "errors < 1% @ 5", more=["--junit", str(tmp_path / "gates.xml")])

    root = ET.parse(tmp_path / "gates.xml").getroot()
    (suite,) = root
    cases = list(suite)
    assert (root.tag, suite.tag, {case.tag for case in cases}) == ("testsuites", "testsuite", {"testcase"})
    for counted in (root, suite):
        assert {name: counted.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
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


def test_what_cannot_be_trusted_is_an_error_and_98(check, prefix, tmp_path):
    MadeRun(**RAMP, told={"counts": {"sent": 5000, "ended": 4000}}).write(tmp_path / "lost")

    done = check(tmp_path / "lost", KEPT, more=["--junit", "gates.xml"])

    assert done.returncode == 98
    assert done.stdout.startswith("Gates: 1 of 1 not valid\n  not valid: ttft.p95 < 1s at 5 users: ")
    assert "lost requests: 1000 of 5000 requests were sent and never accounted for" in done.stdout
    (error,) = ET.parse(tmp_path / "gates.xml").getroot()[0][0]
    assert error.tag == "error"
    assert "1000 of 5000 requests were sent and never accounted for" in error.text
    assert check(tmp_path / "lost", KEPT, more=["--accept", "lost_requests"]).returncode == 0


def test_a_run_that_was_cut_off_is_no_pass(check, tmp_path):
    prefix = MadeRun(**RAMP).write(tmp_path / "cut", ended=False)

    done = check(prefix, KEPT)

    assert done.returncode == 98
    assert "run ended: The run did not end properly" in done.stdout
    assert check(prefix, BROKEN).returncode == 99


def test_a_load_that_never_ran_is_told_with_those_that_did(check, prefix):
    done = check(prefix, "ttft.p95 < 1s @ 100")

    assert done.returncode == 99
    assert "ttft.p95 < 1s at 100 users: no such level ran: there were 5, 20 and 60 users" in done.stdout


def test_what_is_printed_is_printed_alone(check, prefix):
    done = check(prefix, KEPT, more=["--json", "-"])

    assert json.loads(done.stdout)["exit_code"] == done.returncode == 0
    assert done.stderr.startswith("Gates: all 1 passed")


def test_thresholds_come_from_a_file_too(check, prefix, tmp_path):
    (tmp_path / "gates.toml").write_text('ttft.p95 = "< 1s @ 60"\nerrors = "< 50%"\n')

    done = check(prefix, more=["--thresholds", str(tmp_path / "gates.toml")])

    assert done.returncode == 99
    assert "passed: errors < 50%, at 3 levels" in done.stdout


def test_a_run_that_a_gate_ended_says_so(check, tmp_path):
    told = {"ended_by": "ttft.p95 < 1s at 60 users", "stopped": True}
    prefix = MadeRun(**RAMP, last_hold=12.0, told=told).write(tmp_path / "aborted")

    done = check(prefix, BROKEN)

    assert done.returncode == 99
    assert done.stdout.splitlines()[1] == "The run was ended by its gate ttft.p95 < 1s at 60 users."


def test_a_summary_that_cannot_be_written_changes_nothing(check, prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))

    done = check(prefix, KEPT)

    assert done.returncode == 0
    assert f"cannot write {tmp_path} (GITHUB_STEP_SUMMARY): Is a directory" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nosuch", "--threshold", KEPT], "no run has this prefix"),
        (["demo"], "no threshold to check: give --threshold"),
        (["demo", "--threshold", "speed > 5"], "ttft.p95 < 500ms"),
        (["demo", "--threshold", "ttft.p95 < 1s @ many"], "cannot read the load after @"),
        (["demo", "--thresholds", "nosuch.toml"], "nosuch.toml: cannot be read"),
        (["empty", "--threshold", KEPT], "empty: no level of this run has a request yet"),
        (["headers", "--threshold", KEPT], "no level of this run has a request yet"),
        (["demo", "--threshold", KEPT, "--junit", "nosuch/x.xml"], "cannot write nosuch/x.xml"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(check, prefix, args, words):
    for name in ("llm_levels.csv", "llm_requests.csv"):
        header = (prefix.parent / f"demo_{name}").read_text().partition("\n")[0]
        (prefix.parent / f"headers_{name}").write_text(f"{header}\n")
        (prefix.parent / f"empty_{name}").write_text("")

    done = check(prefix.parent / args[0], more=args[1:])

    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_locust_files_can_be_judged(check):
    done = check(PLAIN / "steps", "throughput > 1/s")

    assert done.returncode == 0, done
    assert done.stdout.startswith("Gates: all ")


def test_the_exit_code_is_seen_from_outside(prefix):
    codes = {}
    for asked in (KEPT, BROKEN, "speed > 5"):
        codes[asked] = llmlocust("check", str(prefix), "--threshold", asked).returncode
    assert codes == {KEPT: 0, BROKEN: 99, "speed > 5": 2}


@pytest.mark.parametrize("threshold", ["e2e.p95 < 1s", "errors < 1% @ 5"])
def test_a_run_without_levels_is_one_json_document(check, tmp_path, threshold):
    (tmp_path / "flat_stats.csv").write_bytes((PLAIN / "flat_stats.csv").read_bytes())

    done = check(tmp_path / "flat", threshold, more=["--json", "-"])

    (case,) = json.loads(done.stdout)["cases"]
    assert done.returncode == 99
    assert case["load"] == (5 if "@" in threshold else None)
    assert case["says"].endswith(("the load of this level is not known", "the load of no level is known"))
