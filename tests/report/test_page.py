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
from pages import Seen, english_in

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


FINDING = {"status", "reached", "load", "low", "high", "level_ok", "level_bad", "why"}


def test_json_has_the_promised_shape(report):
    told = json.loads(as_json(report))
    assert told["format"] == 1
    assert told["load"] == "users"
    for level in told["levels"]:
        assert {"load", "requests", "errors", "error_kinds", "throughput", "output_tokens_per_s"} <= set(level)
        for metric in ("ttft", "e2e", "itl", "tpot"):
            assert {"mean", "p50", "p95", "p99"} <= set(level[metric])
    verdict = told["verdict"]
    for name in ("slo_limit", "knee", "saturation", "collapse"):
        assert set(verdict[name]) == FINDING
    assert all(set(cliff) == {"between", "kind", "what", "why"} for cliff in verdict["cliffs"])
    assert set(told["validity"]) == {"ok", "valid_numbers", "checks"}
    for check in told["validity"]["checks"]:
        assert {"name", "ok", "value", "limit", "says"} <= set(check)


def test_json_is_in_milliseconds(report):
    level, figures = json.loads(as_json(report))["levels"][0], report.levels[0]
    assert level["ttft"]["p95"] == pytest.approx(figures.metric("ttft")["p95"] * 1000)


def test_numbers_that_are_not_known_are_null():
    told = json.loads(as_json(assess(load_run(PLAIN / "steps"))))
    assert told["levels"][0]["ttft"] == dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "p99_9", "max"))
    assert told["levels"][0]["output_tokens_per_s"] is None
    assert told["levels"][0]["e2e"]["mean"] > 100


value = st.one_of(st.just(float("nan")), st.just(float("inf")), st.floats(0, 1e9))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(value, value, value, st.integers(0, 99), st.integers(0, 9)), max_size=5))
def test_json_and_markdown_are_made_of_any_levels(rows):
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
    made = assess(RunData(Path("x"), "llmlocust", levels))
    assert "NaN" not in as_json(made)
    assert "Infinity" not in as_json(made)
    json.loads(as_json(made))
    assert markdown(made)
    assert summary(made)


# -- the page


def test_headings_are_in_order(page):
    headings = Seen(page).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_every_tag_is_closed_and_the_language_is_told(page):
    seen = Seen(page)
    assert seen.open == []
    assert ("html", "lang", "en") in seen.attributes


def test_the_page_asks_for_nothing_from_anywhere(page):
    seen = Seen(page)
    for tag, name, value in seen.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert "url(http" not in value
    assert "@import" not in page
    assert "url(http" not in page
    assert not {"iframe", "object", "embed", "img"} & set(seen.tags)
    assert "default-src 'none'" in page


def test_text_from_files_is_text(page):
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert "<b>8b</b>" not in page
    text = "".join(Seen(page).words)
    assert "<script>alert('x')</script>" in text  # it is shown, as what it is
    assert "deepseek-r1 <b>8b</b>" in text


def test_every_picture_has_a_title_and_says_what_is_seen(page, report):
    seen = Seen(page)
    drawn = seen.tags.count("svg")
    assert drawn == 2 * 8
    assert sum(tag == "svg" and name == "role" and value == "img" for tag, name, value in seen.attributes) == drawn
    assert page.count("</title><desc") == drawn
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert seen.tags.count("figcaption") == 8


def test_pictures_take_their_colours_from_the_page(page):
    for sentinel in drawing._VARIABLES:
        assert sentinel not in page
    assert page.count("var(--s1)") > 5


def test_tables_have_captions_and_heads(page):
    seen = Seen(page)
    assert seen.tags.count("caption") == seen.tags.count("table") == 2
    assert sum(name == "scope" for _, name, _ in seen.attributes) > 10


def test_a_broken_limit_is_told_in_words_not_by_colour_alone(page):
    assert "violates ttft.p95 &lt; 1s" in page


def day_long(run):
    """The run stretched to a day: 288 levels of five minutes, a row for every second, 100,000 requests."""
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
        assert page.count("<tr class=") == 288
        assert len(page.encode()) < 2_000_000


def test_verdict_comes_first(page, report):
    assert page.index("Safe up to 20\N{NO-BREAK SPACE}users") < page.index("The four numbers") < page.index("Pictures")
    assert headline(report).startswith("Safe up to 20 users; breaks between 20 and 40: requests queue (p95 TTFT")


