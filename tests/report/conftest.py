"""For tests of pages."""

import html

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from llmlocust.report.charts import drawing


class WordsOfFigure(Figure):
    """A figure that is saved as its words alone."""

    def savefig(self, out, **_):
        for axes in self.axes:
            axes.get_xticklabels()  # which are made when they are asked for
            axes.get_yticklabels()
        words = {text.get_text() for text in self.findobj(Text)}
        out.write(
            f'<svg viewBox="0 0 1 1">{"".join(f"<text>{html.escape(each, quote=False)}</text>" for each in words)}</svg>'
        )


@pytest.fixture
def undrawn(monkeypatch):
    """Pages whose pictures hold their words alone: to lay them out and draw them takes nine tenths of a page's time."""
    monkeypatch.setattr(drawing, "Figure", WordsOfFigure)
