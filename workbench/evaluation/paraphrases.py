"""The evaluator of paraphrase mining: whether the most similar pairs of a collection are the known duplicates."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench import metrics
from workbench.errors import ColumnsError
from workbench.evaluation.base import Measured, SentenceEvaluator, as_rows, positive_sizes

__all__ = ["ParaphraseMiningEvaluator"]


class ParaphraseMiningEvaluator(SentenceEvaluator):
    """How well the duplicates in a collection are found by ``paraphrase_mining``, best pairs first.

    Metrics: average precision (the primary one), the best F1 with its precision and recall, and its threshold. Pairs of
    equal scores count as one step. Recall is of all known duplicates, also of those that mining did not return.

    Args:
        sentences_map: texts by id.
        duplicates_list: pairs of ids that mean the same. Ids without a text are left out.
        duplicates_dict: the same as ``{id: {id: True}}``; both may be given.
        add_transitive_closure: if a and b are duplicates, and b and c, so are a and c.
        query_chunk_size: see ``paraphrase_mining``, also for the arguments up to ``top_k``.
        corpus_chunk_size: see there.
        max_pairs: see there.
        top_k: see there.
        show_progress_bar: see ``SentenceEvaluator``, also for the other arguments.
        batch_size: see there.
        name: see there.
        write_csv: see there.
        truncate_dim: see there.

    Raises:
        ColumnsError: no texts, or no duplicates among them.
        TextTypeError: a text is none.
    """

    description = "Paraphrase Mining"
    stem = "paraphrase_mining_evaluation"
    primary_metric = "average_precision"
    settings = ("add_transitive_closure", "max_pairs", "top_k", "truncate_dim")

    def __init__(
        self, sentences_map: Mapping[Any, Any], duplicates_list: Iterable[tuple[Any, Any]] | None = None,
        duplicates_dict: Mapping[Any, Mapping[Any, bool]] | None = None, add_transitive_closure: bool = False,
        query_chunk_size: int = 5000, corpus_chunk_size: int = 100000, max_pairs: int = 500000, top_k: int = 100,
        show_progress_bar: bool | None = False, batch_size: int | None = None, name: str = "", write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        if not isinstance(sentences_map, Mapping):
            raise ColumnsError(f"sentences_map must be a dictionary by id, not {type(sentences_map).__name__}.")
        self.sentences = as_rows("sentences_map", list(sentences_map.values()))
        self.ids = list(sentences_map)
        sizes = [query_chunk_size, corpus_chunk_size, max_pairs, top_k]
        positive_sizes("query_chunk_size, corpus_chunk_size, max_pairs and top_k", sizes)
        self.query_chunk_size, self.corpus_chunk_size = query_chunk_size, corpus_chunk_size
        self.max_pairs, self.top_k, self.add_transitive_closure = max_pairs, top_k, add_transitive_closure
        pairs = [tuple(pair) for pair in duplicates_list or ()]
        pairs += [(a, b) for a, others in (duplicates_dict or {}).items() for b, same in others.items() if same]
        if wrong := [pair for pair in pairs if len(pair) != 2]:
            raise ColumnsError(f"duplicates_list must hold pairs of ids; found {wrong[0]!r:.100}.")
        place = {key: row for row, key in enumerate(self.ids)}
        known = {tuple(sorted((place[a], place[b]))) for a, b in pairs if a in place and b in place and a != b}
        if add_transitive_closure:
            known = _closed(known)
        if not known:
            raise ColumnsError("None of the duplicates has both its texts in sentences_map, or there are none.")
        self.total_num_duplicates = len(known)
        self._known = np.array([first * len(self.ids) + second for first, second in known])

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Mine, and judge the pairs found."""
        from workbench.mining import paraphrase_mining_embeddings

        vectors = self.embed_inputs(model, self.sentences)
        how = (self.query_chunk_size, self.corpus_chunk_size, self.max_pairs, self.top_k)
        found = np.array(paraphrase_mining_embeddings(vectors, *how, show_progress_bar=self.show_progress_bar))
        scores, first, second = found.reshape(-1, 3).T
        labels = np.isin(first * len(self.ids) + second, self._known)
        best = metrics.best_f1(scores, labels, positives=self.total_num_duplicates)
        values = {"average_precision": metrics.average_precision(scores, labels, self.total_num_duplicates)}
        values |= zip(("f1", "precision", "recall", "threshold"), best, strict=True)
        order = ("precision", "recall", "f1", "threshold", "average_precision")
        return Measured(values, "average_precision", {key: values[key] for key in order})


def _closed(pairs: set[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """All pairs of rows that a chain of pairs connects."""
    group: dict[int, list[int]] = {}
    for first, second in pairs:
        left, right = group.setdefault(first, [first]), group.setdefault(second, [second])
        if left is not right:
            left += right
            group |= dict.fromkeys(right, left)
    return {(first, second) for first, rows in group.items() for second in rows if first < second}
