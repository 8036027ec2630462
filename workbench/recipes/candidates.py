"""Texts that one or several retrievers find for queries: by words, by meaning, or both in turns."""

from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from workbench.recipes.steps import as_model
from workbench.search import BM25Index, DenseIndex, open_index
from workbench.sentence_transformer import SentenceTransformer

__all__ = ["find_candidates"]


def find_candidates(queries: list[str], texts: list[str], retrievers: Sequence[Any], count: int) -> list[list[int]]:
    """Return for each query the rows of ``texts`` that the retrievers find: their first, their second …, each row once.

    Args:
        queries: the queries.
        texts: the texts, which should be different.
        retrievers: "bm25", an empty ``BM25Index`` (for another language), or models that encode, as objects, names or
            folders.
        count: rows that each retriever finds.

    Raises:
        ValueError: no retriever, or an index that already holds texts.
        TypeError: a retriever that is none of these.
        ModelNotFoundError: no such model.
    """
    if isinstance(retrievers, (str, Path)) or not retrievers:
        raise ValueError(f"retrievers is {retrievers!r}; expected a list of one or more, such as ['bm25', model].")
    found = []
    for one in retrievers:
        index = BM25Index() if isinstance(one, str) and one == "bm25" else one
        if not isinstance(index, BM25Index):
            index = DenseIndex(as_model("a retriever", one, "encode", SentenceTransformer), open_index("exact"))
        if len(index):
            raise ValueError(f"The index has {len(index)} texts already; give an empty one.")
        index.add(range(len(texts)), texts)
        found.append([[row for row, _ in hits] for hits in index.search(queries, count)])
    return [
        list(dict.fromkeys(row for row in chain.from_iterable(zip_longest(*lists)) if row is not None))
        for lists in zip(*found, strict=True)
    ]
