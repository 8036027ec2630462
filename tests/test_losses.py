"""Losses against what their papers write down, in numpy; cached ones against plain; labels that they do not take."""

import copy
import itertools

import datasets
import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, logsumexp, softmax
from torch.nn.functional import cross_entropy

from tests.tiny import bert, tokenizer
from tests.tiny_training import TEXTS, static
from workbench import SentenceTransformer, losses
from workbench.errors import ColumnsError
from workbench.losses import cached as cached_losses
from workbench.losses import cross_encoder, listwise, ranking
from workbench.losses.gradcache import parts
from workbench.models import Pooling, Transformer
from workbench.training.columns import check_columns

DRAW = np.random.default_rng(0)
A, B, C = DRAW.normal(size=(3, 6, 5))  # (rows, dim) of three columns
SCORES = DRAW.uniform(size=6)
BINARY, CLASSES = np.array([1, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2])
HARD = np.array([0, 1, 1, 1, 0, 0])  # no two distances that matter so near that rounding would turn them around
MARGINS, TEACHER = DRAW.normal(size=(6, 1)), DRAW.normal(size=(6, 2))
SCALE = 20.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


COS = unit(A) @ unit(B).T  # (rows, rows)
PAIR = COS.diagonal()
DISTANCES = np.linalg.norm(A[:, None] - A[None], axis=2)
SAME = CLASSES[:, None] == CLASSES[None]


def picked(scores):
    """Cross-entropy of picking the own one of each row's candidates."""
    return -log_softmax(scores, axis=1)[np.arange(len(scores)), np.arange(len(scores))].mean()


def ordered(scores):
    """log(1 + sum over pairs in the wrong order of exp(difference)), as CoSENT has it."""
    wrong = [scores[i] - scores[j] for i, j in itertools.product(range(6), repeat=2) if SCORES[i] < SCORES[j]]
    return logsumexp([0, *wrong])


def triplets():
    """Every (anchor, positive, negative) of the classes, as distances."""
    return [
        (DISTANCES[a, p], DISTANCES[a, n])
        for a, p, n in itertools.product(range(6), repeat=3)
        if a != p and SAME[a, p] and not SAME[a, n]
    ]


def hardest():
    """Farthest of the class less nearest of another, for every anchor."""
    return np.where(SAME, DISTANCES, -np.inf).max(axis=1) - np.where(SAME, np.inf, DISTANCES).min(axis=1)


def semi_hard():
    found = []
    for a, p in itertools.product(range(6), repeat=2):
        if a != p and SAME[a, p]:
            others = DISTANCES[a][~SAME[a]]
            beyond = others[others > DISTANCES[a, p]]
            found.append(max(0, DISTANCES[a, p] - (beyond.min() if len(beyond) else others.max()) + 5))
    return np.mean(found)


def online():
    """Summed over alike pairs beyond the nearest unlike one, and unlike ones nearer than the farthest alike."""
    distances = 1 - PAIR
    alike, unlike = distances[HARD == 1], distances[HARD == 0]
    hard, near = alike[alike > unlike.min()], unlike[unlike < alike.max()]
    return (hard**2).sum() + (np.maximum(0, 0.5 - near) ** 2).sum()


def mega():
    others = COS - 2 * np.eye(6)
    return (np.maximum(0, 0.8 - PAIR) + np.maximum(0, others.max(axis=1) - 0.3)).mean()


def dots(texts):
    return np.stack([(A * text).sum(axis=1) for text in texts], axis=1)


