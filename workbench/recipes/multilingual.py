"""How ``starter-multilingual`` is made: one table of words for seven languages, taught by translations.

A sentence and its translations move to the teacher's vector of the English one (Reimers and Gurevych 2020,
arXiv:2004.09813) and to each other, away from other sentences. While it is trained, a word is its own vector and those
of the letters in it (Bojanowski et al. 2017, arXiv:1607.04606), so that related words teach each other.
"""

from collections import Counter
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import lsqr
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel, WordPiece
from tokenizers.trainers import WordLevelTrainer
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding_bag, normalize

from workbench.models import StaticEmbedding
from workbench.recipes.public_data import PublicData
from workbench.recipes.starter import batches, principal, save_starter
from workbench.sentence_transformer import SentenceTransformer
from workbench.tokens import TokenRows, pack

__all__ = ["fit_words", "make_multilingual", "read_words", "with_pieces"]

_UNKNOWN = "[UNK]"


def make_multilingual(
    teacher: Any,
    data: PublicData,
    output_path: str | Path,
    *,
    dimensions: int = 128,
    epochs: int = 10,
    least: int = 3,
    pieces: int = 12_000,
    seed: int = 0,
) -> SentenceTransformer:
    """Train static vectors on ``data.parallel``, and return the model as it is read from the folder ``output_path``.

    Args:
        teacher: a SentenceTransformer for English, or its name or folder.
        data: what to train on.
        output_path: where to write; ``sha256.json`` there lists the large files for ``hub.verify``.
        dimensions: length of the vectors.
        epochs: how often each sentence is trained on.
        least: how often a word must come to have a vector of its own in the model; the others are read in pieces.
        pieces: how many pieces of words there are, besides single letters.
        seed: of the order of the sentences, and of the vectors at the beginning.
    """
    if not isinstance(teacher, SentenceTransformer):
        teacher = SentenceTransformer(teacher)
    vectors = teacher.encode([row[0] for row in data.parallel], convert_to_tensor=True, show_progress_bar=True)
    tokenizer, texts = read_words(data.parallel)
    targets = principal(normalize(vectors.float().cpu(), dim=1), dimensions)
    counts = np.bincount(np.concatenate([rows.columns["input_ids"] for rows in texts]))
    table = fit_words(tokenizer, texts, targets, counts, epochs=epochs, seed=seed)
    block = with_pieces(tokenizer, table, counts >= least, pieces)
    return save_starter(block, block.embedding.weight.detach(), output_path)


