"""Backends, precisions and batches measured: the table, the recommendation, and the code that it gives."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tiny import made_texts
from workbench import SentenceTransformer, cli
from workbench.errors import ChoiceError, ColumnsError, ModelNotFoundError
from workbench.evaluation import tune, tuning

TEXTS = made_texts(60)
RUNNER = CliRunner()
SMALL = {"rounds": 1, "budgets": [64], "max_texts": 30}


@pytest.fixture(scope="module")
def table(tiny_folder, tmp_path_factory):
    """All ways to run the tiny model, measured once; and the folder of the exports."""
    out = tmp_path_factory.mktemp("tuned") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "bfloat16_is_faster", lambda: True)
        return tune(tiny_folder, TEXTS, least=0.9, out=out, device="cpu", **SMALL), out


def test_every_way_is_measured_with_every_budget_and_torch_is_the_measure(table):
    found, _ = table
    ways = {(row.backend, row.precision, row.token_budget) for row in found.itertuples()}
    kinds = [("torch", "float32"), ("torch", "bfloat16")]
    kinds += [(name, kind) for name in ("onnx", "openvino") for kind in ("float32", "int8")]
    assert ways == {(*kind, size) for kind in kinds for size in (64, 2048)}
    assert found.note.eq("").all()
    assert found.texts_per_second.is_monotonic_decreasing
    usual = found[(found.backend == "torch") & (found.precision == "float32") & (found.token_budget == 2048)]
    assert usual.speedup.item() == 1
    np.testing.assert_allclose(found.speedup, found.texts_per_second / usual.texts_per_second.item())
    exact = found[found.precision == "float32"]
    np.testing.assert_allclose(exact[["mean_cosine", "spearman"]], 1, atol=1e-4)
    mixed = found[found.precision == "bfloat16"]
    assert ((mixed.mean_cosine > 0.999) & (mixed.mean_cosine < 1 - 1e-7)).all()  # really rounded
    rounded = found[found.precision == "int8"]
    assert ((rounded.mean_cosine > 0.9) & (rounded.mean_cosine < 1 - 1e-6)).all()  # really 8 bits


def test_the_quality_is_that_of_the_export_itself(table, tiny):
    found, out = table
    row = found[(found.backend == "onnx") & (found.precision == "int8")].iloc[0]
    [file] = (out / "onnx").glob("*qint8*")
    ours = SentenceTransformer(out, backend="onnx", device="cpu", model_kwargs={"file_name": file.name}).encode(TEXTS)
    theirs = tiny.encode(TEXTS)
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert row.mean_cosine == pytest.approx(cosines.mean(), abs=0.005)  # of a sample of the texts


def test_the_fastest_way_that_is_good_enough_is_recommended(table, tiny_folder):
    found, _ = table
    good = found[(found.mean_cosine >= 0.9) & (found.spearman >= 0.9)]
    assert found[found.recommended].index.tolist() == [good.index[0]]
    strict = tune(tiny_folder, TEXTS, least=1.1, backends=["torch"], device="cpu", **SMALL)
    assert not strict.recommended.any()


def test_the_code_of_every_way_runs_and_gives_the_vectors_of_the_model(table, tiny):
    for row in table[0].drop_duplicates(["backend", "precision"]).itertuples():
        space = {"texts": TEXTS[:5]}
        exec(row.code, space)
        assert ("vectors" in space) == (row.precision == "bfloat16")
        assert space["model"].token_budget == (None if row.token_budget == 2048 else row.token_budget)
        assert space["model"].get_backend() == row.backend
        vectors = space.get("vectors", space["model"].encode(TEXTS[:5]))
        assert np.diag(tiny.similarity(vectors, tiny.encode(TEXTS[:5]))).mean() > 0.9


def test_without_a_folder_the_code_makes_the_export_itself(tiny_folder, tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    found = tune(tiny_folder, TEXTS, backends=["onnx", "openvino"], precisions=["int8"], device="cpu", **SMALL)
    assert not list(tmp_path.iterdir())
    assert found.speedup.isna().all()  # torch was not asked for
    for row in found.drop_duplicates("backend").itertuples():
        space = {"texts": TEXTS}
        exec(row.code, space)
        assert np.diag(tiny.similarity(space["model"].encode(TEXTS[:5]), tiny.encode(TEXTS[:5]))).mean() > 0.9


def test_an_int8_export_that_is_there_is_taken(table, monkeypatch):
    monkeypatch.setattr(tuning, "_int8_export", None)
    found = tune(table[1], TEXTS, backends=["onnx", "openvino"], precisions=["int8"], device="cpu", **SMALL)
    assert set(found.backend) == {"onnx", "openvino"}
    assert found.note.eq("").all()


def test_a_token_budget_of_the_model_fills_the_batches_and_changes_no_vector(tiny):
    expected, sizes = tiny.encode(TEXTS), []
    tiny[0].register_forward_pre_hook(lambda block, inputs: sizes.append(inputs[0]["input_ids"].numel()))
    tiny.token_budget = 64
    np.testing.assert_allclose(tiny.encode(TEXTS), expected, atol=1e-6)
    assert max(sizes) <= 64
    assert len(sizes) > 10


def test_static_vectors_are_measured_with_torch_only():
    found = tune("starter", TEXTS, **SMALL)
    assert set(found.backend) == {"torch"}
    assert found.recommended.sum() == 1


def test_the_data_of_the_notebooks_are_taken_where_no_texts_are_given(monkeypatch, tmp_path):
    assert len(tune("starter", rounds=1, budgets=[64])) == 2
    monkeypatch.setattr(tuning, "_DATA", tmp_path)
    with pytest.raises(ColumnsError, match="give texts of your own"):
        tune("starter", **SMALL)


def test_an_engine_that_is_missing_is_a_line_of_the_table(tiny_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = tune(tiny_folder, TEXTS, backends=["torch", "onnx"], device="cpu", **SMALL)
    lost = found[found.backend == "onnx"]
    assert lost.note.str.contains(r"sentence-workbench\[onnx\]").all()
    assert lost.texts_per_second.isna().all()
    assert found.recommended.sum() == 1


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"backends": ["tensorrt"]}, ChoiceError, "'torch', 'onnx', 'openvino'"),
        ({"precisions": ["int4"]}, ChoiceError, "'float32', 'float16', 'bfloat16', 'int8'"),
        ({"budgets": [0]}, ValueError, "at least 1, 3 and 1"),
        ({"texts": ["a", "a", "b"]}, ColumnsError, "2 different texts"),
        ({"texts": []}, ColumnsError, "0 different texts"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(tiny_folder, options, error, says):
    with pytest.raises(error, match=says):
        tune(tiny_folder, **{"texts": TEXTS, "device": "cpu", **options})


@pytest.mark.parametrize("faster", [True, False])
def test_bfloat16_is_tried_unasked_only_where_it_is_faster(tiny_folder, monkeypatch, faster):
    monkeypatch.setattr(tuning, "bfloat16_is_faster", lambda: faster)
    found = tune(tiny_folder, TEXTS, backends=["torch"], device="cpu", **SMALL)
    assert ("bfloat16" in set(found.precision)) == faster
    assert "bfloat16" not in set(tune("starter", TEXTS, device="cpu", **SMALL).precision)  # multiplies no matrices


def test_an_unknown_model_is_named():
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        tune("no-such-model", TEXTS)


@pytest.mark.parametrize(
    ("flags", "kind"),
    [("flags: avx2 avx512f avx512_vnni", "avx512_vnni"), ("flags: avx2 avx512f", "avx512"), ("flags: avx2", "avx2")],
)
def test_the_export_is_for_this_machine_s_processor(monkeypatch, flags, kind):
    monkeypatch.setattr(tuning.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(tuning, "Path", lambda _: SimpleNamespace(is_file=lambda: True, read_text=lambda **_: flags))
    assert tuning._processor() == kind
    monkeypatch.setattr(tuning.platform, "machine", lambda: "arm64")
    assert tuning._processor() == "arm64"


def test_the_command_prints_the_table_and_the_code(tiny_folder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in TEXTS))
    arguments = ["tune", str(tiny_folder), "--backend", "torch", "--rounds", "1", "--budget", "64"]
    for more in (["texts.txt"], ["texts.jsonl", "--column", "body"]):
        result = RUNNER.invoke(cli.app, [*arguments, "--texts", str(tmp_path / more[0]), *more[1:]])
        assert result.exit_code == 0, result.output
        assert result.output.split()[:3] == ["backend", "precision", "token_budget"]
        assert result.output.count("<-") == 1
        assert f"model = SentenceTransformer({str(tiny_folder)!r}" in result.output
    for wrong, says in (
        (["--texts", str(tmp_path / "none.txt")], "There is no file"),
        (["--texts", str(tmp_path / "texts.jsonl")], "no column text; it has body"),
        (["--backend", "tensorrt"], "'openvino'"),
    ):
        failed = RUNNER.invoke(cli.app, [*arguments, *wrong])
        assert failed.exit_code == 1
        assert says in failed.stderr
