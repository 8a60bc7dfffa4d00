"""The comparison of runs from their files: the page, Markdown, JSON, the command."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_run import HOSTILE, MadeRun
from pages import ParsedPage, english_in

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
    """Write the runs: base, one like it, one with fewer slots and shorter answers, and others."""
    folder = tmp_path_factory.mktemp("runs")
    MadeRun(LOADS, 24, hold=60.0, seed=1).write(folder / "base" / "run")
    MadeRun(LOADS, 24, hold=60.0, seed=2).write(folder / "like" / "run")
    info = {"options": {"llm_max_tokens": 128, "llm_prompt": HOSTILE + "!"}}
    MadeRun((5, 40, 60), 16, hold=60.0, seed=3, info=info).write(folder / "fewer slots" / "run")
    MadeRun(LOADS, 24, hold=60.0, seed=5, info={"counts": {"sent": 10**6, "ended": 1}}).write(folder / "lost" / "run")
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
    """Return the page of `worse` and the templates that the catalogue lacks: none for English."""
    return html_in(worse, "en")


@pytest.fixture(scope="module")
def three(folder):
    return compared(folder, "base", "like", "fewer slots")


def english_left(result):
    """Return the English on a comparison's Chinese page, except names of runs, and the templates that its catalogue lacks."""
    page, missing = html_in(result, "zh")
    return english_in(page, result.labels), missing


def command(*args):
    return CliRunner().invoke(main, ["compare", *map(str, args)], catch_exceptions=False)


def tables(folder, *rows, requests=40, **options):
    for name, p95 in rows:
        text = f"users,p95,rps,errors,requests\n5,{p95},4.5,0,{requests}\n10,{p95},9,0,{requests}\n"
        (folder / f"{name}.csv").write_text(text)
    return compared(folder, *(f"{name}.csv" for name, _ in rows), **options)


# -- the data of a run


def test_a_level_has_the_values_of_its_rows(folder):
    report = assess(load(str(folder / "base")))
    level = held_of(report, report.verdict.thresholds)[1]
    rows = report.run.requests
    successes = rows[(rows["level"] == 1) & (rows["measured"] == 1) & (rows["outcome"] == "ok")]

    assert len(level.values["ttft"]) == len(successes) == level.figures.ok
    assert level.values["e2e"].mean == pytest.approx(successes["e2e"].mean() / 1000.0)
    assert len(level.values["throughput"]) == round(level.figures.throughput * level.figures.window)
    assert level.values["output_tokens_per_s"].mean == pytest.approx(level.figures.output_tokens_per_s, rel=0.05)
    assert level.cycle == pytest.approx(10 * 60.0 / level.figures.requests)
    assert not level.lockstep


def test_labels_distinguish_runs(folder, tmp_path):
    MadeRun((5,), 24, hold=10.0).write(tmp_path / "monday")
    runs = [load(str(folder / "base")), load(str(folder / "like"))]

    assert labels_of(runs) == ["base", "like"]
    assert labels_of([runs[0], load(str(tmp_path / "monday"))]) == ["base", "monday"]
    assert labels_of([runs[0], runs[0]]) != ["base", "base"]


def test_levels_are_compared_without_request_rows(folder, tmp_path):
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


def test_every_cell_has_a_sign_and_a_word_besides_its_colour(worse, page):
    cells = re.findall(r'<td class="([a-z-]+)[^>]*><b>(.)<span class="sr"> ([a-z ]+)</span>', page[0])

    assert {(name.replace("-", " "), sign) for name, sign, _ in cells} >= {
        ("slower", "✗"),
        ("same", "="),
        ("cannot tell", "?"),
    }
    assert all(name.replace("-", " ") == word for name, _, word in cells)
    differences = list(worse.comparisons[0].differences)
    assert len(cells) == len(differences)


def test_words_of_the_files_are_escaped(worse, page):
    assert HOSTILE not in page[0]
    assert HOSTILE in "".join(ParsedPage(page[0]).words)
    assert "<script>alert" not in markdown(worse)


def test_only_settings_that_differ_are_shown(worse):
    assert "| llm\\_max\\_tokens | 256 | 128 |" in markdown(worse)
    assert [setting["name"] for setting in data(worse)["settings"]] == ["Levels", "llm_max_tokens", "llm_prompt"]


def test_loads_of_only_one_run_are_named(worse):
    assert "Not compared, because only base has them: 10 users." in markdown(worse)
    assert "Not compared, because only fewer slots has them: 60 users." in markdown(worse)


