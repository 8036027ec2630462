"""A data set of any size on Ray: each row once, whatever dies; what is wrong is said; sizes as computed."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import distributed_worker as worker
from workbench import SentenceTransformer
from workbench.distributed import encode_dataset, read_encoded, sizing
from workbench.distributed.encode import _Encoder
from workbench.distributed.ids import Repeats
from workbench.distributed.pieces import find_files, plan, read_piece
from workbench.distributed.shards import Folder
from workbench.distributed.sizes import sizing_table
from workbench.encoding import Options
from workbench.errors import ChoiceError, DataFormatError, DependencyError, WorkerError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The folder of runs on a cluster of two nodes, and what they came to."""
    folder = tmp_path_factory.mktemp("cluster")
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "240"}
    settings["RAY_agent_register_timeout_ms"] = "240000"  # the raylet ends itself where its agent is slower to start
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "tests.distributed_worker", str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)
    try:
        said, _ = child.communicate(timeout=500)  # on a busy machine; else under a minute
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0, said[-3000:]
    return folder, json.loads((folder / "found.json").read_text())


def rows_of(out):
    """All ids and vectors of a run."""
    ids, vectors = zip(*read_encoded(out), strict=True)
    return np.concatenate(ids).tolist(), np.concatenate(vectors)


def test_a_node_that_dies_on_the_way_costs_no_row_and_doubles_none(cluster):
    folder, found = cluster
    assert found["killed"] == {"nodes": [2, 1], "made": [600, 31, 0], "disconnected": True}
    ids, vectors = rows_of(folder / "killed")
    assert ids == worker.KEYS
    model = SentenceTransformer(folder, device="cpu")
    assert np.allclose(vectors, model.encode(worker.TEXTS, normalize_embeddings=True), atol=1e-6)
    assert len(list((folder / "killed").glob("*.parquet"))) == 31
    assert pq.read_table(folder / "killed").num_rows == 600  # the manifest is in nobody's way


def test_a_stopped_run_goes_on_with_the_shards_that_are_whole(cluster):
    folder, found = cluster
    before = found["stopped"]["before"]
    assert 4 <= len(before) < 31
    assert found["stopped"]["same"] == before[1:]  # the first one was damaged, and made again
    assert f"600 rows in 31 shards in {folder / 'stopped'}; {len(before) - 1} of them were there." in " ".join(
        found["stopped"]["said"].split()
    )
    assert found["stopped"]["left"] == []
    ids, vectors = rows_of(folder / "stopped")
    assert ids == worker.KEYS
    assert np.allclose(vectors, SentenceTransformer(folder, device="cpu").encode(worker.TEXTS), atol=1e-6)


def test_what_is_wrong_with_a_row_is_found_before_the_first_text_is_encoded(cluster):
    _, found = cluster
    kinds, words = zip(*(found["refused"][name] for name in ("twice", "no text", "mixed")), strict=True)
    assert set(kinds) == {"DataFormatError"}
    assert re.search("id 3 of column 'key' comes twice: in row 3 of .*bad.jsonl and in row 50 of ", words[0])
    assert re.search("bad.jsonl, column 'text': Row 50 is None", words[1])
    assert re.search("bad.jsonl, row 50: the id 'x' does not fit", words[2])
    assert not found["refused"]["written"]


def test_a_shard_that_kills_every_worker_stops_the_run_and_keeps_the_others(cluster):
    kind, words, made = cluster[1]["deadly"]
    assert (kind, made) == ("WorkerError", ["shard-0000000.parquet", "shard-0000001.parquet"])
    assert "1 shards are left" in words


# ── pieces ────────────────────────────────────────────────────────────────────────────────────────────────────────

HARD = [
    "plain",
    'with "quotes", commas',
    "two\nlines",
    "",
    "ünïcödé \u2028 x",
    "tab\there",
    "cr\r\nlf",
    "a\n\ufeffmark",
    "end",
]