CLOSED = {  # a loss, its columns, its labels, and its value as the paper has it
    "CosineSimilarityLoss": ([A, B], SCORES, lambda: ((PAIR - SCORES) ** 2).mean()),
    "CoSENTLoss": ([A, B], SCORES, lambda: ordered(SCALE * PAIR)),
    "ContrastiveLoss": (
        [A, B], BINARY,
        lambda: (0.5 * (BINARY * (1 - PAIR) ** 2 + (1 - BINARY) * np.maximum(0, PAIR - 0.5) ** 2)).mean(),
    ),
    "OnlineContrastiveLoss": ([A, B], HARD, online),
    "MultipleNegativesRankingLoss": (
        [A, B, C], None, lambda: picked(SCALE * np.hstack([COS, unit(A) @ unit(C).T])),
    ),
    "MultipleNegativesSymmetricRankingLoss": (
        [A, B], None, lambda: (picked(SCALE * COS) + picked(SCALE * COS.T)) / 2,
    ),
    "MegaBatchMarginLoss": ([A, B], None, mega),
    "TripletLoss": (
        [A, B, C], None,
        lambda: np.maximum(0, np.linalg.norm(A - B, axis=1) - np.linalg.norm(A - C, axis=1) + 5).mean(),
    ),
    "BatchHardTripletLoss": ([A], CLASSES, lambda: np.maximum(0, hardest() + 5).mean()),
    "BatchHardSoftMarginTripletLoss": ([A], CLASSES, lambda: np.log1p(np.exp(hardest())).mean()),
    "BatchAllTripletLoss": (
        [A], CLASSES,
        lambda: (lambda terms: terms[terms > 0].mean())(np.array([p - n + 5 for p, n in triplets()])),
    ),
    "BatchSemiHardTripletLoss": ([A], CLASSES, semi_hard),
    "MSELoss": ([A, B], C, lambda: (((A - C) ** 2).mean() + ((B - C) ** 2).mean()) / 2),
    "MarginMSELoss": (
        [A, B, C], MARGINS[:, 0], lambda: ((dots([B, C]) @ [1, -1] - MARGINS[:, 0]) ** 2).mean(),
    ),
    "DistillKLDivLoss": (
        [A, B, C], TEACHER,
        lambda: (
            softmax(TEACHER, axis=1) * (log_softmax(TEACHER, axis=1) - log_softmax(dots([B, C]), axis=1))
        ).sum(axis=1).mean(),
    ),
    "ContrastiveTensionLoss": (
        [A, B], BINARY,
        lambda: -np.log(np.where(BINARY, expit((A * B).sum(axis=1)), expit(-(A * B).sum(axis=1)))).sum(),
    ),
    "ContrastiveTensionLossInBatchNegatives": (
        [A, B], None, lambda: (picked(SCALE * COS) + picked(SCALE * COS.T)) / 2,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return static()


@pytest.mark.parametrize("name", CLOSED)
def test_the_value_is_the_formula_of_the_paper(name, model):
    columns, labels, formula = CLOSED[name]
    loss = getattr(losses, name)(model)
    value = loss.compute([torch.tensor(one) for one in columns], None if labels is None else torch.tensor(labels))
    assert value.item() == pytest.approx(formula(), rel=1e-5)


@pytest.mark.parametrize("name", CLOSED)
def test_half_the_precision_gives_nearly_the_value(name, model):
    columns, labels, formula = CLOSED[name]
    loss = getattr(losses, name)(model)
    given = None if labels is None else torch.tensor(labels)
    value = loss.compute([torch.tensor(one).bfloat16() for one in columns], given)
    assert value.dtype == torch.bfloat16 or value.dtype == torch.float32
    assert value.item() == pytest.approx(formula(), rel=0.05, abs=0.05)


def test_softmax_loss_is_the_cross_entropy_of_its_classifier(model):
    loss = losses.SoftmaxLoss(model, 5, 3).double()
    features = np.hstack([A, B, np.abs(A - B)])
    weight, bias = (one.detach().numpy() for one in (loss.classifier.weight, loss.classifier.bias))
    wanted = -log_softmax(features @ weight.T + bias, axis=1)[np.arange(6), CLASSES].mean()
    assert loss.compute([torch.tensor(A), torch.tensor(B)], torch.tensor(CLASSES)).item() == pytest.approx(wanted)


def test_gist_leaves_out_what_the_guide_finds_closer_than_the_positive(model):
    loss = losses.GISTEmbedLoss(model, static(1), temperature=0.05)
    own, guide = [A, B], [B, C]
    bound = (unit(guide[0]) * unit(guide[1])).sum(axis=1)[:, None]
    parts = []
    for left, right in ((0, 1), (0, 0), (1, 1)):
        scores = unit(own[left]) @ unit(own[right]).T / 0.05
        judged = unit(guide[left]) @ unit(guide[right]).T
        out = judged > bound
        if left != right:
            np.fill_diagonal(out, False)
        parts.append(np.where(out, -np.inf, scores))
    found = loss.compute([torch.tensor(one) for one in own + guide], None).item()
    assert found == pytest.approx(picked(np.hstack(parts)), rel=1e-5)
    assert any(np.isinf(part).any() for part in parts)


def test_matryoshka_adds_up_the_loss_of_vectors_cut_short(model):
    loss = losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), [5, 2], [1, 0.3])
    cut = unit(A[:, :2]) @ unit(B[:, :2]).T
    found = loss.compute([torch.tensor(A), torch.tensor(B)], None).item()
    assert found == pytest.approx(picked(SCALE * COS) + 0.3 * picked(SCALE * cut), rel=1e-6)


