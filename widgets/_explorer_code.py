"""Python that makes an explorer's map without the explorer."""

from collections.abc import Mapping
from typing import Any

from widgets._data_panel import written
from widgets._exploration import SHARED, called, cluster_settings, is_vectors
from widgets._models import model_name

__all__ = ["explorer_code"]


def explorer_code(inputs: dict[str, Any], data: Any) -> str:
    """Return Python that makes the figure of these inputs from ``data``, written as a literal."""
    column, colour, after, seed, most = (inputs[name] for name in ("column", "colour", "after", "seed", "most"))
    source = inputs["model"] if inputs["embeddings"] is None else inputs["embeddings"]
    number, way = sum(bool(text.strip()) for text in inputs["texts"]), inputs["clustering"]
    compared, linked = after is not None, inputs["linked"] and after is not None
    laid = f"{inputs['projection']!r}, seed={seed}{_written(inputs['projection_settings'])}"
    space = f"project(embeddings, dim=5, seed={seed}).coordinates" if way == "hdbscan" else "embeddings"
    settings = cluster_settings(way, min(number, most), seed, inputs["clustering_settings"])
    if linked:
        lay_out = [f"first, second = aligned(embeddings, later, {laid})"]
    else:
        lay_out = [f"first = project(embeddings, {laid})", *[f"second = project(later, {laid})"] * compared]
    maps = f"{{{f'before: {called(source)}'!r}: first, {f'after: {called(after)}'!r}: second}}"
    shown = "texts, rows=rows, total=len(frame)" + ", kept=kept" * compared + ", linked=True" * linked
    body = [
        f"frame = as_frame({written(data or [])})",
        f"column = frame[{column!r}].fillna('').tolist()",
        "rows = np.array([row for row, text in enumerate(column) if text.strip()])",
        *[f"rows = np.sort(np.random.default_rng({seed}).permutation(rows)[:{most}])"] * (number > most),
        "texts = [column[row] for row in rows]",
        f"embeddings = {_source(source, 'embeddings')}",
        *[f"later = {_source(after, 'later')}"] * compared,
        *lay_out,
        f"clusters = cluster({space}, {way!r}{_written(settings)})",
        f"groups = Groups.of(frame[{colour!r}].iloc[rows], {colour!r})"
        if colour
        else "groups = Groups.topics(clusters, texts)",
        *[f"kept = float(neighbour_overlap(embeddings, later, {SHARED}).mean())"] * compared,
        f"figure = map_figure({maps if compared else {'': 'first'}}, groups, {shown})".replace("'first'", "first"),
        "figure.show()",
    ]
    used = "\n".join(body)
    tools = [name for name in ("aligned", "neighbour_overlap", "project") if f"{name}(" in used]
    head = [
        "import numpy as np\n",
        "from widgets import Groups, as_frame, map_figure",
        *["from workbench import SentenceTransformer"] * ("SentenceTransformer(" in used),
        "from workbench.clustering import cluster",
        f"from workbench.projection import {', '.join(tools)}\n",
    ]
    return "\n".join([*head, *body]) + "\n"


def _written(settings: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in settings.items())


def _source(source: Any, name: str) -> str:
    if not is_vectors(source):
        return f"SentenceTransformer({model_name(source)!r}).encode(texts)"
    if isinstance(source, str):
        return f"np.load({source!r})[rows]"
    return f'np.load("{name}.npy")[rows]  # the vectors that the panel was given: save them there with np.save first'