def written(folder, kind, texts):
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"n": list(range(len(texts))), "text": texts}), path, row_group_size=4)
    elif kind == "jsonl":
        lines = [json.dumps({"n": n, "text": text}, ensure_ascii=n % 2 == 0) for n, text in enumerate(texts)]
        path.write_text("\n\n".join(lines), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            table.writerows([["n", "text"], *enumerate(texts)])
    return path


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "jsonl"])
def test_pieces_of_any_size_hold_each_row_once_and_in_order(tmp_path, kind, size):
    texts = [f"{text} {number}" for number, text in enumerate(HARD * 2)] + ["x" * 200_000]
    [path] = find_files(written(tmp_path, kind, texts))
    pieces, [about] = plan([path], ["text", "n"], size)
    assert [piece.rows for piece in pieces] == [min(size, len(texts) - at) for at in range(0, len(texts), size)]
    parts = [read_piece(piece, "text", "n") for piece in pieces]
    assert [text for _, part in parts for text in part] == texts
    ids = [int(value) for part, _ in parts for value in part.to_pylist()]
    assert ids == list(range(len(texts)))
    assert about["bytes"] == Path(path).stat().st_size


def test_rows_without_ids_are_numbered_through_all_files(tmp_path):
    for kind in ("csv", "jsonl", "parquet"):
        written(tmp_path, kind, HARD)
    (tmp_path / "_left_out.csv").write_text("nothing")
    pieces, files = plan(find_files(tmp_path), ["text"], 4)
    assert [file["name"] for file in files] == ["data.csv", "data.jsonl", "data.parquet"]
    ids = [number for piece in pieces for number in read_piece(piece, "text")[0].to_pylist()]
    assert ids == list(range(3 * len(HARD)))


def test_files_without_rows_have_no_pieces(tmp_path):
    for kind in ("csv", "parquet"):
        written(tmp_path, kind, [])
    pq.write_table(
        pa.table({"n": pa.array([], pa.int64()), "text": pa.array([], pa.string())}), tmp_path / "data.parquet"
    )
    (tmp_path / "data.jsonl").write_text("\n")
    assert plan(find_files(tmp_path), ["text"], 4)[0] == []


def test_a_changed_file_is_told_from_what_it_was(tmp_path):
    for kind in ("csv", "jsonl", "parquet"):
        path = written(tmp_path, kind, ["one", "two"])
        _, before = plan([str(path)], ["text"], 4)
        written(tmp_path, kind, ["one", "owt"])
        assert plan([str(path)], ["text"], 4)[1] != before


