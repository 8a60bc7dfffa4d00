import random
import sys

import pytest

from llmlocust.load.distributions import parse
from llmlocust.load.prompts import Prompts, shared_prefix
from llmlocust.load.tokens import counter, cut, estimate, prose

tokenizers = pytest.importorskip("tokenizers", reason="the extra llmlocust[tokenizer]")


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    """Write a tokenizer whose tokens are single characters, and return its path."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:'?!\n[]-"
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {"<unk>": 0} | {letter: at for at, letter in enumerate(letters, 1)}, [], unk_token="<unk>"
        )
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


def test_an_estimate_is_a_token_for_four_letters_and_for_each_character_of_other_scripts():
    assert [estimate(text) for text in ("", "four", "fives", "你好", "four你好")] == [0, 1, 2, 2, 3]


def test_a_given_tokenizer_counts(tokenizer_file):
    count = counter(tokenizer_file)
    assert (count("four"), count("two words"), count("")) == (4, 9, 0)


@pytest.mark.parametrize("tokens", [1, 20, 300, 20_000])
def test_prose_has_the_requested_number_of_tokens(tokens, tokenizer_file):
    generator = random.Random(1)
    for count, off in ((estimate, 5), (counter(tokenizer_file), 15)):  # a text ends with a complete word
        assert tokens - off - tokens * 0.01 <= count(prose(tokens, generator, count)) <= tokens * 1.01 + 5


def test_a_text_is_cut_after_a_word():
    assert cut("one two three four", 3, estimate) == "one two"
    assert cut("one two", 100, estimate) == "one two"
    assert cut("antidisestablishmentarianism", 2, estimate) == ""


@pytest.mark.parametrize("size", ["50", "1000", "whole:100-2000", "lognormal:500,300,50-4000"])
def test_prompts_have_the_drawn_lengths(size):
    question = "What is this about?"
    prompts = Prompts([question], tokens=parse(size))
    for seed in range(20):
        expected = Prompts([question], tokens=parse(size), unique=False)
        generator = random.Random(seed)
        generator.getrandbits(40)  # the mark at the beginning is drawn first
        length = expected.tokens.whole(generator)
        prompt = prompts.prepare(question, random.Random(seed))
        assert prompt.endswith(question)
        assert estimate(prompt) == pytest.approx(length, abs=6, rel=0.02)


def test_a_long_question_is_cut_to_its_length():
    sent = Prompts(["word " * 1000], tokens=parse("40")).prepare("word " * 1000, random.Random(1))
    assert 30 <= estimate(sent) <= 40


def test_a_shared_prefix_comes_before_the_unique_part():
    prefix = shared_prefix(200)
    prompts = Prompts(["hello"], prefix=prefix, prefix_share=0.25)
    sent = [prompts.prepare("hello", random.Random(seed)) for seed in range(2000)]
    shared = [prompt for prompt in sent if prompt.startswith(prefix)]
    assert len(shared) == pytest.approx(500, rel=0.15)
    assert len({prompt.removeprefix(prefix) for prompt in shared}) == len(shared)
    assert estimate(prefix) == pytest.approx(200, abs=6)


def test_a_shared_prefix_depends_only_on_its_seed():
    assert shared_prefix.__wrapped__(50) == shared_prefix(50)
    assert shared_prefix(50, seed="a") != shared_prefix(50, seed="b")


def test_the_length_of_a_prompt_includes_its_shared_prefix():
    prompts = Prompts(["hello"], prefix=shared_prefix(100), tokens=parse("300"))
    assert estimate(prompts.prepare("hello", random.Random(1))) == pytest.approx(300, abs=8)


def test_an_invalid_tokenizer_gives_a_one_line_error(tmp_path):
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
        "mergeable_ranks": {bytes([byte]): byte for byte in range(256)} | {b"on": 256, b"one": 257},
        "special_tokens": {"<end>": 258},
    }

ENCODING_CONSTRUCTORS = {"small": small}
"""


@pytest.fixture
def small_encoding(tmp_path, monkeypatch):
    """Add an encoding as a plugin of tiktoken, and return its name."""
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


def test_a_given_encoding_of_tiktoken_counts(small_encoding):
    count = counter(small_encoding)
    assert [count(text) for text in ("", "one", "two one", "<end>")] == [0, 1, 5, 5]


@pytest.mark.parametrize("name", ["nosuch", ""])
def test_an_unknown_encoding_gives_a_one_line_error(small_encoding, name):
    with pytest.raises(
        ValueError, match=f"tiktoken does not know '{name}': give a model, or one of .*cl100k_base"
    ) as problem:
        counter(f"tiktoken:{name}")
    assert "\n" not in str(problem.value)


def test_an_encoding_that_cannot_be_read_gives_a_one_line_error(small_encoding, tmp_path):
    (tmp_path / "tiktoken_ext" / "small.py").write_text(SMALL.replace("return {", "raise OSError() or {"))
    with pytest.raises(ValueError, match=r"tiktoken cannot read 'small' .*TIKTOKEN_CACHE_DIR") as problem:
        counter.__wrapped__(small_encoding)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("package, tokenizer", [("tokenizers", "some/model"), ("tiktoken", "tiktoken:cl100k_base")])
def test_a_missing_package_is_an_error_with_the_command_to_install_it(monkeypatch, package, tokenizer):
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"tokenizers": "tokenizer"}.get(package, package)
    with pytest.raises(ValueError, match=rf"needs the package {package}: pip install 'llmlocust\[{extra}\]'"):
        counter.__wrapped__(tokenizer)
