"""Maps keep neighbours, unmoved texts stay put, and neighbour overlap is that of brute force."""

import numpy as np
import pytest
import torch

from workbench import progress
from workbench.errors import Cancelled, ChoiceError, VectorError
from workbench.projection import METHODS, aligned, neighbour_overlap, project

LABELS = np.repeat([0, 1, 2], 20)
FAST = {"umap": {"n_epochs": 60}, "tsne": {"max_iter": 300, "perplexity": 8}, "pca": {}}


def groups(seed=0, dim=64):
    """Three groups of 20 rows in more dimensions than a map's layout sees."""
    draw = np.random.default_rng(seed)
    return (3 * np.eye(dim)[LABELS] + 0.2 * draw.normal(size=(60, dim))).astype(np.float32)


def centre_hits(places, labels=LABELS):
    """The share of rows whose own group's centre is the nearest on the map."""
    centres = np.stack([places[labels == label].mean(0) for label in range(3)])
    return (np.linalg.norm(places[:, None] - centres, axis=2).argmin(1) == labels).mean()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_keeps_groups_apart_and_says_how_it_was_made(method):
    found = project(groups(), method, seed=3, **FAST[method])
    assert (found.coordinates.shape, found.coordinates.dtype) == ((60, 2), np.float32)
    assert centre_hits(found.coordinates) == 1
    assert found.trustworthiness > 0.7
    assert (found.method, found.seed, found.settings) == (method, 3, FAST[method])
    assert (found.fitted, found.transformed, found.measured) == (60, 0, 60)
    np.testing.assert_array_equal(project(groups(), method, seed=3, **FAST[method]).coordinates, found.coordinates)


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_rows_beyond_the_limit_are_placed_by_their_neighbours_and_counted(method):
    found = project(groups(), method, max_fit=45, **FAST[method])
    assert (found.fitted, found.transformed) == (45, 15)
    assert centre_hits(found.coordinates) == 1


def test_pca_is_that_of_scikit_learn_for_any_form_of_rows(monkeypatch):
    from sklearn.decomposition import PCA

    monkeypatch.setattr("workbench.vectors.BLOCK_BYTES", 4096)  # several blocks
    rows = groups()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for given, source in ((rows, unit), (torch.tensor(rows), unit), (list(rows), unit), (rows[:, ::-1], unit[:, ::-1])):
        expected = PCA(3).fit_transform(source)
        found = project(given, "pca", dim=3).coordinates
        signs = np.sign((found * expected).sum(0))
        np.testing.assert_allclose(found * signs, expected, atol=1e-5)
    np.testing.assert_allclose(
        np.abs(project(rows, "pca", normalize=False).coordinates), np.abs(PCA(2).fit_transform(rows)), atol=1e-5
    )


def test_trustworthiness_is_measured_on_a_sample_of_many_rows(monkeypatch):
    monkeypatch.setattr("workbench.projection._MEASURED", 30)
    found = project(groups(), "pca")
    assert found.measured == 30
    assert 0.5 < found.trustworthiness <= 1


def test_a_map_is_a_table():
    found = project(groups()[:3], "pca", dim=3)
    assert found.to_frame(["a", "b", "<b>"])["text"].tolist() == ["a", "b", "<b>"]
    assert list(found.to_frame().columns) == ["x", "y", "z"]
    assert list(project(groups(), "pca", dim=4).to_frame().columns) == ["d0", "d1", "d2", "d3"]


@pytest.mark.parametrize("method", METHODS)
def test_tiny_and_degenerate_inputs_have_finite_maps_without_warnings(method):
    for rows in (0, 1, 2, 3, 4):
        found = project(groups()[:rows], method)
        assert found.coordinates.shape == (rows, 2)
        assert np.isfinite(found.coordinates).all()
        assert found.method == "pca"
    for rows in (
        groups()[:6],
        np.zeros((8, 5)),
        np.ones((8, 5)),
        np.ones((8, 1)),
        np.arange(8.0)[:, None] * [[1.0, 2]],
        np.concatenate([groups()[:4], np.zeros((4, 64)), groups()[:1]]),
        (groups() * 10).astype(np.int32)[:8],
    ):
        found = project(rows, method, **({"n_epochs": 10} if method == "umap" else {}))
        assert found.coordinates.shape == (len(rows), 2)
        assert np.isfinite(found.coordinates).all()


def changed(share=0.1, noise=0.0, turn=False):
    """Rows before and after some of them moved to another group; which did; all turned by one rotation if asked."""
    draw = np.random.default_rng(7)
    before = groups()
    moved = draw.random(60) < share
    after = before + noise * draw.normal(size=before.shape)
    after[moved] = groups(1)[(np.flatnonzero(moved) + 20) % 60]
    if turn:
        after = np.pad(after, ((0, 0), (0, 8))) @ np.linalg.qr(draw.normal(size=(72, 72)))[0]
    return before, after.astype(np.float32), moved


