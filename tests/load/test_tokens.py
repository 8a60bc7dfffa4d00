import random
import sys

import pytest

from llmlocust.load.distributions import parse
from llmlocust.load.prompts import Prompts, shared_prefix
from llmlocust.load.tokens import counter, cut, estimate, prose

tokenizers = pytest.importorskip("tokenizers", reason="the extra llmlocust[tokenizer]")


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    """A tokenizer of single letters and spaces, of about as many tokens as there are characters."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:'?!\n[]-"
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({"<unk>": 0} | {each: at for at, each in enumerate(letters, 1)}, [], unk_token="<unk>")
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return str(path)


def test_an_estimate_takes_four_letters_for_a_token_and_other_scripts_by_character():
    assert [estimate(text) for text in ("", "four", "fives", "你好", "four你好")] == [0, 1, 2, 2, 3]


def test_a_tokenizer_counts_where_one_is_named(tokenizer_file):
    count = counter(tokenizer_file)
    assert (count("four"), count("two words"), count("")) == (4, 9, 0)


@pytest.mark.parametrize("tokens", [1, 20, 300, 20_000])
def test_prose_has_the_tokens_that_are_asked_for(tokens, tokenizer_file):
    source = random.Random(1)
    for count, off in ((estimate, 5), (counter(tokenizer_file), 15)):  # it ends with a word
        assert tokens - off - tokens * 0.01 <= count(prose(tokens, source, count)) <= tokens * 1.01 + 5


def test_a_text_is_cut_behind_a_word():
    assert cut("one two three four", 3, estimate) == "one two"
    assert cut("one two", 100, estimate) == "one two"
    assert cut("antidisestablishmentarianism", 2, estimate) == ""


@pytest.mark.parametrize("size", ["50", "1000", "whole:100-2000", "lognormal:500,300,50-4000"])
def test_prompts_have_the_lengths_that_are_drawn(size):
    question = "What is this about?"
    prompts = Prompts([question], tokens=parse(size))
    for seed in range(20):
        wanted = Prompts([question], tokens=parse(size), unique=False)
        drawing = random.Random(seed)
        drawing.getrandbits(40)  # the letters that make it unique come first
        told = wanted.tokens.whole(drawing)
        sent = prompts.prepare(question, random.Random(seed))
        assert sent.endswith(question)
        assert estimate(sent) == pytest.approx(told, abs=6, rel=0.02)


def test_a_long_question_is_cut_to_its_length():
    sent = Prompts(["word " * 1000], tokens=parse("40")).prepare("word " * 1000, random.Random(1))
    assert 30 <= estimate(sent) <= 40


def test_a_shared_beginning_stands_before_what_is_unique():
    prefix = shared_prefix(200)
    prompts = Prompts(["hello"], prefix=prefix, prefix_share=0.25)
    sent = [prompts.prepare("hello", random.Random(seed)) for seed in range(2000)]
    sharing = [each for each in sent if each.startswith(prefix)]
    assert len(sharing) == pytest.approx(500, rel=0.15)
    assert len({each.removeprefix(prefix) for each in sharing}) == len(sharing)
    assert estimate(prefix) == pytest.approx(200, abs=6)


def test_a_shared_beginning_is_the_same_everywhere_and_another_with_each_seed():
    assert shared_prefix.__wrapped__(50) == shared_prefix(50)
    assert shared_prefix(50, seed="a") != shared_prefix(50, seed="b")


def test_the_length_of_a_prompt_counts_its_shared_beginning():
    prompts = Prompts(["hello"], prefix=shared_prefix(100), tokens=parse("300"))
    assert estimate(prompts.prepare("hello", random.Random(1))) == pytest.approx(300, abs=8)


def test_what_is_no_tokenizer_is_said_in_one_line(tmp_path):
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    with pytest.raises(ValueError, match=r"neither a tokenizer.json nor the name of a model") as problem:
        counter(str(broken))
    assert "\n" not in str(problem.value)


SMALL = """
def small():
    return {
        "name": "small",
        "pat_str": r"\\w+|\\W",
        "mergeable_ranks": {bytes([each]): each for each in range(256)} | {b"on": 256, b"one": 257},
        "special_tokens": {"<end>": 258},
    }

ENCODING_CONSTRUCTORS = {"small": small}
"""


@pytest.fixture
def small_encoding(tmp_path, monkeypatch):
    """An encoding of one's own, in the way that the package looks for them."""
    registry = pytest.importorskip("tiktoken.registry", reason="the extra llmlocust[tiktoken]")
    (tmp_path / "tiktoken_ext").mkdir()
    (tmp_path / "tiktoken_ext" / "small.py").write_text(SMALL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "ENCODING_CONSTRUCTORS", None)
    monkeypatch.setattr(registry, "ENCODINGS", {})
    monkeypatch.delitem(sys.modules, "tiktoken_ext.small", raising=False)
    registry._available_plugin_modules.cache_clear()
    yield "tiktoken:small"
    registry._available_plugin_modules.cache_clear()


def test_tiktoken_counts_where_one_of_its_encodings_is_named(small_encoding):
    count = counter(small_encoding)
    assert [count(text) for text in ("", "one", "two one", "<end>")] == [0, 1, 5, 5]


@pytest.mark.parametrize("name", ["nosuch", ""])
def test_what_tiktoken_does_not_know_is_said_in_one_line(small_encoding, name):
    with pytest.raises(
        ValueError, match=f"tiktoken does not know '{name}': give a model, or one of .*cl100k_base"
    ) as problem:
        counter(f"tiktoken:{name}")
    assert "\n" not in str(problem.value)


def test_an_encoding_that_cannot_be_read_is_said_in_one_line(small_encoding, tmp_path):
    (tmp_path / "tiktoken_ext" / "small.py").write_text(SMALL.replace("return {", "raise OSError() or {"))
    with pytest.raises(ValueError, match=r"tiktoken cannot read 'small' .*TIKTOKEN_CACHE_DIR") as problem:
        counter.__wrapped__(small_encoding)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("package, named", [("tokenizers", "some/model"), ("tiktoken", "tiktoken:cl100k_base")])
def test_a_package_that_is_not_installed_is_said(monkeypatch, package, named):
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"tokenizers": "tokenizer"}.get(package, package)
    with pytest.raises(ValueError, match=rf"needs the package {package}: pip install 'llmlocust\[{extra}\]'"):
        counter.__wrapped__(named)
