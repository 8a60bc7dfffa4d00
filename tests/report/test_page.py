import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_run import EPOCH, HOSTILE, MadeRun
from pages import ParsedPage, english_in

from llmlocust.assessment.assessment import assess
from llmlocust.metrics import vocabulary
from llmlocust.metrics.levels import LevelFigures, Summary
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.as_json import as_json, data
from llmlocust.report.charts import drawing
from llmlocust.report.html import html, html_in
from llmlocust.report.languages.catalogue import LANGUAGES
from llmlocust.report.markdown import markdown
from llmlocust.report.sections.headline import headline
from llmlocust.report.sections.level_table import columns
from llmlocust.report.sections.what_was_run import facts
from llmlocust.report.summary import summary
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import RunData
from llmlocust.text import figures as words

PLAIN = Path(__file__).parent / "plain"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return MadeRun((5, 10, 20, 40, 60, 90), 24, hold=30.0).write(tmp_path_factory.mktemp("run") / "demo")


@pytest.fixture(scope="module")
def report(prefix):
    return assess(load_run(prefix), [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")])


@pytest.fixture(scope="module")
def page(report):
    return html(report)


# -- JSON


FINDING = {"status", "reached", "load", "low", "high", "level_ok", "level_bad", "why", "cause"}
CAUSE = {"key", "degree", "says", "evidence", "excluded"}


def test_json_has_the_promised_shape(report):
    document = json.loads(as_json(report))
    assert document["format"] == 1
    assert document["load"] == "users"
    for level in document["levels"]:
        assert {"load", "requests", "errors", "error_kinds", "throughput", "output_tokens_per_s"} <= set(level)
        for metric in ("ttft", "e2e", "itl", "tpot"):
            assert {"mean", "p50", "p95", "p99"} <= set(level[metric])
    verdict = document["verdict"]
    for name in ("slo_limit", "knee", "saturation", "collapse"):
        assert set(verdict[name]) == FINDING
        cause = verdict[name]["cause"]
        assert set(cause) == CAUSE
        assert all(set(evidence) == {"source", "metric", "says"} for evidence in cause["evidence"])
        assert all(set(excluded) == {"key", "says"} for excluded in cause["excluded"])
    assert all(set(cliff) == {"between", "kind", "what", "why", "cause"} for cliff in verdict["cliffs"])
    assert set(document["validity"]) == {"ok", "valid_numbers", "checks"}
    for check in document["validity"]["checks"]:
        assert {"name", "ok", "value", "limit", "says"} <= set(check)


def test_json_is_in_milliseconds(report):
    level, figures = json.loads(as_json(report))["levels"][0], report.levels[0]
    assert level["ttft"]["p95"] == pytest.approx(figures.metric("ttft")["p95"] * 1000)


def test_unknown_numbers_are_null():
    document = json.loads(as_json(assess(load_run(PLAIN / "steps"))))
    assert document["levels"][0]["ttft"] == dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "p99_9", "max"))
    assert document["levels"][0]["output_tokens_per_s"] is None
    assert document["levels"][0]["e2e"]["mean"] > 100


value = st.one_of(st.just(float("nan")), st.just(float("inf")), st.floats(0, 1e9))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(value, value, value, st.integers(0, 99), st.integers(0, 9)), max_size=5))
def test_any_levels_make_json_and_markdown(rows):
    levels = [
        LevelFigures(
            n,
            load,
            window=60.0,
            requests=ok + failed,
            ok=ok,
            error_kinds={"reset": failed} if failed else {},
            throughput=rate,
            metrics={"ttft": Summary(ok, slow, slow, {"p50": slow, "p95": slow})},
        )
        for n, (load, rate, slow, ok, failed) in enumerate(rows)
    ]
    assessment = assess(RunData(Path("x"), "llmlocust", levels))
    assert "NaN" not in as_json(assessment)
    assert "Infinity" not in as_json(assessment)
    json.loads(as_json(assessment))
    assert markdown(assessment)
    assert summary(assessment)


