"""A day with the live page open, at 100 updates a minute: does the page grow?

    python bench/live_page.py [--hours 24] [--a-minute 100] [--looks 8]

The real page in a real Chromium is answered by a real `Live`, whose run is played. Only the clock is another: the page
asks again as soon as it has drawn, between two questions 60 s / --a-minute pass in the run, and answers are fetched
fifty at a time. A new level begins each hour. At each look the page stands still until what it waits for is over, memory is collected by force, and the page's
JavaScript heap, its DOM nodes and event listeners are noted. What grows on the master's side, growth.py tells.
"""

import argparse
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any
from urllib.parse import urlparse

import msgspec
from live import PlayedRun, a_second, at
from playwright.sync_api import CDPSession, Page, sync_playwright

from llmlocust.analysis.live import Live

STATIC = Path(__file__).parents[1] / "llmlocust/plugin/webui/static"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HOUR = 3600.0
AT_ONCE = 50
WAITED_FOR = 9000
"""Milliseconds in which all time-outs of questions that were answered are over."""
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OWN_CLOCK = """
    const wait = window.setTimeout, channel = new MessageChannel();
    let next = null;
    window.held = false;
    window.goOn = () => { window.held = false; if (next) channel.port1.postMessage(0); };
    channel.port2.onmessage = () => { if (!window.held && next) { const now = next; next = null; now(); } };
    const ask = window.fetch, waiting = [];
    window.fetch = async (address, ...more) => {
      if (!String(address).startsWith("live.json")) return ask(address, ...more);
      if (!waiting.length) waiting.push(...(await (await ask("live.json")).text()).split("\\n"));
      return new Response(waiting.shift());
    };
    window.setTimeout = (what, ms, ...more) => {
      if (ms < 1000) return wait(what, ms, ...more);
      next = what;
      channel.port1.postMessage(0);
      return 0;
    };
"""


class Day:
    """A run that goes on as it is asked."""

    def __init__(self, hours: float, a_minute: float) -> None:
        self.run = PlayedRun()
        self.live = Live(self.run)
        self.length, self.step = hours * HOUR, 60.0 / a_minute
        self.asked = self._changes = self._told = 0
        self._second = a_second(self.run.limits)

    def answers(self) -> bytes:
        """To the next questions, a line each."""
        return b"\n".join(self._answer() for _ in range(AT_ONCE))

    def _answer(self) -> bytes:
        self.asked += 1
        self._go_on()
        told = {"state": "running", "users": self.run.ledger.levels[-1].load, "host": "", "refused": "", "files": []}
        snapshot = self.live.snapshot(self.live.name, self._changes)
        self._changes = snapshot["changes"]
        return msgspec.json.encode({**told, "run": snapshot})

    def _go_on(self) -> None:
        run = self.run
        run.at = min(run.at + self.step, self.length)
        if not run.ledger.levels or run.at - run.ledger.levels[-1].began >= HOUR:
            run.ledger.begin_level(run.at, len(run.ledger.levels) + 1.0)
            run.ledger.end_warmup(run.at)
        while self._told < int(run.at):
            run.ledger.merge(at(self._told, run.ledger.levels[-1].index, self._second))
            self._told += 1


def serving(day: Day) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            address = urlparse(self.path)
            if address.path == "/llm/live.json":
                return self.send(day.answers(), "text/plain")
            path = STATIC / (address.path.removeprefix("/llm/").removeprefix("static/") or "live.html")
            return self.send(path.read_bytes(), TYPES[path.suffix])

        def send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """The table is enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def look(page: Page, session: CDPSession, day: Day, begun: float) -> None:
    page.evaluate("window.held = true")
    page.wait_for_timeout(WAITED_FOR)
    session.send("HeapProfiler.collectGarbage")
    told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    print(
        f"| {day.run.at / HOUR:.2f} | {day.asked:,} | {day.run.ledger.spans.width} | {told['JSHeapUsedSize'] / 2**20:.2f} | "
        f"{told['Nodes']:.0f} | {told['JSEventListeners']:.0f} | {told['ScriptDuration'] / day.asked * 1000:.1f} | "
        f"{perf_counter() - begun:.0f} |",
        flush=True,
    )
    page.evaluate("window.goOn()")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--a-minute", type=float, default=100)
    parser.add_argument("--looks", type=int, default=8)
    options = parser.parse_args()
    day, begun = Day(options.hours, options.a_minute), perf_counter()
    server = serving(day)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: print(error, flush=True))
        page.add_init_script(OWN_CLOCK)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/llm/")
        print("| hour | updates | s a point | JS heap, MB | nodes | listeners | script, ms an update | took, s |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|")
        for number in range(1, options.looks + 1):
            while day.run.at < day.length * number / options.looks:
                page.wait_for_timeout(200)
            look(page, session, day, begun)
        browser.close()


if __name__ == "__main__":
    main()
