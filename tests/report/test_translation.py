import re
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_run import EPOCH, MadeRun
from test_page import HOSTILE, Seen

from llmlocust.assessment.assessment import assess
from llmlocust.metrics import vocabulary
from llmlocust.metrics.levels import LevelFigures
from llmlocust.metrics.thresholds import Threshold
from llmlocust.report.html import html, html_in
from llmlocust.report.languages import translate as translation
from llmlocust.report.languages.catalogue import LANGUAGES
from llmlocust.report.languages.translate import PatternCatalogue, catalogue
from llmlocust.runfiles import formats
from llmlocust.runfiles.reading.locate import load_run
from llmlocust.runfiles.reading.run_data import RunData

PLAIN = Path(__file__).parent / "plain"
LIMITS = [Threshold.parse("ttft.p95 < 1s"), Threshold.parse("errors < 1%")]
OF_THE_RUN = {"time", "Clocks agree."}
"""A made run's own check: words that come from the file."""
STAYS = re.compile(
    r"(?<![A-Za-z])(?:TTFT|TPOT|SLO|HTTP|CSV|GPU|CPU|UTC|N = X·\(R \+ Z\)|vLLM|llmlocust|Locust|Retry-After|worker|"
    r"token|ttft|e2e|errors|p\d+|ms|s|--[a-z-]+)(?![A-Za-z])"
)
"""Words that a Chinese page says in Latin letters: names, units, terms, options."""


def made(folder, limits=(), leave_out=(), *, ended=True, **how):
    how = {"loads": (2, 4, 8), "slots": 24, "hold": 10.0, "warmup": 2.0} | how
    return assess(load_run(MadeRun(**how).write(folder / "x", leave_out=leave_out, ended=ended)), limits)


