"""What a data set of a given size takes: hours of a GPU, bytes of vectors, and the index that can hold them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Sizing", "sizing", "sizing_table"]


@dataclass(frozen=True)
class Sizing:
    """What a data set takes."""

    texts: int
    gpu_hours: float
    bytes: dict[str, int]  # of the vectors, by precision
    index: str  # a kind of ``open_index``, or both that are servers
    machines: int  # that hold the index in memory


def sizing(
    texts: int,
    *,
    tokens: float = 128,
    parameters: float = 10.6e6,
    dim: int = 384,
    tflops: float = 312,
    utilisation: float = 0.1,
    memory_gb: float = 64,
    scan_gb_per_second: float = 10,
    patience: float = 0.25,
    links: int = 16,
) -> Sizing:
    """Return what it takes to encode and search so many texts. The defaults are all-MiniLM-L6-v2 on an A100.

    A model makes 2 parameters operations a token (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). Exact search
    reads every int8 code for each query; a graph (HNSW) holds the codes and, for each link of a vector, about 10
    bytes (hnswlib's ALGO_PARAMS.md, "M"; Malkov and Yashunin 2016, arXiv:1603.09320); one that outgrows a
    machine is spread over several.

    Args:
        texts: how many.
        tokens: of a text, on average; ``model.token_counts(sample).mean()`` tells.
        parameters: of the model without its table of words: 10.6e6 is 6 layers of 12 * 384**2.
        dim: dimensions of a vector.
        tflops: peak of one GPU for the model's type; NVIDIA's data sheet of the A100 says 312 for 16 bits, 19.5 for 32.
        utilisation: the share of it that the model reaches; 0.1 is an assumption for small models, so measure yours.
        memory_gb: of a machine that searches, an assumption.
        scan_gb_per_second: how fast a machine reads its memory, an assumption for one socket, a few cores busy.
        patience: seconds that one query may take in exact search.
        links: of a vector in the graph (M).
    """
    numbers = {"texts": texts, "tokens": tokens, "parameters": parameters, "dim": dim, "tflops": tflops}
    machine = {"memory_gb": memory_gb, "scan_gb_per_second": scan_gb_per_second, "patience": patience, "links": links}
    for name, value in {**numbers, **machine, "utilisation": utilisation}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a number above 0, not {value!r}.")
    if utilisation > 1:
        raise ValueError(f"utilisation is a share of the GPU's peak: at most 1, not {utilisation!r}.")
    hours = 2 * parameters * tokens * texts / (tflops * 1e12 * utilisation) / 3_600
    bits = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
    sizes = {precision: texts * math.ceil(dim * wide / 8) for precision, wide in bits.items()}
    graph = sizes["int8"] + texts * 10 * links
    machines = math.ceil(graph / (memory_gb * 1e9))
    if sizes["int8"] <= patience * scan_gb_per_second * 1e9:
        return Sizing(texts, hours, sizes, "exact", 1)
    return Sizing(texts, hours, sizes, "usearch" if machines == 1 else "milvus, elasticsearch", machines)


def sizing_table(counts: Sequence[int] = (10**6, 10**8, 10**9), **assumptions: Any) -> str:
    """Return ``sizing`` of several counts of texts as a table in Markdown."""
    rows = [sizing(texts, **assumptions) for texts in counts]
    precisions = list(rows[0].bytes)
    lines = [
        ["texts", "GPU-hours", *precisions, "index", "machines"],
        ["---:"] * (len(precisions) + 2) + ["---", "---:"],
    ]
    for row in rows:
        sizes = [f"{row.bytes[precision] / 1e9:,.4g} GB" for precision in precisions]
        lines.append([f"{row.texts:,}", f"{row.gpu_hours:,.2f}", *sizes, row.index, str(row.machines)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