GRADES = np.array([[2.0, 0, 1, 3], [1, 2, 0, 0]])
LISTED = DRAW.normal(size=(2, 4))


def in_order(line):
    """-log likelihood of an order, the best first, of Plackett and Luce."""
    return sum(logsumexp(line[place:]) - line[place] for place in range(len(line)))


LISTS = {
    "ListNetLoss": lambda: -(softmax(GRADES, axis=1) * log_softmax(LISTED, axis=1)).sum(axis=1).mean(),
    "ListMLELoss": lambda: np.mean([in_order(line) for line in LISTED]),
    "RankNetLoss": lambda: np.mean([
        -np.log2(expit(line[i] - line[j]))
        for line, grade in zip(LISTED, GRADES, strict=True)
        for i, j in itertools.product(range(4), repeat=2)
        if grade[i] > grade[j]
    ]),
}  # fmt: skip


class Pairs(torch.nn.Module):
    """As much of a cross-encoder as a loss looks at."""

    num_labels = 1


@pytest.mark.parametrize("name", LISTS)
def test_the_value_of_a_loss_of_lists_is_the_formula_of_the_paper(name):
    loss = getattr(listwise, name)(Pairs())
    real = torch.ones(2, 4, dtype=torch.bool)
    assert loss.compute([torch.tensor(LISTED), real], torch.tensor(GRADES)).item() == pytest.approx(LISTS[name]())


def test_the_value_of_a_loss_of_pairs_is_the_formula_of_the_paper():
    scores, given = torch.tensor(LISTED[0])[:, None], np.array([1.0, 0, 0.25, 1])
    chance = expit(LISTED[0])
    wanted = -(given * np.log(chance) + (1 - given) * np.log(1 - chance)).mean()
    found = cross_encoder.BinaryCrossEntropyLoss(Pairs()).compute([scores], torch.tensor(given))
    assert found.item() == pytest.approx(wanted)
    found = cross_encoder.MSELoss(Pairs()).compute([scores], torch.tensor(given))
    assert found.item() == pytest.approx(((LISTED[0] - given) ** 2).mean())
    found = cross_encoder.MultipleNegativesRankingLoss(Pairs()).compute([torch.tensor(LISTED)], None)
    assert found.item() == pytest.approx(-log_softmax(10 * LISTED, axis=1)[:, 0].mean())


