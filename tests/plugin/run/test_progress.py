"""The lines that a run prints for its levels."""

import pytest

from llmlocust.plugin.views.progress import LevelLines
from tests.plugin.run.fake_cluster import make_run, played


@pytest.mark.parametrize("delay", [0.0, 4.0])
def test_a_level_is_printed_when_all_of_its_figures_have_arrived(capsys, delay):
    run, cluster = make_run({"a": 2})
    cluster.report_delay = delay
    run.add(LevelLines())
    run.plan = {"levels": [2, 4]}
    run.begin()
    run.begin_level(2)
    run.end_warmup()
    cluster.advance(2.5)
    run.merge(played(run, 3), "a")
    run.begin_level(4)
    lines = []
    for second in range(3, 10):
        cluster.advance(1.0)
        lines += [(second, line) for line in capsys.readouterr().out.splitlines()]

    ((second, line),) = lines
    assert second == 3 + delay
    assert line.startswith("level 1: 2 users · ")
    assert " · 3 ok" in line


def test_the_last_level_is_printed_at_the_end_and_one_that_was_not_measured_never(capsys):
    run, cluster = make_run({"a": 2})
    cluster.report_delay = 4.0
    run.add(LevelLines())
    run.plan = {"levels": [2, 4, 6]}
    run.begin()
    run.begin_level(2)
    run.begin_level(4)
    run.end_warmup()
    cluster.advance(2.0)
    run.finish()
    assert [line.split(" · ")[0] for line in capsys.readouterr().out.splitlines()] == ["level 2: 4 users"]
