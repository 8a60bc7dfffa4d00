"""Hostile words of a server, a worker or a run's file are shown by every command, without any other effect."""

import json
from xml.etree import ElementTree as ET

import pytest
from made_run import EPOCH, MadeRun
from made_telemetry import MadeTelemetry

from llmlocust.cli import main
from llmlocust.text import media

EVIL = "=1+1\x1b]0;owned\x07\x9b31m\u202egnp.exe \r\n| [x](http://evil) <zz>"
SURROGATE = "half \ud800"
INFO = {
    "target": {"host": f"http://{EVIL}", "model": EVIL + SURROGATE, "dialect": EVIL},
    "user_classes": {EVIL: EVIL + SURROGATE},
    "options": {"llm_prompt": EVIL, EVIL: SURROGATE},
    "ended_by": EVIL,
    "telemetry": {
        "sources": [
            {
                "name": EVIL,
                "url": EVIL,
                "engine": EVIL,
                "state": "failed",
                "says": EVIL + SURROGATE,
                "settings": {EVIL: EVIL},
            },
            {
                "name": EVIL,
                "url": EVIL,
                "engine": None,
                "state": "not exposed",
                "says": EVIL,
                "exposes": [EVIL, "running"],
            },
        ],
        "events": [
            {"time": EPOCH + 20.0, "kind": "silent", "source": EVIL, "seconds": 1e9, "says": EVIL},
            {"time": EPOCH * 1e5, "kind": "restart", "source": EVIL + SURROGATE, "seconds": -1, "says": None},
        ],
    },
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


def hostile_runs(folder, words):
    """Write two runs with hostile words in their files, and return their prefixes."""
    info = json.loads(json.dumps(INFO).replace(json.dumps(EVIL)[1:-1], json.dumps(words)[1:-1]))
    prefixes = []
    for name in ("a", "b"):
        options = {"loads": (4, 30), "slots": 6, "hold": 15.0, "phases": [words, f"{words} again"], "limit": 2.0}
        telemetry = MadeTelemetry(without={"restarts"})
        prefix = MadeRun(**options, info=info, telemetry=telemetry).write(folder / name / "x")
        requests = prefix.with_name("x_llm_requests.csv")
        cell = '"' + (words[:3000].replace('"', '""')) + '"'
        requests.write_text(requests.read_text().replace("upstream $overloaded_", cell))
        prefixes.append(prefix)
    return prefixes


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return hostile_runs(tmp_path_factory.mktemp("unseen"), EVIL)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return hostile_runs(tmp_path_factory.mktemp("long"), LONG)


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
    """Run a command and return its outputs by name: files, stdout, stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "summary.md"))
    names = {"A": str(prefixes[0]), "B": str(prefixes[1])}
    with pytest.raises(SystemExit) as exit_:
        main([names.get(argument, argument) for argument in command])
    printed = capsys.readouterr()
    assert exit_.value.code in (0, 98, 99), printed
    files = {path.name: path.read_bytes().decode() for path in folder.iterdir()}
    return {**files, "stdout": printed.out, "stderr": printed.err}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_prints_unseen_characters(hostile, name, tmp_path, monkeypatch, capsys, request):
    if name not in ("report", "compare"):  # the other commands write the same pictures
        request.getfixturevalue("text_only_pictures")
    for output, text in outputs(COMMANDS[name], hostile, tmp_path, monkeypatch, capsys).items():
        assert media.document(text) == text, output
        assert "<zz>" not in text or not output.endswith(".html"), output
        if output.endswith(".xml"):
            assert ET.fromstring(text).find(".//testcase") is not None


@pytest.mark.usefixtures("text_only_pictures")
@pytest.mark.parametrize("name", ["report, in Chinese", "check", "compare"])
def test_lines_on_the_terminal_have_a_limited_length(long, name, tmp_path, monkeypatch, capsys):
    texts = outputs(COMMANDS[name], long, tmp_path, monkeypatch, capsys)

    for line in [*texts["stdout"].splitlines(), *texts["stderr"].splitlines()]:
        assert len(line) <= media.MAX_LINE + 1
