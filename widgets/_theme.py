"""How panels and figures look: colours, plotly layout, and text and numbers that are safe and easy to read."""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "CATEGORIES", "CSS", "DIVERGING", "FONT", "INK", "OTHER", "SEQUENTIAL", "SYMBOLS", "count", "cut", "duration",
    "facts", "headline", "in_figure", "in_html", "ink_on", "layout", "marked", "one_line", "table", "wrap",
]  # fmt: skip

# Blue is below zero, orange above; the lightness is even on both sides, so neither looks like more.
DIVERGING = ["rgb(0,114,178)", "rgb(127,184,220)", "rgb(255,255,255)", "rgb(240,178,122)", "rgb(213,94,0)"]
SEQUENTIAL = "Cividis"
# Okabe and Ito, Color Universal Design: told apart with any colour vision; the black is a grey that a dark theme shows.
CATEGORIES = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "#7f7f7f"]
SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon"]  # one for each category
OTHER = "#b6bcc2"  # whatever is beyond the eight largest categories, or not selected
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Readable on white (4.5 : 1) and on dark (4.1 : 1); inside a panel the style sheet takes the theme's own colour.
INK = "#6e7781"
_AXIS = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
CSS = f"<style>{(Path(__file__).parent / 'panel.css').read_text(encoding='utf-8')}</style>"

# Line breaks, controls, and marks that reorder the text around them: a label must not be able to rewrite its neighbour.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]+")


def one_line(text: str, limit: int = 2000) -> str:
    """Return the first ``limit`` characters of a text on one line, without control characters."""
    return " ".join(_UNPRINTABLE.sub(" ", text.lstrip()[:limit]).split())


def cut(text: str, width: int = 40) -> str:
    """Return a text on one line of at most ``width`` columns (wide letters take two), cut at a word with "…"."""
    line = one_line(text, 10 * width)
    return line if _fit(line, width) == len(line) else line[: _break(line, width - 1)].rstrip() + "…"


def wrap(text: str, width: int = 60, lines: int = 4) -> list[str]:
    """Return a text as at most ``lines`` lines of ``width`` columns; what is left over is cut with "…"."""
    rest = one_line(text, 10 * width * lines)
    done: list[str] = []
    while len(done) < lines - 1 and _fit(rest, width) < len(rest):
        end = _break(rest, width)
        done.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*done, cut(rest, width)]


def in_figure(text: str) -> str:
    """Escape a text for plotly, which reads some HTML in labels, and formulas between dollar signs."""
    return html.escape(text, quote=False).replace("$", "&#36;")


def in_html(text: object) -> str:
    """Escape a text for HTML."""
    return html.escape(str(text), quote=True)


def marked(text: str, words: Sequence[str]) -> str:
    """Escape a text for HTML, with each word marked that is one of ``words`` in lower case, but for its ending."""
    parts = re.split(r"(\w+)", text)  # every second one is a word
    hits = [place % 2 == 1 and any(_alike(part.casefold(), word) for word in words) for place, part in enumerate(parts)]
    return "".join(
        f"<mark>{in_html(part)}</mark>" if hit else in_html(part) for part, hit in zip(parts, hits, strict=True)
    )


def _alike(one: str, other: str) -> bool:
    """Whether two words are the same up to an ending of at most three letters: parcel, parcels."""
    short, long = sorted((one, other), key=len)
    return one == other or (len(short) >= 4 and len(long) - len(short) <= 3 and long.startswith(short))


def count(number: int) -> str:
    """Return a count with thin spaces: 12 345."""
    return f"{number:,}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Return a time as 0.4 s, 12 s or 3 min."""
    if seconds < 0.1:
        return "under 0.1 s"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s" if seconds < 99.5 else f"{seconds / 60:.0f} min"


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on an ``rgb(r, g, b)`` colour (at least 4.5 : 1)."""
    parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#ffffff"


def headline(finding: str, more: str = "") -> str:
    """Return the title of a figure: what was found, and on a line of its own what else there is to say."""
    return f"<b>{finding}</b>" + (f"<br><span style='font-size:13px'>{more}</span>" if more else "")


def layout(title: str, height: int, margin: dict[str, int], keys: int = 0) -> dict[str, Any]:
    """Return the plotly layout of every figure: transparent ground, a mode bar of reset and download only.

    The ``keys`` of a legend stand side by side, so many pixels below the top; a narrow figure breaks their line.
    """
    clear = "rgba(0,0,0,0)"
    unwanted = ["zoom", "pan", "select", "lasso", "zoomin", "zoomout", "autoscale", "sendcharttocloud"]
    at_top = {"x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
    above = (margin["t"] - keys) / (height - margin["t"] - margin["b"])
    row = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1 + above, "yanchor": "top", "traceorder": "normal"}
    return {
        "template": {
            "layout": {
                "xaxis": {**_AXIS, "title": {"standoff": 6, "font": {"size": 13}}},
                "yaxis": {**_AXIS, "title": {"font": {"size": 13}}},
            }
        },
        "title": {"text": title, "font": {"size": 15}, "pad": {"t": 14}, **at_top},
        "height": height,
        "margin": margin,
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "font": {"family": FONT, "size": 13, "color": INK},
        "hoverlabel": {"align": "left", "font": {"family": FONT, "size": 13}, "namelength": -1},
        "modebar": {"remove": unwanted, "bgcolor": clear, "color": INK, "activecolor": INK},
        **({"legend": row} if keys else {}),
    }


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], note: str = "", words: Sequence[str] = ()) -> str:
    """Return an HTML table of escaped cells with ``words`` marked; a long text is cut and opens whole on click."""
    head = "".join(f"<th>{in_html(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value, words)}</td>" for value in row) + "</tr>" for row in rows)
    foot = f"<p class='wb-note'>{in_html(note)}</p>" if note else ""
    return f"<table class='wb-table'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"


def facts(pairs: Mapping[str, object]) -> str:
    """Return named facts as an HTML table."""
    rows = (f"<tr><th>{in_html(name)}</th><td>{in_html(value)}</td></tr>" for name, value in pairs.items())
    return f"<table class='wb-table wb-facts'>{''.join(rows)}</table>"


def _cell(value: object, words: Sequence[str]) -> str:
    if not isinstance(value, str) or (short := cut(value, 70)) == value:
        return f"<bdi>{marked(value, words) if isinstance(value, str) else in_html(value)}</bdi>"
    whole = marked(value if len(value) <= 5000 else value[:5000] + "…", words)
    return f"<details><summary><bdi>{marked(short, words)}</bdi></summary><div dir='auto'>{whole}</div></details>"


def _fit(text: str, width: int) -> int:
    """How many characters of ``text`` fit into ``width`` columns."""
    for index, letter in enumerate(text):
        width -= 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if width < 0:
            return index
    return len(text)


def _break(text: str, width: int) -> int:
    """Where to break ``text`` so that ``width`` columns hold it: after a word, unless that wastes half the line."""
    end = _fit(text, width)
    word = text.rfind(" ", 0, end + 1)
    return word if 2 * word >= end else end
