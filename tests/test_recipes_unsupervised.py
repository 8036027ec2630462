"""Training on plain texts, end to end on a tiny transformer: it learns, is saved and loaded, and says what is wrong."""

import copy
import math

import numpy as np
import pytest
import torch

from tests.tiny import SENTENCES, made_texts
from tests.tiny_training import static
from workbench import SentenceTransformer
from workbench.errors import Cancelled, ChoiceError, ColumnsError, TextTypeError
from workbench.losses import CosineSimilarityLoss
from workbench.progress import listen
from workbench.recipes import unsupervised
from workbench.recipes.unsupervised import (
    adaptive_pretraining,
    contrastive_tension,
    contrastive_tension_in_batch,
    masked_language_model,
    simcse,
    tsdae,
)
from workbench.training import History

TEXTS = made_texts(64, longest=10)
PAIRS = {"anchor": TEXTS[:16], "positive": TEXTS[16:32]}
HOW = {"disable_tqdm": True, "logging_steps": 1, "dataloader_pin_memory": False, "per_device_train_batch_size": 16}
METHODS = {  # what each takes to learn something in seconds
    tsdae: {"num_train_epochs": 4, "learning_rate": 3e-3},
    simcse: {"num_train_epochs": 4, "learning_rate": 1e-3},
    contrastive_tension: {"num_train_epochs": 6, "learning_rate": 1e-4},
    contrastive_tension_in_batch: {"num_train_epochs": 4, "learning_rate": 1e-3},
    masked_language_model: {"num_train_epochs": 16, "learning_rate": 3e-3},  # of all texts only a few words are guessed
}
FOR_TRANSFORMERS = [tsdae, simcse, masked_language_model]


def named(method):
    return method.__name__


def run(method, model, texts=TEXTS, output_path=None, **options):
    """Run a method for a few steps; returns the losses that it logged."""
    history = History()
    assert method(model, texts, output_path, callbacks=[history], **HOW | options) is model
    assert not model.training
    return [row["loss"] for row in history.rows if "loss" in row]


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_the_loss_falls_the_weights_move_and_the_saved_model_is_the_same(method, tiny, tmp_path):
    names = set(tiny.state_dict())
    before = copy.deepcopy(dict(tiny.named_parameters()))
    losses = run(method, tiny, output_path=tmp_path / "made", **METHODS[method])
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert set(tiny.state_dict()) == names, "nothing of the method stays in the model"
    moved = [name for name, weight in tiny.named_parameters() if not torch.equal(weight, before[name])]
    assert len(moved) > 0.8 * len(before)
    again = SentenceTransformer(tmp_path / "made", device="cpu")
    np.testing.assert_allclose(again.encode(SENTENCES), tiny.encode(SENTENCES), atol=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_the_same_seed_gives_the_same_model(method, tiny, tiny_folder):
    other = SentenceTransformer(tiny_folder, device="cpu")
    for model in (tiny, other):
        run(method, model, max_steps=2)
    np.testing.assert_array_equal(tiny.encode(SENTENCES), other.encode(SENTENCES))


def test_vectors_say_more_of_their_text_after_tsdae(tiny):
    losses = run(tsdae, tiny, num_train_epochs=8, learning_rate=3e-3)
    words = {word for text in TEXTS for word in text.split()}
    assert losses[-1] < math.log(len(words)), "better than a guess among the known words"


def test_noise_is_drawn_anew_in_each_epoch(tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(unsupervised, "delete_words", lambda text, *_: seen.append(text) or text[: len(seen)])
    run(tsdae, tiny, num_train_epochs=3)
    assert len(seen) >= 3 * len(TEXTS)


def test_contrastive_pairs_are_one_text_with_itself_and_others_that_differ(tiny, monkeypatch):
    taken = {}
    monkeypatch.setattr(unsupervised, "_train", lambda model, data, *_: taken.setdefault("data", data))
    contrastive_tension(tiny, TEXTS, pos_neg_ratio=4)
    for _ in range(2):
        batch = taken["data"].__getitems__(list(range(16)))
        assert [row["label"] for row in batch] == [1.0, 0.0, 0.0, 0.0] * 4
        assert [float(row["sentence1"] == row["sentence2"]) for row in batch] == [row["label"] for row in batch]
    first, second = (taken["data"][:8]["sentence2"] for _ in range(2))
    assert first != second


def test_a_static_model_learns_by_contrast():
    for method in (contrastive_tension, contrastive_tension_in_batch):
        model = static()
        before = model.encode(SENTENCES)
        run(method, model, max_steps=3, learning_rate=1e-2)
        assert np.abs(model.encode(SENTENCES) - before).max() > 1e-3


def test_pretraining_comes_before_fine_tuning(tiny, tmp_path):
    first, then = History(), History()
    before = tiny.encode(SENTENCES)
    made = adaptive_pretraining(
        tiny,
        TEXTS,
        PAIRS,
        tmp_path / "made",
        method="masked_language_model",
        pretraining={"callbacks": [first], **HOW, "num_train_epochs": 2},
        callbacks=[then],
        learning_rate=1e-3,
        num_train_epochs=8,
        **HOW | {"per_device_train_batch_size": 8},
    )
    assert (first.total, then.total) == (8, 16)
    losses = [row["loss"] for row in then.rows if "loss" in row]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert np.abs(made.encode(SENTENCES) - before).max() > 1e-3
    assert "MultipleNegativesRankingLoss" in (tmp_path / "made" / "README.md").read_text(encoding="utf-8")


def test_pretraining_takes_a_loss_of_ones_own(tiny):
    scored = {"sentence1": TEXTS[:8], "sentence2": TEXTS[8:16], "label": [0.0, 1.0] * 4}
    how = {"pretraining": {**HOW, "max_steps": 1}, "max_steps": 1, **HOW}
    adaptive_pretraining(tiny, TEXTS, scored, loss=CosineSimilarityLoss(tiny), **how)


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(tiny, tmp_path):
    how = {"output_dir": str(tmp_path / "run"), "save_strategy": "steps", "save_steps": 2, "max_steps": 4}

    def stop(bar):
        if bar.done >= 3:
            raise Cancelled

    with pytest.raises(Cancelled), listen(stop):
        run(masked_language_model, tiny, **how)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]
    steps = []
    with listen(lambda bar: steps.append(bar.done)):
        run(masked_language_model, tiny, resume_from_checkpoint=True, **how)
    assert steps[0] >= 2
    assert (tmp_path / "run" / "checkpoint-4").is_dir()


# ── what cannot be trained ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_texts_that_cannot_teach_are_refused(method, tiny):
    for texts, count in (([], 0), (["one text"], 1), ("one text", 1), (["a b", "a b", " ", ""], 1)):
        with pytest.raises(ColumnsError, match=f"There are {count} different texts; training needs two or more"):
            method(tiny, texts)
    with pytest.raises(TextTypeError, match=r"Row 1 is None"):
        method(tiny, ["a text", None])
    with pytest.raises(TextTypeError, match=r"texts must be a string or an iterable of strings, not int"):
        method(tiny, 5)


@pytest.mark.parametrize("method", FOR_TRANSFORMERS, ids=named)
def test_a_static_model_is_refused_where_a_transformer_is_needed(method):
    with pytest.raises(TypeError, match=r"trains a transformer; the model begins with StaticEmbedding"):
        method(static(), TEXTS)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="model is str 'starter'; expected a loaded SentenceTransformer"):
        tsdae("starter", TEXTS)
    with pytest.raises(TypeError, match="model is str 'starter'; expected a loaded SentenceTransformer"):
        contrastive_tension("starter", TEXTS)


