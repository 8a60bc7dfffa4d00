"""Sets of Hugging Face's, with a stand-in for its library; tests/real has the library itself."""

import sys
from types import SimpleNamespace

import pytest

from llmlocust.load.huggingface import open_set
from llmlocust.load.prompts import load


class Set:
    """As much of a `datasets.Dataset` as is used."""

    def __init__(self, rows: list[dict], split: str = "train") -> None:
        self._rows, self.split = rows, split
        self.column_names = list(rows[0]) if rows else ["prompt"]

    def select_columns(self, names: list[str]) -> "Set":
        return Set([{name: row[name] for name in names} for row in self._rows])

    def iter(self, batch_size: int):
        for begin in range(0, len(self._rows), batch_size):
            rows = self._rows[begin : begin + batch_size]
            yield {name: [row[name] for row in rows] for name in self.column_names}

    def __getitem__(self, place: int) -> dict:
        return self._rows[place]


@pytest.fixture
def library(monkeypatch):
    """The library, with what it finds in `found` and what it was asked for in `asked`."""
    made = SimpleNamespace(found=Set([{"prompt": "one"}]), asked=[], disable_progress_bars=lambda: None)

    def load_dataset(*told, **named):
        made.asked.append((*told, named))
        if isinstance(made.found, Exception):
            raise made.found
        return made.found

    made.load_dataset = load_dataset
    made.load_from_disk = lambda name: load_dataset("saved", name)
    monkeypatch.setitem(sys.modules, "datasets", made)
    open_set.cache_clear()
    yield made
    open_set.cache_clear()


def rows(library, *told: dict) -> None:
    library.found = Set(list(told))


@pytest.mark.parametrize(
    "source, asked",
    [
        ("hf:squad", ("squad", {"split": None})),
        ("hf:some/set", ("some/set", {"split": None})),
        ("hf:some/set/main:test", ("some/set", "main", {"split": "test"})),
        ("hf:some/set:train[:100]:prompt", ("some/set", {"split": "train[:100]"})),
    ],
)
def test_how_a_set_is_named(library, source, asked):
    assert list(load(source)) == ["one"]
    assert library.asked == [asked]


def test_files_and_folders_of_this_machine(library, tmp_path):
    saved, other = tmp_path / "saved", tmp_path / "other"
    for folder in (saved, other):
        folder.mkdir()
    (saved / "state.json").touch()
    for name, kind in (("x.parquet", "parquet"), ("x.jsonl", "json")):
        (tmp_path / name).touch()
        load(f"hf:{tmp_path / name}")
        assert library.asked.pop() == (kind, {"data_files": f"{tmp_path / name}", "split": None})
    load(str(tmp_path / "x.parquet"))
    assert library.asked.pop()[0] == "parquet"
    load(f"hf:{saved}:train")
    assert library.asked.pop() == ("saved", str(saved), {})
    load(f"hf:{other}")
    assert library.asked.pop() == (str(other), {"split": None})


def test_the_split_for_training_is_taken_unless_another_is_named(library):
    library.found = {"test": Set([{"prompt": "tested"}]), "train": Set([{"prompt": "trained"}])}
    assert list(load("hf:set")) == ["trained"]
    assert list(load("hf:set:test")) == ["tested"]
    with pytest.raises(ValueError, match="hf:set:dev: no split 'dev', but test, train"):
        load("hf:set:dev")


def test_a_column_is_found_or_named(library):
    rows(
        library,
        {"id": 1, "question": "one", "answer": "two", "output_tokens": 5},
        {"id": 2, "question": "", "answer": "x", "output_tokens": 5},
    )
    assert list(load("hf:set")) == [("one", 5)]
    assert list(load("hf:set:train:answer")) == [("two", 5), ("x", 5)]
    with pytest.raises(ValueError, match="no column 'title', but id, question, answer"):
        load("hf:set:train:title")


def test_conversations_lose_the_answer_that_they_end_with_and_what_is_empty_in_them(library):
    said = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "name": None}]
    rows(library, {"messages": said}, {"messages": [*said, said[0]]}, {"messages": []}, {"messages": None})
    user, model = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    found = load("hf:set")
    assert list(found) == [[user], [user, model, user]]
    assert found[-1] == [user, model, user]
    assert found[:1] == [[user]]


@pytest.mark.parametrize(
    "row, question",
    [
        ({"text": "one", "id": 5}, "one"),
        ({"turns": ["one", "two"], "category": "x"}, ("one", "two")),
        ({"instruction": "Sort", "input": "b a", "output": "a b"}, "Sort\n\nb a"),
        ({"problem": "one", "output_tokens_count": 5.0}, ("one", 5)),
        ({"body": {"prompt": "one", "max_tokens": 5}}, ("one", 5)),
    ],
)
def test_rows_of_sets_are_read_as_those_of_files(library, row, question):
    rows(library, row)
    assert list(load("hf:set")) == [question]


@pytest.mark.parametrize(
    "source, found, says",
    [
        ("hf:", None, "is written hf:NAME, hf:NAME:SPLIT or hf:NAME:SPLIT:COLUMN"),
        ("hf:a:b:c:d", None, "is written hf:NAME"),
        (
            "hf:set",
            FileNotFoundError("no\nsuch set"),
            "cannot open the data set hf:set: FileNotFoundError: no such set",
        ),
        (
            "hf:set",
            Set([{"words": "one"}]),
            "no column messages, prompt, question, instruction, …, but words; name one",
        ),
        ("hf:set", Set([{"prompt": ""}]), "no prompts in hf:set"),
        ("hf:set", Set([{"prompt": "one"}, {"prompt": 5}]), "hf:set, row 1: a row needs"),
        ("hf:set", Set([{"prompt": "one", "max_tokens": -3}]), "hf:set, row 0: max_tokens is a whole number"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(library, source, found, says):
    library.found = found
    with pytest.raises(ValueError) as problem:
        load(source)
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


def test_where_the_library_is_not_installed_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    open_set.cache_clear()
    with pytest.raises(ValueError, match=r"hf:set needs the package datasets: pip install 'llmlocust\[datasets\]'"):
        load("hf:set")
