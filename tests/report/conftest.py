"""Fixtures for the tests of pages."""

import html

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from llmlocust.report.charts import drawing


class WordsOfFigure(Figure):
    """A figure that is saved as its text only."""

    def savefig(self, out, **_):
        for axes in self.axes:
            axes.get_xticklabels()  # the getters create the labels
            axes.get_yticklabels()
        words = {text.get_text() for text in self.findobj(Text)}
        out.write(
            f'<svg viewBox="0 0 1 1">{"".join(f"<text>{html.escape(word, quote=False)}</text>" for word in words)}</svg>'
        )


@pytest.fixture
def text_only_pictures(monkeypatch):
    """Make pages whose pictures have only their text: layout and drawing take nine tenths of the time of a page."""
    monkeypatch.setattr(drawing, "Figure", WordsOfFigure)