@pytest.mark.usefixtures("undrawn")
def test_secrets_in_options_are_not_shown(prefix):
    run = load_run(prefix)
    run.info["options"] = {"llm_api_key": "sk-123", "auth_token": "t-123", "llm_max_tokens": 9}
    made = assess(run)
    assert "sk-123" not in html(made) + markdown(made) + as_json(made)
    assert "t-123" not in html(made)
    assert "llm_max_tokens" in html(made)


# -- other runs


@pytest.mark.parametrize("name", ["full", "steps", "flat"])
def test_plain_locust_files_make_a_page(name):
    made = assess(load_run(PLAIN / name))
    assert Seen(html(made)).open == []
    assert "Not measured" in html(made)
    assert "first token" in markdown(made)


def test_capacity_of_a_plain_locust_test_is_found():
    capacity = assess(load_run(PLAIN / "full")).verdict.saturation
    # 6 places, 175 ms each, users that wait 100 ms
    assert capacity.load == pytest.approx(6 * 0.275 / 0.175, rel=0.1)


def test_one_level_and_none_that_is_known(tmp_path):
    (tmp_path / "x_stats.csv").write_bytes((PLAIN / "full_stats.csv").read_bytes())
    for run in (load_run(tmp_path / "x"), RunData(tmp_path / "y", "llmlocust")):
        made = assess(run)
        assert Seen(html(made)).open == []
        assert len(summary(made)) == 5


def test_rate_and_levels_without_success():
    levels = [
        LevelFigures(0, 10.0, unit="rate", window=10.0, requests=50, ok=50, throughput=5.0),
        LevelFigures(1, 20.0, unit="rate", window=10.0, requests=50, ok=0, error_kinds={"connect": 50}, throughput=0.0),
    ]
    made = assess(RunData(Path("x"), "llmlocust", levels))
    assert data(made)["load"] == "rate"
    assert "requests/s" in html(made)


def a_rate(delay):
    """One level whose requests were all sent so late."""
    first, last = (Summary(50, ms / 1000, ms / 1000, {"p50": ms / 1000, "p95": ms / 1000}) for ms in (100, 400))
    due = [Summary(50, each.mean + delay, each.most + delay, {"p95": each["p95"] + delay}) for each in (first, last)]
    late = Summary(50, delay, delay, {"p50": delay, "p95": delay, "p99": delay})
    metrics = {"ttft": first, "e2e": last, "ttft_due": due[0], "e2e_due": due[1], "delay": late}
    level = LevelFigures(0, 5.0, unit="rate", window=10.0, requests=50, ok=50, due=60, dropped=10, metrics=metrics)
    return RunData(
        Path("x"), "llmlocust", [level], info={"plan": {"unit": "rate", "levels": [5], "arrivals": "gamma:2"}}
    )


@pytest.mark.usefixtures("undrawn")
def test_latency_from_when_requests_were_due_is_shown_where_it_differs():
    assert "from due" not in " ".join(Seen(html(assess(a_rate(0.004)))).words).split("What the words mean")[0]
    chinese, missing = html_in(assess(a_rate(0.25)), "zh")
    assert missing == []
    assert english_in(chinese, ["gamma:2"]) == set()
    text = " ".join(Seen(html(assess(a_rate(0.25)))).words)
    assert "TTFT from due" in text
    assert "350 ms" in text
    assert "dropped 10 of 60 requests" in text
    assert "gamma:2" in chinese


def test_json_tells_of_what_was_due():
    level = data(assess(a_rate(0.25)))["levels"][0]
    assert (level["due"], level["dropped"], level["ttft_due"]["p95"], level["delay"]["p50"]) == (60, 10, 350, 250)


@pytest.mark.usefixtures("undrawn")
def test_runs_without_their_other_files(tmp_path):
    run = MadeRun((4, 8), 4, hold=20.0)
    optional = (formats.REQUESTS, formats.HISTOGRAMS, formats.TIMELINE, formats.RUN)
    for left_out in (*((name,) for name in optional), optional):
        made = assess(load_run(run.write(tmp_path / f"x{len(left_out)}{left_out[0][4:6]}", leave_out=left_out)))
        assert Seen(html(made)).open == []


def test_a_run_that_was_killed_is_doubted(tmp_path):
    made = assess(load_run(MadeRun((4, 8), 4, hold=20.0).write(tmp_path / "x", ended=False)))
    assert not made.is_valid
    assert "1 of 24 checks failed" in summary(made)[-1]


