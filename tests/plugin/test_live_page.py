"""The live page in a browser, with a server that is played: what it shows, and what it does where nobody answers."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlparse

import msgspec
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from llmlocust.analysis.live import Live
from tests.chromium import chromium
from tests.played_run import PlayedRun
from tests.simulators import ROOT

pytestmark = pytest.mark.browser

STATIC = ROOT / "llmlocust/plugin/webui/static"
FILES = ["llm_levels.csv", "llm_run.json"]
HURRY = "const wait = setTimeout; window.setTimeout = (what, ms) => wait(what, Math.min(ms, 2));"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


class Played:
    """A server for one page: the page's files, and how a played run stands."""

    def __init__(self, page: Page, run: PlayedRun | None) -> None:
        self.page, self.run = page, run
        self.live = run and Live(run)
        self.question_count = 0
        self.between = lambda: None
        """What happens in the run between two questions."""
        self.answers = True
        self.refused = ""
        self.runs, self.kept = 1, True
        self.messages: list[str] = []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.route("**/*", self.answer)

    def open(self) -> "Played":
        self.page.goto("http://llm.test/x/llm/")
        return self

    def answer(self, route: Route) -> None:
        address = urlparse(route.request.url)
        name = address.path.removeprefix("/x/llm/")
        if name == "live.json":
            return self.tell(route, parse_qs(address.query))
        path = STATIC / (name.removeprefix("static/") or "live.html")
        return route.fulfill(path=path) if path.exists() else route.fulfill(status=404)

    def tell(self, route: Route, query: dict[str, list[str]]) -> None:
        self.question_count += 1
        if not self.answers:
            return route.abort()
        self.between()
        level = int(query["level"][0]) if "level" in query else None
        snapshot = self.live and self.live.snapshot(query.get("name", [""])[0], int(query["changes"][0]), level)
        state = {"state": "running", "users": 4, "host": "", "refused": self.refused}
        runs = (
            [{"run": number, "files": FILES, "missing": []} for number in range(1, self.runs + 1)] if self.live else []
        )
        body = msgspec.json.encode({**state, "runs": runs, "kept": self.kept, "run": snapshot})
        return route.fulfill(body=body, content_type="application/json")


def a_run() -> PlayedRun:
    run = PlayedRun("ttft.p95 < 200ms ~ 400ms, errors < 1%", plan={"levels": [2, 4, 8]})
    run.level(2, 30)
    run.level(4, 30, ttft=0.15)
    run.begin(8)
    run.play(3, 8, ttft=0.5)
    run.warmup()
    run.play(10, 8, ttft=0.5)
    return run


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_before_a_run_it_says_that_there_is_none(page):
    played = Played(page, None).open()
    expect(page.locator("#state")).to_contain_text("No run yet")
    assert played.messages == []


def test_levels_charts_and_numbers_of_a_run_are_shown(page):
    played = Played(page, a_run()).open()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    expect(page.locator("#levels tbody tr").first).to_contain_text("1: 2 users")
    expect(page.locator("#state")).to_contain_text("level 3 of 3: 8 users, measured for 0:10")
    expect(page.locator("#ttft")).to_have_attribute(
        "aria-label", "Time to first token: p50 500 ms, p95 500 ms, p99 500 ms"
    )
    expect(page.locator("#tokens")).to_have_attribute("aria-label", "Output tokens per second: tokens/s 80")
    expect(page.locator("canvas")).to_have_count(4)
    expect(page.locator(".slo_limit .why")).to_contain_text("not reached up to 4 users")
    expect(page.locator("#limits")).to_contain_text("ttft.p95 < 200ms ~ 400ms")
    assert [row.inner_text() for row in page.locator("#levels td.fails").all()] == ["fails"]
    assert page.locator("#downloads a").all_inner_texts() == ["Report", "Report in Chinese", *FILES]
    expect(page.locator("#downloads")).not_to_contain_text("deleted when Locust ends")
    assert played.messages == []


def test_earlier_runs_can_be_downloaded_and_files_to_be_deleted_are_named(page):
    played = Played(page, a_run())
    played.runs, played.kept = 2, False
    played.open()
    lines = page.locator("#downloads p")
    expect(lines).to_have_count(3)
    expect(lines.first).to_contain_text("Run 2, the newest:")
    earlier = lines.nth(1).get_by_role("link", name="llm_run.json")
    expect(earlier).to_have_attribute("href", "files/llm_run.json?run=1")
    expect(lines.last).to_contain_text("Without --csv, these files are deleted when Locust ends")


