"""The comparison of runs from their files: the page, Markdown, JSON, the command."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_run import HOSTILE, MadeRun
from pages import Seen, english_in

from llmlocust.assessment.assessment import assess
from llmlocust.cli import main
from llmlocust.report.comparison.compared import compare_runs, held_of, labels_of, load
from llmlocust.report.comparison.outputs import as_json, data, markdown
from llmlocust.report.comparison.page import html_in
from llmlocust.runfiles import formats

LOADS = (5, 10, 40)
TABLE = "users,p95,rps,errors,requests\n5,{},4.5,0,900\n10,{},9,0,900\n40,900,30,0.01,900\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs: base, one like it, one with fewer slots and shorter answers."""
    folder = tmp_path_factory.mktemp("runs")
    MadeRun(LOADS, 24, hold=60.0, seed=1).write(folder / "base" / "run")
    MadeRun(LOADS, 24, hold=60.0, seed=2).write(folder / "like" / "run")
    other = {"options": {"llm_max_tokens": 128, "llm_prompt": HOSTILE + "!"}}
    MadeRun((5, 40, 60), 16, hold=60.0, seed=3, told=other).write(folder / "fewer slots" / "run")
    MadeRun(LOADS, 24, hold=60.0, seed=5, told={"counts": {"sent": 10**6, "ended": 1}}).write(folder / "lost" / "run")
    MadeRun(LOADS, 24, hold=30.0, seed=6, dies=100.0).write(folder / "dies" / "run")
    (folder / "table.csv").write_text(TABLE.format(120, 140))
    (folder / "slow.csv").write_text(TABLE.format(120, 990))
    return folder


def compared(folder, *names, labels=(), tolerance=0.05):
    runs = [load(str(folder / name)) for name in names]
    return compare_runs(runs, labels or labels_of(runs), (), tolerance)


@pytest.fixture(scope="module")
def worse(folder):
    return compared(folder, "base", "fewer slots")


@pytest.fixture(scope="module")
def page(worse):
    """Of the runs of `worse`, with the templates that the catalogue lacks: none for English."""
    return html_in(worse, "en")


@pytest.fixture(scope="module")
def three(folder):
    return compared(folder, "base", "like", "fewer slots")


def english_left(result):
    """The English of a comparison's Chinese page, except the names of runs, and the templates that its catalogue lacks."""
    page, missing = html_in(result, "zh")
    return english_in(page, result.labels), missing


def command(*args):
    return CliRunner().invoke(main, ["compare", *map(str, args)], catch_exceptions=False)


def tables(folder, *rows, requests=40, **how):
    for name, p95 in rows:
        text = f"users,p95,rps,errors,requests\n5,{p95},4.5,0,{requests}\n10,{p95},9,0,{requests}\n"
        (folder / f"{name}.csv").write_text(text)
    return compared(folder, *(f"{name}.csv" for name, _ in rows), **how)


# -- what is read of a run


def test_a_level_is_what_its_rows_say(folder):
    report = assess(load(str(folder / "base")))
    level = held_of(report, report.verdict.thresholds)[1]
    rows = report.run.requests
    ours = rows[(rows["level"] == 1) & (rows["measured"] == 1) & (rows["outcome"] == "ok")]

    assert len(level.values["ttft"]) == len(ours) == level.figures.ok
    assert level.values["e2e"].mean == pytest.approx(ours["e2e"].mean() / 1000.0)
    assert len(level.values["throughput"]) == round(level.figures.throughput * level.figures.window)
    assert level.values["output_tokens_per_s"].mean == pytest.approx(level.figures.output_tokens_per_s, rel=0.05)
    assert level.cycle == pytest.approx(10 * 60.0 / level.figures.requests)
    assert not level.lockstep


def test_runs_are_named_by_what_tells_them_apart(folder, tmp_path):
    MadeRun((5,), 24, hold=10.0).write(tmp_path / "monday")
    runs = [load(str(folder / "base")), load(str(folder / "like"))]

    assert labels_of(runs) == ["base", "like"]
    assert labels_of([runs[0], load(str(tmp_path / "monday"))]) == ["base", "monday"]
    assert labels_of([runs[0], runs[0]]) != ["base", "base"]


