"""Every loss of sentence embeddings gives the reference's value and gradients, on a tiny model and the same batch."""

import random

import pytest
import torch
from sentence_transformers import SentenceTransformer as Reference
from sentence_transformers.sentence_transformer import losses as theirs

from tests.tiny import bert, made_texts, model_folder, tokenizer
from workbench import SentenceTransformer, losses

TEXTS = made_texts(64)
ROWS = 12
DIMS = [32, 16, 8]
draw = torch.Generator().manual_seed(5)
SCORES = torch.rand(ROWS, generator=draw)
PAIRS = torch.randint(0, 2, (ROWS,), generator=draw)
CLASSES = torch.randint(0, 3, (ROWS,), generator=draw)
VECTORS = torch.randn(ROWS, 32, generator=draw)
MARGINS = torch.randn(ROWS, 3, generator=draw)

DISTANCES = ("EUCLIDEAN", "MANHATTAN", "COSINE_DISTANCE")
TRIPLETS = ("COSINE", "EUCLIDEAN", "MANHATTAN")
IN_BATCH = ("cosine_distance", "euclidean_distance")
BATCH_LOSSES = (
    "BatchHardTripletLoss", "BatchHardSoftMarginTripletLoss", "BatchAllTripletLoss", "BatchSemiHardTripletLoss",
)  # fmt: skip
GUIDED = [
    {}, {"margin": 0.1}, {"margin_strategy": "relative", "margin": 0.1}, {"contrast_anchors": False},
    {"contrast_positives": False},
]  # fmt: skip
SMALL = {"mini_batch_size": 5}


def plain(name, columns, labels=None, **options):
    """A case: what builds the loss in a package, how many text columns it gets, and its labels."""
    return pytest.param(
        lambda package, model, guide: getattr(package, name)(model, **options), columns, labels, id=f"{name}-{columns}"
    )


def metric(name, table, member, columns, labels=None):
    return pytest.param(
        lambda package, model, guide: getattr(package, name)(model, getattr(getattr(package, table), member)),
        columns,
        labels,
        id=f"{name}-{member}",
    )


def guided(name, columns, **options):
    return pytest.param(
        lambda package, model, guide: getattr(package, name)(model, guide, **options),
        columns,
        None,
        id=f"{name}-{columns}-{options}",
    )


def around(modifier, name, columns, labels=None, inner=None, **options):
    def build(package, model, guide):
        given = [guide] if "GIST" in name else []
        return getattr(package, modifier)(model, getattr(package, name)(model, *given, **inner or {}), **options)

    return pytest.param(build, columns, labels, id=f"{modifier}-{name}-{options}")