# -- the page


def test_headings_are_in_order(page):
    headings = ParsedPage(page).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_every_tag_is_closed_and_the_language_is_declared(page):
    parsed = ParsedPage(page)
    assert parsed.open == []
    assert ("html", "lang", "en") in parsed.attributes


def test_the_page_loads_no_other_resource(page):
    parsed = ParsedPage(page)
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert "url(http" not in value
    assert "@import" not in page
    assert "url(http" not in page
    assert not {"iframe", "object", "embed", "img"} & set(parsed.tags)
    assert "default-src 'none'" in page


def test_text_from_files_is_escaped(page):
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert "<b>8b</b>" not in page
    text = "".join(ParsedPage(page).words)
    assert "<script>alert('x')</script>" in text  # it is shown as text
    assert "deepseek-r1 <b>8b</b>" in text


def test_every_picture_has_a_title_a_description_and_a_caption(page, report):
    parsed = ParsedPage(page)
    drawn = parsed.tags.count("svg")
    assert drawn == 2 * 8
    assert sum(tag == "svg" and name == "role" and value == "img" for tag, name, value in parsed.attributes) == drawn
    assert page.count("</title><desc") == drawn
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert parsed.tags.count("figcaption") == 8


def test_pictures_take_their_colours_from_the_page(page):
    for sentinel in drawing._VARIABLES:
        assert sentinel not in page
    assert page.count("var(--s1)") > 5


def test_tables_have_captions_and_heads(page):
    parsed = ParsedPage(page)
    assert parsed.tags.count("caption") == parsed.tags.count("table") == 4
    assert sum(name == "scope" for _, name, _ in parsed.attributes) > 10


def test_a_violated_threshold_is_shown_in_words_besides_its_colour(page):
    assert "violates ttft.p95 &lt; 1s" in page


