"""Evaluators of parallel texts: how far a student's vectors are from its teacher's, and who finds whose translation.

The latter as the Tatoeba and BUCC tasks judge models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.errors import ColumnsError
from workbench.evaluation.base import Measured, Samples, SentenceEvaluator, as_rows, same_length
from workbench.mining.bitext import mine_bitext, score_bitext
from workbench.search.topk import top_k
from workbench.texts import unique
from workbench.vectors import blocks

__all__ = ["BitextEvaluator", "MSEEvaluator", "MSEEvaluatorFromDataFrame", "TranslationEvaluator"]


class MSEEvaluator(SentenceEvaluator):
    """How far a student's vectors of target sentences are from the teacher's of source sentences, for distillation.

    Metric: ``negative_mse``, the mean squared difference times -100, so that higher is better.

    Args:
        source_sentences: what the teacher encodes, once and now.
        target_sentences: what the student encodes: the same sentences, or their translations.
        teacher_model: the teacher.
        show_progress_bar: see ``SentenceEvaluator``, also for the other arguments.
        batch_size: see there.
        name: see there.
        write_csv: see there.
        truncate_dim: see there; it holds for teacher and student.

    Raises:
        ColumnsError: the columns differ in length or are empty, or there is no teacher.
        TextTypeError: a row is not a text.
    """

    description = "Knowledge Distillation"
    stem = "mse_evaluation"
    primary_metric = "negative_mse"

    def __init__(
        self, source_sentences: Sequence[Any], target_sentences: Sequence[Any], teacher_model: Any = None,
        show_progress_bar: bool | None = False, batch_size: int | None = None, name: str = "", write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        source = as_rows("source_sentences", source_sentences)
        self.target_sentences = as_rows("target_sentences", target_sentences)
        same_length(source_sentences=source, target_sentences=self.target_sentences)
        if not hasattr(teacher_model, "encode"):
            raise ColumnsError(f"teacher_model must be a model that encodes, not {type(teacher_model).__name__}.")
        self.source_embeddings: Tensor = self.embed_inputs(teacher_model, source)
        self.csv_file = f"{self.stem}_{name}_results.csv"  # both lines also without a name

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Compare the student's vectors with the teacher's."""
        targets, vectors = self.source_embeddings, self.embed_inputs(model, self.target_sentences)
        if targets.shape != vectors.shape:
            shapes = f"{tuple(targets.shape)} and {tuple(vectors.shape)}"
            raise ColumnsError(
                f"Teacher and student give vectors of shapes {shapes}; give the student a Dense to match."
            )
        total = sum(
            float((rows.cpu() - targets[start : start + len(rows)].float().cpu()).double().square().sum())
            for start, rows in blocks(vectors)
        )
        mse = 100 * total / int(vectors.numel())
        return Measured({"negative_mse": -mse}, "negative_mse", {"MSE": mse})


