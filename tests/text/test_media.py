import csv
import io
import json
import re
import sys
import unicodedata
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.text import media

ANYTHING = st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\u202e\ud800\r\n\t=+-@`|*_[]<>&\\'\"~$#\ufeff"))
KEPT = {"\u200c", "\u200d"}
"""Joiners, which words of some scripts need."""
UNSEEN = {
    letter
    for letter in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in KEPT
}


def test_every_unseen_character_is_replaced():
    kept = {letter for letter in UNSEEN if letter in media.document(letter)}
    assert kept == {"\t", "\n"}
    assert "\t" not in media.one_line("\t")


def test_letters_numbers_signs_and_spaces_stay():
    shown = [
        letter
        for letter in map(chr, range(sys.maxunicode + 1))
        if letter not in UNSEEN and unicodedata.category(letter) not in ("Cn", "Co")
    ]
    assert media.document("".join(shown)) == "".join(shown)


@given(ANYTHING)
def test_a_terminal_gets_one_line_that_it_only_shows(text):
    line = media.terminal(text)
    assert not set(line) & UNSEEN
    assert len(line) <= media.MAX_LINE + 1
    line.encode()


def test_a_long_line_is_cut():
    assert media.terminal("a" * 10**6) == "a" * media.MAX_LINE + "…"


@given(ANYTHING)
def test_a_spreadsheet_takes_a_cell_for_text(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([media.csv_cell(text), "next"])
    ((cell, following),) = csv.reader(io.StringIO(file.getvalue(), newline=""))

    assert following == "next"
    assert not set(cell) & UNSEEN
    assert not re.match(r"\s*[=+\-@]", cell) or media._is_number(cell)


@pytest.mark.parametrize("value", ["-5", "+1e3", "-inf", -5, 1.5, None, "a=b", "", "503"])
def test_numbers_and_plain_words_stay_as_they_are(value):
    assert media.csv_cell(value) == value


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", " =1", "＝1"])
def test_a_formula_is_text(text):
    assert media.csv_cell(text).startswith("'")


@given(ANYTHING)
def test_markdown_means_nothing_else(text):
    line = media.markdown(text)
    assert not set(line) & UNSEEN
    without_escapes = re.sub(r"\\[\\`*_{}\[\]#|~$]|&(?:amp|lt|gt);", "", line)
    assert not set(without_escapes) & set("\\`*_{}[]<>#|~$&")


@given(ANYTHING)
def test_code_in_a_cell_of_markdown_ends_where_it_should(text):
    code = media.markdown_code(text)
    assert not set(code) & UNSEEN
    inside = code.removeprefix("`` ").removesuffix(" ``")
    assert "`" not in inside
    assert not re.search(r"(?<!\\)\|", inside)


@given(
    st.recursive(ANYTHING | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANYTHING, inner))
)
def test_json_comes_back_as_it_was_and_shows_nothing_unseen(value):
    text = media.as_json(value)
    assert json.loads(text) == json.loads(json.dumps(value))
    assert not set(text) & UNSEEN - {"\n"}
    text.encode()


@given(ANYTHING)
def test_xml_is_well_formed(text):
    element = ET.Element("case", {"name": text})
    element.text = text
    made = media.document(ET.tostring(element, encoding="unicode"))

    assert ET.fromstring(made).tag == "case"
    made.encode()
