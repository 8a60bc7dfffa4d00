"""Entries of a JSON document are where they are said to be, however it is written and however it is read."""

import json
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlocust.load import json_entries
from llmlocust.load.json_entries import entries
from llmlocust.load.prompt_files import _is_entry

ROWS = st.lists(
    st.one_of(st.text(), st.builds(lambda text: {"prompt": text, "n": [1, {"a": 2.5}]}, st.text())), min_size=1
)
FORMS = {
    "array": lambda rows, how: json.dumps(rows, **how),
    "object": lambda rows, how: json.dumps({"version": 1.0, "meta": {"a": []}, "data": rows, "end": None}, **how),
    "lines": lambda rows, how: "\n".join(json.dumps(row, **how) for row in rows),
}


@given(
    ROWS,
    st.sampled_from(list(FORMS)),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.sampled_from([b"", b" \n", b"\xef\xbb\xbf"]),
    st.integers(1, 60),
)
def test_entries_are_found_in_any_form(rows, form, indent, is_ascii, begin, piece):
    if form == "lines" and not isinstance(rows[0], dict):
        rows = [{"prompt": "first"}, *rows]
    text = FORMS[form](rows, {"indent": indent, "ensure_ascii": is_ascii}).encode("utf-8", "surrogatepass")
    data = begin + text
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_entries, "_PIECE", piece)
        found = list(entries(BytesIO(data), "x.json", _is_entry))
    assert [entry for *_, entry in found] == rows
    assert [json.loads(data[start:end]) for _, start, end, _ in found] == rows
    assert [number for number, *_ in found] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    "document, first",
    [
        ({"prompts": ["a", "b"]}, "a"),
        ({"questions": [{"question": "a"}]}, {"question": "a"}),
        ({"conversations": [{"conversations": []}]}, {"conversations": []}),
        ({"id": 1, "tags": ["x"], "prompt": "a"}, {"id": 1, "tags": ["x"], "prompt": "a"}),
        ({"tools": [{"a": 1}], "messages": [{"role": "user"}]}, {"tools": [{"a": 1}], "messages": [{"role": "user"}]}),
        ({"turns": ["a", "b"]}, {"turns": ["a", "b"]}),
        ({"prompt": ["a"] * 100}, "a"),
        ([{"role": "user", "content": "a"}], [{"role": "user", "content": "a"}]),
        ([[{"role": "user", "content": "a"}]], [{"role": "user", "content": "a"}]),
    ],
)
def test_an_object_is_an_entry_or_holds_them(document, first):
    found = next(entries(BytesIO(json.dumps(document).encode()), "x.json", _is_entry))
    assert found[3] == first


@pytest.mark.parametrize("number", ["1", "-1.5", "1e+6", "12345.678E-2"])
@pytest.mark.parametrize("piece", range(1, 12))
def test_a_number_may_be_cut_anywhere(monkeypatch, number, piece):
    monkeypatch.setattr(json_entries, "_PIECE", piece)
    found = entries(BytesIO(f'{{"a": {number}, "b": [{number}, {number}]}}'.encode()), "x.json", _is_entry)
    assert [entry for *_, entry in found] == [json.loads(number)] * 2


@pytest.mark.parametrize(
    "text, says",
    [
        (
            '{"a": ["x"], "b": ["y"]}',
            "x.json: it is not clear which array has the prompts, a or b: keep only one of them",
        ),
        ('["a"] ["b"]', 'x.json: the file has more content after the end of its entries: ["b"]'),
        ('{"data": ["a"]} more', "x.json: the file has more content after the end of its entries: more"),
        ('["a", {"b": ', 'x.json: invalid JSON after entry 1: {"b":'),
        ('{"prompt": "a"} {"prom', 'x.json: invalid JSON after entry 1: {"prom'),
        ("hello", "x.json: a .json file of prompts is an array"),
        ("", "x.json: a .json file of prompts is an array"),
    ],
)
def test_what_is_wrong_with_a_document_is_said(text, says):
    with pytest.raises(ValueError) as refused:
        list(entries(BytesIO(text.encode()), "x.json", _is_entry))
    assert says in str(refused.value)


@given(st.text(st.sampled_from('[]{}":,1 a\n'), max_size=40))
def test_no_document_breaks_the_reader(text):
    try:
        found = list(entries(BytesIO(text.encode()), "x.json", _is_entry))
    except ValueError:
        return
    assert [json.loads(text.encode()[start:end]) for _, start, end, _ in found] == [entry for *_, entry in found]
