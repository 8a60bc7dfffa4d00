"""The check of words finds words in prose, and ignores names except those that say nothing of what a variable holds."""

import textwrap

import pytest

from tools import check_words

PAGE = """\
# A page

The server's p99 gap grows.

Set `--llm-settle`, and read the column `gap_p50` of [the file](held-back.md#the-gap).

```sh
llmlocust run URL --settle 10   # the gap
```
"""


def faults_of(text: str, path: str) -> list[tuple[int, str]]:
    return [(line, words) for line, words, _ in check_words.faults(textwrap.dedent(text), path)]


def test_a_word_is_found_and_names_are_not():
    assert list(check_words.faults(PAGE, "docs/page.md")) == [
        (3, "gap", "inter-token latency (ITL); between requests: interval")
    ]


@pytest.mark.parametrize(
    "sentence",
    [
        "Workers are told the level.",
        "So many requests are sent.",
        "The figures rest on one level.",
        "Whoever asks again gets another answer.",
        "A request ends. Who waits, waits with others.",
        "The run is over. What is in flight is cut off.",
        "Else the level is left out.",
        "Requests begin when all users are there.",
        "The knee is held\nagainst its limit.",
    ],
)
def test_each_unclear_sentence_is_found(sentence):
    assert faults_of(sentence, "docs/page.md")


@pytest.mark.parametrize(
    "sentence",
    [
        "What happens at 100 users?",
        "These letters stand for Little's law.",
        "In the file there is a column for each.",
        "A server of known capacity.",
        "People who read the code.",
        "There are not so many that it matters.",
    ],
)
def test_plain_sentences_have_no_faults(sentence):
    assert not faults_of(sentence, "docs/page.md")


def test_a_rule_applies_to_its_paths():
    assert faults_of("The network is trusted.", "docs/scale.md")
    assert not faults_of("The network is trusted.", "docs/security.md")


def test_in_python_comments_docstrings_and_messages_are_prose():
    source = '''
    """Seconds until a level has settled."""

    gap = told("gap")  # whoever is late
    message = f"{gap} users are told"
    '''
    assert faults_of(source, "llmlocust/x.py") == [(2, "settled"), (5, "told"), (4, "whoever")]


@pytest.mark.parametrize(
    "source",
    [
        "told = 1",
        "said: str = ''",
        "first, *found = rows",
        "for each in rows: pass",
        "ids = {each.id for each in rows}",
        "with opened() as made: pass",
        "def count(asked): pass",
        "def options_of(**told): pass",
        "is_empty = lambda found: not found",
    ],
)
def test_a_variable_that_does_not_say_what_it_holds_is_found(source):
    ((line, name, _),) = check_words.misnamed(f"rows = []\n{source}\n", "bench/x.py")
    assert line == 2
    assert name in check_words.NAMES


@pytest.mark.parametrize(
    "source",
    ["rows = found(1)", "row.said = 1", "write(found=1)", "founded = 1", '"""Each row, as told."""  # said before'],
)
def test_other_uses_of_such_a_name_are_no_faults(source):
    assert not list(check_words.misnamed(source, "bench/x.py"))


def test_a_misnamed_variable_is_a_fault_also_in_tests_whose_prose_is_not_checked(tmp_path, monkeypatch, capsys):
    (tmp_path / "tests" / "plugin").mkdir(parents=True)
    (tmp_path / "tests" / "plugin" / "test_x.py").write_text('"""The longest gap."""\n\nfound = 1\n')
    monkeypatch.setattr(check_words, "ROOT", tmp_path)

    assert check_words.main() == 1
    assert capsys.readouterr().out == (
        'tests/plugin/test_x.py:3: "found". Write instead: the noun: what the variable holds\n'
    )


def test_a_fault_is_named_by_file_and_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.md").write_text("Fine.\nThe longest gap.\n")
    monkeypatch.setattr(check_words, "ROOT", tmp_path)
    monkeypatch.setattr(check_words, "PATHS", ("*.md",))

    assert check_words.main() == 1
    assert capsys.readouterr().out.startswith('page.md:2: "gap". Write instead: inter-token latency (ITL)')


@pytest.mark.parametrize("pattern", [*check_words.PATHS, *check_words.PYTHON])
def test_each_path_has_a_file(pattern):
    assert list(check_words.ROOT.glob(pattern))
