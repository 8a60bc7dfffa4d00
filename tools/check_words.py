"""The check of words, which `make check` runs: prose uses the terms of docs/glossary.md and plain sentences, and no variable
has one of the names that do not say what it holds.

Code spans, fenced code and link targets are not checked: they contain names of options, columns and files.
"""

import ast
import io
import re
import sys
import token
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PATHS = (
    *("README.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md", "docs/*.md"),
    *("llmlocust/**/*.py", "llmlocust/**/*.j2", "locustfiles/*.py", "bench/*.py", "tools/*.py", "tests/*.py"),
)
"""Globs below ROOT of the files whose prose is checked."""
PYTHON = ("llmlocust/**/*.py", "locustfiles/**/*.py", "bench/**/*.py", "tools/**/*.py", "tests/**/*.py")
"""Globs below ROOT of the files whose variables are checked."""
EXCLUDED = ("tools/check_words.py", "tests/test_words.py", "llmlocust/simulator/openai.py")
"""Files that contain the words as data: the rules, their tests, and the text of simulated answers."""


class Rule(NamedTuple):
    pattern: str
    """Regular expression of whole words, in upper or lower case. A space matches any white space, also a new line."""
    instead: str
    exceptions: tuple[tuple[str, str], ...] = ()
    """Regular expressions of phrases in which the words are allowed, each with the reason."""
    where: str = ""
    """Regular expression of the paths to which the rule applies."""


TERMS = (
    Rule(
        r"(token )?gaps?",
        "inter-token latency (ITL); between requests: interval",
        where=r"^(?!llmlocust/runfiles/reading/table_headers|llmlocust/metrics/metric)",  # words of people's tables
    ),
    Rule(r"time to answer", "time to first output token (TTFO)"),
    Rule(
        r"capacity",
        "saturation, if it is the load at which queueing begins",
        (
            (r"capacity planning", "the field's own word"),
            (r"known capacity|with the capacity that you set", "what a simulated server can do, not what a run found"),
        ),
    ),
    Rule(r"settl(e|es|ed|ing)", "warm-up, warmed up"),
    Rule(r"(held|holds?|holding) (\w+ )?back", "dropped"),
    Rule(r"blurred", "uncertain"),
    Rule(r"parts? of (a|the) plan|plan's parts?", "phase"),
    Rule(
        r"(un)?trust(s|ed|ing|worthy)?",
        "valid, validity",
        ((r"certificate (that )?(is (not )?trusted|the load generator trusts)", "trust in the sense of security"),),
        where=r"^(?!SECURITY\.md|docs/security\.md)",  # there it is the field's own word
    ),
    Rule(r"believ(e|es|ed|able)", "valid, accurate"),
    Rule(r"(keeps?|kept|holds?|held) (a|the|its|all|any|every|each|no) (\w+ )?(limit|threshold)s?", "meets"),
    Rule(r"(limits?|thresholds?) (hold|holds|held)", "is met"),
    Rule(r"load process(es)?", "worker, process"),
    Rule(r"well again", "recovered"),
    Rule(r"told", "reported, sent, shown, known"),
    Rule(r"dealt", "assigned, distributed"),
    Rule(r"server (is|was|that is|that was) gone", "unreachable"),
    Rule(r"(at|to) rest", "baseline; steady"),
    Rule(r"unheard", "stale share"),
    Rule(r"users really there", "active users"),
)
SENTENCES = (
    Rule(r"whoever|nobody|somebody|anybody", "the noun: the user, the worker, the process"),
    Rule(r"(?<=[.:;|*] |  )who\b(?! [^.|]*\?)", "the noun: the user, the worker, the process"),
    Rule(
        r"(?<=[.;|] |  )what\b(?! [^.|]*\?)(?=[^|]{20})|(?<=\*\*)what",
        "a subject that exists",
        ((r"what was run", "a heading"),),
    ),
    Rule(r"of (it|them)sel(f|ves)", "automatically, on its own"),
    Rule(r"so (many|much)(?! (that|as))", "the number, or: this number of"),
    Rule(r"by what", "by which, according to"),
    Rule(r"(held|holds?) against", "compared with"),
    Rule(r"rest(s|ed|ing)? on", "depends on, is based on"),
    Rule(r"stands?|stood|standing", "is, is written, remains", ((r"(stands?|stood) for", "means, represents"),)),
    Rule(r"(is|are|was|were|be|been|being) (all |really )?there(?! (a|an|any|no))", "present, started, reached"),
    Rule(r"((?<=[.;:|] |  )else|^else)(?!:)", "otherwise"),
)
RULES = (*TERMS, *SENTENCES)
NAMES = ("asked", "each", "found", "made", "said", "told")
"""Names that variables and arguments must not have."""

