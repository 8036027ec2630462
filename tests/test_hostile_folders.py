"""Model folders made to harm, and damaged ones: each gives one clear error, and no code of theirs ever runs."""

import json
import os
import pickle
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny_pairs
from tests.tiny import DIM, model_folder, write_json
from workbench import CrossEncoder, SentenceTransformer
from workbench.errors import ModelFormatError, ModelNotFoundError, UnsafeModelError, WorkbenchError
from workbench.folders import MAX_JSON_BYTES

CONFIG = "config_sentence_transformers.json"
POOLING = "sentence_transformers.models.Pooling"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A good folder: transformer, pooling and a Dense block."""
    from workbench.models import Dense

    start = model_folder(tmp_path_factory.mktemp("good") / "start", config={"prompts": {"query": "query: "}})
    torch.manual_seed(0)
    model = SentenceTransformer(start, device="cpu")
    folder = start.parent / "model"
    SentenceTransformer(modules=[*model, Dense(DIM, 8)], prompts=model.prompts, device="cpu").save(
        folder, create_model_card=False
    )
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy of it to be damaged, with something outside it to be stolen, and code that would leave a mark."""
    copy = shutil.copytree(original, tmp_path / "outside" / "model")
    (tmp_path / "outside" / "secret.txt").write_text("a secret")
    shutil.copytree(original, tmp_path / "outside" / "other")
    payload(copy / "payload.py", tmp_path / "ran")
    return copy


@pytest.fixture(autouse=True)
def _nothing_ran(tmp_path, monkeypatch):
    """No code of a folder ran, nobody was asked a question, and the outside is as it was."""

    def asked(*args):
        raise AssertionError("transformers asked on the terminal whether to run code")

    monkeypatch.setattr("builtins.input", asked)
    yield
    assert not (tmp_path / "ran").exists()
    if (tmp_path / "outside").exists():
        assert (tmp_path / "outside" / "secret.txt").read_text() == "a secret"


def payload(path, mark):
    """A Python file that leaves a mark when it is imported, with classes for every place that names one."""
    path.write_text(
        f"import os\nos.mkdir({str(mark)!r})\n"
        "from torch import nn\nfrom transformers import BertConfig, BertModel, PreTrainedTokenizerFast\n"
        "class Payload(nn.Module):\n    load = classmethod(lambda cls, path: cls())\n"
        "class Config(BertConfig): pass\nclass Model(BertModel): pass\nclass Tokens(PreTrainedTokenizerFast): pass\n"
    )


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def edit(path, **changes):
    value = json.loads(path.read_text())
    write_json(path, {key: item for key, item in (value | changes).items() if item is not ...})


def edit_module(folder, number, **changes):
    lines = json.loads((folder / "modules.json").read_text())
    lines[number] = {key: item for key, item in (lines[number] | changes).items() if item is not ...}
    write_json(folder / "modules.json", lines)


def refuse(folder, message, error=ModelFormatError, cls=SentenceTransformer, **options):
    """Loading raises one error of the workbench's own, with all that a person needs in it."""
    with pytest.raises(WorkbenchError, match=message) as raised:
        cls(folder, device="cpu", **options)
    assert isinstance(raised.value, error), repr(raised.value)
    assert len(str(raised.value)) < 2000
    return raised.value


def test_the_folder_that_is_damaged_below_is_good(folder):
    assert SentenceTransformer(folder, device="cpu").encode("monkey").shape == (8,)


# ── names of code ─────────────────────────────────────────────────────────────────────────────────────────────────────

CODE = [
    *(
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        "builtins.__import__",
        "importlib.import_module",
    ),
    *("torch.load", "torch.nn.Linear", "torch.nn.Module", "torch.hub.load", "torch.jit.load", "pickle.loads"),
    *("shutil.rmtree", "webbrowser.open", "payload.Payload", "model.payload.Payload", "sentence_transformers.models.x"),
    *("sentence_transformers.models.Pooling.__init__", "workbench.models.Pooling", "transformers.AutoModel", "Pooling"),
    *("", ".", "..", "sentence_transformers.models.Transformer\0", "sentence_transformers.cross_encoder.CrossEncoder"),
]


