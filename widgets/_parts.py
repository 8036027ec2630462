"""Small parts that a panel is built of: styled widgets, a figure in an output, and the pages of its tabs."""

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from widgets._theme import count, facts, in_html, table

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["draw", "fold", "pages", "styled"]


def styled(widget: widgets.DOMWidget, style: str) -> Any:
    """Return the widget with a class of ``panel.css``."""
    widget.add_class(style)
    return widget


def draw(plot: widgets.Output, figure: "go.Figure") -> widgets.Output:
    """Put a plain figure into an output, which keeps its height when the figure is renewed."""
    plot.layout.height = f"{figure.layout.height}px"
    content = {**figure.to_dict(), "config": {"displaylogo": False, "showSendToCloud": False}}
    data = {"application/vnd.plotly.v1+json": content}
    plot.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
    return plot


def fold(button: widgets.ToggleButton, rest: widgets.HBox) -> None:
    """Show or hide the further inputs, as the button says."""
    rest.layout.display = "" if button.value else "none"
    button.description = "▾ More" if button.value else "▸ More"


def pages(result: Any, code: str) -> tuple[str, str, str]:
    """Return the pages Table, Code and Facts of a result as HTML."""
    frame = result.frame()
    rows = [
        [f"{value:.4f}" if isinstance(value, float) else value for value in row]
        for row in frame.head(20).itertuples(index=False, name=None)
    ]
    note = f"The first {len(rows)} of {count(len(frame))} rows; to_frame() has them all." if len(frame) > 20 else ""
    rest = f"\n… {count(len(code) - 4000)} more letters: print(panel.to_code())" if len(code) > 4000 else ""
    words = getattr(result, "words", ())  # those that a table marks
    return (
        table(list(frame.columns), rows, note, words),
        f"<pre>{in_html(code[:4000] + rest)}</pre>",
        facts(result.facts()),
    )