NOT_PROSE = re.compile(
    r"""^\ {0,3}(```|~~~).*?^\ {0,3}\1[^\n]*$  # fenced code
      | (`+)(?!`).+?(?<!`)\2(?!`)              # code spans
      | (?<=\])\([^)\s]*\)                     # targets of links
      | https?://\S+
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
INSERTED = re.compile(r"\{[^{}\n]*\}")
"""Placeholders of an f-string or a template."""
STRINGS = {token.STRING, getattr(token, "FSTRING_MIDDLE", token.STRING)}


def blanked(text: str) -> str:
    """Replace all characters except line ends by spaces, so that the positions of other words do not change."""
    return re.sub(r"[^\n]", " ", text)


def prose(text: str, suffix: str) -> str:
    """Return the text of a file with everything blanked that is not prose."""
    if suffix == ".py":
        text = INSERTED.sub(lambda match: blanked(match[0]), comments_and_strings(text))
    return NOT_PROSE.sub(lambda match: blanked(match[0]), text)


def comments_and_strings(source: str) -> str:
    """Return Python source with everything blanked except comments and strings with a space: other strings are names."""
    lines = source.splitlines(keepends=True)
    kept = [blanked(line) for line in lines]
    for part in tokenize.generate_tokens(io.StringIO(source).readline):
        if part.type == token.COMMENT or (part.type in STRINGS and " " in part.string.strip()):
            (first, begin), (last, end) = part.start, part.end
            for number in range(first - 1, last):
                low = begin if number == first - 1 else 0
                high = end if number == last - 1 else len(lines[number])
                words = re.sub(r'[#"]', " ", lines[number][low:high])
                kept[number] = kept[number][:low] + words + kept[number][high:]
    return "".join(kept)


def whole_words(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which a space matches any white space, except in lookbehinds, which need a fixed width."""
    pieces = re.split(r"(\(\?<[^)]*\))", pattern)
    spaced = "".join(piece if piece.startswith("(?<") else piece.replace(" ", r"\s+") for piece in pieces)
    return re.compile(rf"(?<![\w-])(?:{spaced})(?![\w-])", re.IGNORECASE | re.MULTILINE)


def faults(text: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, the words, and their replacement for each fault."""
    words = prose(text, Path(path).suffix)
    for rule in RULES:
        if not re.search(rule.where, path):
            continue
        allowed = [match.span() for phrase, _ in rule.exceptions for match in whole_words(phrase).finditer(words)]
        for match in whole_words(rule.pattern).finditer(words):
            if not any(low <= match.start() and match.end() <= high for low, high in allowed):
                yield words.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), rule.instead


def misnamed(text: str, path: str) -> Iterator[tuple[int, str, str]]:
    """Yield the same for each variable and argument of Python source that has one of NAMES, where it gets its value."""
    for node in ast.walk(ast.parse(text, path)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) if name in NAMES:
                yield node.lineno, name, "the noun: what the variable holds"


def main() -> int:
    failed = 0
    for check, patterns in ((faults, PATHS), (misnamed, PYTHON)):
        for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if name in EXCLUDED:
                continue
            for line, words, instead in sorted(check(path.read_text(encoding="utf-8"), name)):
                print(f'{name}:{line}: "{words}". Write instead: {instead}')
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