BAD = {
    "a column that is not there": ("csv", b"id,body\n1,x\n", "no column 'text'. Its columns are: id, body"),
    "a key that is not there": ("jsonl", b'{"body": "x"}\n', "no column 'text'. Its columns are: body"),
    "no text at all": ("csv", b"", "no column 'text'. Its columns are: none"),
    "bytes of another encoding": ("csv", b"text\nna\xefve\n", "is not UTF-8"),
    "half a Parquet file": ("parquet", b"PAR1 and no more", "cannot be read"),
    "an open quote": ("csv", b'text\n"no end\n', "cannot be read: unexpected end of data"),
    "a row that is short": ("csv", b"id,text\n1\n", "row 0 has 1 columns; the header has 2"),
    "no JSON": ("jsonl", b'{"text": "x"}\n{"text": \n', "row 1 is no JSON object"),
    "JSON of another kind": ("jsonl", b'{"text": "x"}\n[1]\n', "row 1 is no JSON object: '\\[1\\]'"),
    "a number in place of a text": ("jsonl", b'{"text": "x"}\n{"text": 5}\n', "column 'text': Row 1 is int"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_by_name_and_row(tmp_path, name):
    kind, content, said = BAD[name]
    (tmp_path / f"bad.{kind}").write_bytes(content)
    with pytest.raises(DataFormatError, match=rf"bad\.{kind}.*{said}"):
        [read_piece(piece, "text") for piece in plan(find_files(tmp_path), ["text"], 4)[0]]


def test_a_column_of_numbers_and_a_file_of_no_kind_are_refused(tmp_path):
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(DataFormatError, match="column 'text' holds int64, not texts"):
        plan(find_files(tmp_path), ["text"], 4)
    (tmp_path / "notes.docx").touch()
    with pytest.raises(ChoiceError, match=r"kind of file '.docx'.*'.parquet', '.csv'"):
        find_files(tmp_path / "notes.docx")
    with pytest.raises(DataFormatError, match="no file or folder"):
        find_files(tmp_path / "gone.csv")
    with pytest.raises(DataFormatError, match="named twice"):
        find_files([tmp_path, tmp_path / "numbers.parquet"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFormatError, match="holds no data"):
        find_files(tmp_path / "empty")


@pytest.mark.parametrize("ids", [[5, -3, 2**62, 0], ["a", "b", "", "é"]])
def test_ids_that_come_twice_are_found_and_others_pass(tmp_path, ids):
    def check(values):
        (tmp_path / "ids.jsonl").write_text("\n".join(json.dumps({"text": "x", "id": value}) for value in values))
        pieces, _ = plan(find_files(tmp_path), ["text", "id"], 2)
        with Repeats() as repeats:
            for piece in pieces:
                repeats.add(Repeats.hashes(read_piece(piece, "text", "id")[0]))
            repeats.check(pieces, "text", "id")

    check(ids)
    with pytest.raises(DataFormatError, match=rf"id {ids[1]!r} .* twice: in row 1 of .* and in row 4 of"):
        check([*ids, ids[1]])


def test_equal_hashes_of_different_ids_are_no_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(Repeats, "hashes", staticmethod(lambda ids: np.zeros(len(ids), np.uint64)))
    (tmp_path / "ids.csv").write_text("id,text\na,x\nb,x\n")
    pieces, _ = plan(find_files(tmp_path), ["text", "id"], 1)
    with Repeats() as repeats:
        for piece in pieces:
            repeats.add(Repeats.hashes(read_piece(piece, "text", "id")[0]))
        repeats.check(pieces, "text", "id")


# ── folders of runs ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def finished(tmp_path, tiny):
    """A data set and the folder of a finished run, made by one worker without Ray."""
    data = tmp_path / "data.csv"
    data.write_text("text\n" + "\n".join(f"a man {number}" for number in range(10)))
    options = Options(show=False)
    work = _Encoder(None, str(tmp_path / "out"), options, ("text", None), "cpu", 1)
    work.loaded = tiny

    def start(ray, folder, left, *rest):
        assert [work(vars(piece))["raised"] for piece in left] == [""] * len(left)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.distributed.encode._running", lambda *given: nullcontext())
        patch.setattr("workbench.distributed.encode._check", lambda *given: None)
        patch.setattr("workbench.distributed.encode._encode", start)
        encode_dataset(data, tiny, tmp_path / "out", rows_per_shard=4)
    return data, tmp_path / "out"


def test_a_finished_run_is_read_back_and_not_done_again(finished, tiny):
    data, out = finished
    again = encode_dataset(data, tiny, out, rows_per_shard=4)  # without Ray: nothing is left
    assert (again.rows, again.shards, again.kept) == (10, 3, 3)
    ids, vectors = rows_of(out)
    assert ids == list(range(10))
    assert np.allclose(vectors, tiny.encode([f"a man {number}" for number in range(10)]), atol=1e-6)


def test_a_folder_of_another_run_is_refused_and_says_what_differs(finished, tiny):
    data, out = finished
    with pytest.raises(DataFormatError, match=r"another run. What differs is the settings: .*'normalize': False"):
        encode_dataset(data, tiny, out, rows_per_shard=4, normalize_embeddings=True)
    with pytest.raises(DataFormatError, match="the rows of a shard: 4 there, 5 here"):
        encode_dataset(data, tiny, out, rows_per_shard=5)
    with pytest.raises(DataFormatError, match="What differs is the model"):
        encode_dataset(data, "starter", out, rows_per_shard=4)
    data.write_text(data.read_text().replace("man 7", "man 8"))
    with pytest.raises(DataFormatError, match="What differs is the input files"):
        encode_dataset(data, tiny, out, rows_per_shard=4)


def test_a_folder_that_is_no_run_s_is_left_alone(finished, tiny, tmp_path):
    data, out = finished
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(DataFormatError, match=r"holds 'notes.txt' and no _manifest.json"):
        encode_dataset(data, tiny, tmp_path / "mine")
    with pytest.raises(DataFormatError, match="holds no finished run"):
        next(read_encoded(tmp_path / "nothing"))
    (out / "shard-0000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataFormatError, match=r"shard-0000001.parquet is damaged"):
        list(read_encoded(out))
    (out / "_manifest.json").write_text("[1]")
    with pytest.raises(DataFormatError, match=r"_manifest.json is damaged"):
        encode_dataset(data, tiny, out, rows_per_shard=4)


@pytest.mark.parametrize("precision", ["float32", "ubinary"])
def test_vectors_of_each_type_are_read_back_as_they_were(tmp_path, precision):
    rows = np.random.default_rng(0).integers(0, 255, (5, 6)).astype("uint8" if "binary" in precision else precision)
    Folder(tmp_path).write(0, pa.array(["a", "b", "c", "d", "e"]), rows)
    Folder(tmp_path).write_manifest(
        dict.fromkeys(["format", "model", "settings", "files", "text", "id", "rows_per_shard", "rows"])
        | {"shards": 1, "complete": True}
    )
    [(ids, vectors)] = read_encoded(tmp_path)
    assert (vectors.dtype, ids.tolist()) == (rows.dtype, ["a", "b", "c", "d", "e"])
    assert np.array_equal(vectors, rows)


def test_a_write_that_is_given_up_leaves_no_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(pq, "write_table", lambda *given, **how: (_ for _ in ()).throw(OSError("disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        Folder(tmp_path).write(0, pa.array([1]), np.zeros((1, 2), np.float32))
    assert list(tmp_path.glob("shard-*")) == []
    Folder(tmp_path).tidy()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "host:port"])
def test_a_cluster_that_is_not_there_is_said_at_once(tmp_path, tiny, address):
    (tmp_path / "a.csv").write_text("text\nx\n")
    with pytest.raises(WorkerError, match=f"Ray cannot be reached at '{address}'"):
        encode_dataset(tmp_path / "a.csv", tiny, tmp_path / "out", address=address)
    assert not (tmp_path / "out").exists()


def test_what_a_worker_raises_comes_back_as_an_answer(tmp_path, tiny):
    (tmp_path / "a.csv").write_text("text\nx\n")
    [piece], _ = plan(find_files(tmp_path), ["text"], 4)
    work = _Encoder(None, str(tmp_path / "out"), Options(show=False), ("text", None), "cpu", 1)
    work.loaded = tiny  # there is no folder to write to
    assert "FileNotFoundError" in work(vars(piece))["raised"]
    (tmp_path / "a.csv").unlink()
    assert "a.csv cannot be read" in work(vars(piece))["refused"]


def test_settings_that_cannot_be_are_refused_before_anything_is_read(tiny, tmp_path, monkeypatch):
    with pytest.raises(ChoiceError, match="'float32', 'binary', 'ubinary'"):
        encode_dataset("gone.csv", tiny, tmp_path / "out", precision="int8")
    with pytest.raises(ValueError, match="workers must be a whole number above 0; not 0"):
        encode_dataset("gone.csv", tiny, tmp_path / "out", workers=0)
    with pytest.raises(ChoiceError, match="Unknown prompt name"):
        encode_dataset("gone.csv", tiny, tmp_path / "out", prompt_name="none")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r"sentence-workbench\[ray\]"):
        encode_dataset("gone.csv", tiny, tmp_path / "out")


# ── sizes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sizes_are_the_arithmetic_of_their_assumptions():
    made = sizing(10**9, tokens=100, parameters=1e7, dim=1000, tflops=100, utilisation=0.5, memory_gb=100, links=16)
    assert made.gpu_hours == pytest.approx(1e9 * 100 * 2e7 / 50e12 / 3600)
    assert made.bytes == {"float32": 4 * 10**12, "float16": 2 * 10**12, "int8": 10**12, "binary": 125 * 10**9}
    assert (made.index, made.machines) == ("milvus, elasticsearch", 12)  # 1,160 GB in machines of 100
    assert sizing(10**6).index == "exact"
    assert sizing(10**8).index == "usearch"
    assert sizing(10, dim=12).bytes["binary"] == 20  # whole bytes


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"utilisation": 1.5}, {"memory_gb": -1}, {"dim": float("nan")}])
def test_sizes_of_impossible_assumptions_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sizing(10, **wrong)


def test_the_page_on_scale_shows_the_computed_tables():
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert sizing_table() in text
    assert sizing_table(parameters=85e6, dim=768) in text
    assert len(re.findall(r"^\| [\d,]+ \|", text, re.MULTILINE)) == 6
