"""Every loss of cross-encoders gives the reference's value and gradients, on a tiny model and the same batch."""

import pytest
import torch
from sentence_transformers.cross_encoder import CrossEncoder as Reference
from sentence_transformers.cross_encoder import losses as theirs

from tests.tiny import made_texts
from tests.tiny_pairs import write
from workbench import CrossEncoder
from workbench.losses import cross_encoder, listwise

TEXTS = made_texts(60)
ROWS = 8
QUERIES = TEXTS[:ROWS]
COLUMNS = [TEXTS[at * ROWS : (at + 1) * ROWS] for at in range(4)]
draw = torch.Generator().manual_seed(2)
SCORES = torch.rand(ROWS, generator=draw)
MARGINS = torch.randn(ROWS, 3, generator=draw)
SIZES = [3, 5, 2, 5, 4, 3, 1, 5]
LISTS = [TEXTS[10 + row : 10 + row + size] for row, size in enumerate(SIZES)]
GRADES = [torch.randint(0, 4, (size,), generator=draw).float() for size in SIZES]
EVEN = [TEXTS[10 + row : 14 + row] for row in range(ROWS)]
EVEN_GRADES = [torch.randperm(4, generator=draw).float() for _ in range(ROWS)]


class Ours:
    """The losses of both files under one name, as the reference has them."""


for module in (cross_encoder, listwise):
    for name in module.__all__:
        setattr(Ours, name, getattr(module, name))


def case(name, columns, labels=None, scheme=None, discount=None, **options):
    def build(package, model):
        given = {} if scheme is None else {"weighting_scheme": getattr(package, scheme)()}
        given |= {} if discount is None else {"lambda_weight": package.PListMLELambdaWeight(discount)}
        return getattr(package, name)(model, **given, **options)

    return pytest.param(
        build, columns, labels, id=f"{name}-{scheme}-{discount and discount.__name__}-{sorted(options)}-{len(columns)}"
    )


SCHEMES = ("NoWeightingScheme", "NDCGLoss1Scheme", "NDCGLoss2Scheme", "LambdaRankScheme", "NDCGLoss2PPScheme")
LISTED = [QUERIES, LISTS]
PLACED = [(LISTED, GRADES), ([QUERIES, EVEN], EVEN_GRADES)]


def by_rank(mask):
    """1 / log2(1 + rank), from the mask of real documents."""
    return 1 / torch.log2(1 + mask.cumsum(1))


CASES = [
    case("BinaryCrossEntropyLoss", COLUMNS[:2], SCORES),
    case("BinaryCrossEntropyLoss", COLUMNS[:2], SCORES.round(), pos_weight=torch.tensor(3.0)),
    case("MSELoss", COLUMNS[:2], SCORES),
    case("MSELoss", COLUMNS[:2], SCORES, activation_fn=torch.nn.Sigmoid()),
    case("MarginMSELoss", COLUMNS[:3], MARGINS[:, 0]),
    case("MarginMSELoss", COLUMNS[:4], MARGINS[:, :2]),
    case("MarginMSELoss", COLUMNS, MARGINS),
    *(case("MultipleNegativesRankingLoss", COLUMNS[:count], num_negatives=None) for count in (2, 3, 4)),
    *(
        case("CachedMultipleNegativesRankingLoss", COLUMNS[:count], num_negatives=None, mini_batch_size=5)
        for count in (2, 3)
    ),
    *(case("LambdaLoss", LISTED, GRADES, scheme) for scheme in SCHEMES),
    *(case("LambdaLoss", [QUERIES, EVEN], EVEN_GRADES, scheme, k=2) for scheme in SCHEMES),
    case("LambdaLoss", LISTED, GRADES, reduction_log="natural", sigma=2.0, mini_batch_size=3),
    case("RankNetLoss", LISTED, GRADES),
    case("RankNetLoss", LISTED, GRADES, k=2),
    case("ListNetLoss", LISTED, GRADES),
    case("ListNetLoss", [QUERIES, EVEN], EVEN_GRADES),
    case("ListMLELoss", LISTED, GRADES),
    case("ListMLELoss", [QUERIES, EVEN], EVEN_GRADES, respect_input_order=False),
    case("PListMLELoss", LISTED, GRADES),
    case("PListMLELoss", LISTED, GRADES, lambda_weight=None),
    *(case("PListMLELoss", columns, grades, discount=by_rank) for columns, grades in PLACED),
    case("PListMLELoss", [QUERIES, EVEN], EVEN_GRADES, respect_input_order=False),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write(folder)
    return CrossEncoder(folder, device="cpu"), Reference(str(folder), device="cpu")


def value_and_gradients(package, model, build, columns, labels):
    model.zero_grad()
    model.eval()
    value = build(package, model)(columns, labels)
    value.backward()
    return value.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("build", "columns", "labels"), CASES)
def test_value_and_gradients_are_those_of_the_reference(models, build, columns, labels):
    found, gradients = value_and_gradients(Ours, models[0], build, columns, labels)
    wanted, expected = value_and_gradients(theirs, models[1], build, columns, labels)
    assert found == pytest.approx(wanted, rel=2e-6, abs=1e-6)
    assert len(gradients) == len(expected) > 0
    largest = max(gradient.abs().max().item() for gradient in expected.values())
    for mine, his in zip(gradients.values(), expected.values(), strict=True):
        assert (mine - his).abs().max().item() <= 1e-5 * max(1, largest)
