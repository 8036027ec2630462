"""The embedding store: ``encode`` that reads what was encoded before, and keeps what it encodes."""

import inspect
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.batching import SLICE
from workbench.devices import pick_device
from workbench.encoding import STREAM, Options, Table, check_out, warn_cut
from workbench.errors import TextTypeError, VectorError, choose
from workbench.progress import Bar, listen, track
from workbench.protocols import Embeds
from workbench.quantization import PRECISIONS, quantize_embeddings
from workbench.sentence_transformer import SentenceTransformer
from workbench.store.fingerprint import model_fingerprint
from workbench.store.vector_file import VectorFile
from workbench.texts import as_texts, is_stream, iter_texts, slices, unique
from workbench.tokens import IntArray
from workbench.vectors import as_matrix

__all__ = ["EmbeddingStore"]

_Array = npt.NDArray[Any]

_LEAST, _MOST, _SECONDS = 16, 2**13, 1.0  # texts in a commit, and about how much work a kill may cost
_ANYHOW = ("batch_size", "chunk_size", "device", "pool")  # options that do not change vectors


@dataclass(frozen=True)
class _Source:
    """A model with its options: what its vectors are kept under, and how more of them are made."""

    about: dict[str, Any]
    encode: Callable[[list[Any]], tuple[_Array, int]]  # texts → vectors, and how many texts were cut
    accept: tuple[type, ...] = ()  # what a row may be, besides a string
    precision: str = "float32"
    limit: int | None = None  # tokens

    @property
    def key(self) -> bytes:
        return blake2b(json.dumps(self.about, sort_keys=True).encode(), digest_size=16).digest()

    def packed(self, vectors: _Array) -> _Array:
        """Vectors as they go into the table: bits are made row by row, bytes of all rows at the end."""
        codes: _Array = quantize_embeddings(vectors, self.precision) if "binary" in self.precision else vectors  # type: ignore[assignment]
        return codes