def day_long(run):
    """Return the run stretched to a day: 288 levels of five minutes, a row for every second, 100,000 requests."""
    levels = [
        replace(
            run.levels[number % len(run.levels)],
            level=number,
            load=float(number + 1),
            began=EPOCH + 300.0 * number,
            warmed_up=EPOCH + 300.0 * number + 30.0,
            ended=EPOCH + 300.0 * (number + 1),
        )
        for number in range(288)
    ]
    seconds = np.arange(86_400)
    timeline = run.timeline.iloc[seconds % len(run.timeline)].reset_index(drop=True)
    requests = run.requests.sample(100_000, replace=True, random_state=1).reset_index(drop=True)
    requests["sent"] = EPOCH + np.sort(np.random.default_rng(1).uniform(0.0, 86_400.0, len(requests)))
    requests["level"] = (requests["sent"] - EPOCH) // 300.0
    histograms = pd.concat(
        run.histograms[run.histograms["level"] == number % len(run.levels)].assign(level=number)
        for number in range(len(levels))
    )
    tables = {
        formats.TIMELINE: timeline.assign(time=EPOCH + seconds, level=seconds // 300),
        formats.REQUESTS: requests,
        formats.HISTOGRAMS: histograms,
    }
    return replace(run, levels=levels, tables=tables)


def test_the_page_of_a_day_is_under_two_megabytes_in_every_language(report):
    day = assess(day_long(report.run), report.thresholds)
    for language in LANGUAGES:
        page, _ = html_in(day, language)
        assert page.count("<tr class=") - page.count('<tr class="variant"') == 288
        assert len(page.encode()) < 2_000_000


def test_verdict_comes_first(page, report):
    assert page.index("Safe up to 20\N{NO-BREAK SPACE}users") < page.index("The four numbers") < page.index("Pictures")
    assert headline(report).startswith("Safe up to 20 users; breaks between 20 and 40: requests queue (p95 TTFT")


@pytest.mark.usefixtures("text_only_pictures")
def test_secrets_in_options_are_not_shown(prefix):
    run = load_run(prefix)
    run.info["options"] = {"llm_api_key": "sk-123", "auth_token": "t-123", "llm_max_tokens": 9}
    assessment = assess(run)
    assert "sk-123" not in html(assessment) + markdown(assessment) + as_json(assessment)
    assert "t-123" not in html(assessment)
    assert "llm_max_tokens" in html(assessment)


# -- other runs


@pytest.mark.parametrize("name", ["full", "steps", "flat"])
def test_plain_locust_files_make_a_page(name):
    assessment = assess(load_run(PLAIN / name))
    assert ParsedPage(html(assessment)).open == []
    assert "Not measured" in html(assessment)
    assert "first token" in markdown(assessment)


def test_saturation_of_a_plain_locust_test_is_found():
    saturation = assess(load_run(PLAIN / "full")).verdict.saturation
    # 6 places, 175 ms each, users that wait 100 ms
    assert saturation.load == pytest.approx(6 * 0.275 / 0.175, rel=0.1)


def test_runs_of_one_level_and_of_none_make_a_page(tmp_path):
    (tmp_path / "x_stats.csv").write_bytes((PLAIN / "full_stats.csv").read_bytes())
    for run in (load_run(tmp_path / "x"), RunData(tmp_path / "y", "llmlocust")):
        assessment = assess(run)
        assert ParsedPage(html(assessment)).open == []
        assert len(summary(assessment)) == 5


def test_rate_and_levels_without_success():
    levels = [
        LevelFigures(0, 10.0, unit="rate", window=10.0, requests=50, ok=50, throughput=5.0),
        LevelFigures(1, 20.0, unit="rate", window=10.0, requests=50, ok=0, error_kinds={"connect": 50}, throughput=0.0),
    ]
    assessment = assess(RunData(Path("x"), "llmlocust", levels))
    assert data(assessment)["load"] == "rate"
    assert "requests/s" in html(assessment)


def late_run(delay):
    """Return a run of one level whose requests were all sent `delay` seconds late."""
    first, last = (Summary(50, ms / 1000, ms / 1000, {"p50": ms / 1000, "p95": ms / 1000}) for ms in (100, 400))
    due = [
        Summary(50, latency.mean + delay, latency.most + delay, {"p95": latency["p95"] + delay})
        for latency in (first, last)
    ]
    late = Summary(50, delay, delay, {"p50": delay, "p95": delay, "p99": delay})
    metrics = {"ttft": first, "e2e": last, "ttft_due": due[0], "e2e_due": due[1], "delay": late}
    level = LevelFigures(0, 5.0, unit="rate", window=10.0, requests=50, ok=50, due=60, dropped=10, metrics=metrics)
    return RunData(
        Path("x"), "llmlocust", [level], info={"plan": {"unit": "rate", "levels": [5], "arrivals": "gamma:2"}}
    )


@pytest.mark.usefixtures("text_only_pictures")
def test_latency_from_the_due_time_is_shown_if_it_differs():
    assert "from due" not in " ".join(ParsedPage(html(assess(late_run(0.004)))).words).split("What the words mean")[0]
    chinese, missing = html_in(assess(late_run(0.25)), "zh")
    assert missing == []
    assert english_in(chinese, ["gamma:2"]) == set()
    text = " ".join(ParsedPage(html(assess(late_run(0.25)))).words)
    assert "TTFT from due" in text
    assert "350 ms" in text
    assert "dropped 10 of 60 requests" in text
    assert "gamma:2" in chinese


def test_json_has_the_latency_from_the_due_time():
    level = data(assess(late_run(0.25)))["levels"][0]
    assert (level["due"], level["dropped"], level["ttft_due"]["p95"], level["delay"]["p50"]) == (60, 10, 350, 250)


@pytest.mark.usefixtures("text_only_pictures")
def test_runs_without_their_optional_files_make_a_page(tmp_path):
    run = MadeRun((4, 8), 4, hold=20.0)
    optional = (formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.RUN)
    for leave_out in (*((name,) for name in optional), optional):
        assessment = assess(
            load_run(run.write(tmp_path / f"x{len(leave_out)}{leave_out[0][4:6]}", leave_out=leave_out))
        )
        assert ParsedPage(html(assessment)).open == []


def test_a_run_that_was_killed_is_doubted(tmp_path):
    assessment = assess(load_run(MadeRun((4, 8), 4, hold=20.0).write(tmp_path / "x", ended=False)))
    assert not assessment.is_valid
    assert "1 of 24 checks failed" in summary(assessment)[-1]


def test_markdown_has_five_tables_and_escapes_words_of_the_files(report):
    text = markdown(report)
    assert "<script>" not in text.replace("`` <script>", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heads = [line for line in rows if "---" in line]
    assert len(heads) == 5
    levels = rows[rows.index(heads[3]) - 1 : rows.index(heads[3]) + 1 + len(report.levels)]
    assert len({line.count("|") for line in levels}) == 1


def test_a_summary_is_five_lines(report):
    lines = summary(report)
    assert len(lines) == 5
    assert [line.split(":")[0] for line in lines[1:]] == ["Saturation", "Knee", "Collapse", "Validity"]


def test_the_same_run_makes_the_same_page(prefix, report, page):
    assert html(assess(load_run(prefix), report.thresholds)) == page


@pytest.mark.usefixtures("text_only_pictures")
def test_levels_that_were_never_reached_are_marked_on_the_page(report):
    run = replace(report.run, levels=[*report.levels[:-1], replace(report.levels[-1], reached=False)])
    assessment = assess(run, report.thresholds)
    assert not assessment.is_valid
    assert 'class="doubt"' in html(assessment)


# -- runs with problems


def assessment_of(folder, *limits, **options):
    options = {"loads": (2, 4, 8), "slots": 24, "hold": 10.0, "warmup": 2.0} | options
    return assess(load_run(MadeRun(**options).write(folder / "x")), [Threshold.parse(text) for text in limits])


def cells(report, head, group):
    column = next(candidate for candidate in columns(report) if (candidate.head, candidate.group) == (head, group))
    return column.cells


def results(report):
    rows = [line for line in markdown(report).splitlines() if line.startswith("| ")]
    return [row.split("|")[2].strip() for row in rows if row.split("|")[1].strip().isdigit()]


def check(report, name):
    return next(candidate for candidate in report.checks if candidate.key == name)


def test_levels_of_empty_answers_do_not_pass(tmp_path):
    report = assessment_of(tmp_path, "ttft.p95 < 1s", "errors < 1%", empty=(1, 2))
    assert headline(report).startswith("Met every threshold at the levels where they are known, up to 2 users;")
    assert results(report) == ["passes", "not known", "not known"]
    assert check(report, "empty_answers").levels == (1, 2)
    assert not report.is_valid
    assert report.goodput[1] == 0.0


def test_unread_tokens_are_reported_with_their_fields(tmp_path):
    report = assessment_of(tmp_path, "ttft.p95 < 1s", unread=(1, 2))
    unread = check(report, "unread_tokens")
    assert (unread.ok, unread.levels, unread.value) == (False, (1, 2), 1.0)
    assert "choices.delta.voice" in unread.says
    assert check(report, "empty_answers").ok
    assert results(report) == ["passes", "not known", "not known"]
    assert not report.is_valid

    all_unread = assessment_of(tmp_path / "all", unread=(0, 1, 2))
    assert "empty_answers" not in {check_.key for check_ in all_unread.checks}
    assert headline(all_unread) == "It is not known whether this load is safe: the answers contained no tokens."


def test_a_run_of_only_empty_answers_is_not_judged(tmp_path):
    report = assessment_of(tmp_path, empty=(0, 1, 2))
    assert headline(report) == "It is not known whether this load is safe: the answers contained no tokens."
    assert results(report) == ["not known"] * 3


def test_a_stopped_run_is_reported_as_incomplete(tmp_path):
    plan = {"unit": "users", "levels": [2, 4, 8], "warmup": 2.0, "hold": 5.0}
    report = assessment_of(tmp_path, loads=(2, 4), hold=5.0, last_hold=2.2, info={"plan": plan, "stopped": True})
    assert headline(report) == (
        "Met every threshold at the levels measured, up to 4 users; the breaking point was not reached. "
        "The run was stopped early, after 1 of 3 levels."
    )
    sentence = check(report, "run_completed").says
    assert sentence == "Stopped after 1 of 3 levels; 4 users were held 2.2 of 5 s; 8 users never ran."
    assert "at all levels" not in markdown(report)


@pytest.mark.usefixtures("text_only_pictures")
def test_the_headline_names_the_gate_that_ended_the_run(tmp_path):
    info = {"ended_by": "ttft.p95 < 1s at 8 users", "stopped": True}
    report = assessment_of(tmp_path, last_hold=2.2, info=info)
    assert headline(report).endswith(" The run was ended by its gate ttft.p95 < 1s at 8 users, after 2 of 3 levels.")
    assert "The run was ended by its gate ttft.p95 &lt; 1s at 8" in html(report).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("ended_by", [None, 5, [], "", {"a": 1}])
def test_an_invalid_ended_by_counts_as_stopped(tmp_path, ended_by):
    report = assessment_of(tmp_path, last_hold=2.2, info={"ended_by": ended_by, "stopped": True})
    assert headline(report).endswith(" The run was stopped early, after 2 of 3 levels.")


@pytest.mark.usefixtures("text_only_pictures")
def test_a_percentile_violated_by_failures_is_shown_as_infinite(tmp_path):
    report = assessment_of(tmp_path, "e2e.p95 < 30s", "errors < 50%", loads=(5, 20, 60), hold=30.0)
    assert report.levels[-1].errors > 0.05
    column = cells(report, "p95", "end to end")
    assert not any("∞" in cell for cell in column[:-1])
    assert column[-1].startswith("∞ (")
    page = html(report)
    assert f"{words.share(report.levels[-1].errors)} that failed counted as infinitely slow" in page
    assert "enough failed to decide the result" in page


def test_levels_of_a_server_that_died_are_left_out_of_saturation(tmp_path):
    report = assessment_of(tmp_path, dies=17.0)
    assert (
        headline(report)
        == "Safe up to 2 users; then the server was unreachable: nothing could connect at 4 users from second 5 on."
    )
    collapse, saturation = report.verdict.collapse, report.verdict.saturation
    assert (collapse.low, collapse.high) == (2, 4)
    assert not saturation.reached
    assert "4 and 8 users left out, as the server was unreachable" in saturation.why


def test_a_server_that_answers_again_was_not_unreachable(prefix):
    assert load_run(prefix).unreachable_from() == {}


def test_a_server_that_was_never_reachable(tmp_path):
    report = assessment_of(tmp_path, dies=-1.0)
    assert headline(report) == "The server was never reachable: nothing could connect at 2 users."
    assert ParsedPage(html(report)).open == []


def test_a_run_without_success(tmp_path):
    report = assessment_of(tmp_path, limit=0.001)
    assert not any(finding.reached for finding in (report.verdict.knee, report.verdict.saturation))
    assert "no request succeeded" in report.verdict.knee.why
    assert "slowest of them" not in markdown(report)
    assert ParsedPage(html(report)).open == []


def test_answers_in_one_piece_are_reported_if_streams_were_requested(tmp_path):
    report = assessment_of(tmp_path, "ttft.p95 < 1s", "errors < 1%", streams=False)
    assert any("in one piece although a stream was requested" in reason for reason in report.unknown)
    assert headline(report).startswith("Met the thresholds that are known (errors < 1%) at all levels")
    assert results(report) == ["not known"] * 3
    without_streams = assessment_of(tmp_path, "errors < 1%", streams=False, info={"options": {"llm_stream": False}})
    assert not any("in one piece" in reason for reason in without_streams.unknown)
    assert not any("in one piece" in reason for reason in assessment_of(tmp_path).unknown)


def test_the_headline_of_one_level(tmp_path):
    assert re.fullmatch(
        r"5 users: [0-9.]+ requests/s, [0-9.]+ tokens/s, first token within [0-9.]+ ms \(p95\), 0 of [0-9]+ requests failed.",
        headline(assessment_of(tmp_path, loads=(5,))),
    )
    assert headline(assessment_of(tmp_path, "ttft.p95 < 1s", loads=(5,))).startswith(
        "Met every threshold at the only level"
    )


def test_the_facts_of_a_run_have_its_preflight(tmp_path):
    report = assessment_of(
        tmp_path, info={"preflight": {"model": "m", "ttft_ms": 13.0, "models_listed": 1, "requests": 2}}
    )
    facts_by_name = dict(facts(report.run, report.unit))
    assert facts_by_name["Preflight"] == "2 requests, first token after 13 ms, 1 model listed"
    assert facts_by_name["Load generator processes"] == "2"
    assert facts_by_name["Arrival times"] == "from the kernel"
    assert "Preflight" not in dict(facts(assessment_of(tmp_path, info={"preflight": {}}).run, "users"))


def test_importing_the_report_brings_no_locust():
    code = "import llmlocust.report.html, llmlocust.runfiles.reading.run_data, sys; print({'locust','gevent'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "set()"


CLIENT_CHECKS = {"client_limits", "network", "name_lookup", "proxy", "tls", "requests_not_sent"}


@pytest.mark.parametrize("kind", vocabulary.CLIENT_KINDS)
@pytest.mark.usefixtures("text_only_pictures")
def test_a_level_whose_requests_never_reached_the_server_is_shown_and_left_out_of_the_verdict(tmp_path, kind):
    report = assessment_of(tmp_path, "ttft.p95 < 1s", "errors < 1%", unsent=(kind, 0.9))
    level = data(report)["levels"][-1]

    assert not any(number.reached for number in report.verdict.numbers().values())
    assert level["unsent"] > 2 * level["requests"]
    assert [check.levels for check in report.checks if not check.ok and check.key in CLIENT_CHECKS] == [(2,)]
    assert "The verdict leaves out 8 users." in html(report).replace("\N{NO-BREAK SPACE}", " ")
    assert vocabulary.ERROR_KINDS[kind] in html(report)
    assert report.run.unreachable_from() == {}


def test_a_starved_load_generator_fails_its_checks_and_makes_numbers_invalid(tmp_path):
    starved = {"throttled": 0.4, "core_wait": 0.5, "loop_lag": 9000.0, "client_queue": 165.0}
    report = assessment_of(tmp_path, "ttft.p95 < 1s", starved=starved)
    failed = {check.key for check in report.checks if not check.ok and check.levels == (2,)}

    assert failed >= {"cpu_throttling", "cpu_wait", "client_queue_time", "event_loop_lag"}
    assert not report.valid_numbers["slo_limit"]  # not reached, so it depends on every level


def test_a_timeline_without_cpu_columns_has_no_check_of_cpu(tmp_path):
    prefix = MadeRun((2, 4), 24, hold=10.0).write(tmp_path / "x")
    path = prefix.with_name("x_llm_timeline.csv")
    frame = pd.read_csv(path).drop(columns=["throttled", "core_wait"])
    frame.to_csv(path, index=False)

    assert not {"cpu_throttling", "cpu_wait"} & {check.key for check in assess(load_run(prefix)).checks}


OUTAGES = {
    "the server is down": ("connect", 28.0, 33.0),
    "connections are reset": ("reset", 28.0, 33.0),
    "names are not found": ("name_lookup", 28.0, 33.0),
    "no route": ("network", 28.0, 33.0),
}


@pytest.mark.parametrize("out", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_inside_a_level_marks_its_level(tmp_path, out):
    """The third level is from 24 to 36 s."""
    report = assessment_of(tmp_path, "ttft.p95 < 1s", "errors < 1%", out=out)
    (check,) = [check for check in report.checks if check.key == "outage"]
    began, lasted = report.run.outages()[2]

    assert 4.0 <= began <= 6.0  # requests in flight still succeed
    assert 3.0 <= lasted <= 5.0
    assert (check.ok, check.levels) == (False, (2,))
    assert "Whether the load caused the outage at 8 users is not known" in check.says
    assert not any(report.valid_numbers[name] for name in ("slo_limit", "collapse"))
    assert report.run.unreachable_from() == {}


TEMPORARY = {
    "inside a level": (16.0, 21.0, {1: (3.0, 5.0)}),
    "over the end of a level": (21.0, 27.0, {1: (2.0, 3.0), 2: (2.0, 3.0)}),
}


@pytest.mark.parametrize("kind", ["connect", "reset", "name_lookup"])
@pytest.mark.parametrize(("began", "ended", "expected"), TEMPORARY.values(), ids=TEMPORARY)
def test_an_outage_below_a_load_without_one_is_left_out_of_the_verdict(tmp_path, kind, began, ended, expected):
    """The levels end at 12, 24, 36 and 48 s."""
    report = assessment_of(tmp_path, "ttft.p95 < 1s", "errors < 1%", loads=(2, 4, 8, 16), out=(kind, began, ended))
    outages = report.run.outages()
    (check,) = [check for check in report.checks if check.key == "outage"]

    assert outages.keys() == expected.keys()
    assert all(low <= outages[level][1] <= high for level, (low, high) in expected.items())
    assert report.verdict.outages == frozenset(expected)
    assert check.levels == tuple(expected)
    assert "as the load did not cause the outage" in check.says
    assert not report.verdict.collapse.reached
    assert "left out, as they had an outage" in report.verdict.collapse.why
    assert not report.verdict.onset.reached
    measured = report.run.levels[max(expected)]
    assert measured.failed + measured.unsent > 0.01 * measured.attempted  # the failures of the level are still shown
    assert not any("backlog" in item.do for item in report.advice)
    assert headline(report).startswith("Met every threshold at the levels without an outage, up to 16 users")


def test_a_level_without_requests_does_not_pass(tmp_path):
    report = assessment_of(tmp_path, "ttft.p95 < 1s", loads=(2, 4, 8), silent=(2,))

    assert headline(report).startswith("Met every threshold at the levels measured, up to 4 users")


def test_an_outage_that_never_ends_below_its_load_counts_for_the_verdict(tmp_path):
    """The last two levels are from 24 to 36 and to 48 s: the outage is in both."""
    report = assessment_of(tmp_path, "errors < 1%", loads=(2, 4, 8, 16), out=("connect", 30.0, 42.0))

    assert report.run.outages().keys() == {2, 3}
    assert report.verdict.outages == frozenset()
    assert report.verdict.collapse.level_bad == 8.0


def test_a_server_that_recovers_only_at_a_lower_load_had_no_outage(tmp_path):
    report = assessment_of(tmp_path, "errors < 1%", loads=(2, 16, 2), out=("connect", 16.0, 25.0))

    assert report.run.outages() == {}
    assert report.verdict.collapse.level_bad == 16.0


@pytest.mark.parametrize(
    "out",
    [
        ("connect", 28.0, 29.5),  # an overloaded server may refuse all requests for this long
        ("http_503", 28.0, 33.0),  # the server answers
        ("timeout_first_token", 28.0, 33.0),
        ("connect", 30.0, math.inf),  # the server stays unreachable
    ],
)
def test_other_failures_are_no_outage(tmp_path, out):
    assert "outage" not in {check.key for check in assessment_of(tmp_path, "errors < 1%", out=out).checks}
