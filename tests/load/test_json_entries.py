"""Entries of a JSON document have correct positions, in any form and with any size of reads."""

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
    "array": lambda rows, options: json.dumps(rows, **options),
    "object": lambda rows, options: json.dumps(
        {"version": 1.0, "meta": {"a": []}, "data": rows, "end": None}, **options
    ),
    "lines": lambda rows, options: "\n".join(json.dumps(row, **options) for row in rows),
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_entries, "_PIECE", piece)
        read_entries = list(entries(BytesIO(data), "x.json", _is_entry))
    assert [entry for *_, entry in read_entries] == rows
    assert [json.loads(data[start:end]) for _, start, end, _ in read_entries] == rows
    assert [number for number, *_ in read_entries] == list(range(1, len(rows) + 1))


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
def test_an_object_is_an_entry_or_contains_entries(document, first):
    entry = next(entries(BytesIO(json.dumps(document).encode()), "x.json", _is_entry))
    assert entry[3] == first


@pytest.mark.parametrize("number", ["1", "-1.5", "1e+6", "12345.678E-2"])
@pytest.mark.parametrize("piece", range(1, 12))
def test_a_number_may_be_cut_anywhere(monkeypatch, number, piece):
    monkeypatch.setattr(json_entries, "_PIECE", piece)
    parsed = entries(BytesIO(f'{{"a": {number}, "b": [{number}, {number}]}}'.encode()), "x.json", _is_entry)
    assert [entry for *_, entry in parsed] == [json.loads(number)] * 2


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
def test_an_invalid_document_is_an_error(text, says):
    with pytest.raises(ValueError) as error:
        list(entries(BytesIO(text.encode()), "x.json", _is_entry))
    assert says in str(error.value)


@given(st.text(st.sampled_from('[]{}":,1 a\n'), max_size=40))
def test_any_document_gives_entries_or_an_error(text):
    try:
        read_entries = list(entries(BytesIO(text.encode()), "x.json", _is_entry))
    except ValueError:
        return
    assert [json.loads(text.encode()[start:end]) for _, start, end, _ in read_entries] == [
        entry for *_, entry in read_entries
    ]
