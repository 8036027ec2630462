"""The evaluator of translations among other sentences, as the Tatoeba and BUCC tasks judge models."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workbench.errors import ColumnsError
from workbench.evaluation.base import Measured, Samples
from workbench.evaluation.parallel import TranslationEvaluator
from workbench.mining.bitext import mine_bitext, score_bitext
from workbench.texts import unique

__all__ = ["BitextEvaluator"]


class BitextEvaluator(TranslationEvaluator):
    """``TranslationEvaluator`` (Tatoeba), and how well mining finds the translations among all sentences (BUCC).

    Metrics: accuracies in both directions and their mean, over rows with both texts; ``f1`` (the primary one),
    ``precision``, ``recall`` and ``threshold`` of mining by margin, at the threshold with the best F1. It is chosen on
    the same data, as the task does on its training part: on few rows F1 flatters.

    Args:
        source_sentences: sentences; None or "" for a target without translation.
        target_sentences: the translation of each; None or "" for a source without.
        k: neighbours that the margin looks at.
        options: see ``TranslationEvaluator``.

    Raises:
        ColumnsError: the columns differ in length, or no row has both texts.
        TextTypeError: a row is not a text.
    """

    description = "Bitext Mining"
    stem = "bitext_evaluation"
    primary_metric = "f1"

    def __init__(
        self, source_sentences: Sequence[Any], target_sentences: Sequence[Any], k: int = 4, **options: Any
    ) -> None:
        rows = list(zip(source_sentences, target_sentences, strict=False))
        whole = [(source, target) for source, target in rows if source and target]
        if not whole or len(source_sentences) != len(target_sentences):
            sizes = f"{len(source_sentences)} sources, {len(target_sentences)} targets"
            raise ColumnsError(f"No row has a source and its target, or the columns differ in length: {sizes}.")
        super().__init__([source for source, _ in whole], [target for _, target in whole], **options)
        self.k = k
        self.alone = tuple([row[side] for row in rows if row[side] and not row[1 - side]] for side in (0, 1))

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Search in both directions, and mine."""
        sides = self.source_sentences, self.target_sentences
        rows = len(sides[0])
        columns = [side + alone for side, alone in zip(sides, self.alone, strict=True)]
        vectors = self.embed_columns(model, *columns)
        accuracy, of_rows = self._accuracy(*(side[:rows] for side in vectors))
        first, numbers = zip(*map(unique, columns), strict=True)
        source, target = (side[torch.from_numpy(places)] for side, places in zip(vectors, first, strict=True))
        mined = mine_bitext(source, target, self.k, show_progress_bar=self.show_progress_bar)
        gold = set(zip(numbers[0][:rows].tolist(), numbers[1][:rows].tolist(), strict=True))
        found = score_bitext(mined, gold)
        values = asdict(found)
        # The units drawn anew are source sentences, each with the pairs it should have and those it got.
        taken = [(source, target) for score, source, target in mined if score >= found.threshold]
        units = len(first[0])
        true, got, hit = (
            np.bincount([source for source, _ in pairs], minlength=units)
            for pairs in (gold, taken, [pair for pair in taken if pair in gold])
        )

        def of_samples(counts: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
            hits = counts @ hit
            founds, golds = (np.maximum(counts @ of_unit, 1) for of_unit in (got, true))
            shares = {"f1": 2 * hits / (founds + golds), "precision": hits / founds, "recall": hits / golds}
            return {**of_rows.values(counts[:, numbers[0][:rows]]), **shares}

        return Measured({**accuracy.metrics, **values}, "f1", {**accuracy.row, **values}, Samples(units, of_samples))