@pytest.mark.parametrize("name", CODE)
def test_a_module_type_outside_the_table_is_refused_and_not_imported(folder, name, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    edit_module(folder, 1, type=name)
    refuse(folder, "module type .*not imported; known: .*Pooling", UnsafeModelError)


@pytest.mark.parametrize("name", [*CODE[:16], "torch.nn.modules.linear.Linear", "torch.nn.functional.relu", 7, ["x"]])
def test_an_activation_outside_the_table_is_refused_and_not_called(folder, name, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    edit(folder / "2_Dense" / "config.json", activation_function=name)
    refuse(folder, "activation function .*not imported; known: .*Tanh", UnsafeModelError)


AUTO = {
    "AutoConfig": "payload.Config",
    "AutoModel": "payload.Model",
    "AutoTokenizer": ["payload.Tokens", "payload.Tokens"],
    "AutoModelForSequenceClassification": "payload.Model",
}


@pytest.mark.parametrize("model_type", ["bert", "my-own"])
def test_code_in_a_transformers_configuration_is_not_run_and_nobody_is_asked(folder, model_type):
    edit(folder / "config.json", auto_map=AUTO, model_type=model_type)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": AUTO["AutoTokenizer"]})
    if model_type == "bert":  # a class that transformers has: the folder's own is passed over
        assert SentenceTransformer(folder, device="cpu").encode("monkey").shape == (8,)
    else:
        refuse(folder, "trust_remote_code|model type")


def loaded_or_refused(folder, message):
    """Load, where transformers may pass over what is wrong and do no harm; else the error must be ours and clear."""
    try:
        model = SentenceTransformer(folder, device="cpu")
    except ModelFormatError:
        refuse(folder, message)
    else:
        assert model.encode("monkey").shape == (8,)


def test_code_of_a_tokenizer_alone_is_not_run(folder):
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": AUTO["AutoTokenizer"]}, tokenizer_class="Tokens")
    loaded_or_refused(folder, "trust_remote_code|Tokens")


def test_a_model_saved_with_code_runs_it_only_when_trusted(folder, tmp_path):
    edit_module(folder, 2, type="payload.Payload", path="")
    refuse(folder, "payload.Payload", UnsafeModelError)
    with pytest.raises(Exception, match=r"Payload|ran|forward"):  # it runs, so the way is the right one
        SentenceTransformer(folder, device="cpu", trust_remote_code=True).encode("monkey")
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").rmdir()


@pytest.mark.parametrize(
    "place", ["config.json", "sentence_bert_config.json", "sentence_bert_config.json, for the model"]
)
@pytest.mark.parametrize("name", ["kernels-community/flash-attn", "someone/evil:attention", "paged|someone/evil"])
def test_attention_code_from_the_hub_is_refused(folder, place, name):
    if place == "config.json":
        edit(folder / "config.json", _attn_implementation=name, attn_implementation=name)
    else:
        key = "model_args" if place.endswith("model") else "config_args"
        edit(folder / "sentence_bert_config.json", **{key: {"attn_implementation": name}})
    refuse(folder, "attention", UnsafeModelError)


def test_arguments_in_a_folder_cannot_switch_trust_on_or_name_other_places(folder):
    arguments = {
        "trust_remote_code": True,
        "cache_dir": "/tmp/x",
        "token": "t",
        "use_safetensors": False,
        "subfolder": "..",
    }
    keys = ("model_args", "tokenizer_args", "config_args")
    edit(folder / "sentence_bert_config.json", **dict.fromkeys(keys, arguments), tokenizer_name_or_path="../other")
    edit(folder / "config.json", auto_map=AUTO)
    assert SentenceTransformer(folder, device="cpu").encode("monkey").shape == (8,)


# ── places outside the folder ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    ["../other/1_Pooling", "..", "1_Pooling/../../other/1_Pooling", "..\\other", "C:\\Windows", "1_Pooling\0x", "/etc"],
)
def test_a_path_out_of_the_folder_is_refused(folder, path):
    edit_module(folder, 1, path=path)
    refuse(folder, "leaves the model folder", UnsafeModelError)


def test_an_absolute_path_is_refused_even_to_a_good_block(folder, original):
    edit_module(folder, 1, path=str(original / "1_Pooling"))
    refuse(folder, "leaves the model folder", UnsafeModelError)


LINKS = [
    *("modules.json", CONFIG, "config.json", "sentence_bert_config.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "1_Pooling", "2_Dense", "1_Pooling/config.json"),
    *("2_Dense/config.json", "2_Dense/model.safetensors"),
]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_folder_is_refused(folder, name):
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to((folder.parent / "other" / name).resolve())
    refuse(folder, "outside the model folder", UnsafeModelError)


def test_a_link_to_a_secret_does_not_become_the_model_card(folder, tmp_path):
    (folder / "README.md").symlink_to(folder.parent / "secret.txt")
    refuse(folder, "README.md.*outside the model folder", UnsafeModelError)


def test_links_inside_a_snapshot_of_the_hub_cache_work_and_those_out_of_it_do_not(original, tmp_path, folder):
    repo = tmp_path / "hub" / "models--me--tiny"
    snapshot = repo / "snapshots" / ("0" * 40)
    for file in filter(Path.is_file, original.rglob("*")):
        blob, link = (
            repo / "blobs" / file.relative_to(original).as_posix().replace("/", "-"),
            snapshot / file.relative_to(original),
        )
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert SentenceTransformer(snapshot, device="cpu").encode("monkey").shape == (8,)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(folder.parent / "other" / "config.json")
    refuse(snapshot, "outside the model folder", UnsafeModelError)


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/etc/passwd", "..\\x.safetensors"])
def test_shards_outside_the_folder_are_refused(folder, shard):
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": dict.fromkeys(names, shard)})
    refuse(folder, "leaves the model folder", UnsafeModelError)


@pytest.mark.parametrize("index", [{"weight_map": ["a"]}, {"weight_map": {"a": 3}}, {}, [], "x"])
def test_an_index_of_shards_that_is_none_is_refused(folder, index):
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", index)
    refuse(folder, ".")


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd"])
def test_weights_named_by_the_configuration_stay_inside(folder, name):
    edit(folder / "config.json", transformers_weights=name)
    refuse(folder, "inside|leaves|could not be loaded")


def test_a_missing_block_is_not_looked_for_on_the_hub(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    edit_module(folder, 0, path="0_Transformer")
    for place in (folder, Path("model")):
        refuse(place, "0_Transformer.*(missing|not a folder)")


# ── pickles ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["", "2_Dense"])
@pytest.mark.parametrize("kind", ["a pickle", "a torch file", "beside tensors"])
@pytest.mark.filterwarnings("ignore:.*is a pickle", "ignore:Detected pickle protocol")
def test_a_payload_in_pickled_weights_does_not_run(folder, tmp_path, place, kind):
    where = folder / place
    state = load_file(where / "model.safetensors")
    (where / "model.safetensors").unlink()
    target = where / "pytorch_model.bin"
    bomb = Bomb(tmp_path / "ran")
    if kind == "a pickle":
        target.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb if kind == "a torch file" else state | {"bomb": bomb}, target)
    refuse(folder, "holds? more than tensors|could not be loaded|damaged")


def test_a_pickle_beside_safetensors_is_not_touched(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    assert SentenceTransformer(folder, device="cpu").encode("monkey").shape == (8,)


# ── damaged weights ───────────────────────────────────────────────────────────────────────────────────────────────────

BYTES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "a header of terabytes": lambda data: struct.pack("<Q", 2**42) + data[8:],
    "noise": lambda data: bytes(range(256)) * 8,
    "a page of HTML": lambda data: b"<html>404 Not Found</html>" * 10,
    "a pointer of Git LFS": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "a header that is no JSON": lambda data: data[:8] + b"[" + data[9:],
    "offsets beyond its end": lambda data: data.replace(b'"data_offsets":[0,', b'"data_offsets":[9,', 1),
}


@pytest.mark.parametrize("place", ["", "2_Dense"])
@pytest.mark.parametrize("case", BYTES)
def test_damaged_safetensors_are_told(folder, place, case):
    path = folder / place / "model.safetensors"
    path.write_bytes(BYTES[case](path.read_bytes()))
    refuse(folder, "is damaged|could not be loaded")


def change(path, work):
    state = load_file(path)
    work(state)
    save_file(state, path, metadata={"format": "pt"})


@pytest.mark.parametrize("place", ["", "2_Dense"])
def test_weights_of_the_wrong_shape_are_told(folder, place):
    name = "linear.weight" if place else "embeddings.word_embeddings.weight"
    change(folder / place / "model.safetensors", lambda state: state.update({name: torch.zeros(3, 5)}))
    refuse(folder, "do not fit|could not be loaded.*(mismatch|shape|size)")


@pytest.mark.parametrize("place", ["", "2_Dense"])
def test_missing_weights_are_told_by_name(folder, place):
    name = "linear.weight" if place else "embeddings.word_embeddings.weight"
    change(folder / place / "model.safetensors", lambda state: state.pop(name))
    refuse(folder, f"(?s)(lack|do not fit).*{name.rpartition('.')[0]}")


def test_weights_of_another_model_are_told(folder):
    shutil.copy(folder / "2_Dense" / "model.safetensors", folder / "model.safetensors")
    refuse(folder, "weights lack .* tensors")


@pytest.mark.parametrize("place", ["", "2_Dense"])
def test_no_weights_are_told(folder, place):
    (folder / place / "model.safetensors").unlink()
    refuse(folder, "model.safetensors|no file named")


@pytest.mark.parametrize(
    "changes",
    [
        {"in_features": 3},
        {"in_features": "many"},
        {"in_features": -1},
        {"in_features": 10**12},
        {"in_features": None},
        {"out_features": [8]},
        {"in_features": ...},
    ],
)
def test_sizes_that_do_not_fit_the_weights_are_told(folder, changes):
    edit(folder / "2_Dense" / "config.json", **changes)
    refuse(folder, "2_Dense")


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 10**9},
        {"vocab_size": 10**15},
        {"vocab_size": -1},
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"num_attention_heads": 7},
        {"hidden_act": "os.system"},
        {"model_type": "no-such-model"},
        {"model_type": ...},
        {"num_hidden_layers": -3},
        {"dtype": "load"},
        {"torch_dtype": "os.system"},
        {"quantization_config": {"quant_method": "awq"}},
        {"quantization_config": {"quant_method": "evil"}},
        {"_attn_implementation": "flash_attention_9"},
    ],
)
def test_a_transformers_configuration_that_does_not_fit_is_told(folder, changes):
    edit(folder / "config.json", **changes)
    loaded_or_refused(folder, re.escape(str(folder)))