def test_markdown_is_one_table_a_thing_and_means_nothing_by_accident(report):
    text = markdown(report)
    assert "<script>" not in text.replace("`` <script>", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heads = [line for line in rows if "---" in line]
    assert len(heads) == 3
    levels = rows[rows.index(heads[1]) - 1 : rows.index(heads[1]) + 1 + len(report.levels)]
    assert len({line.count("|") for line in levels}) == 1


def test_a_summary_is_five_lines(report):
    lines = summary(report)
    assert len(lines) == 5
    assert [line.split(":")[0] for line in lines[1:]] == ["Saturation", "Knee", "Collapse", "Validity"]


def test_the_same_run_makes_the_same_page(prefix, report, page):
    assert html(assess(load_run(prefix), report.thresholds)) == page


@pytest.mark.usefixtures("undrawn")
def test_levels_that_were_never_reached_are_marked(report):
    run = replace(report.run, levels=[*report.levels[:-1], replace(report.levels[-1], reached=False)])
    made = assess(run, report.thresholds)
    assert not made.is_valid
    assert 'class="doubt"' in html(made)


# -- what must not read as well


def made(folder, *limits, **how):
    how = {"loads": (2, 4, 8), "slots": 24, "hold": 10.0, "warmup": 2.0} | how
    return assess(load_run(MadeRun(**how).write(folder / "x")), [Threshold.parse(each) for each in limits])


def cells(report, head, group):
    column = next(each for each in columns(report) if (each.head, each.group) == (head, group))
    return column.cells


def results(report):
    rows = [line for line in markdown(report).splitlines() if line.startswith("| ")]
    return [row.split("|")[2].strip() for row in rows if row.split("|")[1].strip().isdigit()]


def check(report, name):
    return next(each for each in report.checks if each.key == name)


def test_empty_answers_hold_nothing(tmp_path):
    report = made(tmp_path, "ttft.p95 < 1s", "errors < 1%", empty=(1, 2))
    assert headline(report).startswith("Met every threshold at the levels where they are known, up to 2 users;")
    assert results(report) == ["passes", "not known", "not known"]
    assert check(report, "empty_answers").levels == (1, 2)
    assert not report.is_valid
    assert report.goodput[1] == 0.0


def test_tokens_that_were_counted_and_not_seen_are_said_with_their_fields(tmp_path):
    report = made(tmp_path, "ttft.p95 < 1s", unread=(1, 2))
    unread = check(report, "unread_tokens")
    assert (unread.ok, unread.levels, unread.value) == (False, (1, 2), 1.0)
    assert "choices.delta.voice" in unread.says
    assert check(report, "empty_answers").ok
    assert results(report) == ["passes", "not known", "not known"]
    assert not report.is_valid

    all_of_them = made(tmp_path / "all", unread=(0, 1, 2))
    assert "empty_answers" not in {each.key for each in all_of_them.checks}
    assert headline(all_of_them) == "It is not known whether this load is safe: the answers contained no tokens."


def test_nothing_but_empty_answers_cannot_be_judged(tmp_path):
    report = made(tmp_path, empty=(0, 1, 2))
    assert headline(report) == "It is not known whether this load is safe: the answers contained no tokens."
    assert results(report) == ["not known"] * 3


def test_a_stopped_run_is_no_complete_one(tmp_path):
    plan = {"unit": "users", "levels": [2, 4, 8], "warmup": 2.0, "hold": 5.0}
    report = made(tmp_path, loads=(2, 4), hold=5.0, last_hold=2.2, told={"plan": plan, "stopped": True})
    assert headline(report) == (
        "Met every threshold at the levels measured, up to 4 users; the breaking point was not reached. "
        "The run was stopped early, after 1 of 3 levels."
    )
    said = check(report, "run_completed").says
    assert said == "Stopped after 1 of 3 levels; 4 users were held 2.2 of 5 s; 8 users never ran."
    assert "at all levels" not in markdown(report)


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_a_gate_ended_says_which(tmp_path):
    told = {"ended_by": "ttft.p95 < 1s at 8 users", "stopped": True}
    report = made(tmp_path, last_hold=2.2, told=told)
    assert headline(report).endswith(" The run was ended by its gate ttft.p95 < 1s at 8 users, after 2 of 3 levels.")
    assert "The run was ended by its gate ttft.p95 &lt; 1s at 8" in html(report).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("told", [None, 5, [], "", {"a": 1}])
def test_what_no_run_writes_ended_no_run(tmp_path, told):
    report = made(tmp_path, last_hold=2.2, told={"ended_by": told, "stopped": True})
    assert headline(report).endswith(" The run was stopped early, after 2 of 3 levels.")


@pytest.mark.usefixtures("undrawn")
def test_a_limit_that_failed_requests_break_shows_how(tmp_path):
    report = made(tmp_path, "e2e.p95 < 30s", "errors < 50%", loads=(5, 20, 60), hold=30.0)
    assert report.levels[-1].errors > 0.05
    shown = cells(report, "p95", "end to end")
    assert not any("∞" in each for each in shown[:-1])
    assert shown[-1].startswith("∞ (")
    page = html(report)
    assert f"{words.share(report.levels[-1].errors)} that failed counted as infinitely slow" in page
    assert "enough failed to decide the result" in page


def test_a_server_that_dies_is_no_capacity(tmp_path):
    report = made(tmp_path, dies=17.0)
    assert (
        headline(report)
        == "Safe up to 2 users; then the server was unreachable: nothing could connect at 4 users from second 5 on."
    )
    collapse, capacity = report.verdict.collapse, report.verdict.saturation
    assert (collapse.low, collapse.high) == (2, 4)
    assert not capacity.reached
    assert "4 and 8 users left out, as the server was unreachable" in capacity.why


def test_a_server_that_answers_again_was_not_gone(prefix):
    assert load_run(prefix).unreachable_from() == {}


def test_no_server_at_all(tmp_path):
    report = made(tmp_path, dies=-1.0)
    assert headline(report) == "The server was never reachable: nothing could connect at 2 users."
    assert Seen(html(report)).open == []


def test_nothing_but_failures(tmp_path):
    report = made(tmp_path, limit=0.001)
    assert not any(each.reached for each in (report.verdict.knee, report.verdict.saturation))
    assert "no request succeeded" in report.verdict.knee.why
    assert "slowest of them" not in markdown(report)
    assert Seen(html(report)).open == []


def test_answers_in_one_piece_though_streams_were_asked_for(tmp_path):
    report = made(tmp_path, "ttft.p95 < 1s", "errors < 1%", streams=False)
    assert any("in one piece although a stream was requested" in each for each in report.unknown)
    assert headline(report).startswith("Met the thresholds that are known (errors < 1%) at all levels")
    assert results(report) == ["not known"] * 3
    asked = made(tmp_path, "errors < 1%", streams=False, told={"options": {"llm_stream": False}})
    assert not any("in one piece" in each for each in asked.unknown)
    assert not any("in one piece" in each for each in made(tmp_path).unknown)


def test_one_level_is_compared_with_nothing(tmp_path):
    assert re.fullmatch(
        r"5 users: [0-9.]+ requests/s, [0-9.]+ tokens/s, first token within [0-9.]+ ms \(p95\), 0 of [0-9]+ requests failed.",
        headline(made(tmp_path, loads=(5,))),
    )
    assert headline(made(tmp_path, "ttft.p95 < 1s", loads=(5,))).startswith("Met every threshold at the only level")


def test_what_was_run_tells_of_the_request_before(tmp_path):
    report = made(tmp_path, told={"preflight": {"model": "m", "ttft_ms": 13.0, "models_listed": 1, "requests": 2}})
    told = dict(facts(report.run, report.unit))
    assert told["Preflight"] == "2 requests, first token after 13 ms, 1 model listed"
    assert told["Load generator processes"] == "2"
    assert told["Arrival times"] == "from the kernel"
    assert "Preflight" not in dict(facts(made(tmp_path, told={"preflight": {}}).run, "users"))


def test_importing_the_report_brings_no_locust():
    code = "import llmlocust.report.html, llmlocust.runfiles.reading.run_data, sys; print({'locust','gevent'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


CLIENT_CHECKS = {"client_limits", "network", "name_lookup", "proxy", "tls", "requests_not_sent"}


@pytest.mark.parametrize("kind", vocabulary.CLIENT_KINDS)
@pytest.mark.usefixtures("undrawn")
def test_a_level_that_lost_its_requests_on_the_way_is_shown_and_left_out_of_the_verdict(tmp_path, kind):
    report = made(tmp_path, "ttft.p95 < 1s", "errors < 1%", lacks=(kind, 0.9))
    level = data(report)["levels"][-1]

    assert not any(number.reached for number in report.verdict.numbers().values())
    assert level["unsent"] > 2 * level["requests"]
    assert [check.levels for check in report.checks if not check.ok and check.key in CLIENT_CHECKS] == [(2,)]
    assert "The verdict leaves out 8 users." in html(report).replace("\N{NO-BREAK SPACE}", " ")
    assert vocabulary.ERROR_KINDS[kind] in html(report)
    assert report.run.unreachable_from() == {}


def test_a_starved_generator_fails_its_checks_and_marks_the_numbers_that_rest_on_it(tmp_path):
    starved = {"throttled": 0.4, "core_wait": 0.5, "loop_lag": 9000.0, "client_queue": 165.0}
    report = made(tmp_path, "ttft.p95 < 1s", starved=starved)
    failed = {check.key for check in report.checks if not check.ok and check.levels == (2,)}

    assert failed >= {"cpu_throttling", "cpu_wait", "client_queue_time", "event_loop_lag"}
    assert not report.valid_numbers["slo_limit"]  # not reached, so it rests on every level


def test_a_run_of_a_version_that_did_not_look_is_not_called_starved(tmp_path):
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
def test_an_outage_inside_a_level_is_called_one_and_marks_its_level(tmp_path, out):
    """The third level goes from 24 to 36 s."""
    report = made(tmp_path, "ttft.p95 < 1s", "errors < 1%", out=out)
    (check,) = [check for check in report.checks if check.key == "outage"]
    began, lasted = report.run.outages()[2]

    assert 4.0 <= began <= 6.0  # requests in flight still succeed
    assert 3.0 <= lasted <= 5.0
    assert (check.ok, check.levels) == (False, (2,))
    assert "Whether the load caused the outage at 8 users is not known" in check.says
    assert not any(report.valid_numbers[name] for name in ("slo_limit", "collapse"))
    assert report.run.unreachable_from() == {}


PASSING = {
    "inside a level": (16.0, 21.0, {1: (3.0, 5.0)}),
    "over the end of a level": (21.0, 27.0, {1: (2.0, 3.0), 2: (2.0, 3.0)}),
}


@pytest.mark.parametrize("kind", ["connect", "reset", "name_lookup"])
@pytest.mark.parametrize(("began", "ended", "found"), PASSING.values(), ids=PASSING)
def test_an_outage_below_a_load_without_one_is_left_out_of_the_verdict(tmp_path, kind, began, ended, found):
    """The levels go to 12, 24, 36 and 48 s."""
    report = made(tmp_path, "ttft.p95 < 1s", "errors < 1%", loads=(2, 4, 8, 16), out=(kind, began, ended))
    outages = report.run.outages()
    (check,) = [check for check in report.checks if check.key == "outage"]

    assert outages.keys() == found.keys()
    assert all(least <= outages[level][1] <= most for level, (least, most) in found.items())
    assert report.verdict.outages == frozenset(found)
    assert check.levels == tuple(found)
    assert "as the load did not cause the outage" in check.says
    assert not report.verdict.collapse.reached
    assert "left out, as they had an outage" in report.verdict.collapse.why
    assert not report.verdict.onset.reached
    measured = report.run.levels[max(found)]
    assert measured.failed + measured.unsent > 0.01 * measured.attempted  # the level itself shows what was measured
    assert not any("backlog" in each.do for each in report.advice)
    assert headline(report).startswith("Met every threshold at the levels without an outage, up to 16 users")


def test_a_level_without_requests_is_none_at_which_limits_held(tmp_path):
    report = made(tmp_path, "ttft.p95 < 1s", loads=(2, 4, 8), silent=(2,))

    assert headline(report).startswith("Met every threshold at the levels measured, up to 4 users")


def test_a_server_that_crashes_from_some_load_on_has_its_outages_counted(tmp_path):
    """The last two levels go from 24 to 36 and to 48 s: one outage over both of them."""
    report = made(tmp_path, "errors < 1%", loads=(2, 4, 8, 16), out=("connect", 30.0, 42.0))

    assert report.run.outages().keys() == {2, 3}
    assert report.verdict.outages == frozenset()
    assert report.verdict.collapse.level_bad == 8.0


def test_a_server_that_comes_back_when_the_load_is_gone_had_no_outage(tmp_path):
    report = made(tmp_path, "errors < 1%", loads=(2, 16, 2), out=("connect", 16.0, 25.0))

    assert report.run.outages() == {}
    assert report.verdict.collapse.level_bad == 16.0


@pytest.mark.parametrize(
    "out",
    [
        ("connect", 28.0, 29.5),  # a server that is full may refuse everybody for so long
        ("http_503", 28.0, 33.0),  # it answers
        ("timeout_first_token", 28.0, 33.0),
        ("connect", 30.0, math.inf),  # it stays away: that is a server that is gone
    ],
)
def test_what_is_no_outage_is_not_called_one(tmp_path, out):
    assert "outage" not in {check.key for check in made(tmp_path, "errors < 1%", out=out).checks}
