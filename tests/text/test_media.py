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
JOINERS = {"\u200c", "\u200d"}
"""Joiners, which are part of words in some scripts."""
INVISIBLE = {
    letter
    for letter in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in JOINERS
}


def test_every_invisible_character_is_replaced():
    remaining = {letter for letter in INVISIBLE if letter in media.document(letter)}
    assert remaining == {"\t", "\n"}
    assert "\t" not in media.one_line("\t")


def test_letters_numbers_signs_and_spaces_are_not_changed():
    visible = [
        letter
        for letter in map(chr, range(sys.maxunicode + 1))
        if letter not in INVISIBLE and unicodedata.category(letter) not in ("Cn", "Co")
    ]
    assert media.document("".join(visible)) == "".join(visible)


@given(ANYTHING)
def test_a_terminal_gets_one_line_without_invisible_characters(text):
    line = media.terminal(text)
    assert not set(line) & INVISIBLE
    assert len(line) <= media.MAX_LINE + 1
    line.encode()


def test_a_long_line_is_cut():
    assert media.terminal("a" * 10**6) == "a" * media.MAX_LINE + "…"


@given(ANYTHING)
def test_a_spreadsheet_reads_a_cell_as_text(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([media.csv_cell(text), "next"])
    ((cell, following),) = csv.reader(io.StringIO(file.getvalue(), newline=""))

    assert following == "next"
    assert not set(cell) & INVISIBLE
    assert not re.match(r"\s*[=+\-@]", cell) or media._is_number(cell)


@pytest.mark.parametrize("value", ["-5", "+1e3", "-inf", -5, 1.5, None, "a=b", "", "503"])
def test_numbers_and_plain_words_are_not_changed(value):
    assert media.csv_cell(value) == value


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", " =1", "＝1"])
def test_a_formula_becomes_text(text):
    assert media.csv_cell(text).startswith("'")


@given(ANYTHING)
def test_words_are_escaped_in_markdown(text):
    line = media.markdown(text)
    assert not set(line) & INVISIBLE
    without_escapes = re.sub(r"\\[\\`*_{}\[\]#|~$]|&(?:amp|lt|gt);", "", line)
    assert not set(without_escapes) & set("\\`*_{}[]<>#|~$&")


@given(ANYTHING)
def test_code_in_a_cell_of_markdown_cannot_end_early(text):
    code = media.markdown_code(text)
    assert not set(code) & INVISIBLE
    inside = code.removeprefix("`` ").removesuffix(" ``")
    assert "`" not in inside
    assert not re.search(r"(?<!\\)\|", inside)


@given(
    st.recursive(ANYTHING | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANYTHING, inner))
)
def test_json_is_read_as_it_was_written_and_has_no_invisible_characters(value):
    text = media.as_json(value)
    assert json.loads(text) == json.loads(json.dumps(value))
    assert not set(text) & INVISIBLE - {"\n"}
    text.encode()


@given(ANYTHING)
def test_xml_is_well_formed(text):
    element = ET.Element("case", {"name": text})
    element.text = text
    document = media.document(ET.tostring(element, encoding="unicode"))

    assert ET.fromstring(document).tag == "case"
    document.encode()
