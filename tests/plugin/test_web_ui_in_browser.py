"""Runs that a person starts, watches and stops in Locust's web UI, in a real Chromium."""

import csv
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.chromium import SLOW, chromium
from tests.locusts import Locust, free_port, run_info
from tests.simulators import running_simulator, wait_for
from tests.web_ui import REPORTING

pytestmark = pytest.mark.browser

"""Its reports have the priority of the tests beside it: with less, a busy machine would not make them in time."""
WITH_LOGIN = (
    REPORTING
    + """
from flask import redirect, url_for
from flask_login import UserMixin, login_user
from locust import events

class Person(UserMixin):
    id = "somebody"

@events.init.add_listener
def let_in(environment, web_ui, **kwargs):
    if web_ui is None:
        return
    web_ui.app.secret_key = "of this test"
    web_ui.login_manager.user_loader(lambda name: Person())

    @web_ui.app.route("/enter")
    def enter():
        login_user(Person())
        return redirect(url_for("locust.index"))
"""
)
SLOW_TO_START = 2 * SLOW
"""Milliseconds: Locust, its workers and their users come before the page."""


@dataclass
class WebUI:
    """Locust with its web UI."""

    address: str
    page: Page
    folder: Path

    @property
    def live(self) -> FrameLocator:
        """What stands in the tab LLM."""
        return self.page.frame_locator("#llm-live")

    def start(self, **fields: str) -> None:
        """Fill the form in and push the button."""
        self.page.get_by_text("Custom parameters").click()
        for name, value in fields.items():
            self.page.locator(f"input[name={name}]").fill(value)
        self.page.get_by_role("button", name="Start", exact=True).click()

    def pick(self, shape: str, without: str) -> None:
        """In the form of --class-picker."""
        self.page.locator("select[name=shapeClass]").select_option(shape)
        self.page.get_by_role("row", name=without).get_by_role("checkbox").uncheck()

    def open_tab(self) -> None:
        self.page.get_by_role("tab", name="LLM").click()

    def level_arrives(self, words: str) -> None:
        """In the tab: a row of the table, with figures, and points in the charts."""
        row = self.live.locator("#levels tbody tr", has_text=words)
        expect(row).to_be_visible(timeout=SLOW_TO_START)
        expect(row.locator("td").nth(4)).to_have_text(re.compile(r"^[1-9]"), timeout=SLOW_TO_START)  # requests
        expect(self.live.locator("#ttft")).to_have_attribute("aria-label", re.compile(r"p95 [\d.]+ m?s"))
        expect(self.live.locator("#tokens canvas")).to_be_visible()

    def download(self, link: str) -> Path:
        with self.page.expect_download(timeout=SLOW_TO_START) as started:
            self.live.get_by_role("link", name=link, exact=True).click()
        path = self.folder / "downloaded" / started.value.suggested_filename
        started.value.save_as(path)
        return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP evil.test 127.0.0.1") as opened:
        yield opened


@pytest.fixture
def simulator():
    with running_simulator(slots=8, step_ms=5) as started:
        yield started


def answers(page: Page, address: str) -> bool:
    try:
        return page.request.get(address).ok
    except Exception as problem:
        if "ECONNREFUSED" in str(problem):
            return False
        raise


TWO_RAMPS = """
from llmlocust import ChatUser, RateRamp, SteppedRamp

class Chat(ChatUser):
    pass

class Unpicked(ChatUser):
    pass

class Rates(RateRamp):
    pass

class Users(SteppedRamp):
    pass
"""


