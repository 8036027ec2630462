"""Which backend, precision and batch is fastest for a model on this machine, and what each costs in quality."""

import itertools
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench import hub
from workbench.backends import (
    BACKENDS,
    export_dynamic_quantized_onnx_model,
    export_static_quantized_openvino_model,
)
from workbench.devices import bfloat16_is_faster, token_budget
from workbench.errors import ColumnsError, WorkbenchError, choose
from workbench.metrics import spearman
from workbench.progress import track
from workbench.sentence_transformer import SentenceTransformer
from workbench.similarity import pairwise_cos_sim
from workbench.texts import as_texts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PRECISIONS", "tune"]

PRECISIONS = {
    "float32": "as it was trained",
    "float16": "half, on GPUs",
    "bfloat16": "matrix products alone in half, where the processor is faster so",
    "int8": "8 bits, by an export on CPUs",
}
_DATA = Path(__file__).resolve().parents[2] / "notebooks" / "data"
_PAIRS = 5000  # of texts, whose similarities are compared


@dataclass(frozen=True)
class _Way:
    """One way to run the model: what loads it here, and the code that does so elsewhere."""

    backend: str
    precision: str
    load: Callable[[], SentenceTransformer]
    code: str


def tune(
    model: str | Path,
    texts: Any = None,
    *,
    backends: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    budgets: Sequence[int] | None = None,
    least: float = 0.99,
    max_texts: int = 500,
    rounds: int = 3,
    out: str | Path | None = None,
    device: str | None = None,
    seed: int = 0,
    show_progress_bar: bool | None = None,
) -> "pd.DataFrame":
    """Measure a model under each backend, precision and token budget, and recommend the fastest that is good enough.

    Vectors are compared with those of torch in float32: the mean cosine of a text's two vectors, and Spearman's
    correlation of the similarities of pairs of texts, which is what search and clustering go by. One model is loaded at
    a time, and its best round counts; on a busy machine take more rounds.

    Args:
        model: a name or folder.
        texts: texts like those to come; None: messages and help pages of the notebooks' data.
        backends: "torch" and keys of ``workbench.backends.BACKENDS``; None: all that are installed.
        precisions: keys of ``PRECISIONS``; None: those that make sense here. An int8 export of the folder is taken, or
            one is made.
        budgets: tokens in a batch; None: from half to four times the usual.
        least: the mean cosine and the correlation that a recommended way must reach.
        max_texts: of more, a sample is taken.
        rounds: how often each is timed.
        out: a folder that keeps the exports made, for the code to load; None: the code makes them again.
        device: see ``SentenceTransformer``.
        seed: of the sample and the pairs.
        show_progress_bar: see ``workbench.show_progress``.

    Returns:
        A row for each way and budget, the fastest first: ``backend``, ``precision``, ``token_budget``,
        ``texts_per_second``, ``speedup`` (over torch in float32 with its usual budget), ``mean_cosine``, ``spearman``,
        ``recommended``, ``note`` (why something could not be measured) and ``code`` (what to run to use it).

    Raises:
        ModelNotFoundError: no such model.
        ColumnsError: fewer than three different texts.
        ChoiceError: an unknown backend or precision.
    """
    import pandas as pd

    for name in backends or ():
        choose("backend", name, {"torch": None, **BACKENDS})
    for name in precisions or ():
        choose("precision", name, PRECISIONS)
    if rounds < 1 or max_texts < 3 or not all(isinstance(size, int) and size >= 1 for size in budgets or ()):
        raise ValueError(f"rounds {rounds}, max_texts {max_texts} and budgets {budgets} must be at least 1, 3 and 1.")
    rng = np.random.default_rng(seed)
    rows = list(dict.fromkeys(as_texts(_bundled() if texts is None else texts, name="texts")[0]))
    if len(rows) < 3:
        raise ColumnsError(f"There are {len(rows)} different texts; at least 3 are needed, better some hundreds.")
    rows = [rows[place] for place in np.sort(rng.permutation(len(rows))[:max_texts])]
    base = SentenceTransformer(model, device=device)
    usual = token_budget(base.device)
    sizes = sorted({usual, *(budgets or (usual // 2, 2 * usual, 4 * usual))})
    first, second = rng.integers(len(rows), size=(2, _PAIRS))
    first, second = first[first != second], second[first != second]
    truth = base.encode(rows, show_progress_bar=False)
    alike = base.similarity_pairwise
    expected = alike(truth[first], truth[second])
    found: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="workbench-") as scratch:
        folder = Path(out) if out is not None else Path(scratch) / "model"
        ways = list(_ways(base, str(model), rows, backends, precisions, folder, out is not None))
        with track(len(ways), unit="ways", desc="Tuning", show=show_progress_bar) as bar:
            for way in ways:
                row: dict[str, Any] = {"backend": way.backend, "precision": way.precision, "note": ""}
                try:
                    loaded = way.load()
                    mixed = way.precision == "bfloat16"  # of matrix products alone, which no model is loaded with
                    with torch.autocast(base.device.type, torch.bfloat16, enabled=mixed):
                        vectors = loaded.encode(rows, show_progress_bar=False)
                        speeds = _speeds(loaded, rows, sizes, rounds)
                    row["mean_cosine"] = float(pairwise_cos_sim(vectors, truth).mean())
                    row["spearman"] = spearman(alike(vectors[first], vectors[second]), expected)
                    for size, speed in speeds.items():
                        code = way.code + (f"\nmodel.token_budget = {size}" if size != usual else "")
                        if mixed:
                            code += f"\nimport torch\nwith torch.autocast({base.device.type!r}, torch.bfloat16):"
                            code += "\n    vectors = model.encode(texts)"
                        found.append({**row, "token_budget": size, "texts_per_second": speed, "code": code})
                except WorkbenchError as error:  # an engine that is missing, or a model that it cannot run
                    found.append({**row, "note": " ".join(str(error).split())})
                bar.update(1)
    columns = ["backend", "precision", "token_budget", "texts_per_second", "speedup", "mean_cosine", "spearman",
               "recommended", "note", "code"]  # fmt: skip
    table = pd.DataFrame(found).reindex(columns=columns)
    start = table[(table.backend == "torch") & (table.precision == "float32") & (table.token_budget == usual)]
    table["speedup"] = table.texts_per_second / start.texts_per_second.max()  # NaN if torch was not asked for
    good = table[(table.mean_cosine >= least) & (table.spearman >= least)].texts_per_second
    table["recommended"] = table.index == (good.idxmax() if len(good.dropna()) else -1)
    return table.sort_values("texts_per_second", ascending=False, ignore_index=True)


def _ways(
    base: SentenceTransformer,
    name: str,
    texts: list[str],
    backends: Sequence[str] | None,
    precisions: Sequence[str] | None,
    folder: Path,
    kept: bool,
) -> Iterator[_Way]:
    """The ways to run a model that were asked for and make sense; exports are made in ``folder``, for good if kept."""
    gpu, exportable = base.device.type == "cuda", base.transformers_model is not None
    wanted = precisions or ["float32", "float16" if gpu else "int8"]
    if not precisions and not gpu and exportable and bfloat16_is_faster():
        wanted = [*wanted, "bfloat16"]
    place: dict[str, Any] = {} if base.device.type == "cpu" else {"device": str(base.device)}

    def way(backend: str, precision: str, source: str, **kwargs: Any) -> _Way:
        options = place | ({} if backend == "torch" else {"backend": backend})
        options |= {"model_kwargs": kwargs} if kwargs else {}
        shown = "".join(f", {key}={value!r}" for key, value in options.items())
        code = f"from workbench import SentenceTransformer\nmodel = SentenceTransformer({source!r}{shown})"
        return _Way(backend, precision, lambda: SentenceTransformer(source, **options), code)

    def exported(backend: Any) -> _Way:
        write, config, file, more = _int8_export(backend, texts)
        made = way(backend, "int8", str(folder), file_name=file)

        def load() -> SentenceTransformer:
            write(SentenceTransformer(name, backend=backend, **place), config, folder, **more)
            return made.load()

        if kept:
            return _Way(backend, "int8", load, made.code)
        later = f"{Path(name).name}-int8"
        arguments = "".join(f", {value}" for value in (repr(config), repr(later), *(f"{key}={key}" for key in more)))
        code = f"from workbench import SentenceTransformer, {write.__name__}\n"
        code += f"{write.__name__}(SentenceTransformer({name!r}, backend={backend!r}){arguments})\n"
        return _Way(backend, "int8", load, code + way(backend, "int8", later, file_name=file).code.partition("\n")[2])

    for backend in backends or ["torch", *(BACKENDS if exportable else ())]:
        if "float32" in wanted:
            yield way(backend, "float32", name)
        if backend == "torch" and "float16" in wanted and gpu:
            yield way(backend, "float16", name, torch_dtype="float16")
        if backend == "torch" and "bfloat16" in wanted:
            yield way(backend, "bfloat16", name)
        if backend != "torch" and "int8" in wanted:
            kind = BACKENDS[backend]
            there = sorted((hub.resolve(name) / kind.folder).glob(f"*qint8*{kind.suffix}"))
            yield from (way(backend, "int8", name, file_name=path.name) for path in there)
            if not there:
                yield exported(backend)


def _speeds(model: SentenceTransformer, texts: list[str], budgets: Sequence[int], rounds: int) -> dict[int, float]:
    """Texts a second with each budget, of the best round; the rounds take turns."""
    best = dict.fromkeys(budgets, 0.0)
    for _, size in itertools.product(range(rounds), budgets):
        model.token_budget = size
        start = time.perf_counter()
        model.encode(texts, show_progress_bar=False)
        best[size] = max(best[size], len(texts) / (time.perf_counter() - start))
    return best


def _bundled() -> list[str]:
    """Short and long texts of the notebooks' data."""
    import pandas as pd

    try:
        messages, faq = (pd.read_csv(_DATA / f"{name}.csv", dtype=str) for name in ("support_messages", "faq"))
    except FileNotFoundError as error:
        raise ColumnsError("The notebooks' data are not here; give texts of your own, some hundreds.") from error
    return [*messages.message, *(faq.question + " " + faq.answer)]


def _processor() -> str:
    """What the export of int8 weights calls this machine's processor."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return "arm64"
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    return next((name for name in ("avx512_vnni", "avx512f") if name in flags), "avx2").removesuffix("f")


def _int8_export(backend: str, texts: list[str]) -> tuple[Callable[..., None], str | None, str, dict[str, Any]]:
    """What writes the int8 export of a backend for this machine, its setting, its file, and its further arguments."""
    if backend == "openvino":
        return export_static_quantized_openvino_model, None, "openvino_model_qint8_quantized.xml", {"texts": texts}
    cpu = _processor()
    return export_dynamic_quantized_onnx_model, cpu, f"model_qint8_{cpu}.onnx", {}
