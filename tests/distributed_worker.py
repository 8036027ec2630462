"""Runs on a real Ray cluster of two nodes: a node that dies, a run that is stopped, bad input; what each came to."""

import json
import os
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster
from torch import nn
from typer.testing import CliRunner

from tests import tiny
from workbench import SentenceTransformer
from workbench.cli import app
from workbench.distributed import encode_dataset
from workbench.errors import Cancelled, WorkbenchError
from workbench.progress import listen

SIZE = 20  # rows of a shard
TEXTS = [f"{text} {number}" for number, text in enumerate(tiny.made_texts(200) * 3)]
KEYS = [f"key {number}" for number in range(len(TEXTS))]
PARTS = [0, 250, 430, len(TEXTS)]  # the rows of each file: 13, 9 and 9 shards


class Deadly(nn.Module):
    """A block that takes its process along, as a lack of memory does, when a row of the batch is very long."""

    def forward(self, features):
        if features["token_embeddings"].shape[1] > 40:
            os._exit(1)
        return features


def write(folder):
    """One data set in three kinds of files."""
    folder.mkdir()
    rows = [list(zip(KEYS[start:stop], TEXTS[start:stop], strict=True)) for start, stop in pairwise(PARTS)]
    keys, texts = zip(*rows[0], strict=True)
    pq.write_table(pa.table({"text": texts, "key": keys}), folder / "a.parquet", row_group_size=47)
    lines = [f'{key},"{text}"' for key, text in rows[1]]
    (folder / "b.csv").write_text("\n".join(["key,text", *lines]) + "\n")
    lines = [json.dumps({"key": key, "text": text}) for key, text in rows[2]]
    (folder / "c.jsonl").write_text("\n".join(lines))
    return folder


def after(count, act):
    """A listener that acts once, when so many shards are there."""
    acted = []

    def listener(bar):
        if bar.desc == "Encoding" and bar.done >= count * SIZE and not acted:
            acted.append(True)
            act()

    return listener


def stop():
    raise Cancelled("enough")


def shards(out):
    return {path.name: path.stat().st_mtime_ns for path in sorted(out.glob("shard-*"))}


def alive():
    return sum(node["Alive"] for node in ray.nodes())


def told(*arguments, **options):
    """The kind and the words of the error that a call ends with."""
    try:
        encode_dataset(*arguments, rows_per_shard=SIZE, **options)
    except WorkbenchError as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]


def killed(folder, data, model, cluster):
    """A node dies while its worker is at work."""
    nodes = []

    def kill():
        nodes.append(alive())
        cluster.remove_node(second, allow_graceful=False)

    with listen(after(5, kill)):
        made = encode_dataset(
            data, model, folder / "killed", id="key", address=cluster.address, rows_per_shard=SIZE,
            normalize_embeddings=True,
        )  # fmt: skip
    disconnected = not ray.is_initialized()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    return {"nodes": [*nodes, alive()], "made": [made.rows, made.shards, made.kept], "disconnected": disconnected}


def stopped(folder, data, model):
    """The user stops a run, and the command line goes on with it; one shard was damaged meanwhile."""
    out = folder / "stopped"
    before = {}
    try:
        with listen(after(4, stop)):
            encode_dataset(data, model, out, id="key", rows_per_shard=SIZE)
    except Cancelled:
        before = shards(out)
    (out / next(iter(before))).write_bytes(b"PAR1")  # as a power cut may leave it
    (out / ".shard-0000030.parquet.0.part").write_bytes(b"PAR1")
    options = {"--text": "text", "--id": "key", "--model": model, "--out": out, "--rows-per-shard": SIZE}
    words = [str(word) for pair in options.items() for word in pair]
    answer = CliRunner().invoke(app, ["encode", str(data), *words])
    same = [name for name, written in shards(out).items() if before.get(name) == written]
    left = sorted(path.name for path in out.glob(".*"))
    return {"before": list(before), "same": same, "said": answer.output, "left": left}


def refused(folder, model):
    """What is wrong is found before the first text is encoded, and nothing is written."""
    rows = [{"key": number, "text": "a text"} for number in range(50)]
    found = {}
    wrong = {"twice": {"key": 3, "text": "b"}, "no text": {"key": 50}, "mixed": {"key": "x", "text": "c"}}
    for name, row in wrong.items():
        (folder / "bad.jsonl").write_text("\n".join(map(json.dumps, [*rows, row])))
        found[name] = told(folder / "bad.jsonl", model, folder / "refused", id="key")
    return found | {"written": (folder / "refused").exists()}


def deadly(folder, model):
    """One shard kills whoever makes it; the others are made."""
    lines = ["text", *["a man"] * 50, "a man is eating food " * 10]
    (folder / "deadly.csv").write_text("\n".join(lines))
    blocks = SentenceTransformer(model, device="cpu")
    model = SentenceTransformer(modules=[*blocks, Deadly()], device="cpu")
    found = told(folder / "deadly.csv", model, folder / "deadly")
    return [*found, list(shards(folder / "deadly"))]


if __name__ == "__main__":
    warnings.simplefilter("error")
    folder = Path(sys.argv[1])
    data, model = write(folder / "in"), tiny.model_folder(folder)
    began, found = time.monotonic(), {}
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    quick = {"_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 3}}
    cluster = Cluster(initialize_head=True, head_node_args={**node, **quick, "include_dashboard": False})
    try:
        second = cluster.add_node(**node)
        cluster.wait_for_nodes(240)
        for name, run in {
            "killed": lambda: killed(folder, data, model, cluster),
            "stopped": lambda: stopped(folder, data, model),
            "refused": lambda: refused(folder, model),
            "deadly": lambda: deadly(folder, model),
        }.items():
            found[name] = run()
            print(f"{name} came to its end after {time.monotonic() - began:.0f} s")
    finally:
        ray.shutdown()
        cluster.shutdown()
    (folder / "found.json").write_text(json.dumps(found))