def test_more_than_two_runs_are_compared_with_the_first(three):
    page, _ = html_in(three, "en")
    assert "3 runs, each compared with base" in page
    assert page.count('<table class="differences">') == 3  # over all levels, and one per comparison
    assert [comparison["new"] for comparison in data(three)["comparisons"]] == ["like", "fewer slots"]
    assert page.count("<figure ") == 1
    lines = re.findall(r"<text[^>]*>(?:base|like|fewer slots)</text>", page)
    assert len(lines) == 6  # each run is in the legends of the wide and of the narrow picture


def test_json_has_the_results_of_the_page(three):
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


@pytest.mark.usefixtures("text_only_pictures")
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
def test_no_text_stays_english(folder, names):
    assert english_left(compared(folder, *names)) == (set(), [])


@pytest.mark.usefixtures("text_only_pictures")
def test_names_of_runs_are_never_translated(tmp_path):
    result = tables(tmp_path, ("one", 120), ("other", 121), labels=("throughput", "Runs"))
    page, _ = html_in(result, "zh")
    assert "<title>Runs 与 throughput 对比</title>" in page
    assert '<span translate="no">Runs</span> 与 <span translate="no">throughput</span> 对比</h3>' in page


# -- the command


@pytest.mark.parametrize("new, code", [("like", 0), ("fewer slots", 99)])
def test_the_exit_code_is_99_for_a_regression(folder, tmp_path, new, code):
    result = command(
        folder / "base", folder / new, "--out", tmp_path / "page.html", "--markdown", "--json", tmp_path / "x.json"
    )

    assert result.exit_code == code, result.output
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "page.md").read_text().startswith("# ")
    assert json.loads((tmp_path / "x.json").read_text())["regression"] is (code == 99)
    assert result.stdout.splitlines()[-1] == f"Comparison: {tmp_path / 'page.html'}"


@pytest.mark.usefixtures("text_only_pictures")
def test_a_tolerance_decides_the_exit_code(folder, tmp_path):
    result = command(folder / "base", folder / "fewer slots", "--tolerance", "99%", "--out", tmp_path / "page.html")
    assert result.exit_code in (0, 99)
    assert command(folder / "table.csv", folder / "slow.csv", "--out", tmp_path / "x.html").exit_code == 99
    assert command(folder / "table.csv", folder / "table.csv", "--out", tmp_path / "x.html").exit_code == 0


@pytest.mark.usefixtures("text_only_pictures")
def test_levels_with_failed_checks_exit_with_98(folder, tmp_path):
    result = command(folder / "base", folder / "lost", "--out", tmp_path / "page.html")

    assert result.exit_code == 98
    assert "Left out because checks failed: 5, 10 and 40 users." in result.stdout
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
    result = command(*(folder / arg if (folder / arg).exists() or arg == "nowhere" else arg for arg in args))

    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.usefixtures("text_only_pictures")
def test_labels_of_the_user_are_shown_and_escaped(folder, tmp_path):
    result = command(
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
    assert "A &lt;1&gt;" in result.stdout
    assert "A <1>" not in (tmp_path / "page.html").read_text()


# -- the banner


def banner(result):
    return re.search(
        r'<p class="validity (\w+)"><span class="mark"[^>]*>(.)</span> <span>([^<]*)', html_in(result, "en")[0]
    ).groups()


@pytest.mark.usefixtures("text_only_pictures")
def test_the_banner_is_unclear_if_no_figure_is_known(tmp_path):
    result = tables(tmp_path, ("one", 120), ("other", 121))

    assert {difference.word for difference in result.comparisons[0].differences} == {"cannot tell"}
    assert banner(result)[:2] == ("note", "?")
    assert banner(result)[2].startswith("The result is unclear")
    assert english_left(result) == (set(), [])


@pytest.mark.usefixtures("text_only_pictures")
def test_the_banner_has_the_number_of_known_figures(folder):
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


@pytest.mark.usefixtures("text_only_pictures")
def test_the_banner_is_green_if_all_figures_are_known(tmp_path):
    result = tables(tmp_path, ("one", 120), ("other", 121), requests=90_000, tolerance=0.5)

    assert {difference.word for difference in result.comparisons[0].differences} == {"same"}
    assert banner(result)[:2] == ("good", "✓")


# -- runs of one level


def test_runs_of_one_level_are_compared_by_the_figures_of_that_level(folder, tmp_path):
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