def test_levels_with_failed_checks_are_marked_with_the_reason(page):
    run = PlayedRun("ttft.p95 < 200ms")
    run.level(2, 30)
    run.level(4, 30, cpu=0.97)
    words = "Worker a:1 was lost 62 s into the run: 3 requests that it had in flight are in no figure."
    run.begin(8)
    run.lost = {words: [2]}
    Played(page, run).open()
    rows = page.locator("#levels tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0).locator(".mark")).to_have_count(0)
    full = "The load generator had too little CPU"
    expect(rows.nth(1).locator(".mark")).to_have_attribute("title", re.compile(full))
    expect(rows.nth(2).locator(".mark")).to_have_attribute("title", words)
    expect(page.locator("#doubts li")).to_have_text([re.compile(full), words])
    expect(page.locator(".slo_limit .doubt")).to_be_visible()


def test_names_of_another_level_can_be_chosen(page):
    Played(page, a_run()).open()
    expect(page.locator("#names tbody tr")).to_contain_text("80")
    page.select_option("#of-level", "0")
    expect(page.locator("#names tbody tr")).to_contain_text("60")


def test_what_was_refused_and_what_went_wrong_is_said(page):
    run = a_run()
    run.problems = ["cannot write run_*: no space left"]
    played = Played(page, run)
    played.refused = "the server does not list a model 'x'"
    played.open()
    expect(page.locator("#problems li")).to_have_text([f"Not started: {played.refused}", *run.problems])


def test_a_report_that_cannot_be_made_is_said_where_it_was_asked_for(page):
    played = Played(page, a_run()).open()
    words = "the report could not be made: run_llm_run.json: not JSON"
    page.route("**/report?run=1", lambda route: route.fulfill(status=500, body=words))
    page.get_by_role("link", name="Report", exact=True).click()
    expect(page.locator("#made")).to_have_text(f"No report: {words}")
    assert played.page.url == "http://llm.test/x/llm/"


def test_a_connection_that_is_lost_is_said_and_comes_back(page):
    page.add_init_script(HURRY)
    played = Played(page, a_run()).open()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    played.answers = False
    expect(page.locator("#connection")).to_have_text("Connection lost. Trying again.")
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    played.run.level(16, 5)
    played.answers = True
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#levels tbody tr")).to_have_count(4)


def test_a_new_run_takes_the_place_of_the_one_before(page):
    played = Played(page, a_run()).open()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    other = PlayedRun()
    other.began += 100.0
    other.level(1, 5)
    played.live = Live(other)
    expect(page.locator("#levels tbody tr")).to_have_count(1)
    expect(page.locator("#tokens")).to_have_attribute("aria-label", "Output tokens per second: tokens/s 10")


def test_nothing_is_asked_while_nobody_looks(page):
    page.add_init_script(HURRY + "Object.defineProperty(document, 'hidden', { get: () => window.away === true });")
    played = Played(page, a_run()).open()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    page.evaluate("window.away = true")
    page.evaluate("new Promise((done) => requestIdleCallback(done))")
    count_before = played.question_count
    page.evaluate(
        "new Promise((done) => { let left = 50; const next = () => --left ? setTimeout(next, 2) : done(); next(); })"
    )
    assert played.question_count - count_before <= 1  # the one that was under way
    played.run.level(16, 5)
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#levels tbody tr")).to_have_count(4)


@pytest.mark.parametrize("scheme, chosen", [("light", "dark"), ("dark", "light")])
def test_dark_and_light_are_as_locusts_page_has_them(browser, scheme, chosen):
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    Played(page, a_run()).open()
    assert page.locator("html").get_attribute("data-theme") == scheme
    other = context.new_page()  # Locust's own page, where somebody pushes the button
    Played(other, None).open()
    other.evaluate(f"localStorage.theme = '{chosen}'")
    expect(page.locator("html")).to_have_attribute("data-theme", chosen)
    context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_its_window(browser, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    Played(page, a_run()).open()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in page.locator(".uplot").all():
        assert chart.bounding_box()["width"] <= width
    page.close()


def test_a_day_of_updates_leaves_nothing_behind(page):
    """A day in 150 updates, with the points of all of it: memory after the first third is memory at the end."""
    page.add_init_script(HURRY)
    run = PlayedRun()
    run.begin(3)
    run.warmup()
    played = Played(page, run)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    seen = []

    def minutes_go_by() -> None:
        if played.question_count > 150:
            return
        run.play(2, 3)
        run.at += 574.0
        if played.question_count in (50, 150):
            session.send("HeapProfiler.collectGarbage")
            seen.append(
                {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
            )

    played.between = minutes_go_by
    played.open()
    expect(page.locator("#state")).to_contain_text("24:00:00", timeout=60_000)
    after_a_third, at_the_end = seen
    assert at_the_end["JSHeapUsedSize"] < after_a_third["JSHeapUsedSize"] + 1_000_000
    assert at_the_end["Nodes"] < after_a_third["Nodes"] + 100
    assert at_the_end["JSEventListeners"] == after_a_third["JSEventListeners"]
    assert run.ledger.spans.width == 256


def test_telemetry_is_shown_once_the_server_reports_it(page):
    run = a_run()
    played = Played(page, run).open()
    expect(page.locator("#levels tbody tr")).to_have_count(3)
    expect(page.locator("#reported")).to_be_hidden()
    expect(page.locator("#on-server")).to_be_hidden()
    run.telemetry_now = {"running": 6.0, "waiting": 2.0, "kv.usage": 0.94, "cpu": 0.22, "process.cpu": 1.2}
    for _ in range(5):
        run.play(1, 8, ttft=0.5)
        played.live.sample()
    says = "Server: 6 running · 2 waiting · KV cache 94 % · CPU 22 % · busiest process 120 % of a core"
    expect(page.locator("#reported")).to_have_text(says)
    expect(page.locator("#on-server")).to_have_attribute("aria-label", "Requests on the server: running 6, waiting 2")
    expect(page.locator("#in-use")).to_have_attribute("aria-label", re.compile("KV cache 94 %, GPU –, CPU 22 %"))
    expect(page.locator("canvas")).to_have_count(6)
    assert played.messages == []
