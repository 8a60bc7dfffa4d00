"""Messages in other languages: the catalogues are complete, and no part of a message stays English."""

import ast
import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader
from kinds_of_runs import RUNS, WORDS_OF_THE_RUN, assessment_of
from pages import LATIN_WORDS

from llmlocust.metrics import vocabulary
from llmlocust.metrics.metric import METRICS
from llmlocust.metrics.telemetry import VOCABULARY
from llmlocust.report import templating
from llmlocust.report.languages.catalogue import LANGUAGES, Catalogue, messages_of
from llmlocust.report.languages.page_language import in_language, spoken
from llmlocust.text.message import Message, message, term
from tests.simulators import ROOT

OTHERS = sorted(set(LANGUAGES) - {"en"})
PLACEHOLDER = re.compile(r"\{(\w+)\}")
TERMS = {
    *(name for metric in METRICS.values() for name in (metric.short, metric.name)),
    *(metric.name for metric in VOCABULARY.values()),
    *vocabulary.ERROR_KINDS.values(),
    *vocabulary.PHASES,
    *vocabulary.PHASES.values(),
}
"""The texts of tables in the code that become messages."""


@cache
def calls():
    """Each call of `message` or `term` in the package, with where it is. Parsed once, and not at import."""
    return [
        (f"{path.name}:{node.lineno}", node)
        for path in sorted((ROOT / "llmlocust").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("message", "term")
    ]


def literal(node):
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def of_templates():
    """Yield the template of each {% trans %} block."""
    environment = templating.environment(DictLoader({}))
    for path in sorted((ROOT / "llmlocust" / "report" / "templates").glob("*.j2")):
        for _, _, text in environment.extract_translations(path.read_text(encoding="utf-8")):
            # a block with placeholders is a call with several arguments
            yield templating.template_of(text[0] if isinstance(text, tuple) else text)


@cache
def templates():
    """Every template that the catalogues must have."""
    of_calls = {template for _, node in calls() if (template := literal(node)) is not None}
    return {*of_calls, *of_templates(), *TERMS}


def test_templates_are_literals_and_name_their_values():
    for place, node in calls():
        if node.func.id == "term" or place.startswith("templating.py"):  # which renders {% trans %} blocks
            continue
        assert literal(node) is not None, place
        assert set(PLACEHOLDER.findall(literal(node))) == {keyword.arg for keyword in node.keywords}, place


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_exactly_the_templates_with_their_placeholders(language):
    entries = messages_of(language)
    assert templates() - entries.keys() == set()
    assert entries.keys() - templates() == set()
    for template, translation in entries.items():
        assert sorted(PLACEHOLDER.findall(translation)) == sorted(PLACEHOLDER.findall(template)), template


@pytest.mark.parametrize("language", OTHERS)
@given(st.data())
def test_every_message_can_be_rendered(language, data):
    catalogue = Catalogue(messages_of(language), language)
    template = data.draw(st.sampled_from(sorted(templates())))
    value = st.text() | st.integers() | st.sampled_from(sorted(TERMS)).map(term)
    values = {name: data.draw(value) for name in PLACEHOLDER.findall(template)}
    catalogue.render(message(template, **values))
    assert catalogue.missing == []


def test_an_unknown_template_stays_english_and_is_reported():
    catalogue = Catalogue({"{load} failed": "{load} απέτυχε"}, "el")
    assert catalogue.render(message("{load} failed", load="5")) == "5 απέτυχε"
    assert catalogue.render(message("{load} passed", load="5")) == "5 passed"
    assert catalogue.missing == ["{load} passed"]


def test_a_message_without_the_values_of_its_translation_stays_english_and_is_reported():
    catalogue = Catalogue({"{load} failed": "{load} απέτυχε"}, "el")
    assert catalogue.render(Message("5 failed", "{load} failed", {"more": "5"})) == "5 failed"
    assert catalogue.missing == ["{load} failed"]


def test_placeholders_may_change_their_order_and_contain_messages():
    growth = message(
        "{metric} grows {change} between {low} and {high}",
        metric=message("{statistic} {metric}", statistic="p50", metric=term("TTFT")),
        change="57.1 ms → 2.95 s",
        low="100",
        high=message("{loads} users", loads="300"),
    )
    assert growth == "p50 TTFT grows 57.1 ms → 2.95 s between 100 and 300 users"
    with in_language(Catalogue(messages_of("zh"), "zh-Hans")):
        plain = spoken(message("{growth}: requests wait", growth=growth)).replace("\N{NO-BREAK SPACE}", " ")
    assert plain == "在 100 与 300 个用户之间 TTFT p50 增长 57.1 ms → 2.95 s：请求在等待"


# -- pages


def page(template, language=None, **values):
    catalogue = Catalogue(
        {"hello {name}": "你好 {name}", "friend": "朋友", "{share} % of {name}": "{name} 的 {share} %"}, "zh"
    )
    loaded = templating.environment(DictLoader({"page": template})).get_template("page")
    if language is None:
        return loaded.render(**values)
    with in_language(catalogue):
        return loaded.render(**values)


HELLO = message("hello {name}", name=term("friend"))


def test_a_page_writes_messages_in_its_language():
    assert page("<p>{{ text }}</p>", text=HELLO) == "<p>hello friend</p>"
    assert page("<p>{{ text }}</p>", "zh", text=HELLO) == "<p>你好朋友</p>"
    assert page("<p>{{ text | nb }}</p>", "zh", text=HELLO) == "<p>你好朋友</p>"
    assert page("<p>{{ text }}</p>", "zh", text=message("hello {name}", name="<b>")) == "<p>你好 &lt;b&gt;</p>"
    assert page("<p>{{ text }}</p>", "zh", text="hello") == "<p>hello</p>"


def test_a_page_translates_its_own_text():
    template = "<p>{% trans name=friend %}hello {{ name }}{% endtrans %}</p>"
    assert page(template, friend="<b>") == "<p>hello &lt;b&gt;</p>"
    assert page(template, "zh", friend="<b>") == "<p>你好 &lt;b&gt;</p>"
    assert page(template, "zh", friend=term("friend")) == "<p>你好朋友</p>"
    share = "{% trans share=5, name=friend %}{{ share }} % of {{ name }}{% endtrans %}"
    assert page(share, friend="x") == "5 % of x"
    assert page(share, "zh", friend="x") == "x 的 5\N{NO-BREAK SPACE}%"


# -- messages of the analysis


def plain_texts(text):
    """Return the parts of a text that are no messages."""
    if not isinstance(text, Message):
        return [text]
    return [part for value in text.values.values() for part in plain_texts(value)]


def messages_in(report):
    for finding in report.verdict.numbers().values():
        yield from (finding.cause, finding.why)
    for cliff in report.verdict.cliffs:
        yield from (cliff.what, cliff.why)
    for check in report.checks:
        if check.key not in WORDS_OF_THE_RUN:
            yield from (check.name, check.says)
    for advice in report.advice:
        yield from (advice.do, advice.because)
    for case in report.gates.cases if report.gates else ():
        yield from (case.says, case.where)


@pytest.mark.parametrize("name", RUNS)
def test_texts_of_the_analysis_are_messages(tmp_path, name):
    report = assessment_of(tmp_path, **RUNS[name])
    for text in filter(None, messages_in(report)):
        assert isinstance(text, Message), text
        for part in plain_texts(text):
            words = LATIN_WORDS.sub("", re.sub(r"[a-z0-9_.]+ (?:<=|>=|<|>) \S+", "", part))
            assert not re.search("[A-Za-z]{2}", words), (text, part)
        catalogue = Catalogue(messages_of("zh"), "zh-Hans")
        catalogue.render(text)
        assert catalogue.missing == []