class EmbeddingStore:
    """Vectors of texts in one file: what the same model has encoded with the same options is read, not made again.

    A vector's key is the model's fingerprint (its weights, configuration and tokenizer, not its name), the options that
    matter (prompt, normalization, truncation, task) and the text. Vectors are kept as the model gives them and the
    precisions made of them on the way out: int8 and uint8 take their ranges from all vectors of a call, as ``encode``
    does, and all precisions share the same rows.

    Several threads and processes may use one file at once, on a local disk. Work is committed about every second: a
    killed process loses one batch at most, a power cut the last few, and what was committed is never damaged. Where the
    file cannot be written (the disk is full, or the file is for reading only), ``encode`` still returns every vector,
    and warns that they are not kept.

    Args:
        path: the file; made with its folder when it is not there.
        max_bytes: the most bytes of vectors to keep (the file is a little larger); None: no limit. Blocks of about
            64 kB go, the least recently used first, but none that the running call used: a call that needs more than
            the limit is kept whole until another one makes room.

    Raises:
        DataFormatError: the file is damaged, of another program, or of a newer version. It is left as it is.
        OSError: it cannot be opened or made.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None) -> None:
        self._file = VectorFile(path, max_bytes)
        self._hits = self._misses = 0

    def encode(
        self,
        model: Embeds,
        sentences: Any,
        *,
        fingerprint: str | None = None,
        out: _Array | None = None,
        show_progress_bar: bool | None = None,
        **options: Any,
    ) -> Any:
        """Return what ``model.encode(sentences, **options)`` would, encoding only texts that are not kept yet.

        Args:
            model: a ``SentenceTransformer``; or, with ``fingerprint``, anything that has ``encode``.
            sentences: one text, or any iterable of texts; a generator is read as it is encoded.
            fingerprint: stands for the model in the key, in place of the hash of its weights; change it with the model.
            out: an array of shape (texts, dim) to write into, such as a ``np.memmap``; it is also returned.
            show_progress_bar: None shows one in interactive use; see ``workbench.show_progress``.
            options: of ``model.encode``.

        Returns:
            (texts, dim), or (dim,) for one text, as a numpy array.

        Raises:
            TextTypeError: a row is not a text; names its index and type.
            VectorError: the model gave vectors of another length or type than those kept under its fingerprint.
            DataFormatError: the file is damaged.
            ValueError: options that ask for something else than one numpy array.
        """
        devices = options.get("device")
        if isinstance(model, SentenceTransformer) and isinstance(devices, (list, tuple)):
            given: dict[str, Any] = {"fingerprint": fingerprint, "out": out, "show_progress_bar": show_progress_bar}
            with model.start_multi_process_pool(list(devices)) as pool:
                return self.encode(model, sentences, **given, **{**options, "device": None, "pool": pool})
        source, single = _source(model, fingerprint, options), False
        texts: list[Any] = []
        if is_stream(sentences):
            parts: Iterator[list[Any]] = slices(iter_texts(sentences, accept=source.accept), STREAM)
        else:
            texts, single = as_texts(sentences, accept=source.accept)
            parts = iter([texts] if texts else [])
        at_end = source.precision in ("int8", "uint8")
        target = None if at_end else out
        made, done, cut, failure = [], 0, 0, None
        with track(len(texts), unit="texts", desc="Encoding", show=show_progress_bar) as bar:
            for part in parts:
                if out is not None and len(out) < done + len(part):
                    raise ValueError(f"out has {len(out)} rows; these vectors need {done + len(part)}, or more.")
                bar.update(0, total=max(bar.total, done + len(part)))
                table = Table(len(part), None if target is None else target[done : done + len(part)], False)
                cut_here, failure_here = self._fill(source, part, table, bar)
                cut, failure, done = cut + cut_here, failure or failure_here, done + len(part)
                made.append(table.data)
        if not made:
            made.append(source.packed(source.encode([])[0]))
        vectors = target[:done] if target is not None else made[0] if len(made) == 1 else np.concatenate(made)
        if at_end:
            vectors = np.asarray(quantize_embeddings(vectors, source.precision))
            if out is not None:
                check_out(out, vectors.shape, vectors.dtype)
                out[:done] = vectors
                vectors = out[:done]
        if failure is not None:
            warnings.warn(
                f"{failure}: all vectors are returned, but not all are kept. Make room or make the file writable.",
                RuntimeWarning,
                stacklevel=2,
            )
        warn_cut(cut, done, source.limit, what="texts", setting="max_seq_length")
        return vectors[0] if single else vectors

    def _fill(self, source: _Source, texts: list[Any], table: Table, bar: Bar) -> tuple[int, Exception | None]:
        """Fill the table, from the file and by the model; returns how many texts were cut, and why not all are kept."""
        digests, since = _digests(texts), time.time()
        failure: Exception | None = None
        size, cut = 4 * _LEAST, 0

        def read(rows: IntArray) -> IntArray:
            """Fill the given rows from the file; returns those that it has not."""

            def take(found: IntArray, vectors: _Array) -> None:
                table.write(rows[found], source.packed(vectors))
                bar.update(len(found))

            missing = rows[self._file.read(source.key, digests[rows], take)]
            self._hits += len(rows) - len(missing)
            return missing

        missing = read(np.arange(len(texts)))
        first, inverse = unique([texts[row] for row in missing])
        distinct = missing[first]
        # Longest first, so that texts of like length share a batch; but near each other in the file, so that reading
        # them in the same order touches one part of a large table after the other.
        lengths = np.array([len(texts[row]) for row in distinct], np.int64)
        order = distinct[np.lexsort((-lengths, distinct // STREAM))]
        while len(order):
            start, batch, order = time.monotonic(), order[:size], order[size:]
            batch = read(batch)  # another process may have been faster
            if len(batch):
                with listen(lambda _: bar.update(0)):  # one bar, which can still cancel
                    vectors, cut_here = source.encode([texts[row] for row in batch])
                if failure is None:
                    try:
                        self._file.add(source.key, json.dumps(source.about), digests[batch], vectors, since)
                    except OSError as error:
                        failure = error
                table.write(batch, source.packed(vectors))
                bar.update(len(batch))
                cut += cut_here
                self._misses += len(batch)
            pace = _SECONDS / max(time.monotonic() - start, 1e-3)
            size = int(np.clip(size * np.clip(pace, 0.5, 4), _LEAST, _MOST))
        repeats = np.flatnonzero(first[inverse] != np.arange(len(missing)))
        table.copy(missing[repeats], distinct[inverse[repeats]])
        bar.update(len(repeats))
        return cut, failure

    def __len__(self) -> int:
        return self._file.size()[0]

    def stats(self) -> dict[str, Any]:
        """Return what is kept, in all and for each model with its options, and how many rows were read and encoded."""
        rows, size = self._file.size()
        spaces = [{**json.loads(space.pop("about")), **space} for space in self._file.spaces()]
        return {
            "path": str(self._file.path),
            "rows": rows,
            "bytes": size,
            "max_bytes": self._file.max_bytes,
            "hits": self._hits,
            "misses": self._misses,
            "models": spaces,
        }

    def clear(self) -> None:
        """Remove everything that is kept, and give the disk its space back."""
        self._file.clear()

    def close(self) -> None:
        """Close the file; everything was committed before."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return type(self), (self._file.path, self._file.max_bytes)  # each process has a connection of its own


