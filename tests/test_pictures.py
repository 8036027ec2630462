"""A small CLIP learns the bundled drawings, and finds some that it was not shown by captions that it was not told."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.test_bundled_data import DATA
from workbench import SentenceTransformer, models
from workbench.clustering import cluster, community_detection
from workbench.errors import Cancelled, ImageError, TextTypeError
from workbench.progress import listen
from workbench.recipes.pictures import train_clip, zero_shot
from workbench.search import semantic_search


@pytest.fixture(scope="module")
def drawings():
    table = pd.read_csv(DATA / "captions.csv")
    return [DATA / file for file in table["file"]], table["caption"].tolist()


@pytest.fixture(scope="module")
def split(drawings):
    """The places of pictures to learn from, and of those held out."""
    order = np.random.default_rng(0).permutation(len(drawings[0]))
    return order[16:], order[:16]


@pytest.fixture(scope="module")
def model(drawings, split):
    pictures, captions = drawings
    return train_clip([pictures[row] for row in split[0]], [captions[row] for row in split[0]])


def places(model, drawings, rows):
    """Where each row's picture stands for its caption, among the pictures of all the rows: from 0 to 1."""
    vectors = model.encode([drawings[0][row] for row in rows])
    found = semantic_search(model.encode([drawings[1][row] for row in rows]), vectors, top_k=len(rows))
    ranks = np.array([[hit["corpus_id"] for hit in hits].index(place) for place, hits in enumerate(found)])
    return ranks / (len(rows) - 1)


def test_it_knows_what_it_was_shown_and_ranks_what_it_was_not_above_chance(model, drawings, split):
    known, new = split
    assert (places(model, drawings, known) == 0).mean() > 0.8
    shown, others = np.concatenate([new, known[16:]]), known[:16]
    second = train_clip(*([side[row] for row in shown] for side in drawings))
    found = np.concatenate([places(model, drawings, new), places(second, drawings, others)])
    assert found.mean() < 0.5 - 3 * 0.3 / 32**0.5, "0.5 by chance, with a deviation of 0.3 for each of the 32"
    assert (found == 0).mean() > 0.12, "0.06 by chance"


def test_the_same_seed_gives_the_same_model_and_leaves_other_draws_alone(drawings):
    few = [side[:8] for side in drawings]
    torch.manual_seed(5)
    one = train_clip(*few, steps=2).encode(few[1])
    after = torch.rand(1)
    np.testing.assert_allclose(train_clip(*few, steps=2).encode(few[1]), one, atol=1e-5)
    assert abs(train_clip(*few, steps=2, seed=1).encode(few[1]) - one).max() > 0.01
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)


def test_it_is_saved_in_the_known_layout_and_read_again(model, drawings, tmp_path):
    model.save(str(tmp_path))
    assert (tmp_path / "0_CLIPModel" / "model.safetensors").is_file()
    again = SentenceTransformer(tmp_path, device="cpu")
    rows = [drawings[0][0], drawings[1][1], "A word that nobody taught it."]
    np.testing.assert_allclose(again.encode(rows), model.encode(rows), atol=1e-6)
    assert isinstance(again[0], models.CLIPModel)


def test_copies_of_a_picture_are_found_as_its_duplicates(model, drawings, tmp_path):
    pictures = drawings[0][:20]
    for number in (3, 11):
        Image.open(pictures[number]).convert("RGB").resize((120, 120)).save(tmp_path / f"{number}.jpg", quality=80)
    copies = [tmp_path / "3.jpg", tmp_path / "11.jpg"]
    groups = community_detection(model.encode([*pictures, *copies]), threshold=0.99, min_community_size=2)
    assert {frozenset(group) for group in groups} >= {frozenset({3, 20}), frozenset({11, 21})}
    assert len(groups) <= 4


def test_classes_in_words_are_told_apart_and_shares_are_those_of_the_formula(model, drawings):
    pictures, captions = drawings
    rows = [row for row, caption in enumerate(captions) if "car " in caption or "house" in caption or "fish" in caption]
    labels = ["car", "house", "fish"]
    shares = zero_shot(model, [pictures[row] for row in rows], labels, template="A {}.")
    assert shares.shape == (len(rows), 3)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    right = [labels[choice] in captions[row] for choice, row in zip(shares.argmax(1), rows, strict=True)]
    assert np.mean(right) > 0.6, "a third by chance"
    one, words = model.encode(pictures[0]), model.encode(["A car.", "A house."])
    logits = 10 * np.array([one @ word / np.linalg.norm(one) / np.linalg.norm(word) for word in words])
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(
        zero_shot(model, [pictures[0]], ["car", "house"], template="A {}.")[0], expected, atol=1e-5
    )
    sharp = zero_shot(model, [pictures[0]], ["car", "house"], template="A {}.", scale=100)
    assert sharp.max() > expected.max()


def test_clusters_gather_what_looks_alike(model, drawings):
    pictures, captions = drawings
    rows = [
        row for row, caption in enumerate(captions) if any(word in caption for word in ("clock", "traffic", "car on"))
    ]
    labels = cluster(model.encode([pictures[row] for row in rows]), "kmeans", n_clusters=3).labels
    kinds = [next(word for word in ("clock", "traffic", "car on") if word in captions[row]) for row in rows]
    pairs = [(a, b) for a in range(len(rows)) for b in range(a)]
    together = [labels[a] == labels[b] for a, b in pairs if kinds[a] == kinds[b]]
    apart = [labels[a] == labels[b] for a, b in pairs if kinds[a] != kinds[b]]
    assert np.mean(together) > np.mean(apart) + 0.3


def test_bad_input_is_refused_before_any_work(model, drawings):
    pictures, captions = drawings
    with pytest.raises(ValueError, match="Got 3 pictures and 2 captions"):
        train_clip(pictures[:3], captions[:2])
    with pytest.raises(ValueError, match="two or more"):
        train_clip(pictures[:1], captions[:1])
    with pytest.raises(TextTypeError, match="Row 1 is None"):
        train_clip(pictures[:2], ["a", None])
    with pytest.raises(ImageError, match=r"Row 1: .*none\.png is not there"):
        train_clip([pictures[0], DATA / "none.png"], captions[:2])
    with pytest.raises(ValueError, match="one label or more"):
        zero_shot(model, pictures[:1], [])
    with pytest.raises(ValueError, match="'a picture'"):
        zero_shot(model, pictures[:1], ["car"], template="a picture")


def test_training_can_be_cancelled(drawings):
    def stop(bar):
        if bar.desc == "Training" and bar.done >= 1:
            raise Cancelled

    with listen(stop), pytest.raises(Cancelled):
        train_clip(drawings[0][:4], drawings[1][:4], steps=50)
    assert torch.get_num_threads() >= 1
