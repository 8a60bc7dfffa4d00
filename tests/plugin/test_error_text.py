"""--llm-error-text=false: a server that repeats a prompt in its error message puts it nowhere."""

import json

import pytest

from tests.locusts import QUICK, rows, run
from tests.plugin.scripted import chunked, keeps_open, response, scripted_server

PROMPT = "the zebrafish affair"
MESSAGE = json.dumps({"error": {"message": f"cannot read: {PROMPT}", "type": "server_error"}}).encode()
REFUSED = response(
    b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(MESSAGE),
    MESSAGE,
    status=b"500 Internal Server Error",
)
BROKEN = response(
    b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n", chunked(b"data: " + MESSAGE + b"\n\n")
)


def everything(folder, locust):
    """The output of a run and its files, without those of the run before, which is run.1."""
    files = [*folder.glob("run_*"), *folder.glob("run.html")]
    return locust.log + "".join(path.read_text() for path in files)


@pytest.mark.parametrize(
    ("answer", "kind", "text"), [(REFUSED, "http_5xx", "HTTP 500"), (BROKEN, "error_event", "HTTP 200")]
)
def test_the_words_of_an_error_are_kept_or_not(tmp_path, answer, kind, text):
    args = [*QUICK, "--llm-levels", "1", "--llm-hold", "1", "--llm-preflight=false", "--llm-model", "x"]
    with scripted_server(keeps_open(answer)) as server:
        host = f"http://127.0.0.1:{server.port}"
        kept = run(tmp_path, host, *args)
        assert PROMPT in everything(tmp_path, kept)

        locust = run(tmp_path, host, *args, "--llm-error-text=false", "--html", "run.html")

    assert PROMPT not in everything(tmp_path, locust)
    assert {(row["outcome"], row["error"]) for row in rows(tmp_path, "llm_requests.csv")} == {(kind, text)}
    assert {row["Error"] for row in rows(tmp_path, "failures.csv")} == {f"LLMFailure('{kind}: {text}')"}
