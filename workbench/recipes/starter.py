"""How the bundled ``starter`` is made: static vectors taught by a transformer on texts and pairs, kept in eight bits.

The idea of Model2Vec and its tokenlearn: begin with the teacher's vector of each token, then fit the table so that the
mean over a text's tokens is the teacher's vector of that text. Pairs with labels add what the teacher does not know.
Tables of several runs and the start are averaged (Wortsman et al. 2022, arXiv:2109.01903).
"""

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import kl_div, normalize

from workbench import hub
from workbench.folders import save_state, write_atomically
from workbench.losses.ranking import MultipleNegativesRankingLoss
from workbench.losses.scored import CoSENTLoss
from workbench.models import Normalize, StaticEmbedding
from workbench.progress import track
from workbench.recipes.public_data import PublicData, beginning
from workbench.sentence_transformer import SentenceTransformer
from workbench.tokens import IntArray

__all__ = ["batches", "fit_table", "make_starter", "principal", "save_starter", "start_table"]

_LOG = logging.getLogger(__name__)
_NOT_ENGLISH = r"\[unused\d+\]|.*[^\W_a-zA-Z0-9].*"  # tokens never used, and those with a letter outside a-z
_TEMPERATURE = 0.05
_COMMON = 5e-3  # the frequency of a token that counts half: a in the weight a / (a + p) of Arora et al. (2017)


def make_starter(
    teacher: Any,
    data: PublicData,
    output_path: str | Path,
    *,
    dimensions: int = 256,
    texts: int = 80_000,
    epochs: int = 4,
    seeds: tuple[int, ...] = (0, 1),
) -> SentenceTransformer:
    """Train static English vectors, and return the model as it is read from the folder ``output_path``.

    Nearly all the time goes into the teacher's vectors of ``texts`` texts. The same arguments give the same vectors, up
    to what another order of additions changes.

    Args:
        teacher: a SentenceTransformer that begins with a transformer, or its name or folder.
        data: what to train on.
        output_path: where to write; ``sha256.json`` there lists the large files for ``hub.verify``.
        dimensions: length of the vectors; the first 64 and 128 are trained to do alone.
        texts: how many texts the teacher reads.
        epochs: how often each is trained on.
        seeds: of the orders in which the texts come; the tables that they give are averaged, with the start.
    """
    if not isinstance(teacher, SentenceTransformer):
        teacher = SentenceTransformer(teacher)
    read = data.texts()[:texts]
    vectors = normalize(teacher.encode(read, convert_to_tensor=True, show_progress_bar=True).float().cpu(), dim=1)
    block = start_table(teacher, read, vectors, dimensions)
    tables = [fit_table(block, read, vectors, data, epochs=epochs, seed=seed) for seed in seeds]
    start = block.embedding.weight.detach()  # averaged in too: what was fitted to the sets alone weighs less
    table = torch.stack([start, *tables]).mean(0) * _weights(block, read)[:, None]
    return save_starter(block, table, output_path)


def start_table(teacher: Any, texts: list[str], vectors: Tensor, dimensions: int) -> StaticEmbedding:
    """The teacher's vectors of single tokens, mapped to where the mean over a text's tokens is nearest to its target.

    Targets are the teacher's ``vectors`` (texts, width) along their first principal axes, as ``fit_table`` has them.
    """
    block = StaticEmbedding.from_distillation(teacher, pca_dims=None, token_remove_pattern=_NOT_ENGLISH)
    means = torch.from_numpy(SentenceTransformer(modules=[block, Normalize()], device="cpu").encode(texts))
    ridge = len(texts) * 1e-4 * torch.eye(means.shape[1])
    wanted = principal(vectors, dimensions)
    mapping = torch.linalg.solve(means.T @ means + ridge, means.T @ wanted)  # (width, dimensions)
    table = block.embedding.weight.detach() @ mapping
    return StaticEmbedding(block.tokenizer, table / table.norm(dim=1).mean())


