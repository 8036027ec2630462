"""Encode a data set of any size on Ray: on this machine or a cluster, each row once, whatever dies on the way."""

import copy
import logging
import os
import socket
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench._optional import require
from workbench.devices import pick_device
from workbench.distributed.ids import Repeats, check_piece
from workbench.distributed.pieces import Piece, answer, find_files, plan, read_piece
from workbench.distributed.shards import Folder
from workbench.encoding import Options, Precision, warn_cut
from workbench.errors import DataFormatError, WorkerError, choose
from workbench.progress import Bar, track
from workbench.quantization import PRECISIONS
from workbench.sentence_transformer import SentenceTransformer
from workbench.store import model_fingerprint

__all__ = ["Encoded", "encode_dataset"]

logger = logging.getLogger(__name__)

_FORMAT = 1


@dataclass(frozen=True)
class Encoded:
    """What a run has written."""

    out: str
    rows: int
    shards: int
    kept: int  # shards that an earlier run had finished


def encode_dataset(
    source: Any,
    model: str | Path | SentenceTransformer,
    out: str | Path,
    *,
    text: str = "text",
    id: str | None = None,  # noqa: A002 (the column's usual name)
    address: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    normalize_embeddings: bool = False,
    truncate_dim: int | None = None,
    precision: Precision = "float32",
    task: str | None = None,
    batch_size: int | None = None,
    rows_per_shard: int = 50_000,
    workers: int | None = None,
    show_progress_bar: bool | None = None,
) -> Encoded:
    """Encode a data set of any size into Parquet shards with the columns ``id`` and ``vector``.

    One actor for each GPU of the cluster, or each CPU core where there is no GPU, makes shard after shard: it reads the
    rows, encodes them and writes the shard in one step. Neither texts nor vectors pass through this process, and a
    worker holds one shard. The model goes from here to the workers, so all have the same weights.

    The same call again goes on where a run stopped: shards that are there are kept. Shards of a worker or machine that
    dies are made again by the others. The whole input is read and checked before the first text is encoded.

    Args:
        source: a .parquet, .csv, .tsv or .jsonl file, a folder of them, or a list of both. On a cluster, paths that all
            machines see, or addresses like ``s3://bucket/folder``.
        model: a model, or its name or folder.
        out: the folder to write to, a path or an address as well.
        text: the column of texts.
        id: the column of ids, whole numbers or strings, each once; None numbers the rows of the input from 0.
        address: of a Ray cluster ("auto", "host:6379"); None starts Ray on this machine, or uses what runs in this
            process.
        prompt_name: the name of one of the model's prompts to put before every text.
        prompt: the prompt itself; wins over ``prompt_name``.
        normalize_embeddings: scale every vector to length 1.
        truncate_dim: keep only this many leading dimensions.
        precision: "float32", "binary" or "ubinary".
        task: the route to take in a model with a ``Router``: "query" or "document".
        batch_size: rows in a batch. None fills batches by tokens, which is faster.
        rows_per_shard: rows a worker holds, and the most work that its death costs.
        workers: how many actors; on CPUs they share the cores.
        show_progress_bar: None shows one in interactive use; see ``workbench.show_progress``.

    Raises:
        DependencyError: ``ray`` is not installed.
        DataFormatError: a file cannot be read, a column is not there, a row has no text, an id comes twice, or ``out``
            belongs to another run; names the file and row, or what differs.
        WorkerError: workers raised, or died again and again. What is done is kept.
    """
    ray = require("ray", extra="ray")
    require("ray.data", extra="ray")
    for name, value in (("rows_per_shard", rows_per_shard), ("workers", workers)):
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name} must be a whole number above 0; not {value!r}.")
    row_wise = {name: None for name in PRECISIONS if name not in ("int8", "uint8")}  # their ranges need all vectors
    choose("precision of a data set's vectors", precision, row_wise)
    encoder = model if isinstance(model, SentenceTransformer) else SentenceTransformer(model, device="cpu")
    width = truncate_dim if truncate_dim is not None else encoder.truncate_dim
    options = Options(
        encoder._prompt(prompt_name, prompt), batch_size, width, normalize_embeddings, precision, show=False, task=task
    )
    pieces, files = plan(find_files(source), [text] if id is None else [text, id], rows_per_shard)
    rows, folder = sum(piece.rows for piece in pieces), Folder(out)
    settings = {key: value for key, value in asdict(options).items() if key not in ("batch_size", "show", "to_tensor")}
    manifest: dict[str, Any] = {
        "format": _FORMAT, "model": model_fingerprint(encoder), "settings": settings, "files": files, "text": text,
        "id": id, "rows_per_shard": rows_per_shard, "rows": rows, "shards": len(pieces), "complete": False,
    }  # fmt: skip
    begun = folder.check(manifest)
    left = folder.missing(pieces) if begun else pieces
    if left or not begun:
        with _running(ray, address):
            if not begun:
                _check(ray, pieces, text, id, show_progress_bar)
                folder.write_manifest(manifest)
            done = rows - sum(piece.rows for piece in left)
            with track(rows, unit="texts", desc="Encoding", show=show_progress_bar) as bar:
                bar.update(done)
                cut = _encode(ray, folder, left, encoder, options, (text, id), workers, bar)
            warn_cut(cut, rows - done, encoder.max_seq_length, what="texts", setting="max_seq_length")
    folder.write_manifest({**manifest, "complete": True})
    folder.tidy()
    return Encoded(str(out), rows, len(pieces), len(pieces) - len(left))


