"""Small parts that a panel is built of: what a result is, its figure and the pages of its tabs, styled widgets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import ipywidgets as widgets
import pandas as pd
import plotly.graph_objects as go

from widgets._theme import CSS, count, facts, in_html, table

__all__ = ["Result", "button", "draw", "each", "facts_html", "frame_html", "pages", "rows_html", "styled"]


class Result(Protocol):
    """What a run makes: data, and the views of it that a panel shows."""

    def plain(self) -> Any:
        """Return what ``run`` returns: arrays, numbers and texts."""

    def figure(self) -> go.Figure:
        """Return a plain figure, whose title says the finding."""

    def frame(self) -> pd.DataFrame:
        """Return the figure's twin, a table."""

    def caption(self) -> str:
        """Return how to read the figure, and what it cannot show."""

    def facts(self) -> dict[str, object]:
        """Return the "Model" if there is one, what was shown of how much, and what else a reader may doubt."""


def styled(widget: widgets.DOMWidget, style: str) -> Any:
    """Return the widget with a class of ``panel.css``."""
    widget.add_class(style)
    return widget


def button(description: str, tooltip: str, act: Callable[[], Any], **options: Any) -> widgets.Button:
    """Return a button that does something when it is pressed."""
    made = widgets.Button(description=description, tooltip=tooltip, **options)
    made.on_click(lambda _: act())
    return made


def each(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    """Yield a widget and all that are in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from each(child)


def draw(plot: widgets.Output, figure: go.Figure) -> widgets.Output:
    """Put a plain figure into an output, which keeps its height when the figure is renewed."""
    plot.layout.height = f"{figure.layout.height}px"
    content = {**figure.to_dict(), "config": {"displaylogo": False, "showSendToCloud": False}}
    data = {"application/vnd.plotly.v1+json": content}
    plot.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
    return plot


def pages(result: Result, code: str, limit: int = 20) -> tuple[str, str, str]:
    """Return the pages Table, Code and Facts of a result as HTML; the table has ``limit`` rows at most."""
    import workbench

    frame = result.frame()
    note = f"The first {limit} of {count(len(frame))} rows; to_frame() has them all." if len(frame) > limit else ""
    rest = f"\n… {count(len(code) - 4000)} more letters: print(panel.to_code())" if len(code) > 4000 else ""
    words = getattr(result, "words", ())  # those that a table marks
    return (
        rows_html(frame.head(limit), note, words),
        f"<pre>{in_html(code[:4000] + rest)}</pre>",
        facts({**result.facts(), "Made with": f"sentence-workbench {workbench.__version__}"}),
    )


def frame_html(frame: pd.DataFrame, note: str = "") -> str:
    """Return a frame as HTML that looks like a panel's table, with a note below."""
    return f"{CSS}<div class='wb-report'>{rows_html(frame, note)}</div>"


def facts_html(pairs: Mapping[str, object]) -> str:
    """Return named facts as HTML that looks like a panel's."""
    return f"{CSS}<div class='wb-report'>{facts(pairs)}</div>"


def rows_html(frame: pd.DataFrame, note: str, words: Sequence[str] = ()) -> str:
    """Return a frame as an HTML table with a note below, ``words`` marked, and numbers with four decimals."""
    if not len(frame):
        return f"<p class='wb-note'>{in_html(note or 'There are no rows.')}</p>"
    rows = [
        [f"{value:.4f}" if isinstance(value, float) else value for value in row]
        for row in frame.itertuples(index=False, name=None)
    ]
    return table(list(frame.columns), rows, note, words)
