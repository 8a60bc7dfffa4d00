"""The process beside the load: its messages, and its end."""

import pytest

from llmlocust.plugin.child_process import ChildProcess


@pytest.mark.parametrize("closings", [1, 2])
def test_the_last_messages_are_kept_when_the_process_is_closed(closings):
    child = ChildProcess("json.tool", 5)  # prints its input when that ends
    for _ in range(closings):
        child.close(60.0)
    assert child.messages() == [5]
    assert child.has_ended
    assert child.messages() == []


def test_a_process_that_does_not_end_is_killed(tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = ChildProcess("endless", {})
    child.close(0.1)
    assert child.has_ended