CASES = [
    *(plain(name, 2, SCORES) for name in ("CosineSimilarityLoss", "CoSENTLoss", "AnglELoss")),
    plain("CoSENTLoss", 2, SCORES.round()),
    *(metric("ContrastiveLoss", "SiameseDistanceMetric", how, 2, PAIRS) for how in DISTANCES),
    *(metric("OnlineContrastiveLoss", "SiameseDistanceMetric", how, 2, PAIRS) for how in DISTANCES),
    plain("OnlineContrastiveLoss", 2, torch.ones(ROWS).long().index_fill(0, torch.tensor([3]), 0)),
    plain("OnlineContrastiveLoss", 2, torch.zeros(ROWS).long().index_fill(0, torch.tensor([3]), 1)),
    plain("OnlineContrastiveLoss", 2, torch.ones(ROWS).long()),
    plain("OnlineContrastiveLoss", 2, torch.zeros(ROWS).long()),
    *(metric("TripletLoss", "TripletDistanceMetric", how, 3) for how in TRIPLETS),
    *(
        metric(name, "BatchHardTripletLossDistanceFunction", how, 1, CLASSES)
        for name in BATCH_LOSSES
        for how in IN_BATCH
    ),
    plain("BatchHardTripletLoss", 1, torch.arange(ROWS)),
    plain("BatchSemiHardTripletLoss", 1, torch.zeros(ROWS).long()),
    *(plain("MultipleNegativesRankingLoss", columns) for columns in (2, 3, 4)),
    *(plain("MultipleNegativesSymmetricRankingLoss", columns) for columns in (2, 3)),
    *(plain("CachedMultipleNegativesRankingLoss", columns, **SMALL) for columns in (2, 3)),
    plain("CachedMultipleNegativesRankingLoss", 2, mini_batch_num_tokens=40),
    *(plain("CachedMultipleNegativesSymmetricRankingLoss", columns, **SMALL) for columns in (2, 3)),
    *(guided("GISTEmbedLoss", columns, **options) for columns in (2, 3) for options in GUIDED),
    *(guided("CachedGISTEmbedLoss", columns, **options, **SMALL) for columns in (2, 3) for options in GUIDED),
    plain("MegaBatchMarginLoss", 2, **SMALL),
    plain("MegaBatchMarginLoss", 2, use_mini_batched_version=False),
    *(plain("MSELoss", columns, VECTORS) for columns in (1, 2)),
    plain("MarginMSELoss", 3, MARGINS[:, 0]),
    plain("MarginMSELoss", 4, MARGINS[:, :2]),
    plain("MarginMSELoss", 4, MARGINS),
    *(plain("DistillKLDivLoss", 4, MARGINS, temperature=heat) for heat in (1.0, 2.0)),
    plain("ContrastiveTensionLoss", 2, PAIRS),
    plain("ContrastiveTensionLossInBatchNegatives", 1),
    *(
        around("MatryoshkaLoss", name, 3, inner=inner, matryoshka_dims=DIMS, matryoshka_weights=[1, 2, 3])
        for name, inner in (
            ("MultipleNegativesRankingLoss", {}),
            ("CachedMultipleNegativesRankingLoss", SMALL),
            ("GISTEmbedLoss", {}),
            ("CachedGISTEmbedLoss", SMALL),
            ("TripletLoss", {}),
        )
    ),
    around("MatryoshkaLoss", "CoSENTLoss", 2, SCORES, matryoshka_dims=DIMS),
    around("MatryoshkaLoss", "DistillKLDivLoss", 4, MARGINS, matryoshka_dims=DIMS),
    *(
        around("AdaptiveLayerLoss", "CoSENTLoss", 2, SCORES, layer_weighting=weighting, **options)
        for weighting in ("linear", "log", "uniform")
        for options in ({"n_layers_per_step": -1}, {"n_layers_per_step": 2, "kl_temperature": 0.6, "kl_div_weight": 2})
    ),
    around("AdaptiveLayerLoss", "MultipleNegativesRankingLoss", 2, n_layers_per_step=-1, kl_temperature=0,
           layer_weighting="linear"),
    around("Matryoshka2dLoss", "MultipleNegativesRankingLoss", 2, matryoshka_dims=DIMS, n_layers_per_step=-1,
           n_dims_per_step=2, layer_weighting="linear"),
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One model and one guide, each as ours and as the reference loads it."""
    folders = [tmp_path_factory.mktemp(name) for name in ("model", "guide")]
    for seed, folder in enumerate(folders):
        model_folder(folder)
        bert(seed, num_hidden_layers=4).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
    ours = [SentenceTransformer(folder, device="cpu") for folder in folders]
    reference = [Reference(str(folder), device="cpu") for folder in folders]
    return ours, reference


def batch(model, columns):
    return [dict(model.tokenize(TEXTS[at * ROWS : (at + 1) * ROWS])) for at in range(columns)]


def value_and_gradients(package, models, build, columns, labels):
    model, guide = models
    model.zero_grad()
    model.eval()  # without dropout, whose numbers the two draw in different orders
    torch.manual_seed(0)
    loss = build(package, model, guide)
    random.seed(0)
    value = loss(batch(model, columns), labels)
    value.backward()
    return value.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:The Cached\\w+ is deprecated|The Mult\\w+ is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("build", "columns", "labels"), CASES)
def test_value_and_gradients_are_those_of_the_reference(models, build, columns, labels):
    ours, reference = models
    found, gradients = value_and_gradients(losses, ours, build, columns, labels)
    wanted, expected = value_and_gradients(theirs, reference, build, columns, labels)
    assert found == pytest.approx(wanted, rel=2e-6, abs=1e-6)
    assert len(gradients) == len(expected) > 0
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for mine, his in zip(gradients.values(), expected.values(), strict=True):
        assert (mine - his).abs().max().item() <= 1e-5 * max(1, largest)


def test_softmax_loss_gives_the_value_and_gradients_of_the_reference(models):
    for parts in ((True, True, False), (True, True, True), (False, True, False)):
        (model, _), (reference, _) = models
        mine, his = losses.SoftmaxLoss(model, 32, 3, *parts), theirs.SoftmaxLoss(reference, 32, 3, *parts)
        his.classifier.load_state_dict(mine.classifier.state_dict())
        results = []
        for loss, net in ((mine, model), (his, reference)):
            net.zero_grad()
            loss(batch(model, 2), CLASSES).backward()
            results.append((loss.classifier.weight.grad, next(iter(net.parameters())).grad.clone()))
        for a, b in zip(*results, strict=True):
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_an_untied_denoising_loss_gives_the_value_of_the_reference(models, tmp_path):
    (model, _), (reference, _) = models
    model[0].auto_model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    mine = losses.DenoisingAutoEncoderLoss(model, tie_encoder_decoder=False)
    his = theirs.DenoisingAutoEncoderLoss(reference, str(tmp_path), tie_encoder_decoder=False)
    mine.decoder.load_state_dict(his.decoder.state_dict())
    values = [loss.eval()(batch(net, 2), None).item() for loss, net in ((mine, model), (his, reference))]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_a_tied_denoising_loss_trains_one_set_of_weights_and_learns(tmp_path):
    torch.manual_seed(0)
    model = SentenceTransformer(model_folder(tmp_path), device="cpu")
    loss = losses.DenoisingAutoEncoderLoss(model)
    shared = {id(parameter) for parameter in model.parameters()}
    layers = dict(loss.decoder.base_model.encoder.named_parameters())
    assert all(id(layers[name]) in shared for name in layers if "crossattention" not in name)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
    values = []
    for _ in range(25):
        values.append(loss([model.tokenize(TEXTS[:16]), model.tokenize(TEXTS[:16])]))
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    assert values[-1].item() < 0.75 * values[0].item()
