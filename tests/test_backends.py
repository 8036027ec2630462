"""ONNX Runtime and OpenVINO in the place of torch: the same vectors and scores, and no file that does harm."""

import copy
import logging
import os
import shutil
import sys

import numpy as np
import onnx
import pytest
import torch
from transformers import DistilBertConfig, DistilBertModel, Qwen3Config, Qwen3Model, RobertaConfig, RobertaModel

from tests import tiny, tiny_pairs
from workbench import CrossEncoder, EmbeddingStore, SentenceTransformer
from workbench.backends import (
    BACKENDS,
    export_dynamic_quantized_onnx_model,
    export_optimized_onnx_model,
    export_static_quantized_onnx_model,
    export_static_quantized_openvino_model,
)
from workbench.errors import ChoiceError, ColumnsError, DependencyError, ModelFormatError, UnsafeModelError

TEXTS = [*tiny.SENTENCES, *tiny.made_texts(40)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def saved(tiny_folder, tmp_path_factory):
    """A model folder that also holds an export for each backend; not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    shutil.copytree(tiny_folder, folder)
    for name in BACKENDS:
        SentenceTransformer(folder, backend=name, device="cpu").save(folder)
    return folder


@pytest.fixture
def mine(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "mine")


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def onnx_of(folder, backend="onnx", **options):
    return SentenceTransformer(folder, backend=backend, device="cpu", model_kwargs=options)


def test_a_model_gives_the_vectors_of_torch_whatever_the_batches(saved, tiny, backend):
    model = onnx_of(saved, backend, export=False)
    expected = tiny.encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(model.encode(TEXTS, batch_size=1), expected, atol=1e-5)
    np.testing.assert_allclose(
        model.encode(TEXTS, truncate_dim=5, normalize_embeddings=True),
        tiny.encode(TEXTS, truncate_dim=5, normalize_embeddings=True),
        atol=1e-5,
    )
    tokens = zip(*(m.encode(TEXTS[:6], output_value="token_embeddings") for m in (model, tiny)), strict=True)
    for ours, theirs in tokens:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert model.encode([]).shape == (0, tiny.get_sentence_embedding_dimension())
    assert (model.get_backend(), model.device.type, model.max_seq_length) == (backend, "cpu", tiny.max_seq_length)


def test_a_folder_without_an_export_gets_one_for_the_moment_and_stays_as_it_is(tiny_folder, tiny, backend):
    before = sorted(tiny_folder.rglob("*"))
    np.testing.assert_allclose(onnx_of(tiny_folder, backend).encode(TEXTS), tiny.encode(TEXTS), atol=1e-5)
    assert sorted(tiny_folder.rglob("*")) == before
    with pytest.raises(ChoiceError, match=r"has no onnx/model.onnx"):
        onnx_of(tiny_folder, export=False)


@pytest.mark.parametrize("labels", [1, 3])
def test_a_cross_encoder_gives_the_scores_of_torch_and_is_saved_and_loaded(tmp_path, backend, labels):
    folder, pairs = tiny_pairs.write(tmp_path / "pairs", labels=labels), tiny_pairs.pairs(30)
    expected = CrossEncoder(folder, device="cpu").predict(pairs)
    model = CrossEncoder(folder, device="cpu", backend=backend)
    np.testing.assert_allclose(model.predict(pairs), expected, atol=1e-5)
    model.save_pretrained(tmp_path / "again")
    again = CrossEncoder(tmp_path / "again", device="cpu", backend=backend, model_kwargs={"export": False})
    np.testing.assert_allclose(again.predict(pairs), expected, atol=1e-5)
    np.testing.assert_allclose(CrossEncoder(tmp_path / "again", device="cpu").predict(pairs), expected, atol=0)


SIZES = {"vocab_size": len(tiny.vocabulary()), "max_position_embeddings": 66, "initializer_range": 0.2}
DEEP = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (RobertaModel, RobertaConfig(**SIZES, **DEEP, pad_token_id=0)),
        (DistilBertModel, DistilBertConfig(**SIZES, dim=32, n_layers=2, n_heads=2, hidden_dim=64)),
        (Qwen3Model, Qwen3Config(**SIZES, **DEEP, num_key_value_heads=1, head_dim=16)),  # causal, grouped heads
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_kinds_of_transformers_are_exported_too(tmp_path, kind, config):
    torch.manual_seed(0)
    kind(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    expected = SentenceTransformer(tmp_path, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(onnx_of(tmp_path).encode(TEXTS), expected, atol=2e-5)


def test_saving_keeps_torchs_weights_and_the_other_exports(mine, tiny, backend):
    names = {path.relative_to(mine).as_posix() for path in mine.rglob("*") if path.is_file()}
    model = onnx_of(mine, backend)
    model.save(mine)
    assert names <= {path.relative_to(mine).as_posix() for path in mine.rglob("*") if path.is_file()}
    np.testing.assert_array_equal(SentenceTransformer(mine, device="cpu").encode(TEXTS), tiny.encode(TEXTS))


def test_saving_other_weights_leaves_no_export_of_the_old_ones(mine, tiny):
    with torch.no_grad():
        next(tiny.parameters()).mul_(2)
    tiny.save(mine)
    assert not (mine / "onnx").exists()
    np.testing.assert_allclose(onnx_of(mine).encode(TEXTS), tiny.encode(TEXTS), atol=1e-5)


def test_a_store_knows_two_exports_apart(mine, tmp_path):
    fresh = onnx_of(mine)
    export_dynamic_quantized_onnx_model(fresh, "avx2", mine)
    rounded = onnx_of(mine, file_name="model_qint8_avx2.onnx")
    from workbench.store import model_fingerprint

    assert model_fingerprint(fresh) != model_fingerprint(rounded)
    assert model_fingerprint(fresh) == model_fingerprint(onnx_of(mine))
    store = EmbeddingStore(tmp_path / "store")
    np.testing.assert_array_equal(store.encode(fresh, TEXTS), fresh.encode(TEXTS))
    np.testing.assert_array_equal(store.encode(rounded, TEXTS), rounded.encode(TEXTS))


def test_worker_processes_and_copies_run_the_export(saved, tiny):
    model = onnx_of(saved)
    np.testing.assert_allclose(copy.deepcopy(model).encode(TEXTS), tiny.encode(TEXTS), atol=1e-5)
    with model.start_multi_process_pool(["cpu"]) as pool:
        np.testing.assert_allclose(model.encode(TEXTS, pool=pool), tiny.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("level", ["O1", "O2", "O3", "O4"])
def test_an_optimised_graph_gives_nearly_the_same_vectors(mine, tiny, level):
    export_optimized_onnx_model(onnx_of(mine), level, mine)
    vectors = onnx_of(mine, file_name=f"onnx/model_{level}.onnx").encode(TEXTS)
    tolerance = {"O1": 1e-5, "O2": 1e-5, "O3": 2e-2, "O4": 2e-2}[level]
    np.testing.assert_allclose(vectors, tiny.encode(TEXTS), atol=tolerance)


@pytest.mark.parametrize("processor", ["arm64", "avx2", "avx512", "avx512_vnni"])
def test_weights_in_8_bits_keep_the_direction_of_vectors(mine, tiny, processor):
    export_dynamic_quantized_onnx_model(onnx_of(mine), processor, str(mine))
    name = f"model_qint8_{processor}.onnx"
    weights = onnx.load(mine / "onnx" / name).graph.initializer
    assert sum(one.data_type == onnx.TensorProto.INT8 and len(one.dims) == 2 for one in weights) == 12  # 6 a layer
    vectors = onnx_of(mine, file_name=name).encode(TEXTS)
    assert cosines(vectors, tiny.encode(TEXTS)).min() > 0.98
    assert abs(vectors - tiny.encode(TEXTS)).max() > 1e-5  # and it is another model


def test_fixed_ranges_learnt_from_texts_keep_the_direction_of_vectors(mine, tiny):
    model = onnx_of(mine)
    export_static_quantized_openvino_model(model, None, mine, texts=TEXTS)
    export_static_quantized_onnx_model(model, mine, TEXTS)
    for engine, name in {"openvino": "openvino_model_qint8_quantized.xml", "onnx": "model_qint8_static.onnx"}.items():
        vectors = onnx_of(mine, engine, file_name=name).encode(TEXTS)
        assert cosines(vectors, tiny.encode(TEXTS)).min() > 0.97, engine
        assert abs(vectors - tiny.encode(TEXTS)).max() > 1e-5


def test_a_cross_encoder_is_quantised_by_pairs(tmp_path):
    folder, pairs = tiny_pairs.write(tmp_path / "pairs"), tiny_pairs.pairs(40)
    model = CrossEncoder(folder, device="cpu", backend="openvino")
    export_static_quantized_openvino_model(model, {"num_samples": 20}, folder, texts=pairs, file_suffix="small")
    small = {"file_name": "openvino_model_small.xml"}
    rounded = CrossEncoder(folder, device="cpu", backend="openvino", model_kwargs=small).predict(pairs)
    assert np.corrcoef(rounded, model.predict(pairs))[0, 1] > 0.97


def test_an_export_to_a_new_folder_brings_the_model_along(saved, tmp_path, tiny):
    export_optimized_onnx_model(onnx_of(saved), "O2", tmp_path / "new", file_suffix="quick")
    vectors = onnx_of(tmp_path / "new", file_name="model_quick.onnx").encode(TEXTS)
    np.testing.assert_allclose(vectors, tiny.encode(TEXTS), atol=1e-5)


def test_the_public_functions_refuse_what_they_cannot_do(saved, tiny, tmp_path):
    with pytest.raises(ValueError, match="backend='onnx'"):
        export_optimized_onnx_model(tiny, "O1", tmp_path)
    with pytest.raises(ValueError, match="backend='onnx'"):
        export_static_quantized_openvino_model(tiny, None, tmp_path, texts=TEXTS)
    with pytest.raises(ChoiceError, match="'O1', 'O2', 'O3', 'O4'"):
        export_optimized_onnx_model(onnx_of(saved), "O9", tmp_path)
    with pytest.raises(ChoiceError, match="'avx2'"):
        export_dynamic_quantized_onnx_model(onnx_of(saved), "sse", tmp_path)
    with pytest.raises(ColumnsError, match="no texts"):
        export_static_quantized_onnx_model(onnx_of(saved), tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_choices(mine):
    with pytest.raises(ChoiceError, match="'torch', 'onnx', 'openvino'"):
        SentenceTransformer(mine, backend="tensorflow")
    with pytest.raises(ChoiceError, match="'torch', 'onnx', 'openvino'"):
        CrossEncoder(mine, backend="tensorflow")
    with pytest.raises(ChoiceError, match=r"provider 'Quantum'.*'CPUExecutionProvider'"):
        onnx_of(mine, provider="Quantum")
    with pytest.raises(ChoiceError, match=r"provider 'Quantum'.*'CPU'"):
        onnx_of(mine, "openvino", provider="Quantum")
    with pytest.raises(ChoiceError, match=r"'onnx/model.onnx'"):
        onnx_of(mine, file_name="model_O7.onnx")
    with pytest.raises(ChoiceError, match=r"does not end in .onnx"):
        onnx_of(mine, file_name="openvino_model.xml")
    with pytest.raises(ChoiceError, match=r"fille_name.*'file_name'"):
        onnx_of(mine, fille_name="model.onnx")
    (mine / "model.safetensors").unlink()
    (mine / "onnx" / "model.onnx").rename(mine / "onnx" / "model_x.onnx")
    with pytest.raises(ModelFormatError, match=r"no weights to make it from.*model_x.onnx"):
        onnx_of(mine)


@pytest.mark.parametrize(("package", "engine"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_missing_engine_is_named_with_what_to_install(saved, monkeypatch, package, engine):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"{package}.*sentence-workbench\[{engine}\]"):
        onnx_of(saved, engine)


def test_a_compiled_model_says_that_it_cannot_be_trained(saved):
    with pytest.raises(ValueError, match="backend='torch'"):
        onnx_of(saved).train()
    with pytest.raises(ValueError, match="no transformer"):
        onnx_of(saved).active_adapters()


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "another size", "another head"])
def test_a_damaged_or_foreign_file_is_a_model_format_error(mine, tmp_path, backend, damage):
    path = mine / BACKENDS[backend].folder / BACKENDS[backend].file
    whole = path.read_bytes()
    if damage.startswith("another"):
        other = (
            tiny.plain_folder(tmp_path / "other") if damage == "another size" else tiny_pairs.write(tmp_path / "other")
        )
        if damage == "another size":
            tiny.bert(hidden_size=16).save_pretrained(other)
            onnx_of(other, backend).save(other)
        else:
            CrossEncoder(other, device="cpu", backend=backend).save(other)
        shutil.copytree(other / path.parent.name, path.parent, dirs_exist_ok=True)
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": os.urandom(1000)}[damage])
    with pytest.raises(ModelFormatError, match=path.name):
        onnx_of(mine, backend)


def test_weights_outside_the_folder_are_never_read(mine, tmp_path):
    path = mine / "onnx" / "model.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    np.testing.assert_allclose(onnx_of(mine).encode(TEXTS[:3]), onnx_of(mine, export=True).encode(TEXTS[:3]), atol=1e-5)
    onnx_of(mine).save(tmp_path / "kept")
    assert (tmp_path / "kept" / "onnx" / "model.onnx_data").is_file()
    (mine / "onnx" / "model.onnx_data").rename(mine / "secret")
    with pytest.raises(ModelFormatError, match=r"model.onnx_data are missing"):
        onnx_of(mine)
    model = onnx.load(path, load_external_data=False)
    for place in ("../secret", str(mine / "secret")):
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = place if entry.key == "location" else entry.value
        path.write_bytes(model.SerializeToString())
        with pytest.raises(UnsafeModelError, match="leaves the model folder"):
            onnx_of(mine)
    branch = onnx.helper.make_graph([], "branch", [], [], list(model.graph.initializer)[:1])
    nested = onnx.load(shutil.copy(tmp_path / "kept" / "onnx" / "model.onnx", path), load_external_data=False)
    nested.graph.node.append(
        onnx.helper.make_node("If", ["x"], [], then_branch=branch, else_branch=onnx.GraphProto(name="none"))
    )
    shutil.copy(mine / "secret", mine / "onnx" / "model.onnx_data")
    path.write_bytes(nested.SerializeToString())
    with pytest.raises(UnsafeModelError, match="leaves the model folder"):
        onnx_of(mine)


def test_a_link_or_name_that_leads_out_of_the_folder_is_refused(mine, tmp_path, backend):
    path = mine / BACKENDS[backend].folder / BACKENDS[backend].file
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeModelError, match="outside the model folder"):
        onnx_of(mine, backend)
    with pytest.raises(UnsafeModelError, match="leaves the model folder"):
        onnx_of(mine, backend, file_name=f"../outside{path.suffix}")


def test_a_file_that_needs_a_library_of_its_own_does_not_open(mine):
    path = mine / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.node[0].domain = "evil.ops"
    model.opset_import.append(onnx.helper.make_opsetid("evil.ops", 1))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError, match="could not be opened"):
        onnx_of(mine)


def test_engines_run_on_as_many_threads_as_torch(saved, monkeypatch):
    import onnxruntime

    seen = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, settings, **how: seen.append(settings.intra_op_num_threads) or real(path, settings, **how),
    )
    onnx_of(saved)
    assert seen == [3]


def test_making_an_export_leaves_logging_as_it_was(tiny_folder, tmp_path):
    before = logging.getLogger().level, logging.getLogger("torch.onnx").level
    export_dynamic_quantized_onnx_model(onnx_of(tiny_folder), "avx2", tmp_path / "new")
    assert (logging.getLogger().level, logging.getLogger("torch.onnx").level) == before
