"""Augmented SBERT in its three scenarios, end to end on the bundled pairs and a tiny cross-encoder."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.tiny import made_texts, plain_folder
from tests.tiny_training import static
from workbench import CrossEncoder, SentenceTransformer
from workbench.errors import ColumnsError, DataFormatError
from workbench.recipes import augment_domain, augment_gold, augment_texts, sample_pairs
from workbench.recipes.scores import score_pairs
from workbench.similarity import pairwise_cos_sim

DATA = Path(__file__).parents[1] / "notebooks" / "data"
TEXTS = made_texts(40, longest=10)


class Overlap:
    """Scores from 0 to 1 without a model: the share of words that two texts have in common."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs):
        self.asked += pairs
        sides = [[set(text.split()) for text in pair] for pair in pairs]
        return [len(a & b) / len(a | b) for a, b in sides]


@pytest.fixture
def cross(tmp_path):
    model = CrossEncoder(str(plain_folder(tmp_path / "cross")), device="cpu")
    torch.manual_seed(0)
    model.model.classifier.reset_parameters()
    return model


@pytest.fixture
def gold():
    rows = list(zip(TEXTS[:20], TEXTS[20:], strict=True))
    return {"sentence1": TEXTS[:20], "sentence2": TEXTS[20:], "score": Overlap().predict(rows)}


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def error(model, pairs):
    """How far the cosines of a model are from the share of common words."""
    found = pairwise_cos_sim(*(model.encode(list(side)) for side in zip(*pairs, strict=True)))
    return float((found - torch.tensor(Overlap().predict(pairs))).square().mean())


@pytest.mark.parametrize("retrievers", [["bm25"], ["meaning"], ["bm25", "meaning"]])
def test_pairs_are_sampled_by_words_or_meaning_each_once_and_no_known_one(retrievers):
    texts = pd.read_csv(DATA / "paraphrases.csv")["text"].tolist()
    starter = SentenceTransformer("starter", device="cpu")
    finders = [starter if name == "meaning" else name for name in retrievers]
    pairs = sample_pairs(texts, retrievers=finders, per_text=2)
    keys = [tuple(sorted(pair)) for pair in pairs]
    assert len(set(keys)) == len(keys) <= 2 * len(texts) * len(finders)
    assert all(first != second for first, second in pairs)
    alike = pd.read_csv(DATA / "paraphrases.csv").set_index("text")["meaning"]
    hits = sum(alike[first] == alike[second] for first, second in pairs)
    assert hits > 20 * len(pairs) / len(texts)  # at random, about one pair in 70
    left = sample_pairs(texts, retrievers=finders, per_text=2, known=set(keys[:10]))
    assert not {tuple(sorted(pair)) for pair in left} & set(keys[:10])


def test_texts_without_labels_are_labelled_by_the_cross_encoder(tmp_path):
    teacher, student = Overlap(), static()
    how = {"num_train_epochs": 10, "learning_rate": 3e-2, "output_path": tmp_path / "run"}
    trained = augment_texts(TEXTS, teacher, student, **how)
    assert error(trained, teacher.asked) < 0.5 * error(student, teacher.asked)
    count = len(teacher.asked)
    again = augment_texts(TEXTS, teacher, student, **how)
    assert len(teacher.asked) == count
    assert torch.equal(weights(again), weights(trained))
    with pytest.raises(DataFormatError, match="another texts"):
        augment_texts(TEXTS[1:], teacher, student, **how)


