"""Maps of vectors: UMAP, PCA and t-SNE behind one call, maps that compare two models, and how far to trust them."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize as scale
from torch.nn.functional import pad

from workbench._optional import require
from workbench.errors import VectorError, choose
from workbench.progress import track
from workbench.search.topk import top_k
from workbench.texts import as_texts
from workbench.vectors import as_matrix, blocks, whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "Projection", "aligned", "neighbour_overlap", "project"]

_Floats = npt.NDArray[np.float32]
_Layout = Callable[..., Any]  # (rows, wide) vectors, (rows, dim) starting places, seed, settings → (rows, dim) places

_WIDE = 50  # dimensions that UMAP and t-SNE see: the first principal components
_FEWEST = 5  # rows below which neighbourhoods mean nothing, so that the map is PCA
_MEASURED = 2000  # rows on which trustworthiness is measured
_NEAREST = 5  # fitted rows that say where a row belongs that was not fitted


@dataclass(frozen=True, eq=False)
class Projection:
    """Where each row lies on a map, how the map was made, and how far it can be trusted."""

    coordinates: _Floats  # (n, dim)
    method: str  # what was really done: "pca" for fewer than 5 rows
    settings: dict[str, Any] = field(default_factory=dict)
    seed: int | None = 0
    fitted: int = 0  # rows that shaped the map
    transformed: int = 0  # rows placed on it afterwards, by the fitted rows nearest to them
    trustworthiness: float = float("nan")  # 0 to 1: are neighbours on the map neighbours indeed? NaN below 3 rows
    measured: int = 0  # rows on which that was measured

    def __len__(self) -> int:
        return len(self.coordinates)

    def to_frame(self, texts: Any = None) -> "pd.DataFrame":
        """Return a table with one line per row: its coordinates, and ``text`` where texts are given."""
        import pandas as pd

        dim = self.coordinates.shape[1]
        frame = pd.DataFrame(self.coordinates, columns=list("xyz"[:dim]) if dim <= 3 else [f"d{i}" for i in range(dim)])
        if texts is None:
            return frame
        rows, _ = as_texts(texts, name="texts")
        if len(rows) != len(self):
            raise ValueError(f"Got {len(rows)} texts for {len(self)} rows; expected one for each.")
        return frame.assign(text=rows)


def project(
    embeddings: Any,
    method: str = "umap",
    *,
    dim: int = 2,
    seed: int | None = 0,
    normalize: bool = True,
    max_fit: int = 20_000,
    show: bool | None = None,
    **settings: Any,
) -> Projection:
    """Lay vectors out on a map.

    "umap" keeps neighbourhoods and much of the order between them; "tsne" neighbourhoods only, and is slower; "pca" is
    the straight projection that keeps most variance: distances mean something, but groups may lie over each other. The
    first two see the 50 first principal components and start from them. Above ``max_fit`` rows they are fitted on a
    random sample, and each other row is placed at the mean of the 5 fitted rows nearest to it, weighted by nearness;
    ``fitted`` and ``transformed`` say how many there were of each. PCA takes every row, however many there are.

    McInnes et al., 2018 (arXiv:1802.03426); van der Maaten & Hinton, 2008; starting places: Kobak & Linderman, 2021.

    Args:
        embeddings: (n, dim) vectors; a file mapped into memory is read in parts.
        method: one of ``METHODS``.
        dim: dimensions of the map; "tsne" has at most 3.
        seed: of the sample and the layout; None lets UMAP use all processors, and differ from run to run.
        normalize: scale vectors to length 1 first, so that the map follows the cosine.
        max_fit: rows to fit at most.
        show: whether to show progress; see ``workbench.show_progress``.
        settings: of ``umap.UMAP`` (``n_neighbors``, ``min_dist`` …) or scikit-learn's ``TSNE`` (``perplexity`` …).

    Raises:
        ChoiceError: an unknown method.
        VectorError: no table of finite numbers; names the rows.
        ValueError: ``dim`` or ``max_fit`` too small.
        DependencyError: UMAP is not installed.
    """
    choose("method", method, METHODS)
    matrix = as_matrix(embeddings)
    vectors = _components([matrix], _WIDE if method != "pca" else dim, normalize, ["embeddings"])
    places, fitted, method = _lay_out(vectors, method, dim, seed, max_fit, show, settings)
    return _measure(places, matrix, method, settings, seed, fitted, normalize)


def aligned(
    before: Any,
    after: Any,
    method: str = "umap",
    *,
    dim: int = 2,
    seed: int | None = 0,
    normalize: bool = True,
    max_fit: int = 20_000,
    show: bool | None = None,
    **settings: Any,
) -> tuple[Projection, Projection]:
    """Lay out two embeddings of the same rows, such as those before and after training, so that they can be compared.

    The vectors of ``after`` are turned and shifted, as one rigid whole, to where most rows lie nearest to their
    ``before``; then one map is made of both. So a text that did not move against the others stays put, and one that
    moved lies among its new neighbours. The two models may differ in dimensions. Arguments and errors: ``project``.

    Returns:
        The map before, and the map after, in the same coordinates.
    """
    choose("method", method, METHODS)
    sides = _sides(before, after)
    both = _components(sides, _WIDE, normalize, ["before", "after"])
    first, second = both.chunk(2) if len(both) else (both, both)
    second = _onto(second, first)
    # Rows that stay are one point, so that they stay exactly.
    moved = (second - first).norm(dim=1) > 1e-3 * first.norm(dim=1).mean()
    method = method if len(first) >= _FEWEST else "pca"
    joint = torch.cat([first, second[moved]])
    places, fitted, method = _lay_out(joint, method, dim, seed, max_fit, show, settings)
    rows = np.arange(len(first))  # of each text in the joint map
    later = np.where(moved, len(first) + moved.cumsum(0) - 1, rows)
    return (
        _measure(places[rows], sides[0], method, settings, seed, fitted[rows], normalize),
        _measure(places[later], sides[1], method, settings, seed, fitted[later], normalize),
    )


def neighbour_overlap(
    before: Any, after: Any, k: int = 10, *, metric: str = "cosine", show: bool | None = None
) -> _Floats:
    """Return for each row the share of its k nearest other rows that are the same in two embeddings: (n,), 0 to 1.

    1: the text has the same company as before; 0: a new one. Compares models without any map, exactly, and works
    between different dimensions. With fewer than k other rows, k is their number; a single row has NaN.

    Raises:
        VectorError: the two differ in rows, or hold NaN or infinite values.
        ChoiceError: an unknown metric.
        ValueError: k is below 1.
    """
    sides = _sides(before, after)
    n = len(sides[0])
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one neighbour.")
    k = min(k, n - 1)
    if k < 1:
        return np.full(n, np.nan, np.float32)
    own = torch.arange(n)[:, None]
    lists = []
    for side in sides:
        found = top_k(side, side, k + 1, metric=metric, show=show)[1].cpu()
        itself = found == own
        itself[~itself.any(dim=1), k] = True  # twins of a row may leave no place for the row itself
        lists.append(found[~itself].view(n, k))
    overlap = np.empty(n, np.float32)
    size = max(1, 2**22 // k**2)
    for start in range(0, n, size):
        some = slice(start, start + size)
        same = lists[0][some, :, None] == lists[1][some, None, :]  # (rows, k, k)
        overlap[some] = same.any(dim=2).float().mean(dim=1).numpy()
    return overlap


def _umap(vectors: _Floats, start: _Floats, seed: int | None, settings: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # The package warns of an optional package, of threads that a seed rules out, and of parts without connection.
        warnings.simplefilter("ignore")
        umap = require("umap", extra="lab")
        settings = {"n_neighbors": min(15, len(vectors) - 1)} | settings
        return umap.UMAP(n_components=start.shape[1], init=start, random_state=seed, **settings).fit_transform(vectors)


def _tsne(vectors: _Floats, start: _Floats, seed: int | None, settings: dict[str, Any]) -> Any:
    from sklearn.manifold import TSNE

    settings = {"perplexity": min(30.0, (len(vectors) - 1) / 3)} | settings
    return TSNE(n_components=start.shape[1], init=1e-4 * start, random_state=seed, **settings).fit_transform(vectors)


METHODS: dict[str, _Layout | None] = {"umap": _umap, "pca": None, "tsne": _tsne}
"""The kinds of maps; PCA needs no layout beyond the principal components."""


def _components(sides: Sequence[Any], dim: int, unit: bool, names: Sequence[str]) -> Tensor:
    """The principal components of all rows of all sides, (rows, dim) float32, strongest first, from two readings."""
    if dim < 1:
        raise ValueError(f"dim is {dim}; a map has at least one dimension.")
    width = max(side.shape[1] for side in sides)
    count = sum(len(side) for side in sides)

    def parts() -> Iterator[Tensor]:
        for side, name in zip(sides, names, strict=True):
            for _, rows in blocks(side, device="cpu", name=name):
                yield pad(scale(rows) if unit else rows, (0, width - rows.shape[1])).double()

    total, gram = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for rows in parts():
        total += rows.sum(0)
        gram += rows.T @ rows
    mean = total / max(count, 1)
    axes = torch.linalg.eigh(gram / max(count, 1) - torch.outer(mean, mean)).eigenvectors.flip(1)[:, :dim]
    if axes.numel():  # the side that an axis points to is a free choice: its largest entry is positive
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    found = torch.zeros(count, dim)
    place = 0
    for rows in parts():
        found[place : place + len(rows), : axes.shape[1]] = ((rows - mean) @ axes).float()
        place += len(rows)
    return found


def _lay_out(
    vectors: Tensor,
    method: str,
    dim: int,
    seed: int | None,
    max_fit: int,
    show: bool | None,
    settings: dict[str, Any],
) -> tuple[_Floats, npt.NDArray[np.bool_], str]:
    """Places of principal components on a map, which of them shaped it, and the method that was really used."""
    if dim < 1 or max_fit < _FEWEST:
        raise ValueError(f"dim is {dim} and max_fit {max_fit}; expected 1 or more, and {_FEWEST} or more.")
    layout, count = METHODS[method], len(vectors)
    flat = pad(vectors, (0, max(0, dim - vectors.shape[1])))[:, :dim].contiguous()
    if layout is None or count < _FEWEST or not vectors.any():
        return flat.numpy(), np.ones(count, np.bool_), "pca"
    draw = np.random.default_rng(seed)
    fitted = np.sort(draw.permutation(count)[:max_fit])
    known = vectors[fitted]
    # Places of one spread, and none the same as another: UMAP divides by the range of each axis.
    start = (flat[fitted] / flat[:, 0].std()).numpy() + 1e-3 * draw.normal(size=(len(fitted), dim)).astype(np.float32)
    with track(count, unit="rows", desc=f"Fitting the map ({method})", show=show) as bar:
        fit = torch.from_numpy(np.asarray(layout(known.numpy(), start, seed, settings), np.float32))
        bar.update(len(fitted))
        places = torch.empty(count, dim)
        places[fitted] = fit
        rest = np.setdiff1d(np.arange(count), fitted, assume_unique=True)
        if len(rest):
            scores, nearest = top_k(vectors[rest], known, min(_NEAREST, len(known)), metric="euclidean", show=show)
            weights = 1 / (1e-6 - scores)  # distances are negated
            weights /= weights.sum(1, keepdim=True)
            places[rest] = (weights[:, :, None] * fit[nearest]).sum(1)
            bar.update(len(rest))
    return places.numpy(), np.isin(np.arange(count), fitted), method


def _measure(
    places: _Floats,
    matrix: Any,
    method: str,
    settings: dict[str, Any],
    seed: int | None,
    fitted: npt.NDArray[np.bool_],
    unit: bool,
) -> Projection:
    """Put a map into its result, with its trustworthiness (Venna & Kaski, 2001) on a sample of rows."""
    from sklearn.manifold import trustworthiness

    count, shaped = len(places), int(fitted.sum())
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:_MEASURED])
    value = float("nan")
    if count > 2:
        vectors = whole(matrix[rows], unit=unit, device="cpu").numpy()
        value = float(trustworthiness(vectors, places[rows], n_neighbors=min(5, (len(rows) - 1) // 2)))
    return Projection(places, method, settings, seed, shaped, count - shaped, value, len(rows) if count > 2 else 0)


def _sides(before: Any, after: Any) -> list[Any]:
    sides = [as_matrix(before, name="before"), as_matrix(after, name="after")]
    if len(sides[0]) != len(sides[1]):
        raise VectorError(
            f"before has {len(sides[0])} rows and after {len(sides[1])}; expected the same texts in both."
        )
    return sides


def _onto(moving: Tensor, fixed: Tensor, rounds: int = 30) -> Tensor:
    """Turn and shift rows to where most of them lie nearest to their twins: Procrustes, weighted anew in each round.

    Weights of 1 / distance make the sum of distances least, not that of squares, so that rows that stayed decide.
    """
    floor = 1e-9 + 1e-5 * fixed.norm(dim=1).mean() if len(fixed) else 0
    weights, turned = torch.ones(len(moving), 1), moving
    for _ in range(rounds if len(moving) else 0):
        weights = weights / weights.sum()
        here, there = (weights * moving).sum(0), (weights * fixed).sum(0)
        u, _, v = torch.linalg.svd(((moving - here) * weights).T @ (fixed - there))
        turned = (moving - here) @ (u @ v) + there
        weights = 1 / (floor + (turned - fixed).norm(dim=1, keepdim=True))
    return turned
