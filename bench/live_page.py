"""A day with the live page open, at 100 updates per minute: does the page grow?

    python bench/live_page.py [--hours 24] [--a-minute 100] [--looks 8]

A real `Live` of a simulated run answers the real page in a real Chromium. Only the clock is simulated: the page sends its
next request as soon as it has drawn, 60 s / --a-minute pass in the run between two requests, and answers are fetched fifty
at a time. A new level begins every hour. Each of the --looks rows of the table comes from a pause of the page, after its
time-outs have ended and a forced garbage collection: JavaScript heap, DOM nodes and event listeners. growth.py measures
the growth of the master's memory.
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
from live import PlayedRun, one_second, shifted
from playwright.sync_api import CDPSession, Page, sync_playwright

from llmlocust.analysis.live import Live

STATIC = Path(__file__).parents[1] / "llmlocust/plugin/webui/static"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HOUR = 3600.0
BATCH = 50
"""Answers that are fetched at a time."""
TIME_OUTS_END = 9000
"""Milliseconds after which all time-outs of answered requests have ended."""
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
OWN_CLOCK = """
    const wait = window.setTimeout, channel = new MessageChannel();
    let next = null;
    window.paused = false;
    window.resume = () => { window.paused = false; if (next) channel.port1.postMessage(0); };
    channel.port2.onmessage = () => { if (!window.paused && next) { const now = next; next = null; now(); } };
    const ask = window.fetch, answers = [];
    window.fetch = async (address, ...more) => {
      if (!String(address).startsWith("live.json")) return ask(address, ...more);
      if (!answers.length) answers.push(...(await (await ask("live.json")).text()).split("\\n"));
      return new Response(answers.shift());
    };
    window.setTimeout = (callback, ms, ...more) => {
      if (ms < 1000) return wait(callback, ms, ...more);
      next = callback;
      channel.port1.postMessage(0);
      return 0;
    };
"""


class Day:
    """A run whose clock advances with each request."""

    def __init__(self, hours: float, updates_per_minute: float) -> None:
        self.run = PlayedRun()
        self.live = Live(self.run)
        self.length, self.step = hours * HOUR, 60.0 / updates_per_minute
        self.requests = self._changes = self._seconds = 0
        self._second = one_second(self.run.limits)

    def answers(self) -> bytes:
        """Return the answers to the next requests, one per line."""
        return b"\n".join(self._answer() for _ in range(BATCH))

    def _answer(self) -> bytes:
        self.requests += 1
        self._advance()
        state = {"state": "running", "users": self.run.ledger.levels[-1].load, "host": "", "refused": "", "files": []}
        snapshot = self.live.snapshot(self.live.name, self._changes)
        self._changes = snapshot["changes"]
        return msgspec.json.encode({**state, "run": snapshot})

    def _advance(self) -> None:
        run = self.run
        run.at = min(run.at + self.step, self.length)
        if not run.ledger.levels or run.at - run.ledger.levels[-1].began >= HOUR:
            run.ledger.begin_level(run.at, len(run.ledger.levels) + 1.0)
            run.ledger.end_warmup(run.at)
        while self._seconds < int(run.at):
            run.ledger.merge(shifted(self._seconds, run.ledger.levels[-1].index, self._second))
            self._seconds += 1


def serve(day: Day) -> ThreadingHTTPServer:
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
            """Print nothing besides the table."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def look(page: Page, session: CDPSession, day: Day, begun: float) -> None:
    page.evaluate("window.paused = true")
    page.wait_for_timeout(TIME_OUTS_END)
    session.send("HeapProfiler.collectGarbage")
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    print(
        f"| {day.run.at / HOUR:.2f} | {day.requests:,} | {day.run.ledger.spans.width} | {metrics['JSHeapUsedSize'] / 2**20:.2f} | "
        f"{metrics['Nodes']:.0f} | {metrics['JSEventListeners']:.0f} | {metrics['ScriptDuration'] / day.requests * 1000:.1f} | "
        f"{perf_counter() - begun:.0f} |",
        flush=True,
    )
    page.evaluate("window.resume()")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--a-minute", type=float, default=100)
    parser.add_argument("--looks", type=int, default=8)
    options = parser.parse_args()
    day, begun = Day(options.hours, options.a_minute), perf_counter()
    server = serve(day)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: print(error, flush=True))
        page.add_init_script(OWN_CLOCK)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/llm/")
        print("| hour | updates | s per point | JS heap, MB | nodes | listeners | script, ms per update | took, s |")
        print("|---:|---:|---:|---:|---:|---:|---:|---:|")
        for number in range(1, options.looks + 1):
            while day.run.at < day.length * number / options.looks:
                page.wait_for_timeout(200)
            look(page, session, day, begun)
        browser.close()


if __name__ == "__main__":
    main()