COUNTED = {"unit": "users", "levels": [5], "warmup": None, "hold": None, "requests": 200}
TRACE = {
    "plan": {"unit": "users", "levels": [2, 4, 8], "warmup": 0.0, "hold": 10.0, "trace": {"rows": 9, "speed": 2.0}},
    "checks": [
        {
            "name": "run",
            "ok": False,
            "says": "10 of the trace's 20 rows were never due: a worker was lost, or does not have the trace.",
        }
    ],
}
LOST = "Worker a:1 was lost 12 s into the run: the figures lack at least 3 of its requests (in flight at its last report), and "
LATER = [
    "those that it sent later (their number is not known).",
    *(
        f"probably about 1900 more that it sent until second 72 (estimated from {basis})."
        for basis in ("the rate of its last reports", "its share of the rate", "its share of the trace")
    ),
]
RAMP = {"loads": (5, 10, 20, 40, 60, 90), "hold": 30.0}
GATES = (
    "ttft.p95 < 500ms ~ 1s @ 5, ttft.p95 < 200ms ~ 1s @ 10, e2e.p95 < 3s, gpu.utilisation < 90% @ 5, errors < 1% @ 7"
)
RUNS = {
    "ramp": {"limits": LIMITS, **RAMP},
    "derived": RAMP,
    "not reached": {"limits": LIMITS},
    "empty answers": {"limits": LIMITS, "empty": (1, 2)},
    "nothing but empty answers": {"empty": (0, 1, 2)},
    "stopped": {
        "limits": LIMITS,
        "loads": (2, 4),
        "last_hold": 2.2,
        "told": {"plan": {"unit": "users", "levels": [2, 4, 8], "warmup": 2.0, "hold": 10.0}, "stopped": True},
    },
    "ended by a gate": {
        "limits": LIMITS,
        "last_hold": 2.2,
        "told": {"ended_by": "ttft.p95 < 500ms ~ 1s at 8 users", "stopped": True},
    },
    "gates": {"told": {"options": {"llm_threshold": GATES}}, **RAMP},
    "gates in doubt": {
        "last_hold": 2.2,
        "told": {"options": {"llm_threshold": "e2e.p95 < 60s, itl.p99 < 1ms"}, "stopped": True},
    },
    "gates of few requests": {
        "limit": 0.001,
        "told": {"options": {"llm_threshold": "ttft.p95 < 1s @ 2, itl.p99 < 1s"}},
    },
    "dies": {"limits": LIMITS, "dies": 17.0},
    "no server": {"dies": -1.0},
    **{f"lacks, {kind}": {"limits": LIMITS, "lacks": (kind, 0.9)} for kind in vocabulary.CLIENT_KINDS},
    "starved": {
        "limits": LIMITS,
        "starved": {"throttled": 0.4, "core_wait": 0.5, "loop_lag": 9000.0, "turn_wait": 9000.0, "client_queue": 165.0},
    },
    "paused": {"limits": LIMITS, "paused": 0.6},
    "paused, where many fail": {"limits": LIMITS, "paused": 0.6, **RAMP},
    "hardly paused": {"limits": LIMITS, "paused": 0.02},
    "a level without requests": {"limits": LIMITS, "silent": (2,), "paused": 0.97},
    "a level of long requests": {"limits": LIMITS, "silent": (1,)},
    "lost workers": {"told": {"checks": [{"name": "run", "ok": False, "says": LOST + later} for later in LATER]}},
    "rows of another run": {"told": {"started": EPOCH + 20.0, "rows": {"seen": 9, "kept": 9}}},
    "rows are missing": {"told": {"rows": {"seen": 9**6, "kept": 9**6}}},
    "no rows": {"leave_out": (formats.REQUESTS,)},
    "two clocks": {"told": {"clocks": {"kernel": 4000, "user": 40}}},
    "two clocks, late": {"told": {"clocks": {"kernel": 4, "user": 4}}, "starved": {"loop_lag": 9000.0}},
    "two clocks, hardly": {"told": {"clocks": {"kernel": 4999, "user": 1}}},
    "outage": {"limits": LIMITS, "out": ("connect", 27.0, 32.0)},
    "outages": {"limits": LIMITS, "loads": (2, 4, 8, 16), "out": ("connect", 21.0, 27.0)},
    "lacks a little": {"limits": LIMITS, "lacks": ("client_limit", 0.005), **RAMP},
    "lacks all": {"limits": LIMITS, "lacks": ("name_lookup", 1.0)},
    "no success": {"limit": 0.001},
    "no streams": {"limits": LIMITS, "streams": False},
    "one level": {"loads": (5,)},
    "progressive": {
        "limits": LIMITS,
        "loads": (4, 4, 12, 20, 60, 4, 10),
        "phases": ("baseline", "linear", "linear", "linear", "surge", "recovery", "soak"),
        "hold": 20.0,
    },
    "surge": {"loads": (6, 60, 6), "phases": ("baseline", "surge", "recovery"), "hold": 30.0},
    "spike without a word": {"loads": (2, 4, 2), "phases": ("baseline", "spike", "recovery"), "hold": 2.0},
    "soak": {"loads": (10,), "phases": ("soak",), "hold": 60.0},
    "short soak": {"loads": (1,), "phases": ("soak",), "hold": 4.0, "limits": LIMITS},
    "wave": {"loads": (2, 20, 40, 20), "phases": ("rise", "rise", "rise", "fall")},
    "one level with limits": {"loads": (5,), "limits": LIMITS},
    "fixed number": {"loads": (5,), "slots": 3, "warmup": 0.0, "hold": 4.0, "told": {"plan": COUNTED}},
    "fixed number, stopped": {"loads": (5,), "told": {"plan": COUNTED, "stopped": True}},
    "fixed number, no streams": {"loads": (5,), "streams": False, "told": {"plan": COUNTED}},
    "fixed number, no success": {"loads": (5,), "limit": 0.001, "told": {"plan": COUNTED}},
    "a trace that keeps its limits": {"limits": [Threshold.parse("ttft.p95 < 100s")], "told": TRACE},
    "a trace that breaks them": {"limits": LIMITS, **RAMP, "told": TRACE},
    "a trace without limits": {"told": TRACE},
    "killed": {"ended": False},
    "no requests": {"leave_out": (formats.REQUESTS,)},
    "no histograms": {"leave_out": (formats.HISTOGRAMS,)},
    "no timeline": {"leave_out": (formats.TIMELINE,)},
    "no run.json": {"leave_out": (formats.RUN,)},
    "no levels": {"leave_out": (formats.LEVELS,)},
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("undrawn")
def test_nothing_of_a_run_stays_english(tmp_path, name):
    _, missing = html_in(made(tmp_path, **RUNS[name]), "zh")
    assert set(missing) <= OF_THE_RUN


@pytest.mark.parametrize("name", ["full", "steps", "flat"])
def test_nothing_of_a_plain_locust_test_stays_english(name):
    assert html_in(assess(load_run(PLAIN / name)), "zh")[1] == []


def test_nothing_of_a_run_by_rate_stays_english():
    levels = [
        LevelFigures(0, 10.0, unit="rate", window=10.0, requests=50, ok=50, throughput=5.0),
        LevelFigures(1, 20.0, unit="rate", window=10.0, requests=50, ok=0, error_kinds={"connect": 50}, throughput=0.0),
    ]
    assert html_in(assess(RunData(Path("x"), "llmlocust", levels)), "zh")[1] == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    report = made(tmp_path_factory.mktemp("run"), LIMITS, **RAMP)
    return html(report), html_in(report, "zh")[0]


class Words(Seen):
    """The text of a page, without code and what is marked as not to be translated."""

    def __init__(self, text):
        self.kept = 0
        super().__init__(text)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if self.kept or tag in ("code", "pre") or ("translate", "no") in attrs:
            self.kept += 1

    def handle_endtag(self, tag):
        super().handle_endtag(tag)
        self.kept = max(0, self.kept - 1)

    def handle_data(self, data):
        if not self.kept:
            super().handle_data(data)


def test_no_english_word_is_left_on_the_page_whatever_the_catalogue_says(pages):
    left = {text.strip() for text in Words(pages[1]).words if re.search("[A-Za-z]{2}", STAYS.sub("", text))}
    assert left == {*OF_THE_RUN, "deepseek-r1 <b>8b</b> 的负载测试"}


def test_the_page_is_the_same_but_for_its_words(pages):
    english, chinese = (Seen(page) for page in pages)
    assert chinese.tags == english.tags
    assert chinese.headings == english.headings
    assert ("html", "lang", "zh-Hans") in chinese.attributes
    spoken = {"title", "aria-label", "lang", "data-dark", "data-light"}
    kept = [[each for each in seen.attributes if each[1] not in spoken] for seen in (english, chinese)]
    assert kept[0] == kept[1]
    script = [page[page.index("<script>") :] for page in pages]
    assert script[0] == script[1]


def test_words_of_the_run_are_left_and_stay_text(pages):
    assert HOSTILE not in pages[1]
    text = "".join(Seen(pages[1]).words)
    assert HOSTILE in text
    assert "deepseek-r1 <b>8b</b>" in text


@pytest.mark.parametrize("language", set(LANGUAGES) - {"en"})
def test_a_catalogue_is_whole(language):
    import tomllib

    path = Path(formats.__file__).parent.parent / "report" / "languages" / f"{language}.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    holes = re.compile(r"\{[*nd]?\}")
    for english, said in entries.items():
        many = len(holes.findall(english))
        numbered = re.findall(r"\{(\d)\}", said)
        assert sorted(map(int, numbered)) == list(range(many)) if numbered else len(holes.findall(said)) == many, (
            english
        )
    firsts = [english[:1].lower() + english[1:] for english in entries]
    assert len(firsts) == len(set(firsts))


# -- how sentences are found

GREEK = {
    "{n} users": "{} Χ",
    "up to {}": "έως {}",
    "safe {}.": "ασφαλές {}.",
    "requests wait": "Α",
    "errors": "Λ",
    "{} of {}": "{1}: {0}",
    "for {*}": "για {*}",
    "{} after {d}": "{} Μ {}",
}


@pytest.mark.parametrize(
    ("english", "said"),
    [
        ("errors", "Λ"),
        ("Errors", "Λ"),
        ("12.5 ms", "12.5 ms"),
        ("up to 10 users", "έως 10 Χ"),
        ("Safe up to 10 users.", "ασφαλές έως 10 Χ."),
        ("errors; requests wait", "Λ；Α"),
        ("errors (ttft.p95 < 1s)", "Λ（ttft.p95 < 1s）"),
        ("Errors. Requests wait.", "Λ。Α。"),
        ("errors of 10 users", "10 Χ: Λ"),
        ("for errors", "για errors"),
        ("errors after 1.2 s, requests wait", "Λ Μ 1.2 s，Α"),
        ("10\N{NO-BREAK SPACE}users", "10 Χ"),
    ],
)
def test_sentences_are_put_together_from_what_is_known(english, said):
    greek = PatternCatalogue({}, GREEK)
    assert greek.say(english).replace("\N{NO-BREAK SPACE}", " ") == said
    assert greek.missing == []


@pytest.mark.parametrize("english", ["stale_share of", "errors; and more", "up to many users", "safe"])
def test_what_is_not_known_stays_and_is_told(english):
    greek = PatternCatalogue({}, GREEK)
    assert greek.say(english) == english
    assert greek.missing == [english]


def test_numbers_are_not_words():
    assert catalogue("zh").say("1234 → 5.6") == "1234 → 5.6"


@pytest.mark.parametrize("many", [1, 40])
def test_nothing_of_requests_that_contradict_themselves_stays_english(many):
    level = LevelFigures(0, 10.0, window=10.0, requests=500, ok=500, throughput=50.0, contradicting=many)
    page, missing = html_in(assess(RunData(Path("x"), "llmlocust", [level])), "zh")

    assert "请求的一致性" in page
    assert missing == []


# -- words of others


def catalogue_entries():
    return tomllib.loads((Path(translation.__file__).with_name("zh.toml")).read_text(encoding="utf-8"))


PATTERNS = [english for english in catalogue_entries() if translation._HOLE.search(english)]


@given(st.data())
@settings(max_examples=300)
def test_a_pattern_finds_what_it_would_find_by_trying_every_place(data):
    english = data.draw(st.sampled_from(PATTERNS))
    literal, holes = translation._HOLE.split(english), translation._HOLE.findall(english)
    piece = st.sampled_from(["a", "1", " ", "7 ms", ".", *(each for each in literal if each)])
    fill = st.lists(piece, min_size=1, max_size=3).map("".join)
    text = literal[0] + "".join(data.draw(fill) + after for after in literal[1:])
    every = "".join(
        [
            re.escape(literal[0]),
            *(translation._HOLES[h] + re.escape(t) for h, t in zip(holes, literal[1:], strict=True)),
        ]
    )

    expected = re.fullmatch(every, text)
    found = translation._Pattern(english, english)._shape.fullmatch(text)

    assert (found and found.groups()) == (expected and expected.groups())


HOSTILE_TEXTS = [
    "a. b: c, (d) ",
    "x",
    "; ",
    "1. ",
    "errors at 1, 2 and 3 users (x); ",
    "the: a, ",
    "a.",
    "1.1,",
    "{} ",
    " (",
]


@pytest.mark.parametrize("unit", HOSTILE_TEXTS)
@pytest.mark.parametrize("times", [10, 100, 1000, 100_000])
def test_words_of_others_take_time_in_proportion_to_their_length(unit, times):
    known = catalogue("zh")
    text = unit * times + "\x01"
    began = time.process_time()

    assert known.say(text) == text

    assert known._find.cache_info().misses <= translation._MOST_PARTS
    assert time.process_time() - began < 20.0  # a hundred times as long as it takes; it took hours


def test_no_pattern_tries_every_way_to_read_a_text():
    """A text that begins as a pattern does and then repeats what the pattern looks for."""
    began = time.process_time()

    for english in PATTERNS:
        literal = translation._HOLE.split(english)
        text = literal[0] + "1" + "1".join([*literal[1:-1], ""]) * 300 + "\x01"
        translation._Pattern(english, english).said(text, lambda _: "")

    assert time.process_time() - began < 60.0  # fifty times as long as it takes; it took hours
