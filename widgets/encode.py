"""Encoding: texts to vectors with any model, what that will take, and whether the vectors are as they should be."""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
import traitlets as tr

from widgets._data_panel import DataPanel
from widgets._encode_figure import random_cosines, vectors_figure
from widgets._fields import Choice, Model
from widgets._models import load_model, model_facts, model_name, model_prompts
from widgets._parts import button
from widgets._theme import count, duration, in_html
from workbench.errors import TruncationWarning, WorkbenchError
from workbench.progress import listen
from workbench.quantization import PRECISIONS, quantize_embeddings
from workbench.texts import unique

__all__ = ["EncodePanel"]

_Array = npt.NDArray[Any]

_LENGTHS = [("as the model gives them", False), ("scaled to length 1", True)]
_PROBE = 1.0  # seconds that an estimate takes, the loading of the model aside


@dataclass(frozen=True, eq=False)
class _Encoded:
    """n texts, their vectors as the model gives them, and as they were asked for."""

    texts: list[str]
    vectors: npt.NDArray[np.float32]  # (n, dim)
    embeddings: _Array  # (n, dim), or (n, dim / 8) of bits
    precision: str
    model: str
    prompt: str
    tokens: npt.NDArray[np.integer[Any]] | None  # (n,), None where the model reads texts of any length
    limit: float
    seconds: float
    kept: int | None  # vectors that the store had already; None without a store

    def plain(self) -> _Array:
        """Return the vectors."""
        return self.embeddings

    def norms(self) -> npt.NDArray[np.float32]:
        """Return the length of each vector before it was quantized: (n,)."""
        return np.asarray(np.linalg.norm(self.vectors, axis=1))

    def twins(self) -> tuple[_Array, _Array]:
        """Return for each row the first row with the same text, and the first with the same vector: (n,) and (n,)."""
        first, inverse = unique(self.texts)
        rounded = np.ascontiguousarray(np.round(self.vectors, 5) + 0.0)  # + 0.0: no negative zeros
        rows = rounded.view(np.dtype((np.void, rounded.dtype.itemsize * rounded.shape[1]))).ravel()
        _, start, group = np.unique(rows, return_index=True, return_inverse=True)
        return first[inverse], start[group]

    def cut(self) -> int:
        """Return how many tokens were left out of texts that are too long."""
        return 0 if self.tokens is None else int(np.maximum(self.tokens - self.limit, 0).sum())

    def figure(self) -> go.Figure:
        """Return the histograms of lengths and of random pairs."""
        return vectors_figure(self.norms(), random_cosines(self.vectors))

    def frame(self) -> pd.DataFrame:
        """Return one row for each text; those that have a twin, and those that were cut, come first."""
        same_text, same_vector = self.twins()
        rows = np.arange(len(self.texts))
        columns: dict[str, Any] = {"row": rows, "text": self.texts, "length": self.norms().astype(float)}
        long = np.zeros(len(rows), bool)
        if self.tokens is not None:
            columns["tokens"], long = self.tokens, self.tokens > self.limit
        twin, again = np.minimum(same_text, same_vector), np.bincount(same_vector, minlength=len(rows))
        note = [
            f"text of row {text}" if text < row else f"vector of row {vector}" if vector < row else ""
            for row, text, vector in zip(rows, same_text, same_vector, strict=True)
        ]
        order = np.lexsort((rows, twin, ~long, again[same_vector] < 2))
        return pd.DataFrame({**columns, "same as": note}).iloc[order].reset_index(drop=True)

    def caption(self) -> str:
        """Return how to read the histograms."""
        return (
            "Left: where all vectors have the same length, cosine and dot product put texts in the same order. Right: "
            "what this model gives for texts that were paired at random, which is the level above which a similarity "
            "means something. Neither says how good the model is. The table lists texts that share a vector first."
        )

    def facts(self) -> dict[str, object]:
        """Return what was made, of what, and how fast."""
        number, (same_text, same_vector) = len(self.texts), self.twins()
        own = np.arange(number)
        repeated, shared = int((same_text < own).sum()), int(((same_vector < own) & (same_text == own)).sum())
        long = 0 if self.tokens is None else int((self.tokens > self.limit).sum())
        limit = "any length is read" if self.tokens is None else f"{count(self.cut())} of {count(long)} texts"
        kept = (
            "not used" if self.kept is None else f"{count(self.kept)} of {count(len(set(self.texts)))} texts were there"
        )
        return {
            "Shape": f"({number}, {self.embeddings.shape[1]}), {self.precision}, {self.embeddings.nbytes / 1e6:.1f} MB",
            "Model": f"{self.model}, {self.vectors.shape[1]} dimensions",
            "Prompt": repr(self.prompt) if self.prompt else "the model's own, if any",
            "Tokens cut": limit,
            "Speed": f"{count(round(number / max(self.seconds, 1e-3)))} texts a second",
            "Repeated texts": count(repeated),
            "Other texts with the vector of another": count(shared),
            "Blank texts": count(sum(not text.strip() for text in self.texts)),
            "Store": kept,
            "Random pairs": "5 000 at most, seed 0",
        }