def read_words(parallel: list[tuple[str, ...]]) -> tuple[Tokenizer, list[TokenRows]]:
    """A tokenizer that knows every word in ``parallel``, frequent ones first, and the words of each language's texts.

    Words are lower case and without accents: more of them are then the same in two languages.
    """
    tokenizer = Tokenizer(WordLevel(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordLevelTrainer(vocab_size=10**7, special_tokens=[_UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(chain.from_iterable(parallel), trainer)
    return tokenizer, [pack(tokenizer.encode_batch(list(texts))) for texts in zip(*parallel, strict=True)]


def fit_words(
    tokenizer: Tokenizer,
    texts: list[TokenRows],
    targets: Tensor,
    counts: Any,
    *,
    epochs: int,
    seed: int,
    batch: int = 512,
    learning_rate: float = 1e-2,
    temperature: float = 0.05,
    common: float = 1e-3,
    languages: int = 3,
) -> Tensor:
    """Return a vector for each word of ``tokenizer``: (words, dimensions).

    With s the sum of the vectors of a text's words, some of them left out, and t its target, a batch in ``languages``
    of the languages, drawn anew each time, has the loss

        mean(1 - cos(s, t)) + the mean, over two of these languages, of ranking the translation among those of all.

    Args:
        tokenizer: see ``read_words``.
        texts: the words of all texts, for each language; equal rows are translations.
        targets: what they should become: (rows, dimensions), of length 1.
        counts: how often each word comes: (words,). A word counts ``common`` / (``common`` + its share).
        epochs: how often each row is trained on.
        seed: of all that is drawn.
        batch: rows in a batch.
        learning_rate: of Adam, falling to zero.
        temperature: of the ranking.
        common: see ``counts``.
        languages: see above.
    """
    draw, letters, weights = np.random.default_rng(seed), _letters(tokenizer), counts / counts.sum()
    weights = torch.from_numpy(common / (common + weights)).float()
    ngrams = int(letters.columns["input_ids"].max(initial=0)) + 1
    start = torch.from_numpy(draw.standard_normal((len(weights) + ngrams, targets.shape[1]), np.float32) * 0.02)
    table = start.requires_grad_()
    many = torch.from_numpy(letters.lengths).float().sqrt()[:, None]

    def words(index: Tensor) -> Tensor:
        ids, starts = letters.flat(index.numpy())
        parts = embedding_bag(ids.long(), table[len(weights) :], starts, mode="mean")
        return (table[index] + parts * many[index]) * weights[index, None]

    def embed(rows: TokenRows, some: Any) -> Tensor:
        ids, starts = rows.flat(some)
        met, place = ids.long().unique(return_inverse=True)  # type: ignore[no-untyped-call]
        kept = torch.from_numpy(draw.random(len(ids)) >= draw.uniform(0, 0.4)).float()
        return normalize(embedding_bag(place, words(met), starts, mode="sum", per_sample_weights=kept), dim=1)

    optimizer = torch.optim.Adam([table], lr=learning_rate, betas=(0.9, 0.99), fused=True)
    own = torch.arange(min(batch, len(targets)))
    for some in batches(optimizer, len(targets), min(batch, len(targets)), epochs, draw):
        found = [embed(texts[number], some) for number in draw.permutation(len(texts))[:languages]]
        loss = torch.stack([1 - (side * targets[some]).sum(1).mean() for side in found]).mean()
        alike = [first @ second.T / temperature for first, second in combinations(found, 2)]
        loss = loss + torch.stack([cross_entropy(side, own) for one in alike for side in (one, one.T)]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.inference_mode():
        return words(torch.arange(len(weights))).clone()


def with_pieces(tokenizer: Tokenizer, table: Tensor, kept: Any, pieces: int) -> StaticEmbedding:
    """Static vectors of the words that are ``kept``, and of pieces that give those of the other words, added up.

    The pieces' vectors are those of least squares over the words that are not kept; words never met are read like them.

    Args:
        tokenizer: see ``read_words``.
        table: a vector for each of its words: (words, dimensions).
        kept: which of them to keep: (words,).
        pieces: how many pieces there are, besides single letters.
    """
    names = [name for name, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    known = [row for row, name in enumerate(names) if kept[row] and name != _UNKNOWN]
    letters = sorted(set(chain.from_iterable(names[1:])))
    parts = Counter(
        ("##" if start else "") + name[start : start + size]
        for name in names[1:]
        for size in range(2, 7)
        for start in range(len(name) - size + 1)
    )
    usual = [part for part, _ in parts.most_common(pieces)]
    tokens = [_UNKNOWN, *(names[row] for row in known), *letters, *(f"##{letter}" for letter in letters), *usual]
    vocabulary = {token: row for row, token in enumerate(dict.fromkeys(tokens))}
    split = Tokenizer(WordPiece(vocabulary, unk_token=_UNKNOWN))
    split.normalizer, split.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    others = np.setdiff1d(np.arange(1, len(names)), known)
    read = pack(split.encode_batch([names[row] for row in others]))
    ids, starts = read.columns["input_ids"], read.starts
    used = csr_matrix((np.ones(len(ids), np.float32), ids, starts), (len(others), len(vocabulary)))
    vectors = np.zeros((len(vocabulary), table.shape[1]), np.float32)
    vectors[1 : len(known) + 1] = table[known]
    left = table[others].numpy() - used @ vectors
    free = used[:, len(known) + 1 :]
    vectors[len(known) + 1 :] = np.stack([lsqr(free, column, damp=1)[0] for column in left.T], 1)
    return StaticEmbedding(split, vectors)


def _letters(tokenizer: Tokenizer) -> TokenRows:
    """Numbers of the n-grams of 3 to 5 letters in each word, ends marked, that stand in at least three words."""
    words = (f"<{name}>" for name, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    found = [
        [word[start : start + size] for size in (3, 4, 5) for start in range(len(word) - size + 1)] for word in words
    ]
    often = Counter(chain.from_iterable(map(set, found)))
    numbers = {part: number for number, part in enumerate(part for part, times in often.items() if times >= 3)}
    rows = [[numbers[part] for part in parts if part in numbers] for parts in found]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(row) for row in rows])])
    return TokenRows({"input_ids": np.fromiter(chain.from_iterable(rows), np.int32)}, starts)