def test_a_few_gold_pairs_train_the_cross_encoder_which_labels_silver_ones(gold, cross, tmp_path):
    student = static()
    rows = list(zip(gold["sentence1"], gold["sentence2"], strict=True))
    options = {"num_train_epochs": 5, "learning_rate": 2e-3}
    before, cross_before = weights(student), weights(cross)
    how = {"num_train_epochs": 5, "learning_rate": 3e-2, "output_path": tmp_path / "run"}
    trained = augment_gold(gold, cross, student, cross_options=options, **how)
    labeller = CrossEncoder(str(tmp_path / "run" / "cross-encoder"), device="cpu")
    wanted = torch.tensor(gold["score"])
    errors = [(torch.from_numpy(score_pairs(one, rows)) - wanted).square().mean() for one in (cross, labeller)]
    assert errors[1] < errors[0]
    silver = pd.read_json(tmp_path / "run" / "silver" / "000000" / "rows.jsonl", lines=True)
    pairs = [tuple(pair) for pair in silver["pair"]]
    assert not {tuple(sorted(pair)) for pair in pairs} & {tuple(sorted(pair)) for pair in rows}
    assert silver["score"].tolist() == pytest.approx(score_pairs(labeller, pairs).tolist(), abs=1e-5)
    assert error(trained, rows) < error(student, rows)
    assert torch.equal(weights(student), before)
    assert torch.equal(weights(cross), cross_before)


def test_a_killed_run_trains_no_cross_encoder_twice(gold, cross, tmp_path, monkeypatch):
    from workbench.recipes import augmented

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(augmented, "score_pairs", killed)
    with pytest.raises(KeyboardInterrupt):
        augment_gold(gold, cross, static(), output_path=tmp_path / "run")
    monkeypatch.undo()
    first = (tmp_path / "run" / "cross-encoder" / "model.safetensors").stat()
    assert not (tmp_path / "run" / "silver").exists() or not list((tmp_path / "run" / "silver").iterdir())
    resumed = augment_gold(gold, cross, static(), output_path=tmp_path / "run")
    assert (tmp_path / "run" / "cross-encoder" / "model.safetensors").stat().st_mtime_ns == first.st_mtime_ns
    torch.testing.assert_close(weights(resumed), weights(augment_gold(gold, cross, static())), atol=1e-6, rtol=0)


def test_a_domain_is_learned_from_the_labels_of_another(gold, cross):
    texts = [f"{text} monkey" for text in TEXTS[:12]]
    options = {"num_train_epochs": 1}
    trained = augment_domain(gold, texts, cross, static(), cross_options=options, learning_rate=3e-2)
    moved = (trained[0].embedding.weight - static()[0].embedding.weight).abs().amax(1) > 0
    known = {number for text in texts for number in trained.tokenizer.encode(text).ids}
    assert set(moved.nonzero()[:, 0].tolist()) <= known  # the student has seen the texts of the domain only


def test_data_that_cannot_be_used_is_told_with_its_row(gold, cross):
    with pytest.raises(ColumnsError, match=r"Row 1 has the score 4; expected 0 to 1\. Divide"):
        augment_gold({"a": ["x", "y"], "b": ["z", "w"], "score": [0, 4]}, cross, static())
    with pytest.raises(ColumnsError, match="Row 0 has no text in 'a' or 'b'"):
        augment_gold({"a": [" "], "b": ["z"], "score": [0.5]}, cross, static())
    with pytest.raises(ColumnsError, match=r"1 rows of \(a, b\); expected two texts and a column 'score'"):
        augment_gold({"a": ["x"], "b": ["z"]}, cross, static())
    with pytest.raises(ColumnsError, match="There are 1 different texts"):
        augment_texts(["a", "a"], cross, static())
    with pytest.raises(TypeError, match="cross_encoder is NoneType; expected a model with predict"):
        augment_texts(TEXTS, None, static())
    with pytest.raises(TypeError, match="student is NoneType"):
        augment_domain(gold, TEXTS, cross, None)
    with pytest.raises(ValueError, match="no pair that is not labelled already"):
        augment_gold({"a": ["monkey"], "b": ["violin"], "score": [0.0]}, cross, static())
    with pytest.raises(ValueError, match="expected a list of one or more"):
        augment_texts(TEXTS, cross, static(), retrievers="bm25")
    with pytest.raises(TypeError, match="a retriever is int"):
        augment_texts(TEXTS, cross, static(), retrievers=[3])