def test_classes_are_picked_over_tls(browser, simulator, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    args = ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", simulator.url, "--csv", "run"]
    args += ["--class-picker", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
    origin = f"https://127.0.0.1:{port}"
    with Locust(tmp_path, args, TWO_RAMPS), browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        wait_for(lambda: answers(page, f"{origin}/login"))
        page.goto(origin)
        web_ui = WebUI(origin, page, tmp_path)
        web_ui.pick(shape="Rates", without="Unpicked")
        web_ui.start(llmLevels="2.5,x")
        expect(page.get_by_text("levels of requests a second must be numbers")).to_be_visible()
        page.locator("input[name=llmLevels]").fill("2.5,5")
        page.locator("input[name=llmHold]").fill("100")
        page.get_by_role("button", name="Start", exact=True).click()
        web_ui.open_tab()
        web_ui.level_arrives("1: 2.5 requests/s")
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(web_ui.live.locator("#state")).to_contain_text("Stopped after", timeout=SLOW_TO_START)
        assert web_ui.download("llm_levels.csv").read_text().count("\n") == 2
    assert list(run_info(tmp_path)["user_classes"]) == ["Chat"]


@pytest.fixture(params=["alone", "with workers, a login and a base path"])
def web_ui(request, browser, simulator, tmp_path) -> Iterator[WebUI]:
    distributed = request.param != "alone"
    port, bind = free_port(), str(free_port())
    origin, base = f"http://127.0.0.1:{port}", "/x" if distributed else ""
    args = ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", simulator.url]
    with ExitStack() as stack:
        if distributed:
            args += ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", bind]
            args += ["--web-login", "--web-base-path", base]
        stack.enter_context(Locust(tmp_path, args, WITH_LOGIN if distributed else REPORTING))
        for _ in range(2 if distributed else 0):
            stack.enter_context(Locust(tmp_path, ["--worker", "--master-port", bind], WITH_LOGIN))
        context = browser.new_context()
        stack.callback(context.close)
        page = context.new_page()
        wait_for(lambda: answers(page, f"{origin}{base}/login"))
        if distributed:
            assert "/login" in page.request.get(f"{origin}/x/llm/live.json").url
            page.goto(f"{origin}/enter")
            wait_for(
                lambda: page.request.get(f"{origin}/x/worker-count").json()["worker_count"], lambda seen: seen == 2
            )
            page.reload()
        else:
            page.goto(origin)
        yield WebUI(origin + base, page, tmp_path)


def test_a_run_is_started_watched_stopped_downloaded_and_started_again(web_ui):
    page = web_ui.page
    messages: list[str] = []
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("console", lambda message: messages.append(message.text) if "Security Policy" in message.text else None)

    web_ui.start(
        llmLevels="2,3" + ",4" * 30, llmHold="2", llmWarmup="0.5", llmMaxTokens="20", llmThreshold="ttft.p95 < 10s"
    )
    web_ui.open_tab()
    web_ui.level_arrives("1: 2 users")
    web_ui.level_arrives("2: 3 users")
    expect(web_ui.live.locator("#limits")).to_have_text("Thresholds: ttft.p95 < 10s")
    expect(web_ui.live.locator("#levels td.tolerated, #levels td.gold")).not_to_have_count(0)

    page.get_by_role("button", name="Stop", exact=True).click()
    expect(web_ui.live.locator("#state")).to_contain_text("Stopped after", timeout=SLOW_TO_START)
    report = web_ui.download("Report").read_text()
    assert report.startswith("<!doctype html>")
    assert "ttft.p95 &lt; 10s" in report
    with web_ui.download("llm_requests.csv").open(newline="") as file:
        assert {row["outcome"] for row in csv.DictReader(file)} <= {"ok", "aborted"}

    page.get_by_role("button", name="New", exact=True).click()
    web_ui.start(llmLevels="4", llmHold="100")
    web_ui.open_tab()
    web_ui.level_arrives("1: 4 users")
    expect(web_ui.live.locator("#levels tbody tr")).to_have_count(1)

    page.get_by_role("button", name="Reset", exact=True).click()
    expect(web_ui.live.locator("#state")).to_contain_text("measured for 0:0", timeout=SLOW_TO_START)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(web_ui.live.locator("#state")).to_contain_text("Stopped after", timeout=SLOW_TO_START)
    assert messages == []


ATTACK = """
async (target) => {
  const form = new URLSearchParams({user_count: "1", spawn_rate: "1", llm_levels: "1", llm_prompts: "/etc/passwd"});
  const tried = {};
  for (const path of ["/swarm", "/stop", "/stats/reset"]) {
    await fetch(target + path, {method: "POST", mode: "no-cors", body: form}).catch(() => null);
  }
  for (const path of ["/stats/requests", "/llm/live.json", "/metrics", "/logs"]) {
    tried[path] = await fetch(target + path).then((answer) => answer.text()).catch(() => "unread");
  }
  return tried;
}
"""


@contextmanager
def folder_served(folder: Path) -> Iterator[int]:
    """The port of a web server."""
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_page_of_another_origin_starts_reads_and_frames_nothing(browser, simulator, tmp_path):
    port = free_port()
    target = f"http://127.0.0.1:{port}"
    args = ["--web-host", "127.0.0.1", "--web-port", str(port), "--host", simulator.url]
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "index.html").write_text(
        f"""<!doctype html><iframe src="{target}"></iframe><iframe src="{target}/llm/"></iframe>
        <form action="{target}/swarm" method="post"><input name="user_count" value="1"><button>Win</button></form>"""
    )
    with Locust(tmp_path, args), folder_served(evil) as server, browser.new_context() as context:
        page = context.new_page()
        wait_for(lambda: answers(page, target))
        page.goto(f"http://evil.test:{server}/")

        def urls():
            page.wait_for_timeout(10)  # Playwright hears of frames only while it is asked for something
            return [frame.url for frame in page.frames[1:]]

        frames = wait_for(urls, lambda addresses: len(addresses) == 2 and all(addresses))
        assert frames == ["chrome-error://chromewebdata/"] * 2
        assert set(page.evaluate(ATTACK, target).values()) == {"unread"}
        page.get_by_role("button", name="Win").click()
        expect(page.get_by_text("A page of another origin sent this request")).to_be_visible()
        # the name now leads to this machine: the page is of the same origin as the web UI
        page.goto(f"http://evil.test:{port}/")
        expect(page.get_by_text("does not answer under this name")).to_be_visible()
        rebound = page.evaluate(ATTACK, f"http://evil.test:{port}")
        assert all("does not answer under this name" in text for text in rebound.values())
        assert page.request.get(f"{target}/stats/requests").json()["state"] == "ready"
    assert simulator.truth() == []