# ── damaged JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = {
    "empty": "",
    "truncated": '{"a": ',
    "no object": "[]",
    "a number": "7",
    "null": "null",
    "nested a million deep": "[" * 1_000_000,
    "an object nested deep": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "no UTF-8": b"\xff\xfe{}",
    "a NUL": "\0",
    "a number of a million digits": '{"a": ' + "9" * 1_000_000 + "}",
}
FILES = [
    "modules.json",
    CONFIG,
    "sentence_bert_config.json",
    "config.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
]


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("name", FILES)
def test_damaged_json_is_told_with_its_name(folder, name, case):
    content = TEXTS[case]
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse(folder, r"json")


@pytest.mark.parametrize("name", FILES)
def test_json_of_many_megabytes_is_not_even_read(folder, name):
    with (folder / name).open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    refuse(folder, f"bytes; a configuration has at most {MAX_JSON_BYTES:,}")


MODULES = {
    "an empty list": [],
    "an object": {"0": {"type": POOLING}},
    "names": ["Transformer"],
    "no type": [{"idx": 0, "name": "0", "path": ""}],
    "a type that is no text": [{"idx": 0, "name": "0", "path": "", "type": 3}],
    "a path that is no text": [{"idx": 0, "name": "0", "path": ["1_Pooling"], "type": POOLING}],
    "a path that is null": [{"idx": 0, "name": "0", "path": None, "type": POOLING}],
    "a block that is not there": [{"idx": 0, "name": "0", "path": "7_Pooling", "type": POOLING}],
    "a block of another kind": [{"idx": 0, "name": "0", "path": "2_Dense", "type": POOLING}],
    "a file for a folder": [{"idx": 0, "name": "0", "path": "config.json", "type": POOLING}],
    "arguments that are no list": [{"idx": 0, "name": "0", "path": "1_Pooling", "type": POOLING, "kwargs": 7}],
    "a thousand blocks within each other": [[[]]],
}


