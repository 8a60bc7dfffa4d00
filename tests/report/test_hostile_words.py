"""Words of a server, a worker and a run's file in what each command writes: shown, and nothing more."""

import json
from xml.etree import ElementTree as ET

import pytest
from made_run import MadeRun

from llmlocust.cli import main
from llmlocust.text import media

EVIL = "=1+1\x1b]0;owned\x07\x9b31m\u202egnp.exe \r\n| [x](http://evil) <zz>"
SURROGATE = "half \ud800"
TOLD = {
    "target": {"host": f"http://{EVIL}", "model": EVIL + SURROGATE, "dialect": EVIL},
    "user_classes": {EVIL: EVIL + SURROGATE},
    "options": {"llm_prompt": EVIL, EVIL: SURROGATE},
    "ended_by": EVIL,
    "checks": [
        {"name": EVIL, "ok": False, "value": None, "limit": None, "says": EVIL + SURROGATE, "levels": [0]},
        {"name": "run", "ok": False, "value": None, "limit": None, "says": EVIL, "levels": []},
        {"name": "run", "ok": False, "says": {"text": EVIL, "template": EVIL + "{0.x} {", "values": {EVIL: EVIL}}},
        {
            "name": "run",
            "ok": False,
            "says": {"text": EVIL, "template": "cannot write {files}: {reason}", "values": {}},
        },
    ],
}
LONG = "the: a, b. c (d) " * 10_000


def written(folder, words):
    """Hostile files of two runs."""
    told = json.loads(json.dumps(TOLD).replace(json.dumps(EVIL)[1:-1], json.dumps(words)[1:-1]))
    prefixes = []
    for name in ("a", "b"):
        how = {"loads": (4, 30), "slots": 6, "hold": 15.0, "phases": [words, f"{words} again"], "limit": 2.0}
        prefix = MadeRun(**how, told=told).write(folder / name / "x")
        requests = prefix.with_name("x_llm_requests.csv")
        cell = '"' + (words[:3000].replace('"', '""')) + '"'
        requests.write_text(requests.read_text().replace("upstream $overloaded_", cell))
        prefixes.append(prefix)
    return prefixes


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return written(tmp_path_factory.mktemp("unseen"), EVIL)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return written(tmp_path_factory.mktemp("long"), LONG)


COMMANDS = {
    "report": ["report", "A", "--out", "page.html", "--markdown", "page.md", "--json", "page.json"],
    "report, in Chinese": ["report", "A", "--out", "page.html", "--lang", "zh"],
    "report, printed": ["report", "A", "--out", "page.html", "--markdown", "-"],
    "report, as JSON": ["report", "A", "--out", "page.html", "--json", "-"],
    "check": ["check", "A", "--threshold", "ttft.p95 < 1ms", "--junit", "gates.xml", "--json", "gates.json"],
    "check, printed": ["check", "A", "--threshold", "errors < 1%", "--markdown", "-"],
    "check, as JSON": ["check", "A", "--threshold", "errors < 1%", "--json", "-"],
    "check, as JUnit": ["check", "A", "--threshold", "errors < 1%", "--junit", "-"],
    "compare": ["compare", "A", "B", "--out", "page.html", "--markdown", "page.md", "--json", "page.json"],
    "compare, printed": ["compare", "A", "B", "--out", "page.html", "--markdown", "-"],
}


def outputs(command, prefixes, folder, monkeypatch, capsys):
    """What a command writes, by the place."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    names = {"A": str(prefixes[0]), "B": str(prefixes[1])}
    with pytest.raises(SystemExit) as ended:
        main([names.get(each, each) for each in command])
    said = capsys.readouterr()
    assert ended.value.code in (0, 98, 99), said
    files = {path.name: path.read_bytes().decode() for path in folder.iterdir()}
    return {**files, "stdout": said.out, "stderr": said.err}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_prints_unseen_characters(hostile, name, tmp_path, monkeypatch, capsys, request):
    if name not in ("report", "compare"):  # whose pictures are the others'
        request.getfixturevalue("undrawn")
    for place, text in outputs(COMMANDS[name], hostile, tmp_path, monkeypatch, capsys).items():
        assert media.document(text) == text, place
        assert "<zz>" not in text or not place.endswith(".html"), place
        if place.endswith(".xml"):
            assert ET.fromstring(text).find(".//testcase") is not None


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["report, in Chinese", "check", "compare"])
def test_no_line_on_the_terminal_is_without_end(long, name, tmp_path, monkeypatch, capsys):
    told = outputs(COMMANDS[name], long, tmp_path, monkeypatch, capsys)

    for line in [*told["stdout"].splitlines(), *told["stderr"].splitlines()]:
        assert len(line) <= media.MAX_LINE + 1