def fit_table(
    block: StaticEmbedding,
    texts: list[str],
    vectors: Tensor,
    data: PublicData,
    *,
    epochs: int,
    seed: int,
    batch: int = 1024,
    learning_rate: float = 1e-2,
    alike: float = 0.2,
    pairs: float = 0.05,
    scored: float = 0.03,
) -> Tensor:
    """Return the table (tokens, dimensions) of ``block`` after training; ``block`` itself is left as it is.

    The loss of a batch of texts with vectors s, and targets t on the teacher's principal axes, is

        mean(1 - cos(s, t)) + alike · KL(softmax(T Tᵀ / τ) ‖ softmax(s sᵀ / τ)),

    with T the teacher's whole vectors, plus ``pairs`` times the ranking of the second text of a pair among those of
    all, plus ``scored`` times CoSENT on pairs with scores. All but the first term are means over the first 64, 128 and
    all dimensions (Matryoshka, Kusupati et al. 2022, arXiv:2205.13147).
    """
    block = StaticEmbedding(block.tokenizer, block.embedding.weight)
    model = SentenceTransformer(modules=[block], device="cpu")
    ranking, ordering = MultipleNegativesRankingLoss(model, scale=1 / _TEMPERATURE), CoSENTLoss(model)
    draw, targets = np.random.default_rng(seed), principal(vectors, block.get_sentence_embedding_dimension())
    sizes = sorted({size for size in (64, 128) if size < targets.shape[1]} | {targets.shape[1]})
    batch, rows = min(batch, len(texts)), block.token_rows(texts)
    sides = [[block.token_rows(list(side)) for side in zip(*kind, strict=True)] for kind in _pairs(data)]
    sts = [block.token_rows([row[0] for row in data.sts]), block.token_rows([row[1] for row in data.sts])]
    scores = torch.tensor([row[2] for row in data.sts])

    def embed(tokens: Any, index: Any) -> Tensor:
        return block(block.collate(tokens, index))["sentence_embedding"]  # type: ignore[no-any-return]

    def prefixes(loss: Any, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        every = [loss([column[:, :size] for column in columns], labels) for size in sizes]
        return torch.stack(every).mean()

    optimizer = torch.optim.Adam(block.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    for some in batches(optimizer, len(texts), batch, epochs, draw):
        found, known = embed(rows, some), vectors[some]
        loss: Tensor = (1 - (normalize(found, dim=1) * targets[some]).sum(1)).mean()
        loss = loss + alike * prefixes(_spread, [found], _shares(known))
        for kind, share in zip(sides, (270, 57, 57), strict=True):
            chosen = draw.choice(len(kind[0]), min(share, len(kind[0])), replace=False)
            columns = [embed(side, chosen) for side in kind]
            loss = loss + pairs * share / 384 * prefixes(ranking.compute, columns, None)
        chosen = draw.choice(len(scores), min(256, len(scores)), replace=False)
        loss = loss + scored * prefixes(ordering.compute, [embed(side, chosen) for side in sts], scores[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    _LOG.info("seed %d: done", seed)
    return block.embedding.weight.detach()


def batches(
    optimizer: torch.optim.Optimizer, rows: int, batch: int, epochs: int, draw: np.random.Generator
) -> Iterator[IntArray]:
    """The rows of each batch, ``epochs`` times through all in new orders; the learning rate rises, then falls to zero.

    Rows that fill no batch are left out of an epoch.
    """
    steps, highest = epochs * (rows // batch), [part["lr"] for part in optimizer.param_groups]
    orders = (draw.permutation(rows)[: rows // batch * batch] for _ in range(epochs))
    with track(steps, unit="steps", desc="Fitting the table") as bar:
        for step, some in enumerate(chain.from_iterable(order.reshape(-1, batch) for order in orders)):
            for part, most in zip(optimizer.param_groups, highest, strict=True):
                part["lr"] = most * min(1, (step + 1) / 50) * (1 - step / steps)
            yield some
            bar.update(1)


def save_starter(block: StaticEmbedding, table: Tensor, output_path: str | Path) -> SentenceTransformer:
    """Write ``table`` for ``block``'s tokens, eight bits a value and a scale for each token, and read it again.

    The layout is model2vec's, so readers multiply the two. The unknown token, which says nothing, gets zero.
    """
    scale = table.abs().amax(1).clamp(min=1e-9) / 127
    codes = (table / scale[:, None]).round().to(torch.int8)
    with write_atomically(output_path) as folder:
        SentenceTransformer(modules=[block, Normalize()], device="cpu").save_pretrained(str(folder))
        save_state(folder / "0_StaticEmbedding", {"embeddings": codes, "weights": scale})
        hub.seal(folder)
    return SentenceTransformer(output_path, device="cpu")


def _weights(block: StaticEmbedding, texts: list[str]) -> Tensor:
    """What each token counts by its share p of the tokens of ``texts``, those not met counting once: (tokens,)."""
    ids, _ = block.token_rows(texts).flat(np.arange(len(texts)))
    counts = torch.bincount(ids, minlength=block.embedding.num_embeddings).float() + 1
    return _COMMON / (_COMMON + counts / counts.sum())


def _pairs(data: PublicData) -> list[list[tuple[str, str]]]:
    """Questions and their paragraphs, questions and answers, sentences and what follows from them."""
    return [
        [(question, paragraph.text) for paragraph in data.squad for question, _ in paragraph.questions],
        [(question, beginning(answer, 120)) for question, answer in data.medquad],
        [(premise, hypothesis) for premise, hypothesis, label in data.snli if label == "entailment"],
    ]


def principal(vectors: Tensor, dimensions: int) -> Tensor:
    """The vectors (texts, width) along their first principal axes, not centred, scaled to length 1."""
    axes = torch.linalg.eigh((vectors.T @ vectors).double()).eigenvectors.flip(1)[:, :dimensions].float()
    return normalize(vectors @ (axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()), dim=1)


def _shares(vectors: Tensor) -> Tensor:
    """How alike each text is to every other one, as shares of 1: (texts, texts)."""
    return (vectors @ vectors.T / _TEMPERATURE).fill_diagonal_(-1e4).softmax(1)


def _spread(columns: list[Tensor], shares: Tensor) -> Tensor:
    """The divergence of how alike the texts are by their own vectors from the given ``shares``."""
    vectors = normalize(columns[0], dim=1)
    own = torch.eye(len(vectors), dtype=torch.bool)
    return kl_div(
        (vectors @ vectors.T / _TEMPERATURE).masked_fill(own, -1e4).log_softmax(1), shares, reduction="batchmean"
    )