# ── cached losses ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def dropping(tmp_path_factory):
    """A transformer that drops a good part of what it computes."""
    folder = tmp_path_factory.mktemp("dropping")
    bert(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    block = Transformer(str(folder), max_seq_length=32)
    made = SentenceTransformer(modules=[block, Pooling(block.get_word_embedding_dimension())], device="cpu")
    return made.train()


@pytest.mark.parametrize("name", [name for name in ranking.__all__ if hasattr(losses, f"Cached{name}")])
@pytest.mark.parametrize("size", [{"mini_batch_size": 5}, {"mini_batch_num_tokens": 60}], ids=["rows", "tokens"])
def test_a_cached_loss_drops_the_same_and_has_the_gradient_of_its_parts_joined(name, size, dropping):
    guide = [static(1)] if "GIST" in name else []
    plain, cached = getattr(losses, name)(dropping, *guide), getattr(losses, f"Cached{name}")(dropping, *guide, **size)
    columns = [dropping.tokenize(TEXTS[start : start + 12]) for start in (0, 12)]

    def gradients(value):
        dropping.zero_grad()
        value.backward()
        return [one.grad.clone() for one in dropping.parameters() if one.grad is not None]

    torch.manual_seed(0)
    rows, tokens = size.get("mini_batch_size", 1), size.get("mini_batch_num_tokens")
    cut = [list(parts(copy.copy(column), rows, tokens)) for column in columns]
    assert min(map(len, cut)) > 1
    made = [[plain.embed([part]) for part in column] for column in cut]  # with a graph, in the order of the cached loss
    kinds = [[torch.cat(kind) for kind in zip(*column, strict=True)] for column in made]
    wanted = plain.compute([kind[place] for place in range(len(kinds[0])) for kind in kinds], None)
    want = gradients(wanted)
    torch.manual_seed(0)
    value = cached(columns)
    after = torch.rand(1)
    assert value.item() == pytest.approx(wanted.item(), abs=1e-6)
    found = gradients(value)
    assert torch.rand(1) != after, "what came after the backward pass goes on, and is not drawn again"
    for mine, other in zip(found, want, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
    assert max(float(one.abs().max()) for one in want) > 1e-3


@pytest.mark.parametrize("name", [name for name in ranking.__all__ if hasattr(losses, f"Cached{name}")])
def test_a_cached_loss_holds_the_scores_of_some_anchors_only_and_has_the_same_gradient(name, model, monkeypatch):
    monkeypatch.setattr(cached_losses, "_SCORED", 5)
    guide = [static(1)] if "GIST" in name else []
    plain, cached = getattr(losses, name)(model, *guide), getattr(losses, f"Cached{name}")(model, *guide)
    made = torch.randn(2 + 2 * len(guide), 23, 8, generator=torch.Generator().manual_seed(0))
    found, sizes = [], []

    def watched(scores, *given, **options):
        sizes.append(scores.numel())
        return cross_entropy(scores, *given, **options)

    monkeypatch.setattr(ranking, "cross_entropy", watched)
    for loss in (plain, cached):
        columns = made.clone().requires_grad_()
        value = loss.compute(list(columns), None)
        value.backward()
        found.append((value.item(), columns.grad, max(sizes)))
        sizes.clear()
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)
    assert found[1][2] < found[0][2] / 4


# ── labels that a loss does not take ──────────────────────────────────────────────────────────────────────────────

LOSSES = {name: getattr(losses, name) for name in losses.__all__}
LOSSES = {
    name: kind for name, kind in LOSSES.items() if isinstance(getattr(kind, "inputs", None), tuple) and kind.inputs
}
PAIR_LOSSES = {
    f"pairs: {name}": getattr(module, name)
    for module in (cross_encoder, listwise)
    for name in module.__all__
    if getattr(getattr(module, name), "inputs", ())
}
BAD = {  # what a label column holds, and the labels that it could be
    "strings": (["x", "y", "x"], set()),
    "shares where whole numbers are needed": ([0.5, 0.25, 1.0], {"score", "margin"}),
    "floats where whole numbers are needed": ([0.0, 2.0, 1.0], {"score", "margin"}),
    "negative numbers": ([-1, 0, 1], {"score", "margin"}),
    "one class": ([1, 1, 1], {"score", "margin", "binary", "none"}),
    "none in a row": ([1.0, None, 0.0], set()),
    "not a number": ([1.0, float("nan"), 0.0], set()),
    "ragged lists": ([[1.0], [1.0, 2.0], [0.5]], set()),
}
CASES = [
    pytest.param(name, what, id=f"{name}-{what}")
    for name, loss in {**LOSSES, **PAIR_LOSSES}.items()
    for what, (_, could) in BAD.items()
    if not {one.label for one in loss.inputs} & could
]


@pytest.mark.parametrize(("name", "what"), CASES)
def test_a_label_that_a_loss_does_not_take_is_refused_before_the_first_step(name, what):
    kind = {**LOSSES, **PAIR_LOSSES}[name]
    columns = {column: [f"{column} {row}" for row in range(3)] for column in kind.inputs[0].columns}
    if kind.inputs[0].label == "grades":
        columns |= {"documents": [["a", "b"]] * 3}
    data = datasets.Dataset.from_dict(columns | {"label": BAD[what][0]})
    with pytest.raises(ColumnsError, match="label"):
        check_columns(data, kind.__new__(kind))


def test_the_table_of_bad_labels_is_large_and_covers_every_loss():
    assert len(CASES) >= 100
    assert {case.values[0] for case in CASES} == {*LOSSES, *PAIR_LOSSES}