@pytest.mark.parametrize("method", METHODS)
def test_texts_whose_vectors_stay_keep_their_place_and_others_go_to_their_new_group(method):
    before, after, moved = changed()
    old, new = aligned(before, after, method, **FAST[method])
    way = np.linalg.norm(new.coordinates - old.coordinates, axis=1)
    spread = old.coordinates.std()
    assert way[~moved].max() < 1e-2 * spread
    assert way[moved].min() > 0.5 * spread
    assert centre_hits(new.coordinates, np.where(moved, (LABELS + 1) % 3, LABELS)) > 0.95
    assert (len(old), len(new), old.fitted, new.fitted) == (60, 60, 60, 60)
    assert min(old.trustworthiness, new.trustworthiness) > 0.7


@pytest.mark.parametrize("method", ["umap", "pca"])
def test_a_turned_space_of_other_dimensions_and_some_noise_move_texts_little(method):
    before, after, moved = changed(noise=0.02, turn=True)
    old, new = aligned(before, after, method, **FAST[method])
    way = np.linalg.norm(new.coordinates - old.coordinates, axis=1)
    assert np.median(way[~moved]) < 0.2 * np.median(way[moved])


def test_aligned_takes_no_rows_and_few():
    for rows in (0, 1, 2, 3):
        old, new = aligned(groups()[:rows], groups(1)[:rows])
        assert old.coordinates.shape == new.coordinates.shape == (rows, 2)


@pytest.mark.parametrize("k", [1, 5, 59, 200])
def test_neighbour_overlap_is_that_of_brute_force(k):
    before, after, _ = changed(share=0.3, noise=0.3)
    after = after[:, :40]
    sets = []
    for side in (before, after):
        unit = side / np.linalg.norm(side, axis=1, keepdims=True)
        scores = unit @ unit.T
        np.fill_diagonal(scores, -9)
        sets.append([set(row) for row in np.argsort(-scores, axis=1)[:, : min(k, 59)]])
    expected = [len(a & b) / min(k, 59) for a, b in zip(*sets, strict=True)]
    np.testing.assert_allclose(neighbour_overlap(before, after, k), expected, atol=1e-6)


def test_neighbour_overlap_of_twins_and_of_single_rows():
    assert neighbour_overlap(np.ones((30, 4)), np.ones((30, 4)), k=5).tolist() == [1] * 30
    assert neighbour_overlap(groups(), groups() * 2).tolist() == [1] * 60
    assert np.isnan(neighbour_overlap(groups()[:1], groups()[:1])).tolist() == [True]
    assert neighbour_overlap(groups()[:0], groups()[:0]).shape == (0,)


def test_a_map_can_be_cancelled():
    def stop(bar):
        raise Cancelled

    with progress.listen(stop), pytest.raises(Cancelled):
        project(groups(), "tsne", **FAST["tsne"])


NAN = groups()
NAN[[2, 9]] = np.nan

BAD = {
    "an unknown method": (lambda: project(groups(), "u-map"), ChoiceError, "'umap', 'pca', 'tsne'"),
    "an unknown method, aligned": (lambda: aligned(groups(), groups(), "u-map"), ChoiceError, "'umap', 'pca', 'tsne'"),
    "no dimension": (lambda: project(groups(), dim=0), ValueError, "dim is 0"),
    "no rows to fit": (lambda: project(groups(), max_fit=0), ValueError, "max_fit 0"),
    "NaN rows": (lambda: project(NAN), VectorError, "embeddings hold NaN .* 2 rows, such as 2, 9"),
    "NaN rows after": (lambda: aligned(groups(), NAN), VectorError, "after hold NaN .* 2 rows, such as 2, 9"),
    "an infinite value": (lambda: project([[np.inf, 1.0]] * 5, "pca"), VectorError, "5 rows"),
    "different rows": (lambda: aligned(groups(), groups()[:9]), VectorError, "60 rows and after 9"),
    "different rows to compare": (lambda: neighbour_overlap(groups(), groups()[:9]), VectorError, "60 .* 9"),
    "no neighbours": (lambda: neighbour_overlap(groups(), groups(), k=0), ValueError, "k is 0"),
    "an unknown metric": (lambda: neighbour_overlap(groups(), groups(), metric="x"), ChoiceError, "'cosine'"),
    "too few texts": (lambda: project(groups(), "pca").to_frame(["a"]), ValueError, "1 texts for 60 rows"),
    "an unknown setting": (lambda: project(groups(), n_neigbours=3), TypeError, "n_neigbours"),
    "four dimensions of t-SNE": (lambda: project(groups(), "tsne", dim=4), ValueError, "4"),
    "words": (lambda: project(["a", "b"]), VectorError, "must hold numbers"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_clear_error(what):
    call, error, message = BAD[what]
    with pytest.raises(error, match=message):
        call()