@pytest.mark.parametrize("case", MODULES)
def test_a_list_of_modules_that_is_none_is_told(folder, case):
    write_json(folder / "modules.json", MODULES[case])
    refuse(folder, "modules|1_Pooling|2_Dense|7_Pooling|Pooling|config.json")


@pytest.mark.parametrize("name", ["a.b", "", "forward", "prompts", 7])
def test_the_names_of_blocks_in_a_folder_mean_nothing(folder, name):
    write_json(folder / "modules.json", [{"idx": 0, "name": name, "path": "1_Pooling", "type": POOLING}] * 2)
    model = SentenceTransformer(folder, device="cpu")
    assert [name for name, _ in model.named_children()] == ["0", "1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": ["query: "]},
        {"prompts": {"query": 3}},
        {"prompts": {"query": ["query: "]}},
        {"prompts": "query: "},
        {"default_prompt_name": 3},
        {"default_prompt_name": "absent"},
        {"similarity_fn_name": "os.system"},
        {"similarity_fn_name": ["cosine"]},
        {"truncate_dim": "8"},
        {"truncate_dim": -8},
        {"truncate_dim": 0},
        {"truncate_dim": True},
    ],
)
def test_settings_of_the_wrong_kind_are_told(folder, changes):
    edit(folder / CONFIG, **changes)
    refuse(folder, next(iter(changes)).partition("_")[0], WorkbenchError)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_seq_length": "long"},
        {"max_seq_length": -5},
        {"max_seq_length": 0},
        {"max_seq_length": 1.5},
        {"max_seq_length": [3]},
        {"model_args": ["x"]},
        {"config_args": "x"},
    ],
)
def test_settings_of_the_transformer_of_the_wrong_kind_are_told(folder, changes):
    edit(folder / "sentence_bert_config.json", **changes)
    refuse(folder, next(iter(changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"word_embedding_dimension": "32"},
        {"word_embedding_dimension": None},
        {"word_embedding_dimension": -32},
        {"word_embedding_dimension": ...},
        {"pooling_mode": "os.system"},
        {"pooling_mode": 7},
        {"pooling_mode": []},
        {"pooling_mode": ["mean", 7]},
        {"pooling_mode_mean_tokens": False},
    ],
)
def test_settings_of_pooling_of_the_wrong_kind_are_told(folder, changes):
    edit(folder / "1_Pooling" / "config.json", **changes)
    refuse(folder, "1_Pooling.*Pooling")


