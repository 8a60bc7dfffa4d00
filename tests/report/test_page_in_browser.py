import pytest
from made_calibration import POINTS
from made_run import MadeRun
from made_telemetry import MadeTelemetry

from llmlocust.assessment.assessment import assess
from llmlocust.calibration import page as calibration_page
from llmlocust.report.comparison import page as comparison_page
from llmlocust.report.comparison.compared import compare_runs, labels_of
from llmlocust.report.html import html, html_in
from llmlocust.runfiles.reading.locate import load_run
from tests.chromium import chromium

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser_:
        yield browser_


def of_a_run(folder):
    """Assess a run with everything that a page can have: failed checks, several kinds of failures, violated thresholds,
    telemetry with events.
    """
    loads = (1, 2, 5, 10, 20, 40, 60, 90, 120, 150)
    telemetry = MadeTelemetry(silent=(100, 109), restart=200, failed="connection refused")
    run = MadeRun(loads, 24, hold=20.0, empty=(2,), last_hold=8.0, telemetry=telemetry)
    return assess(load_run(run.write(folder / "a-rather-long-name-of-a-run")))


def report(folder):
    return html(of_a_run(folder))


def chinese(folder):
    return html_in(of_a_run(folder), "zh")[0]


def calibration(folder):
    return calibration_page.html(POINTS, {"Processor": "one of a rather long name, with 128 cores at 3.20 GHz"})


def comparison(folder):
    """Return the page of the maximum number of runs, with long names."""
    runs = [
        MadeRun((1, 5, 20, 60), 16 + 2 * n, hold=15.0, seed=n).write(folder / f"server-{n}-of-a-long-name")
        for n in range(10)
    ]
    runs_data = [load_run(run) for run in runs]
    return comparison_page.html(compare_runs(runs_data, labels_of(runs_data), (), 0.05))


PICTURES = {report: 9, chinese: 9, calibration: 3, comparison: 1}


@pytest.fixture(scope="module", params=PICTURES, ids=lambda make: make.__name__)
def page_and_pictures(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    path = folder / "page.html"
    path.write_text(request.param(folder), encoding="utf-8")
    return path.as_uri(), PICTURES[request.param]


@pytest.fixture
def address(page_and_pictures):
    return page_and_pictures[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_its_window_and_loads_and_logs_nothing_more(browser, page_and_pictures, width, scheme):
    address, pictures = page_and_pictures
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    console, requested = [], []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requested.append(request.url))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.scrollWidth") <= width
    assert console == []
    assert requested == [address]
    visible = page.eval_on_selector_all("svg", "all => all.filter(svg => svg.getBoundingClientRect().width > 0).length")
    assert visible == pictures
    context.close()


def test_the_button_changes_the_theme(browser, address):
    context = browser.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(address)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    assert page.inner_text("#theme") == page.get_attribute("#theme", "data-light")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light
    context.close()


CROWDED = """
() => {
  const crowded = [];
  for (const svg of document.querySelectorAll("svg")) {
    const view = svg.getBoundingClientRect();
    if (!view.width) continue;
    const texts = [...svg.querySelectorAll("text")]
      .map(text => [text.textContent.trim(), text.getBoundingClientRect()]).filter(([text]) => text);
    texts.forEach(([text, box], place) => {
      if (box.left < view.left - 1 || box.right > view.right + 1) crowded.push(`${text} is cut off`);
      for (const [beside, other] of texts.slice(place + 1)) {
        const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        if (wide > 1 && high > 0.3 * Math.min(box.height, other.height)) crowded.push(`${text} is on ${beside}`);
      }
    });
  }
  return crowded;
}
"""


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_text_of_a_picture_is_cut_off_or_over_another(browser, address, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(address)
    assert page.evaluate(CROWDED) == []
    page.close()


def test_pictures_have_titles_and_descriptions_for_screen_readers(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(report(tmp_path), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    for picture in page.locator("svg:visible").all():
        names = picture.get_attribute("aria-labelledby").split()
        title, description = (picture.locator(f"#{name}").text_content() for name in names)
        assert title
        assert description.endswith(".")
    # the journey of a user is written in words beside bars that a screen reader skips
    row = page.locator(".journeys li.typical").first
    assert row.locator(".bar").get_attribute("aria-hidden") == "true"
    assert "first token after" in row.inner_text()
    assert page.locator("table th:not([scope])").count() == 0
    page.close()


CONTRAST = """
() => {
  const parse = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll("h1,h2,h3,p,td,th,dt,dd,li,li span,figcaption,caption,small,a,code,button,text")) {
    if (!node.textContent.trim() || !node.getBoundingClientRect().width) continue;
    const style = getComputedStyle(node);
    const colour = parse(node.tagName === "text" ? style.fill : style.color);
    const [a, b] = [light(colour), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.tagName}.${node.className} ${node.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser, address, scheme):
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    assert page.evaluate(CONTRAST) == []
    context.close()
