"""Data sets of Hugging Face, with a fake of its library; tests/real uses the library itself."""

import sys
from types import SimpleNamespace

import pytest

from llmlocust.load.huggingface import open_set
from llmlocust.load.prompts import load


class Set:
    """The part of a `datasets.Dataset` that the code uses."""

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
    """Return a fake of the library: it returns `data_set` and collects the arguments of calls in `calls`."""
    fake = SimpleNamespace(data_set=Set([{"prompt": "one"}]), calls=[], disable_progress_bars=lambda: None)

    def load_dataset(*arguments, **options):
        fake.calls.append((*arguments, options))
        if isinstance(fake.data_set, Exception):
            raise fake.data_set
        return fake.data_set

    fake.load_dataset = load_dataset
    fake.load_from_disk = lambda name: load_dataset("saved", name)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    open_set.cache_clear()
    yield fake
    open_set.cache_clear()


def rows(library, *entries: dict) -> None:
    library.data_set = Set(list(entries))


@pytest.mark.parametrize(
    "source, call",
    [
        ("hf:squad", ("squad", {"split": None})),
        ("hf:some/set", ("some/set", {"split": None})),
        ("hf:some/set/main:test", ("some/set", "main", {"split": "test"})),
        ("hf:some/set:train[:100]:prompt", ("some/set", {"split": "train[:100]"})),
    ],
)
def test_the_parts_of_a_sources_name_are_passed_to_the_library(library, source, call):
    assert list(load(source)) == ["one"]
    assert library.calls == [call]


def test_local_files_and_folders_are_opened(library, tmp_path):
    saved, other = tmp_path / "saved", tmp_path / "other"
    for folder in (saved, other):
        folder.mkdir()
    (saved / "state.json").touch()
    for name, kind in (("x.parquet", "parquet"), ("x.jsonl", "json")):
        (tmp_path / name).touch()
        load(f"hf:{tmp_path / name}")
        assert library.calls.pop() == (kind, {"data_files": f"{tmp_path / name}", "split": None})
    load(str(tmp_path / "x.parquet"))
    assert library.calls.pop()[0] == "parquet"
    load(f"hf:{saved}:train")
    assert library.calls.pop() == ("saved", str(saved), {})
    load(f"hf:{other}")
    assert library.calls.pop() == (str(other), {"split": None})


def test_the_split_train_is_the_default(library):
    library.data_set = {"test": Set([{"prompt": "tested"}]), "train": Set([{"prompt": "trained"}])}
    assert list(load("hf:set")) == ["trained"]
    assert list(load("hf:set:test")) == ["tested"]
    with pytest.raises(ValueError, match="hf:set:dev: no split 'dev', but test, train"):
        load("hf:set:dev")


def test_a_column_is_found_or_given(library):
    rows(
        library,
        {"id": 1, "question": "one", "answer": "two", "output_tokens": 5},
        {"id": 2, "question": "", "answer": "x", "output_tokens": 5},
    )
    assert list(load("hf:set")) == [("one", 5)]
    assert list(load("hf:set:train:answer")) == [("two", 5), ("x", 5)]
    with pytest.raises(ValueError, match="no column 'title', but id, question, answer"):
        load("hf:set:train:title")


def test_conversations_are_read_without_their_last_answer_and_empty_values(library):
    messages = [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b", "name": None}]
    rows(library, {"messages": messages}, {"messages": [*messages, messages[0]]}, {"messages": []}, {"messages": None})
    user, model = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    questions = load("hf:set")
    assert list(questions) == [[user], [user, model, user]]
    assert questions[-1] == [user, model, user]
    assert questions[:1] == [[user]]


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
def test_rows_of_data_sets_are_read_like_rows_of_files(library, row, question):
    rows(library, row)
    assert list(load("hf:set")) == [question]


@pytest.mark.parametrize(
    "source, data_set, says",
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
def test_an_invalid_source_gives_a_one_line_error(library, source, data_set, says):
    library.data_set = data_set
    with pytest.raises(ValueError) as problem:
        load(source)
    assert says in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_missing_library_is_an_error_with_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    open_set.cache_clear()
    with pytest.raises(ValueError, match=r"hf:set needs the package datasets: pip install 'llmlocust\[datasets\]'"):
        load("hf:set")