class MSEEvaluatorFromDataFrame(SentenceEvaluator):
    """``MSEEvaluator`` for several pairs of languages, from one table with a column for each language.

    Metric: ``negative_mse``, the mean over the pairs of languages; the CSV file has a column for each.

    Args:
        dataframe: a DataFrame, or a list of dictionaries from language to text; empty texts are left out.
        teacher_model: encodes the source language, once and now.
        combinations: (source, target) pairs of languages.
        batch_size: see ``SentenceEvaluator``, also for the other arguments.
        name: see there.
        write_csv: see there.
        truncate_dim: see there.

    Raises:
        ColumnsError: a language has no column, a pair of languages no rows, or there is no teacher.
    """

    description = "Knowledge Distillation"
    stem = "mse_evaluation"
    primary_metric = "negative_mse"

    def __init__(
        self, dataframe: Any, teacher_model: Any, combinations: Sequence[tuple[str, str]],
        batch_size: int | None = None, name: str = "", write_csv: bool = True, truncate_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, False, write_csv, truncate_dim)
        rows: list[Mapping[str, Any]] = (
            dataframe.to_dict("records") if hasattr(dataframe, "to_dict") else list(dataframe)
        )
        self.combinations = [tuple(pair) for pair in combinations]
        if not self.combinations or not all(len(pair) == 2 for pair in self.combinations):
            raise ColumnsError(f"combinations must be pairs of languages, not {combinations!r:.200}.")
        self.evaluators: dict[str, MSEEvaluator] = {}
        for pair in self.combinations:
            texts = [[row.get(language) for language in pair] for row in rows]
            texts = [both for both in texts if all(isinstance(text, str) and text.strip() for text in both)]
            if not texts:
                known = ", ".join(sorted({str(key) for row in rows[:1000] for key in row})) or "none"
                raise ColumnsError(f"No row has texts for {' and '.join(map(str, pair))}; the columns are: {known}.")
            source, target = zip(*texts, strict=True)
            how = (teacher_model, False, batch_size, "-".join(pair), False, truncate_dim)
            self.evaluators["-".join(pair)] = MSEEvaluator(source, target, *how)

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Compare the student's vectors with the teacher's, for each pair of languages."""
        found = {pair: one.measure(model, None).row["MSE"] for pair, one in self.evaluators.items()}
        return Measured({"negative_mse": -sum(found.values()) / len(found)}, "negative_mse", found)


class TranslationEvaluator(SentenceEvaluator):
    """How often the nearest of all target sentences, by cosine, is a source sentence's own translation, and back.

    Metrics: ``src2trg_accuracy``, ``trg2src_accuracy`` and their mean (the primary one). Equal
    sentences are one.

    Args:
        source_sentences: sentences.
        target_sentences: the translation of each.
        show_progress_bar: see ``SentenceEvaluator``, also for the other arguments.
        batch_size: see there.
        name: see there.
        print_wrong_matches: print the source sentences whose translation was not found.
        write_csv: see there.
        truncate_dim: see there.

    Raises:
        ColumnsError: the columns differ in length or are empty.
        TextTypeError: a row is not a text.
    """

    description = "Translation"
    stem = "translation_evaluation"
    primary_metric = "mean_accuracy"

    def __init__(
        self, source_sentences: Sequence[Any], target_sentences: Sequence[Any], show_progress_bar: bool | None = False,
        batch_size: int | None = None, name: str = "", print_wrong_matches: bool = False, write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, batch_size, show_progress_bar, write_csv, truncate_dim)
        self.source_sentences = as_rows("source_sentences", source_sentences)
        self.target_sentences = as_rows("target_sentences", target_sentences)
        same_length(source_sentences=self.source_sentences, target_sentences=self.target_sentences)
        self.print_wrong_matches = print_wrong_matches

    def measure(self, model: Any, output_path: str | Path | None) -> Measured:
        """Search in both directions."""
        return self._accuracy(*self.embed_columns(model, self.source_sentences, self.target_sentences))[0]

    def _accuracy(self, source: Any, target: Any) -> tuple[Measured, Samples]:
        """What vectors reach, and its samples of rows."""
        sides = self.source_sentences, self.target_sentences
        nearest, forth = self._found(source, target, sides[1])
        _, back = self._found(target, source, sides[0])
        for row in np.flatnonzero(~forth) if self.print_wrong_matches else ():
            print(f"Source {row}: {sides[0][row]}\nNearest: {sides[1][nearest[row]]}\nTrue: {sides[1][row]}\n")
        hits = {"src2trg": forth * 1.0, "trg2src": back * 1.0, "mean": (forth * 1.0 + back) / 2}  # (rows,) each
        samples = Samples.means({f"{key}_accuracy": of_rows for key, of_rows in hits.items()})
        rates = {f"{key}_accuracy": float(of_rows.mean()) for key, of_rows in hits.items()}
        ways = {key: rates[f"{key}_accuracy"] for key in ("src2trg", "trg2src")}
        return Measured(rates, "mean_accuracy", ways, samples), samples

    def _found(self, queries: Any, corpus: Any, texts: list[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The nearest text for each query, and whether it is the query's own."""
        first, twin = unique(texts)
        _, found = top_k(queries, corpus[torch.from_numpy(first)], 1, show=self.show_progress_bar)
        nearest = found[:, 0].cpu().numpy()
        return first[nearest], nearest == twin


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