def _source(model: Any, fingerprint: str | None, options: dict[str, Any]) -> _Source:
    """What the vectors of a call depend on, and the function that makes them."""
    if not callable(getattr(model, "encode", None)):
        raise TypeError(f"model is {type(model).__name__}; expected something with encode, as SentenceTransformer has.")
    known = getattr(type(model), "encode", None) is SentenceTransformer.encode
    if not known and not (fingerprint and isinstance(fingerprint, str)):
        raise ValueError(
            f"What the vectors of {type(model).__name__} depend on is not known here. Pass fingerprint=..., a string "
            "that changes when the model does."
        )
    return _of_transformer(model, fingerprint, options) if known else _of_any(model, str(fingerprint), options)


def _of_transformer(model: SentenceTransformer, fingerprint: str | None, options: dict[str, Any]) -> _Source:
    bound = inspect.signature(model.encode).bind(None, **options)  # raises TypeError for an unknown option
    bound.apply_defaults()
    given = bound.arguments
    choose("precision", given["precision"], PRECISIONS)
    if given["output_value"] != "sentence_embedding" or given["convert_to_tensor"] or not given["convert_to_numpy"]:
        raise ValueError("The store gives numpy arrays of sentence embeddings. Call model.encode for anything else.")
    width = given["truncate_dim"] if given["truncate_dim"] is not None else model.truncate_dim
    normalize, task, pool = bool(given["normalize_embeddings"]), given["task"], given["pool"]
    how = Options(
        model._prompt(given["prompt_name"], given["prompt"]), given["batch_size"], width, normalize, task=task
    )

    def encode(texts: list[Any]) -> tuple[_Array, int]:
        if pool is None and given["device"] is not None:
            model.to(pick_device(given["device"]))
        vectors, cut, _ = model._encode_parts(iter([texts]), how, None, pool, given["chunk_size"])
        return vectors, cut

    about = {"prompt": how.prompt, "truncate_dim": width, "normalize_embeddings": normalize, "task": task}
    about["fingerprint"] = fingerprint or model_fingerprint(model)
    accept = (dict,) if dict in model._accepts else ()
    return _Source(about, encode, accept, given["precision"], model.max_seq_length)


def _of_any(model: Embeds, fingerprint: str, options: dict[str, Any]) -> _Source:
    def encode(texts: list[Any]) -> tuple[_Array, int]:
        vectors = as_matrix(model.encode(texts, **options))
        if len(vectors) != len(texts):
            raise VectorError(f"The model gave {len(vectors)} vectors for {len(texts)} texts.")
        if isinstance(vectors, Tensor):
            vectors = (vectors.float() if vectors.dtype == torch.bfloat16 else vectors).detach().cpu().numpy()
        return vectors, 0

    about = {name: value for name, value in options.items() if name not in _ANYHOW} | {"fingerprint": fingerprint}
    try:
        json.dumps(about)
    except TypeError as error:
        raise TypeError(f"Options are part of the key and must be plain values: {error}.") from error
    return _Source(about, encode)


def _digests(rows: list[Any]) -> _Array:
    """Return 16 bytes of BLAKE2b for each row: (rows, 2)."""
    return np.frombuffer(b"".join([_joined(part) for part in slices(rows, SLICE)]), np.uint64).reshape(-1, 2)


def _joined(rows: list[Any]) -> bytes:
    try:
        return b"".join([blake2b(row.encode(), digest_size=16).digest() for row in rows])  # the fast road for most
    except (UnicodeEncodeError, AttributeError):  # a lone surrogate; a text with its route
        return b"".join(map(_digest, rows))


def _digest(row: Any) -> bytes:
    if isinstance(row, str):
        return blake2b(row.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if not all(isinstance(value, str) for value in row.values()):
        raise TextTypeError("The store keeps vectors of texts only. Encode anything else with model.encode.")
    return blake2b(json.dumps(row).encode(), digest_size=16, person=b"route").digest()