def test_rows_that_are_missing_leave_the_levels(folder, tmp_path):
    MadeRun(LOADS, 24, hold=60.0, seed=4).write(tmp_path / "x", leave_out=(formats.REQUESTS, formats.TIMELINE))
    result = compared(folder, "base", tmp_path / "x")

    figures = {(difference.metric, difference.statistic) for difference in result.comparisons[0].pairs[0].differences}
    assert {("ttft", "p95"), ("throughput", "")} <= figures


# -- the sentences


def test_the_worse_run_is_a_regression(worse, page):
    assert worse.regressed
    html, missing = page
    assert missing == []
    assert "fewer slots is worse than base: " in html
    assert "A regression: worse by more than 5" in html


def test_every_cell_says_its_word_and_not_by_colour_alone(worse, page):
    cells = re.findall(r'<td class="([a-z-]+)[^>]*><b>(.)<span class="sr"> ([a-z ]+)</span>', page[0])

    assert {(name.replace("-", " "), sign) for name, sign, _ in cells} >= {
        ("slower", "✗"),
        ("same", "="),
        ("cannot tell", "?"),
    }
    assert all(name.replace("-", " ") == word for name, _, word in cells)
    differences = list(worse.comparisons[0].differences)
    assert len(cells) == len(differences)


def test_words_of_the_files_stay_words(worse, page):
    assert HOSTILE not in page[0]
    assert HOSTILE in "".join(Seen(page[0]).words)
    assert "<script>alert" not in markdown(worse)


def test_only_settings_that_differ_are_shown(worse):
    assert "| llm\\_max\\_tokens | 256 | 128 |" in markdown(worse)
    assert [setting["name"] for setting in data(worse)["settings"]] == ["Levels", "llm_max_tokens", "llm_prompt"]


def test_loads_of_one_run_alone_are_named(worse):
    assert "Not compared, because only base has them: 10 users." in markdown(worse)
    assert "Not compared, because only fewer slots has them: 60 users." in markdown(worse)


def test_more_than_two_runs_stand_beside_the_first(three):
    page, _ = html_in(three, "en")
    assert "3 runs, each compared with base" in page
    assert page.count('<table class="differences">') == 3  # over all levels, and one a run
    assert [comparison["new"] for comparison in data(three)["comparisons"]] == ["like", "fewer slots"]
    assert page.count("<figure ") == 1
    lines = re.findall(r"<text[^>]*>(?:base|like|fewer slots)</text>", page)
    assert len(lines) == 6  # each in the legend of the wide picture and of the narrow one


def test_json_is_what_the_page_says(three):
    document = json.loads(as_json(three))
    assert document["regression"] is True
    assert document["is_valid"] is True
    like, fewer = document["comparisons"]
    assert (like["regression"], fewer["regression"]) == (False, True)
    first = fewer["levels"][0]["differences"][0]
    assert (first["metric"], first["statistic"]) == ("ttft", "mean")
    assert first["new"] / first["base"] - 1.0 == pytest.approx(first["change"], rel=1e-5)
    assert first["low"] <= first["change"] <= first["high"]
    assert fewer["only_new"] == [60]


PLAIN = Path(__file__).parent / "plain"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "names",
    [
        ("base", "fewer slots"),
        ("fewer slots", "base"),
        ("base", "like", "fewer slots"),
        ("base", "base"),
        ("base", "lost"),
        ("base", "dies"),
        ("table.csv", "slow.csv"),
        ("base", "table.csv"),
        (PLAIN / "full", PLAIN / "steps"),
    ],
    ids=lambda names: " ".join(str(name).rpartition("/")[2] for name in names),
)
def test_nothing_stays_english(folder, names):
    assert english_left(compared(folder, *names)) == (set(), [])


@pytest.mark.usefixtures("undrawn")
def test_names_of_runs_are_never_translated(tmp_path):
    result = tables(tmp_path, ("one", 120), ("other", 121), labels=("throughput", "Runs"))
    page, _ = html_in(result, "zh")
    assert "<title>Runs 与 throughput 对比</title>" in page
    assert '<span translate="no">Runs</span> 与 <span translate="no">throughput</span> 对比</h3>' in page


# -- the command


@pytest.mark.parametrize("new, code", [("like", 0), ("fewer slots", 99)])
def test_the_exit_code_is_the_gate(folder, tmp_path, new, code):
    done = command(
        folder / "base", folder / new, "--out", tmp_path / "page.html", "--markdown", "--json", tmp_path / "x.json"
    )

    assert done.exit_code == code, done.output
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "page.md").read_text().startswith("# ")
    assert json.loads((tmp_path / "x.json").read_text())["regression"] is (code == 99)
    assert done.stdout.splitlines()[-1] == f"Comparison: {tmp_path / 'page.html'}"