def test_simcse_without_dropout_is_refused(tiny_folder):
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    with pytest.raises(ValueError, match="SimCSE needs dropout, and the model has none"):
        simcse(SentenceTransformer(tiny_folder, config_kwargs=none, device="cpu"), TEXTS)


def test_settings_out_of_bounds_are_refused(tiny):
    with pytest.raises(ValueError, match=r"ratio is 1.0; it must be between 0 and 1"):
        tsdae(tiny, TEXTS, ratio=1.0)
    with pytest.raises(ValueError, match=r"probability is 0; it must be between 0 and 1"):
        masked_language_model(tiny, TEXTS, probability=0)
    with pytest.raises(ValueError, match=r"pos_neg_ratio is 1; it must be 2 or more"):
        contrastive_tension(tiny, TEXTS, pos_neg_ratio=1)
    tiny.tokenizer.mask_token = None
    with pytest.raises(ValueError, match="no token that hides another"):
        masked_language_model(tiny, TEXTS)


def test_pretraining_trains_nothing_when_a_later_step_could_not_begin(tiny):
    before = tiny.encode(SENTENCES)
    with pytest.raises(ChoiceError, match=r"Unknown method 'bert'.*'tsdae'"):
        adaptive_pretraining(tiny, TEXTS, PAIRS, method="bert")
    with pytest.raises(ColumnsError, match=r"pairs has .*; CosineSimilarityLoss needs"):
        adaptive_pretraining(tiny, TEXTS, PAIRS, loss=CosineSimilarityLoss)
    with pytest.raises(ColumnsError, match=r"Columns 'id' hold no text; remove them"):
        adaptive_pretraining(tiny, TEXTS, {"id": [1, 2], "text": ["a", "b"]})
    with pytest.raises(ColumnsError):
        adaptive_pretraining(tiny, TEXTS, [])
    np.testing.assert_array_equal(tiny.encode(SENTENCES), before)