@pytest.mark.parametrize(
    "content", ["", "{}", "[" * 100_000, '{"version": "9"}', "\xff", '{"model": {"type": "Evil"}}']
)
def test_a_damaged_tokenizer_is_told(folder, content):
    (folder / "tokenizer.json").write_text(content)
    refuse(folder, "could not be loaded")


def test_a_tokenizer_of_an_unknown_class_does_no_harm(folder):
    edit(folder / "tokenizer_config.json", tokenizer_class="os.system")
    loaded_or_refused(folder, "could not be loaded")


# ── routers ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["Router", "Asym"])
@pytest.mark.parametrize("name", ["os.system", "payload.Payload", "torch.nn.Linear"])
def test_a_router_with_a_block_outside_the_table_is_refused(folder, kind, name):
    (folder / "r").mkdir()
    shutil.copytree(folder / "1_Pooling", folder / "r" / "query_0")
    config = {"types": {"query_0": name}, "structure": {"query": ["query_0"]}, "parameters": {"allow_empty_key": True}}
    write_json(folder / "r" / ("router_config.json" if kind == "Router" else "config.json"), config)
    edit_module(folder, 1, type=f"sentence_transformers.models.{kind}", path="r")
    refuse(folder, "module type .*not imported", UnsafeModelError)


def test_a_router_within_itself_is_refused(folder):
    kind = "sentence_transformers.models.Router"
    inner = folder / "r"
    for _ in range(3):
        config = {"types": {"r": kind}, "structure": {"query": ["r"]}, "parameters": {}}
        write_json(inner / "router_config.json", config)
        inner = inner / "r"
    edit_module(folder, 1, type=kind, path="r")
    refuse(folder, "missing|router")


