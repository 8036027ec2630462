"""What the explorer finds in texts: vectors, maps, clusters, and each text's true neighbours."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from widgets._map_figure import Groups, map_figure
from widgets._models import load_model, model_name, vectors_of
from widgets._theme import count
from workbench.errors import TruncationWarning, WorkbenchError
from workbench.progress import track

if TYPE_CHECKING:
    from workbench.clustering import Clusters
    from workbench.projection import Projection

__all__ = [
    "SHARED", "Exploration", "called", "cluster_rows", "cluster_settings", "gather", "is_vectors", "lay_out",
    "may_learn",
]  # fmt: skip

_Rows = npt.NDArray[np.int64]

_JUDGED = 20_000  # rows whose nearest texts are looked for among all, in search of outliers and duplicates
_NEAREST = 5
SHARED = 10  # nearest texts that are compared before and after


@dataclass(frozen=True, eq=False)
class Exploration:
    """n texts that were shown: their vectors, maps, clusters and nearest texts."""

    data: pd.DataFrame  # all rows that were brought
    rows: _Rows  # (n,) of them that are shown
    texts: list[str]
    model: Any  # by name or loaded: it turns a query into a vector
    given: bool  # whether the vectors were given, and not made by that model
    cut: str  # whether the model cut any texts
    vectors: tuple[Any, ...]  # (n, dim) for each map
    names: list[str]  # of the maps
    maps: "dict[str, Projection]"
    linked: bool
    clusters: "Clusters"
    topics: Groups
    groups: Groups  # what the points are coloured by
    judged: _Rows  # (j,) places among the n texts
    nearest: _Rows  # (j, 5) places of the texts nearest to them, -1 where there are none
    alike: npt.NDArray[np.float32]  # (j, 5) their similarity
    kept: npt.NDArray[np.float32] | None  # (n,) share of the nearest texts that stay, where there are two vectors
    seed: int

    def plain(self) -> pd.DataFrame:
        """Return the table of what was found."""
        return self.frame()

    def figure(self) -> go.Figure:
        """Return the map, or both."""
        return map_figure(
            self.maps, self.groups, self.texts, rows=self.rows, total=len(self.data), linked=self.linked,
            kept=None if self.kept is None else float(self.kept.mean()),
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return the rows that are shown, with their own columns, their cluster and its words, and their places."""
        own = self.data.iloc[self.rows]
        words = np.array([*self.topics.names, ""], dtype=object)[self.clusters.labels]
        found: dict[str, Any] = {"cluster": self.clusters.labels, "topic": words}
        for place, projection in enumerate(self.maps.values()):
            end = " after" if place else ""
            found |= {f"x{end}": projection.coordinates[:, 0], f"y{end}": projection.coordinates[:, 1]}
        if self.kept is not None:
            found["nearest kept"] = self.kept
        return own.assign(**{name if name not in own else f"{name} (map)": values for name, values in found.items()})

    def place(self, row: int) -> int:
        """Return where a row of the data stands among the texts that are shown.

        Raises:
            WorkbenchError: it is not shown.
        """
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            total = len(self.data)
            why = f"it was left out of the map, for want of text or of room: {count(len(self.rows))} rows are shown"
            raise WorkbenchError(f"Row {row}: {why if 0 <= row < total else f'there are rows 0 to {total - 1}'}.")
        return place

    def neighbours(self, row: int, k: int = 10) -> pd.DataFrame:
        """Return the k texts nearest to a row's in the space of the vectors, the nearest first, as ``find`` does."""
        place = self.place(row)
        found = self._near(self.vectors[0][place : place + 1], k + 1)
        return found[found["row"] != row].head(k).reset_index(drop=True)

    def find(self, query: str, k: int = 10) -> pd.DataFrame:
        """Return the k texts nearest to a query: ``row``, ``similarity`` (cosine), ``text``.

        Raises:
            WorkbenchError: the vectors were given, and the model is not the one that made them.
        """
        model = load_model(self.model)
        if self.given:
            own, made = np.asarray(self.vectors[0][:3], np.float32), np.asarray(model.encode(self.texts[:3]))
            norms = np.linalg.norm(own, axis=1) * np.linalg.norm(made, axis=1) if own.shape == made.shape else 0
            if np.any(norms == 0) or np.min((own * made).sum(1) / norms) < 0.9:
                raise WorkbenchError(
                    f"The vectors that were given are not those of {model_name(self.model)}: "
                    "to search, name the model that made them."
                )
        return self._near(vectors_of(model, [query], "encode_query"), k)

    def outliers(self, k: int = 20) -> pd.DataFrame:
        """Return the k texts least like their 5 nearest: ``row``, ``similarity`` (the mean cosine), ``text``."""
        means = pd.DataFrame(np.where(self.nearest < 0, np.nan, self.alike)).mean(axis=1).to_numpy()
        return self._listed(self.judged[order := np.argsort(means, kind="stable")[:k]], means[order])

    def duplicates(self, threshold: float = 0.95) -> pd.DataFrame:
        """Return pairs of texts with a cosine of ``threshold`` or more, of each text with its 5 nearest, best first."""
        line, column = np.nonzero((self.alike >= threshold) & (self.nearest >= 0))
        ends = np.sort(np.stack([self.judged[line], self.nearest[line, column]], axis=1), axis=1)
        ends, first = np.unique(ends, axis=0, return_index=True)
        scores = self.alike[line, column][first]
        order = np.argsort(-scores, kind="stable")
        sides = [self._listed(ends[order, side], scores[order]) for side in (0, 1)]
        texts = {f"{name} {side + 1}": sides[side][name] for side in (0, 1) for name in ("row", "text")}
        return pd.DataFrame({**texts, "similarity": sides[0]["similarity"]})

    def _near(self, vector: Any, k: int) -> pd.DataFrame:
        from workbench.search.topk import top_k

        scores, places = top_k(vector, self.vectors[0], min(k, len(self.rows)), show=False)
        return self._listed(places[0].cpu().numpy(), scores[0].cpu().numpy())

    def _listed(self, places: Any, scores: Any) -> pd.DataFrame:
        texts = [self.texts[place] for place in places]
        return pd.DataFrame({"row": self.rows[places], "similarity": scores.astype(float), "text": texts})

    def caption(self) -> str:
        """Return how to read the map."""
        colours = "colour and symbol show " + (
            "the cluster, called by the words that set it apart"
            if self.groups.what == "cluster"
            else f"the column “{self.groups.what}”"
        )
        if len(self.maps) == 1:
            two = ""
        elif self.linked:
            two = " Both maps share their places: a text that stands elsewhere has other company now."
        else:
            two = " Each map has places of its own: compare who stands together, not where."
        return (
            f"Each point is a text; {colours}. Texts that stand together are alike to the model, but distance on the "
            f"map is not similarity: click a point for its true neighbours.{two}"
        )

    def facts(self) -> dict[str, object]:
        """Return what was shown of how much, and how it was made."""
        made = ", ".join(f"{name} {value}" for name, value in self.clusters.settings.items() if value is not None)
        found: dict[str, object] = {
            "Model": f"{called(self.vectors[0] if self.given else self.model)}, {self.vectors[0].shape[1]} dimensions",
            "Texts shown": f"{count(len(self.rows))} of {count(len(self.data))} rows",
            "Cut": self.cut,
            "Clusters": f"{count(len(self.clusters))} by {self.clusters.method} ({made}); "
            f"{count(self.clusters.outliers)} texts in none",
        }
        for name, made_map in self.maps.items():
            knobs = "".join(f", {knob} {value}" for knob, value in made_map.settings.items())
            found[f"Map {name}".strip()] = (
                f"{made_map.method}{knobs}, seed {made_map.seed}, fitted on {count(made_map.fitted)} rows; "
                f"trustworthiness {made_map.trustworthiness:.4f}, measured on {count(made_map.measured)} rows "
                f"(1: neighbours on the map are neighbours indeed)"
            )
        if self.kept is not None:
            found["Nearest kept"] = f"{self.kept.mean():.4f} of each text's {SHARED} nearest are the same in both"
        return found | {
            "Outliers, duplicates": f"looked for among {count(len(self.judged))} of {count(len(self.rows))} texts",
            "Seed": self.seed,
        }


