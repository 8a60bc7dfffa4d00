"""What a run says while it goes on."""

from types import SimpleNamespace

import pytest

from llmlocust.plugin import console
from llmlocust.plugin.views.progress import Progress, plan_line, say_plan

STEPS = {"unit": "users", "levels": [1, 2, 5, 10, 20, 50, 100, 150, 200, 300], "warmup": 5.0, "hold": 30.0}
SEARCH = {"unit": "users", "levels": [], "warmup": None, "hold": None}


@pytest.mark.parametrize(
    "plan, line",
    [
        (STEPS, "10 levels, 1 to 300 users, 30 s each after 5 s of warm-up, about 6 min"),
        (STEPS | {"levels": [20]}, "1 level, 20 users, 30 s after 5 s of warm-up, about 35 s"),
        (STEPS | {"levels": [1]}, "1 level, 1 user, 30 s after 5 s of warm-up, about 35 s"),
        (STEPS | {"unit": "rate", "levels": [2.5, 10], "warmup": 0.0}, "2 levels, 2.5 to 10 requests/s, 30 s each, about 60 s"),
        (STEPS | {"levels": [20, 8], "hold": 3600.0, "warmup": 20.0}, "2 levels, 8 to 20 users, 3600 s each after 20 s of warm-up, about 2 h 1 min"),
        (STEPS | {"levels": [20], "warmup": None, "hold": None, "requests": 200}, "200 requests by 20 users"),
        (
            STEPS | {"levels": [5, 20, 50], "warmup": None, "hold": None, "shape": "surge", "phases": [{"name": "baseline", "levels": 1, "warmup": 5.0, "hold": 60.0}, {"name": "surge", "levels": 2, "warmup": 5.0, "hold": 30.0}]},
            "surge: 3 levels, 5 to 50 users, about 2 min",
        ),
        (SEARCH | {"search": {"limits": "ttft.p95 < 1s", "start": 4, "max_load": 300}}, "a search for the highest load that meets ttft.p95 < 1s: from 4, up to 300 users"),
        (SEARCH | {"search": {"limits": "", "start": 4, "max_load": 300}}, "a search for saturation: from 4, up to 300 users"),
    ],
)  # fmt: skip
def test_a_run_says_what_it_will_do(plan, line):
    assert plan_line(plan) == line


def test_progress_is_said_every_ten_seconds_also_while_nothing_has_ended(monkeypatch, capsys):
    now = 1000.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    ledger = SimpleNamespace(sent=3, ended=0)
    progress = Progress()
    progress.begins(SimpleNamespace(cluster=SimpleNamespace(user_count=3), ledger=ledger, plan=STEPS, level=None))
    say_plan(STEPS)
    for second in range(1, 41):
        now = 1000.0 + second
        progress.tick(second)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip().startswith("10 levels, 1 to 300 users")
    assert lines[1:] == ["  … no level yet · 3 users · 0 of 3 requests done"] * 4


def test_a_line_contains_nothing_that_a_terminal_executes(capsys):
    console.say("a model \x1b]0;title\x07 or \x9b2J\r, ü and 模型")
    assert capsys.readouterr().out == "a model \ufffd]0;title\ufffd or \ufffd2J\ufffd, ü and 模型\n"