# ── not model folders at all ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_folder_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises((ModelFormatError, ModelNotFoundError), match="empty"):
        SentenceTransformer(tmp_path / "empty", device="cpu")


def test_an_evil_model_card_stays_text(folder, tmp_path):
    evil = "---\n!!python/object/apply:os.mkdir [ran]\n---\n{{ 7 * 7 }} <script>alert(1)</script>\n"
    (folder / "README.md").write_text(evil)
    SentenceTransformer(folder, device="cpu").save(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == evil
    (folder / "README.md").write_bytes(b"\xff\xfe\x00")
    SentenceTransformer(folder, device="cpu")


# ── cross-encoders ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("a secret")
    folder = tiny_pairs.write(tmp_path / "outside" / "pairs")
    payload(folder / "payload.py", tmp_path / "ran")
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentence_transformers": {"activation_fn": "os.system"}}, "activation function 'os.system'"),
        ({"sbert_ce_default_activation_function": "payload.Payload"}, "activation function 'payload.Payload'"),
        ({"_attn_implementation": "someone/evil"}, "attention"),
        ({"auto_map": AUTO, "model_type": "my-own"}, "trust_remote_code|model type"),
        ({"num_labels": -1}, "."),
        ({"id2label": {"0": "a", "x": "b"}}, "."),
    ],
)
def test_a_hostile_cross_encoder_is_refused(pairs, changes, message):
    edit(pairs / "config.json", **changes)
    refuse(pairs, message, cls=CrossEncoder)


@pytest.mark.filterwarnings("ignore:.*is a pickle", "ignore:Detected pickle protocol")
def test_a_payload_in_a_cross_encoder_does_not_run(pairs, tmp_path):
    (pairs / "model.safetensors").unlink()
    (pairs / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    refuse(pairs, "more than tensors|could not be loaded", cls=CrossEncoder)


def test_a_link_out_of_a_cross_encoder_is_refused(pairs):
    shutil.move(pairs / "config.json", pairs.parent / "config.json")
    (pairs / "config.json").symlink_to(pairs.parent / "config.json")
    refuse(pairs, "outside the model folder", UnsafeModelError, cls=CrossEncoder)