class EncodePanel(DataPanel[_Encoded]):
    """Turn a column of texts into vectors, with an estimate before and a look at the vectors after.

    Args:
        data: a DataFrame, a ``datasets.Dataset``, the path of a CSV, TSV, JSONL or Parquet file, the name of a bundled
            set such as "faq", a list of records, or texts.
        column: the column to encode; "" takes the one with the longest texts.
        model: name or folder of a model, or an object with ``encode(texts, **options)``.
        prompt: put before every text; "" leaves it to the model.
        precision: "float32", "int8", "uint8", "binary" or "ubinary".
        truncate_dim: keep only so many leading dimensions; None keeps all.
        normalize: scale every vector to length 1.
        store: path of an ``EmbeddingStore``, so that no text is encoded twice; "" keeps nothing.
        report: show figure and table in place of controls; None asks the environment variable ``WORKBENCH_REPORT``.

    Attributes:
        embeddings: (n, dim) vectors of the last run, a row for each row of the data; None before.
    """

    title = "Encode"
    purpose = "Turn your texts into vectors, and see at once whether these are as they should be."
    first_step = "Pick a bundled set above, or upload a table, and press Run."
    inputs = ("data", "column", "model", "prompt", "precision", "truncate_dim", "normalize", "store")
    form = ("data", "column", "model", "upload", "prompt", "precision", "truncate_dim")
    example = {"data": "faq", "column": "question"}  # noqa: RUF012 - the base class declares it as a class variable

    model = Model("starter", everywhere=True).tag(label="Model")
    prompt = tr.Unicode("").tag(label="Prompt before each text", kind=widgets.Combobox)
    precision = Choice("float32", list(PRECISIONS)).tag(label="Precision")
    truncate_dim = tr.Int(None, allow_none=True).tag(
        label="Dimensions (0: all)", kind=widgets.BoundedIntText, min=0, max=2**20
    )
    normalize = tr.Bool(False).tag(label="Length of vectors", options=_LENGTHS)
    store = tr.Unicode("").tag(label="Keep vectors in a file")

    @property
    def embeddings(self) -> _Array | None:  # noqa: D102 - the class describes it
        return None if self.result is None else self.result.embeddings

    def estimate(self) -> dict[str, float]:
        """Encode some of the texts for about a second; return what all of them would take, and show it.

        Returns:
            "seconds", "tried" (how many texts that is based on) and "megabytes" of the vectors.

        Raises:
            WorkbenchError: an input cannot be used, or the panel is running.
        """
        job, tried, spent, size = self._begin(), 0, 0.0, 16
        with self._busy(job):
            texts = self._checked(job.inputs)
            distinct = [texts[row] for row in unique(texts)[0]]
            order = np.random.default_rng(0).permutation(len(distinct))
            model, options = load_model(job.inputs["model"]), _options(job.inputs)
            with listen(lambda bar: job.check()), warnings.catch_warnings():
                warnings.simplefilter("ignore", TruncationWarning)
                model.encode([distinct[order[0]]], **options)  # the first call of a model sets things up
                while spent < _PROBE and tried < len(distinct):
                    begun, part = time.perf_counter(), [distinct[row] for row in order[tried : tried + size]]
                    width = np.shape(model.encode(part, **options))[1]
                    spent, tried, size = spent + time.perf_counter() - begun, tried + len(part), size * 2
        bytes_each = {"float32": 4 * width, "int8": width, "uint8": width}.get(job.inputs["precision"], width / 8)
        found = {"seconds": spent / tried * len(distinct), "tried": tried, "megabytes": bytes_each * len(texts) / 1e6}
        said = (
            f"{count(len(texts))} texts will take {duration(found['seconds'])}, judged by {count(tried)} of them; "
            f"their vectors take {found['megabytes']:.1f} MB."
        )
        self._settle(f"<div class='wb-said'>{in_html(said)}</div>")
        return found

    # Inputs.

    @tr.validate("truncate_dim")
    def _check_width(self, proposal: Any) -> int | None:
        value: int | None = proposal["value"]
        if value is not None and value < 1:
            raise WorkbenchError(f"truncate_dim is {value}; give a number of dimensions, or None for all of them.")
        return value

    @tr.observe("model")
    def _tell_model(self, change: Any) -> None:
        self._guide.value = f"<p class='wb-note'>{in_html(model_facts(self.model))}</p>"
        self._fields["prompt"].options = tuple(model_prompts(self.model).values())

    def _build(self) -> None:
        super()._build()
        self._tell_model(None)

    def _actions(self) -> list[widgets.Widget]:
        say = "Encode for a second, and tell what all will take"
        self._guess = button("Estimate", say, lambda: self._in_background(self.estimate))
        return [self._guess, *super()._actions()]

    # The run.

    def _checked(self, inputs: dict[str, Any]) -> list[str]:
        texts: list[str] = inputs["texts"]
        if not texts:
            raise WorkbenchError("There are no texts. Pick a bundled set, upload a table, or pass data to the panel.")
        if inputs["store"] and not isinstance(inputs["model"], str):
            raise WorkbenchError(
                "Only vectors of named models can be kept in a file. Leave it empty, or name the model."
            )
        return texts

    def _compute(self, inputs: dict[str, Any]) -> _Encoded:
        from workbench.store import EmbeddingStore

        texts, model, options, kept = self._checked(inputs), load_model(inputs["model"]), _options(inputs), None
        begun = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # the facts say it
            if inputs["store"]:
                with EmbeddingStore(inputs["store"]) as store:
                    vectors = store.encode(model, texts, **options)
                    kept = len(set(texts)) - store.stats()["misses"]
            else:
                vectors = model.encode(texts, **options)
        seconds, vectors = time.perf_counter() - begun, np.asarray(vectors, dtype=np.float32)
        if not (finite := np.isfinite(vectors).all(axis=1)).all():
            raise WorkbenchError(
                f"The model gave row {np.argmin(finite)} a vector that is not finite. Try another model."
            )
        limit = getattr(model, "max_seq_length", None) or np.inf
        prompt = inputs["prompt"]
        tokens = None if limit == np.inf else np.asarray(model.token_counts([prompt + text for text in texts]))
        embeddings = np.asarray(quantize_embeddings(vectors, inputs["precision"]))
        about = (inputs["precision"], model_name(inputs["model"]), prompt)
        return _Encoded(texts, vectors, embeddings, *about, tokens, limit, seconds, kept)

    def _code(self, inputs: dict[str, Any]) -> str:
        given = [f"{name}={value!r}" for name, value in _options(inputs).items()]
        if inputs["precision"] != "float32":
            given.append(f"precision={inputs['precision']!r}")
        how, stored = "".join(f", {part}" for part in given), inputs["store"]
        encode = f"embeddings = model.encode(texts{how})\n"
        if stored:
            encode = f"with EmbeddingStore({stored!r}) as store:\n    embeddings = store.encode(model, texts{how})\n"
        return (
            f"from widgets import as_frame\n"
            f"from workbench import {'EmbeddingStore, ' if stored else ''}SentenceTransformer\n\n"
            f"{self._data_code(inputs)}"
            f"model = SentenceTransformer({model_name(inputs['model'])!r})\n{encode}"
        )


def _options(inputs: dict[str, Any]) -> dict[str, Any]:
    """What ``encode`` is told, besides the precision, which is made of the vectors after a look at them."""
    names = {"prompt": "prompt", "truncate_dim": "truncate_dim", "normalize": "normalize_embeddings"}
    return {option: inputs[name] for name, option in names.items() if inputs[name]}
