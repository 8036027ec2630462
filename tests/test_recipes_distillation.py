"""Recipes of distillation, on the bundled sets and on tiny models; and how their steps go on after a kill."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.tiny import made_texts
from tests.tiny_pairs import pairs as word_pairs
from tests.tiny_pairs import write
from tests.tiny_training import static
from workbench import CrossEncoder, SentenceTransformer, progress
from workbench.errors import Cancelled, ChoiceError, ColumnsError, DataFormatError, ModelNotFoundError
from workbench.metrics import spearman
from workbench.recipes import (
    distil_scores,
    distil_vectors,
    extend_languages,
    keep_layers,
    language_evaluator,
    reduce_dimensions,
)
from workbench.recipes.scores import score_pairs
from workbench.similarity import pairwise_cos_sim

DATA = Path(__file__).parents[1] / "notebooks" / "data"
TEXTS = made_texts(60, longest=12)


@pytest.fixture(scope="module")
def starter():
    return SentenceTransformer("starter", device="cpu")


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    return CrossEncoder(str(write(tmp_path_factory.mktemp("cross"))), device="cpu")


@pytest.fixture(scope="module")
def parallel():
    return pd.read_csv(DATA / "parallel.csv")


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def stopped_at(share):
    """A listener that cancels a training after a share of its steps, as a kill would, but for the process."""

    def listen(bar):
        if bar.desc == "Training" and bar.total and bar.done >= share * bar.total:
            raise Cancelled("killed")

    return progress.listen(listen)


def test_a_student_finds_translations_that_it_was_not_trained_on_better_than_its_start(starter, parallel):
    before = weights(starter)
    held = language_evaluator(starter, parallel[113:])
    student = extend_languages(starter, starter, parallel[:113], num_train_epochs=5, learning_rate=1e-2)
    start, end = held(starter), held(student)
    assert end["sequential_score"] > start["sequential_score"] + 0.1
    for language in ("de", "fr", "es"):
        assert end[f"en-{language}_negative_mse"] > start[f"en-{language}_negative_mse"]
    assert torch.equal(weights(starter), before)


def test_empty_cells_are_left_out_and_a_language_without_data_is_named(parallel):
    teacher = static()
    rows = [{"en": "a man", "de": None, "fr": "un homme"}, {"en": "a monkey", "de": " ", "fr": None}]
    assert extend_languages(teacher, teacher, rows, languages=["fr"])
    with pytest.raises(ColumnsError, match="both 'en' and 'de'"):
        extend_languages(teacher, teacher, rows)
    with pytest.raises(ColumnsError, match=r"no column 'it'.* en, de, fr, es"):
        extend_languages(teacher, teacher, parallel, languages=["it"])
    with pytest.raises(ColumnsError, match="nothing to learn beside 'en'"):
        language_evaluator(teacher, {"en": ["a man"]})


def test_a_missing_teacher_is_told_at_once(cross):
    student = static()
    with pytest.raises(TypeError, match="teacher is NoneType; expected a model with encode"):
        distil_vectors(None, student, TEXTS)
    with pytest.raises(ModelNotFoundError, match="no-such/teacher"):
        extend_languages("no-such/teacher", student, {"en": ["a"], "de": ["b"]})
    with pytest.raises(TypeError, match="teacher is NoneType; expected a model with predict"):
        distil_scores(None, student, {"query": ["a"], "positive": ["b"], "negative": ["c"]})
    with pytest.raises(TypeError, match="student is NoneType"):
        distil_scores(cross, None, {"query": ["a"], "positive": ["b"], "negative": ["c"]})
    with pytest.raises(ValueError, match=r"16 dimensions and the student 8.*reduce_dimensions"):
        distil_vectors(student, static(dim=8), TEXTS)
    with pytest.raises(ColumnsError, match="no texts"):
        distil_vectors(student, student, ["", " "])


def test_a_killed_training_goes_on_at_its_checkpoint_and_ends_as_if_never_killed(tmp_path):
    teacher, student = static(), static(seed=1)
    how = {"num_train_epochs": 3, "per_device_train_batch_size": 10}
    whole = distil_vectors(teacher, student, TEXTS, **how)
    with stopped_at(0.5), pytest.raises(Cancelled):
        distil_vectors(teacher, student, TEXTS, output_path=tmp_path / "run", **how)
    assert not (tmp_path / "run" / "model").exists()
    done = []
    with progress.listen(lambda bar: done.append(bar.done) if bar.desc == "Training" else None):
        resumed = distil_vectors(teacher, student, TEXTS, output_path=tmp_path / "run", **how)
    assert min(step for step in done if step) >= 8  # of 18
    assert not list((tmp_path / "run").glob("*/checkpoint-*"))
    torch.testing.assert_close(weights(resumed), weights(whole), atol=1e-6, rtol=0)
    with stopped_at(0):  # nothing is trained again
        again = distil_vectors(teacher, student, TEXTS, output_path=tmp_path / "run", **how)
    assert torch.equal(weights(again), weights(resumed))
    kept = SentenceTransformer(tmp_path / "run" / "model", device="cpu")
    assert np.array_equal(kept.encode(TEXTS), resumed.encode(TEXTS))
    with pytest.raises(DataFormatError, match="another texts"):
        distil_vectors(teacher, student, TEXTS[1:], output_path=tmp_path / "run", **how)
    with pytest.raises(DataFormatError, match="another options and teacher"):
        distil_vectors(student, student, TEXTS, output_path=tmp_path / "run")


def test_fewer_layers_are_those_layers_and_distillation_wins_back_what_they_knew(tiny, tmp_path):
    small = keep_layers(tiny, [1])
    assert small.transformers_model.config.num_hidden_layers == 1
    whole, cut = (dict(model.transformers_model.named_parameters()) for model in (tiny, small))
    for name, tensor in cut.items():
        assert torch.equal(tensor, whole[name.replace("layer.0.", "layer.1.")])
    small.save_pretrained(tmp_path / "small")
    loaded = SentenceTransformer(tmp_path / "small", device="cpu")
    np.testing.assert_allclose(loaded.encode(TEXTS), small.encode(TEXTS), atol=1e-5)
    target = tiny.encode(TEXTS)
    taught = distil_vectors(tiny, small, TEXTS, num_train_epochs=15, learning_rate=2e-3)
    errors = [((model.encode(TEXTS) - target) ** 2).mean() for model in (small, taught)]
    assert errors[1] < 0.5 * errors[0]
    assert len(tiny.transformers_model.encoder.layer) == 2


def test_layers_are_spread_evenly_and_impossible_ones_are_refused(tiny, cross, starter):
    last = keep_layers(tiny, 1).transformers_model.encoder.layer[0].output.dense.weight
    assert torch.equal(last, tiny.transformers_model.encoder.layer[1].output.dense.weight)
    assert np.isfinite(keep_layers(cross, 1).predict(word_pairs(3))).all()
    for wrong in (0, 3, [], [1, 0], [0, 0], [-1], [2]):
        with pytest.raises(ValueError, match="expected 1 to 2, or rising numbers from 0 to 1"):
            keep_layers(tiny, wrong)
    with pytest.raises(ValueError, match="no transformer"):
        keep_layers(starter, 1)


def test_principal_components_are_those_of_scikit_learn_and_keep_the_similarities(starter, tmp_path):
    from sklearn.decomposition import PCA

    texts = pd.read_csv(DATA / "sentences.csv")["text"][:1000].tolist()
    small = reduce_dimensions(starter, texts, 128)
    wanted = PCA(128).fit(starter.encode(texts)).components_
    block = next(one for one in small if hasattr(one, "linear")).linear.weight.detach().numpy()
    np.testing.assert_allclose(np.abs((block * wanted).sum(1))[:20], 1, atol=1e-4)
    np.testing.assert_allclose(block @ block.T, np.eye(128), atol=1e-5)
    scored = pd.read_csv(DATA / "scored_pairs.csv")

    def sts(model):
        sides = (model.encode(scored[side].tolist()) for side in ("sentence1", "sentence2"))
        return spearman(pairwise_cos_sim(*sides), scored["score"])

    assert sts(small) > 0.95 * sts(starter)
    small.save_pretrained(tmp_path / "small")
    kept = SentenceTransformer(tmp_path / "small", device="cpu").encode(TEXTS)
    assert kept.shape == (60, 128)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-5)
    assert starter.get_sentence_embedding_dimension() == 256


def test_dimensions_that_cannot_be_found_are_refused():
    model = static()
    with pytest.raises(ValueError, match="gives 16 dimensions, so take 1 to 15"):
        reduce_dimensions(model, TEXTS, 16)
    with pytest.raises(ColumnsError, match="2 different texts; 4 dimensions need 4"):
        reduce_dimensions(model, ["a", "b", "a"], 4)


@pytest.fixture(scope="module")
def triplets():
    words = word_pairs(120)
    first, second = zip(*words, strict=True)
    return {"query": first[:60], "positive": second[:60], "negative_1": first[60:], "negative_2": second[60:]}


@pytest.mark.parametrize("loss", ["mse", "margin_mse", "kl_div"])
@pytest.mark.parametrize("kind", ["sentence", "dot", "pair"])
def test_a_student_comes_to_score_as_its_teacher(loss, kind, cross, triplets, tmp_path):
    if kind == "pair":
        student = CrossEncoder(str(write(tmp_path / "student")), device="cpu")
        torch.manual_seed(5)
        student.model.classifier.reset_parameters()
        how = {"learning_rate": 3e-3, "num_train_epochs": 8}
    else:
        student = SentenceTransformer(
            modules=[WORDS(16)], device="cpu", similarity_fn_name="cosine" if kind == "sentence" else "dot"
        )
        how = {"learning_rate": 3e-2, "num_train_epochs": 20}
    rows = list(zip(*triplets.values(), strict=True))
    asked = [(query, text) for query, *texts in rows for text in texts]
    shares = kind == "sentence" or (kind == "dot" and loss == "mse")
    wanted = score_pairs(cross, asked, shares).reshape(-1, 3)

    def agreement(model):
        found = score_pairs(model, asked, shares).reshape(-1, 3)
        centred = [table - table.mean(1, keepdims=True) for table in (found, wanted)]
        return np.corrcoef(*(table.ravel() for table in centred))[0, 1]

    taught = distil_scores(cross, student, triplets, loss=loss, **how)
    assert agreement(taught) > agreement(student) + 0.1


def WORDS(dim):  # noqa: N802 (a block)
    from tests.tiny_pairs import tokenizer
    from workbench.models import StaticEmbedding

    torch.manual_seed(0)
    return StaticEmbedding(tokenizer(), embedding_dim=dim)


def test_the_teacher_scores_each_different_pair_once():
    class Teacher:
        asked: list = []  # noqa: RUF012

        def predict(self, pairs):
            self.asked += pairs
            return [float(len(text)) for _, text in pairs]

    pairs = [("a", "bb"), ("a", "c"), ("a", "bb")]
    assert score_pairs(Teacher(), pairs).tolist() == [2, 1, 2]
    assert Teacher.asked == [("a", "bb"), ("a", "c")]


def test_scores_that_are_no_scores_and_rows_that_are_no_rows_are_refused(cross):
    class Teacher:
        def predict(self, pairs):
            return [float("nan")] * len(pairs)

    student, rows = static(), {"query": ["a"], "positive": ["man"], "negative": ["girl"]}
    with pytest.raises(ValueError, match="2 of them not finite"):
        distil_scores(Teacher(), student, rows)
    with pytest.raises(ChoiceError, match="'margin_mse'"):
        distil_scores(cross, student, rows, loss="hinge")
    with pytest.raises(ColumnsError, match=r"expected 3 columns"):
        distil_scores(cross, student, {"query": ["a"], "positive": ["man"]})
    with pytest.raises(ColumnsError, match="Row 0 has a column without a text"):
        distil_scores(cross, student, rows | {"negative": [" "]})
