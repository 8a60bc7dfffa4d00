"""Users that pause after failed requests: how much of the load that costs is a figure of each level, and checked."""

import time
from itertools import count

from llmlocust.report.page import build
from llmlocust.runfiles.reading.run_data import load_run
from tests.locusts import rows, run
from tests.plugin.scripted import LENGTH, response, scripted_server

BUSY = response(b"Content-Length: 0\r\nRetry-After: 3600\r\n", status=b"503 Busy")
_ANSWERS_BEFORE_BUSY = 100
_ANSWER_SECONDS = 0.05


def test_a_level_whose_users_wait_as_the_server_asked_is_shown_and_fails_its_checks(tmp_path):
    asked = count()

    def script(sock):
        time.sleep(_ANSWER_SECONDS)
        sock.sendall(LENGTH if next(asked) < _ANSWERS_BEFORE_BUSY else BUSY)

    with scripted_server(script) as server:
        run(
            tmp_path,
            f"http://127.0.0.1:{server.port}",
            *("--llm-levels", "2,3", "--llm-settle", "1", "--llm-hold", "3", "--llm-drain", "0", "--stop-timeout", "0"),
            *("--llm-body", '{"model": "m"}'),
        )

    _, second = rows(tmp_path, "llm_levels.csv")
    assert float(second["backing_off"]) > 0.9
    assert int(second["requests"]) == 0
    assert max(float(row["backing_off"]) for row in rows(tmp_path, "llm_timeline.csv")) == 3
    assert max(float(row["backing_off"]) for row in rows(tmp_path, "llm_workers.csv")) == 3

    report = build(load_run(tmp_path / "run"))
    failed = {check.key for check in report.checks if not check.ok and 1 in check.levels}
    assert failed >= {"any_requests", "back_off"}
    assert [level.load for level in report.levels] == [2.0, 3.0]
    assert "paused" in report.markdown()