@pytest.mark.usefixtures("undrawn")
def test_a_larger_tolerance_lets_pass(folder, tmp_path):
    done = command(folder / "base", folder / "fewer slots", "--tolerance", "99%", "--out", tmp_path / "page.html")
    assert done.exit_code in (0, 99)
    assert command(folder / "table.csv", folder / "slow.csv", "--out", tmp_path / "x.html").exit_code == 99
    assert command(folder / "table.csv", folder / "table.csv", "--out", tmp_path / "x.html").exit_code == 0


@pytest.mark.usefixtures("undrawn")
def test_a_doubted_level_ends_with_98(folder, tmp_path):
    done = command(folder / "base", folder / "lost", "--out", tmp_path / "page.html")

    assert done.exit_code == 98
    assert "Left out because checks failed: 5, 10 and 40 users." in done.stdout
    assert "lost requests" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "args, words",
    [
        (("base", "nowhere"), "no run has this prefix"),
        (("base", "like", "--label", "one"), "1 labels for 2 runs"),
        (("base", "like", "--label", "one", "--label", "one"), "two runs have the same --label"),
        (("base", "like", "--tolerance", "much"), "'much' is not a share: write 5%"),
        (("base", *["like"] * 10), "11 runs are more than a page can show"),
        (
            ("base", "other.csv"),
            "no load in common: base has 5, 10 and 40, other has 7; run both with the same --levels",
        ),
        (("base",), "Missing argument 'NEW...'"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(folder, args, words):
    (folder / "other.csv").write_text("users,p95\n7,100\n")
    done = command(*(folder / arg if (folder / arg).exists() or arg == "nowhere" else arg for arg in args))

    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.usefixtures("undrawn")
def test_labels_are_the_users(folder, tmp_path):
    done = command(
        folder / "base",
        folder / "like",
        "--label",
        "A <1>",
        "--label",
        "B",
        "--out",
        tmp_path / "page.html",
        "--markdown",
        "-",
    )
    assert "A &lt;1&gt;" in done.stdout
    assert "A <1>" not in (tmp_path / "page.html").read_text()


# -- the banner


def banner(result):
    return re.search(
        r'<p class="validity (\w+)"><span class="mark"[^>]*>(.)</span> <span>([^<]*)', html_in(result, "en")[0]
    ).groups()


@pytest.mark.usefixtures("undrawn")
def test_a_banner_promises_nothing_where_no_figure_is_known(tmp_path):
    result = tables(tmp_path, ("one", 120), ("other", 121))

    assert {difference.word for difference in result.comparisons[0].differences} == {"cannot tell"}
    assert banner(result)[:2] == ("note", "?")
    assert banner(result)[2].startswith("The result is unclear")
    assert english_left(result) == (set(), [])


@pytest.mark.usefixtures("undrawn")
def test_a_banner_says_of_how_many_figures_it_speaks(folder):
    result = compared(folder, "base", "like")
    verdicts = [difference.word for difference in result.comparisons[0].differences]
    known = len(verdicts) - verdicts.count("cannot tell")

    assert 0 < known < len(verdicts)
    assert banner(result) == (
        "note",
        "?",
        f"No regression in {known} of {len(verdicts)} figures; the others are not precise enough.",
    )
    assert english_left(result) == (set(), [])


@pytest.mark.usefixtures("undrawn")
def test_a_banner_is_green_where_all_is_known(tmp_path):
    result = tables(tmp_path, ("one", 120), ("other", 121), requests=90_000, tolerance=0.5)

    assert {difference.word for difference in result.comparisons[0].differences} == {"same"}
    assert banner(result)[:2] == ("good", "✓")


# -- runs of one level


def test_runs_of_one_level_are_compared_by_its_figures(folder, tmp_path):
    for name, slots in (("one", 24), ("two", 12), ("three", 8)):
        MadeRun((20,), slots, hold=60.0, seed=slots).write(tmp_path / name / "run")
    result = compared(tmp_path, "one", "two", "three")
    page = html_in(result, "en")[0]

    assert '<th scope="col">requests/s</th>' in page
    assert "Knee" not in page
    assert "Over the load" not in page
    assert "The level</h2>" in page
    assert "| 20 users |" in markdown(result)
    assert english_left(result) == (set(), [])
