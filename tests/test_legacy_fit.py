"""``fit`` as earlier versions had it: the same call trains today's model, keeps the best and reports each score."""

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests import tiny_pairs
from tests.tiny_training import TEXTS, static
from workbench import CrossEncoder, SentenceTransformer
from workbench.errors import ChoiceError
from workbench.losses import CosineSimilarityLoss, MultipleNegativesRankingLoss


class Example:
    """What a data loader gives: texts and a label."""

    def __init__(self, texts, label=0):
        self.texts, self.label = texts, label


class Falling:
    """An evaluator of the oldest kind, whose scores fall from the second call on."""

    def __init__(self):
        self.scores = [0.5, 0.9, 0.3, 0.2]

    def __call__(self, model, output_path=None, epoch=-1, steps=-1):
        return self.scores.pop(0)


def examples(count=16, labels=False):
    return [Example([TEXTS[row], TEXTS[-row - 1]], row / count if labels else 0) for row in range(count)]


def test_fit_keeps_the_best_model_and_tells_the_callback(tmp_path):
    model, seen, vectors = static(), [], []

    def told(score, epoch, steps):
        seen.append((score, steps))
        vectors.append(model.encode(TEXTS[:3]))

    loader = DataLoader(examples(), shuffle=True, batch_size=8)
    model.fit(
        [(loader, MultipleNegativesRankingLoss(model))], Falling(), epochs=3, warmup_steps=0, callback=told,
        output_path=str(tmp_path / "best"), optimizer_params={"lr": 1e-2}, show_progress_bar=False,
    )  # fmt: skip
    assert seen == [(0.5, 2), (0.9, 4), (0.3, 6)]
    assert np.array_equal(SentenceTransformer(tmp_path / "best", device="cpu").encode(TEXTS[:3]), vectors[1])
    assert not np.array_equal(vectors[1], vectors[2])


def test_fit_takes_several_objectives_in_turn_and_saves_without_an_evaluator(tmp_path):
    model = static()
    objectives = [
        (DataLoader(examples(), batch_size=4), MultipleNegativesRankingLoss(model)),
        (DataLoader(examples(labels=True), batch_size=4), CosineSimilarityLoss(model)),
    ]
    before = model.encode(TEXTS[:3])
    model.fit(objectives, steps_per_epoch=3, warmup_steps=0, output_path=str(tmp_path / "m"), show_progress_bar=False)
    assert not np.array_equal(before, model.encode(TEXTS[:3]))
    saved = SentenceTransformer(tmp_path / "m", device="cpu")
    assert np.array_equal(saved.encode(TEXTS[:3]), model.encode(TEXTS[:3]))


def test_fit_goes_on_from_the_last_checkpoint(tmp_path):
    models = [static(), static()]
    for model, resume in zip(models, (False, True), strict=True):
        loader = DataLoader(examples(), batch_size=4)
        model.fit(
            [(loader, MultipleNegativesRankingLoss(model))], epochs=2, warmup_steps=2, show_progress_bar=False,
            checkpoint_path=str(tmp_path), checkpoint_save_steps=3, checkpoint_save_total_limit=0,
            resume_from_checkpoint=resume,
        )  # fmt: skip
    assert np.array_equal(models[0].encode(TEXTS[:3]), models[1].encode(TEXTS[:3]))


def test_a_cross_encoder_is_fitted_on_labelled_pairs(tmp_path):
    pairs = [(first, second) for first in tiny_pairs.WORDS[4:8] for second in tiny_pairs.WORDS[8:12]]
    loader = DataLoader([Example(list(pair), row % 2) for row, pair in enumerate(pairs)], batch_size=8)
    model = CrossEncoder(tiny_pairs.write(tmp_path), device="cpu")
    before = model.predict(pairs)
    model.fit(loader, epochs=6, warmup_steps=0, optimizer_params={"lr": 5e-3}, show_progress_bar=False)
    after = model.predict(pairs)
    wanted = np.arange(16) % 2
    assert np.abs(after - wanted).mean() < np.abs(before - wanted).mean()


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        ([], {}, ValueError, "no texts"),
        ([Example(["a"]), Example(["a", "b"])], {}, ValueError, r"\[1, 2\] texts"),
        (examples(), {"scheduler": "Linear"}, ChoiceError, "warmuplinear"),
    ],
)
def test_bad_input_of_fit_is_named(rows, options, error, message):
    model = static()
    with pytest.raises(error, match=message):
        model.fit([(DataLoader(rows, batch_size=2), MultipleNegativesRankingLoss(model))], **options)
    with pytest.raises(ValueError, match="nothing to train on"):
        model.fit([])