def gather(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an ``Exploration`` that take the longest: its texts, their vectors and nearest texts.

    Raises:
        WorkbenchError: there are fewer than two texts, or vectors do not fit them.
    """
    from workbench.projection import neighbour_overlap

    rows = np.array([row for row, text in enumerate(inputs["texts"]) if text.strip()], dtype=np.int64)
    if len(rows) > inputs["most"]:
        rows = np.sort(np.random.default_rng(inputs["seed"]).permutation(rows)[: inputs["most"]])
    texts, total = [inputs["texts"][row] for row in rows], len(inputs["texts"])
    if len(rows) < 2:
        raise WorkbenchError(
            f"A map needs two texts or more; this column holds {len(rows)}. Choose other data, or another column."
        )
    given, model = inputs["embeddings"] is not None, inputs["model"]
    source, after = inputs["embeddings"] if given else model, inputs["after"]
    first, cut = _vectors(source, texts, rows, total, "embeddings")
    vectors: tuple[Any, ...] = (first,)
    names, kept = [""], None
    if after is not None:
        second, _ = _vectors(after, texts, rows, total, "after")
        vectors, names = (first, second), [f"before: {called(source)}", f"after: {called(after)}"]
        kept = neighbour_overlap(first, second, SHARED)
    judged, nearest, alike = _nearest(first, inputs["seed"])
    return {
        "data": inputs["frame"], "rows": rows, "texts": texts, "model": model, "given": given, "cut": cut,
        "vectors": vectors, "names": names, "judged": judged, "nearest": nearest, "alike": alike, "kept": kept,
    }  # fmt: skip


def _vectors(source: Any, texts: list[str], rows: _Rows, total: int, what: str) -> tuple[Any, str]:
    """(n, dim) vectors of texts, by a model or of those that were given for all rows; what was cut."""
    from workbench.vectors import as_matrix

    if not is_vectors(source):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TruncationWarning)
            vectors = np.asarray(load_model(source).encode(texts), np.float32)
        cuts = [str(w.message).partition(" and were")[0] for w in caught if issubclass(w.category, TruncationWarning)]
        return vectors, "; ".join(cuts) or "no text"
    if isinstance(source, str):
        try:
            source = np.load(source, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise WorkbenchError(f"{what}: {source} cannot be read as a file of numpy: {error}") from error
    matrix = as_matrix(source, name=what)
    if len(matrix) != total:
        raise WorkbenchError(f"{what} have {count(len(matrix))} rows, the data {count(total)}; expected one for each.")
    return matrix if len(rows) == total else matrix[rows], "unknown"


def may_learn(source: Any) -> bool:
    """Whether it may give other vectors than before: a model that is an object or a folder."""
    return source is not None and not is_vectors(source) and (not isinstance(source, str) or Path(source).is_dir())


def called(source: Any) -> str:
    """Return the name of what vectors come from."""
    return "given vectors" if is_vectors(source) else model_name(source)


def is_vectors(source: Any) -> bool:
    """Whether something stands for vectors, or for a file of them, rather than for a model."""
    return source.endswith(".npy") if isinstance(source, str) else not hasattr(source, "encode")


def lay_out(
    vectors: tuple[Any, ...], names: list[str], method: str, seed: int, linked: bool, settings: Any
) -> "dict[str, Projection]":
    """Make a map of each (n, dim) vectors: one; or two that share their places (``linked``), or do not."""
    from workbench.projection import aligned, project

    with _stage(f"Laying out the map ({method})"):
        if linked and len(vectors) == 2:
            made: Sequence[Projection] = aligned(*vectors, method, seed=seed, **settings)
        else:
            made = [project(side, method, seed=seed, **settings) for side in vectors]
    return dict(zip(names, made, strict=True))


def cluster_rows(vectors: Any, method: str, seed: int, settings: Any) -> "Clusters":
    """Cluster (n, dim) vectors; HDBSCAN, for which many dimensions are all alike, sees five of a UMAP map."""
    from workbench.clustering import cluster
    from workbench.projection import project

    with _stage(f"Clustering ({method})"):
        if method == "hdbscan":
            vectors = project(vectors, dim=5, seed=seed).coordinates
        return cluster(vectors, method, **cluster_settings(method, len(vectors), seed, settings))


def cluster_settings(method: str, number: int, seed: int, settings: Any) -> dict[str, Any]:
    """Return the settings that a method gets for a number of rows; 0 leaves the choice to the method."""
    given = {name: value for name, value in settings.items() if value}
    if method in ("kmeans", "agglomerative") and "distance_threshold" not in given:
        given = {"n_clusters": min(8, number)} | given
    own: dict[str, dict[str, Any]] = {"kmeans": {"seed": seed}, "hdbscan": {"normalize": False}}
    return {**given, **own.get(method, {})}


def _nearest(vectors: Any, seed: int) -> tuple[_Rows, _Rows, npt.NDArray[np.float32]]:
    """Places of texts to judge, and the places and similarities of the 5 nearest to each, itself left out."""
    from workbench.search.topk import top_k

    number = len(vectors)
    judged = np.sort(np.random.default_rng(seed).permutation(number)[:_JUDGED])
    scores, found = (part.cpu().numpy() for part in top_k(vectors[judged], vectors, _NEAREST + 1))
    itself = found == judged[:, None]
    itself[~itself.any(axis=1), -1] = True  # twins of a text may leave no place for the text itself
    shape = (len(judged), _NEAREST)
    return judged, found[~itself].reshape(shape), scores[~itself].reshape(shape)


@contextmanager
def _stage(desc: str) -> Iterator[None]:
    """Say what begins now, since it may not report before its end, and turn a setting that does not fit into words."""
    try:
        with track(1, unit="steps", desc=desc) as bar:
            bar.update(0)
            yield
    except ValueError as error:
        raise error if isinstance(error, WorkbenchError) else WorkbenchError(str(error)) from error
