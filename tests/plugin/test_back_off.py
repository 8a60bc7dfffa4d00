"""Users that pause after failed requests: how much of the load that costs is a figure of each level, and checked."""

import time
from itertools import count

from llmlocust.assessment.assessment import assess
from llmlocust.report.markdown import markdown
from llmlocust.runfiles.reading.locate import load_run
from tests.locusts import MANUAL_RAMP, Locust, end_level, rows, wait_for_level
from tests.plugin.scripted import LENGTH, response, scripted_server
from tests.simulators import wait_for

BUSY = response(b"Content-Length: 0\r\nRetry-After: 3600\r\n", status=b"503 Busy")
PATIENT = f"from llmlocust.plugin.users import users\nusers._MAX_PAUSE = 3600\n{MANUAL_RAMP}"
_ANSWERS_BEFORE_BUSY = 120
_ANSWER_SECONDS = 0.05


def test_a_level_whose_users_wait_as_the_server_asked_is_shown_and_fails_its_checks(tmp_path):
    request_numbers = count()

    def script(sock):
        time.sleep(_ANSWER_SECONDS)
        sock.sendall(LENGTH if next(request_numbers) < _ANSWERS_BEFORE_BUSY else BUSY)

    with scripted_server(script) as server:
        host = f"http://127.0.0.1:{server.port}"
        ramp = ["--llm-levels", "2,3", "--llm-warmup", "2", "--llm-drain", "0", "--stop-timeout", "0"]
        args = ["--headless", "--only-summary", "--csv", "run", "--host", host, *ramp, "--llm-body", '{"model": "m"}']
        with Locust(tmp_path, args, PATIENT) as locust:
            wait_for(lambda: len(server.requests), lambda requests: requests >= _ANSWERS_BEFORE_BUSY + 2)
            end_level(tmp_path, 0)
            wait_for_level(tmp_path, 1)
            end_level(tmp_path, 1)
            locust.ends()

    _, second = rows(tmp_path, "llm_levels.csv")
    assert float(second["backing_off"]) > 0.9
    assert int(second["requests"]) == 0
    assert max(float(row["backing_off"]) for row in rows(tmp_path, "llm_timeline.csv")) == 3
    assert max(float(row["backing_off"]) for row in rows(tmp_path, "llm_workers.csv")) == 3

    report = assess(load_run(tmp_path / "run"))
    failed = {check.key for check in report.checks if not check.ok and 1 in check.levels}
    assert failed >= {"any_requests", "back_off"}
    assert [level.load for level in report.levels] == [2.0, 3.0]
    assert "paused" in markdown(report)