def _check(ray: Any, pieces: list[Piece], text: str, id: str | None, show: bool | None) -> None:  # noqa: A002
    """Read the whole input once, on all machines; raises what is wrong with it."""
    repeats, kinds, left = Repeats(), dict[str, Piece](), pieces
    with track(sum(piece.rows for piece in pieces), unit="texts", desc="Checking", show=show) as bar, repeats:
        while left:
            seen = set()
            with closing(_stream(ray, left, check_piece, fn_kwargs={"text": text, "id": id})) as answers:
                for found in answers:
                    piece = pieces[found["number"]]
                    seen.add(piece.number)
                    kinds.setdefault(found["kind"], piece)
                    repeats.add(np.frombuffer(found["hashes"], np.uint64))
                    bar.update(piece.rows)
            left = _still(left, seen)
        if len(kinds) > 1:
            said = " and ".join(f"{kind} in {piece.path}" for kind, piece in kinds.items())
            raise DataFormatError(f"The ids of column {id!r} are of two kinds: {said}. Make them all strings.")
        repeats.check(pieces, text, id)


class _Encoder:
    """A worker: makes one shard after the other."""

    def __init__(
        self, model: Any, folder: str, options: Options, columns: tuple[str, str | None], device: str, threads: int
    ) -> None:
        self.model, self.folder, self.options, self.columns = model, folder, options, columns
        self.device, self.threads = device, threads
        self.loaded: SentenceTransformer | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make one shard, and say how many of its texts were cut."""
        return answer(row["number"], lambda: {"cut": self._make(Piece(**row))})

    def _make(self, piece: Piece) -> int:
        import ray
        import torch

        if self.loaded is None:
            if self.device == "cpu":
                torch.set_num_threads(self.threads)
            self.loaded = ray.get(self.model).to(pick_device(self.device))
        ids, texts = read_piece(piece, *self.columns)
        vectors, cut, _ = self.loaded._encode_parts(iter([texts]), self.options, None, None, None)
        Folder(self.folder).write(piece.number, ids, vectors)
        return cut


def _encode(
    ray: Any, folder: Folder, left: list[Piece], model: SentenceTransformer, options: Options,
    columns: tuple[str, str | None], workers: int | None, bar: Bar,
) -> int:  # fmt: skip
    """Make the shards of the pieces that are left, with the machines there are; returns how many texts were cut."""
    on_cpu = model if model.device.type == "cpu" else copy.deepcopy(model).to("cpu")
    held, cut, rows = ray.put(on_cpu), 0, {piece.number: piece.rows for piece in left}
    while left:
        seen, total = set(), ray.cluster_resources()
        gpus, cores = int(total.get("GPU", 0)), int(total.get("CPU", 1))
        count = min(workers or gpus or cores, len(left))
        threads = 1 if gpus or not workers else max(1, cores // workers)
        given = (held, folder.path, options, columns, "cuda" if gpus else "cpu", threads)
        place = {"num_gpus": 1} if gpus else {"num_cpus": threads}
        actors = {"compute": ray.data.ActorPoolStrategy(size=count), "fn_constructor_args": given, **place}
        with closing(_stream(ray, left, _Encoder, max_restarts=0, max_task_retries=0, **actors)) as answers:
            for found in answers:
                seen.add(found["number"])
                cut += found["cut"]
                bar.update(rows[found["number"]])
        left = _still(left, seen)
    return cut


def _stream(ray: Any, pieces: list[Piece], work: Any, **how: Any) -> Generator[Any, None, None]:
    """Yield what workers answer for each piece; for pieces whose worker died there is none.

    Raises:
        DataFormatError: a worker refused a piece.
        WorkerError: one raised.
    """
    data = ray.data.from_items([asdict(piece) for piece in pieces], override_num_blocks=len(pieces))
    data.context.enable_progress_bars = False
    data.context.max_errored_blocks = -1  # a piece without an answer is tried again, by those who live
    try:
        for found in data.map(work, **how).iter_rows():
            if found["refused"]:
                raise DataFormatError(found["refused"])
            if found["raised"]:
                raise WorkerError(f"A worker raised an exception:\n{found['raised']}")
            yield found
    except ray.exceptions.RayError as error:
        logger.warning("Ray stopped: %s", str(error).partition("\n")[0])


def _still(left: list[Piece], seen: set[int]) -> list[Piece]:
    """The pieces that no answer came for.

    Raises:
        WorkerError: none came for any.
    """
    if left and not seen:
        raise WorkerError(
            f"All workers died; {len(left)} shards are left. If their memory ran out, take fewer workers or a smaller "
            "rows_per_shard. What is done is kept: call this again to go on."
        )
    lost = [piece for piece in left if piece.number not in seen]
    if lost:
        logger.warning("%d pieces went with their workers, and are given to others.", len(lost))
    return lost


@contextmanager
def _running(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to Ray, closed at the end if it was made here; Ray's own use of what it deprecates stays quiet."""
    with warnings.catch_warnings(), _level("ray.data", logging.CRITICAL):
        warnings.simplefilter("ignore", DeprecationWarning)
        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            if ":" in (address or ""):  # where nobody listens, Ray would end the process after a minute
                host, _, port = str(address).removeprefix("ray://").rpartition(":")
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="warning")
        except (OSError, ValueError, RuntimeError) as error:
            raise WorkerError(
                f"Ray cannot be reached at {address!r}: {error}. Is `ray start` running there?"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _level(name: str, level: int) -> Iterator[None]:
    """A logger that is quieter while this is open."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)
