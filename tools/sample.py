"""Make reports/sample anew: a run of `llmlocust demo`, its report in three forms, and the README's picture."""

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SAMPLE = Path(__file__).parent.parent / "reports" / "sample"


def main() -> None:
    shutil.rmtree(SAMPLE, ignore_errors=True)
    llmlocust("demo", "--out", str(SAMPLE))
    html, json = SAMPLE / "report.html", SAMPLE / "report.json"
    llmlocust("report", str(SAMPLE), "--out", str(html), "--markdown", str(SAMPLE / "report.md"), "--json", str(json))
    picture(html, SAMPLE / "report.png")


def llmlocust(*args: str) -> None:
    subprocess.run([sys.executable, "-m", "llmlocust.cli", *args], check=True)


def picture(page: Path, target: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        tab = browser.new_page(viewport={"width": 1120, "height": 960}, device_scale_factor=1.5, color_scheme="light")
        tab.goto(page.as_uri())
        tab.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
