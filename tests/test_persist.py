"""Saving: the layout that every release reads, in one step, and nothing of anyone else's lost."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import DIM, SENTENCES, model_folder
from workbench import SentenceTransformer, folders
from workbench.errors import ModelFormatError, UnsafeModelError
from workbench.folders import inside, load_state, read_json, write_atomically, write_json
from workbench.models import Dense, Normalize, Pooling

ROOT = Path(__file__).parents[1]


def vectors(folder):
    return SentenceTransformer(folder, device="cpu").encode(SENTENCES)


def changed(model, by=1.0):
    """The model with other weights."""
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(by * torch.randn_like(tensor))
    return model


def names(folder):
    return [path.name for path in folder.iterdir()]


def files(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


# ── the layout ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_layout_is_the_one_that_every_release_reads(tiny, tmp_path):
    model = SentenceTransformer(
        modules=[*tiny, Dense(DIM, 8), Normalize()],
        prompts={"query": "query: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
        device="cpu",
    )
    model.save(tmp_path / "m")
    assert read_json(tmp_path / "m", "modules.json", list) == [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    config = read_json(tmp_path / "m", "config_sentence_transformers.json")
    assert set(config.pop("__version__")) == {"sentence_transformers", "transformers", "pytorch"}
    assert config == {"prompts": {"query": "query: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"}
    assert read_json(tmp_path / "m", "sentence_bert_config.json") == {"max_seq_length": 48, "do_lower_case": False}
    assert read_json(tmp_path / "m" / "1_Pooling", "config.json") == {
        "word_embedding_dimension": DIM,
        "pooling_mode_cls_token": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
    assert files(tmp_path / "m") >= {"model.safetensors", "tokenizer.json", "2_Dense/model.safetensors", "README.md"}
    assert not list((tmp_path / "m").rglob("*.bin"))


def test_every_setting_survives_save_and_load(tiny, tmp_path):
    tiny.prompts, tiny.default_prompt_name = {"a": "ä "}, "a"
    tiny.truncate_dim, tiny.similarity_fn_name, tiny.max_seq_length = 8, "manhattan", 40
    tiny.set_pooling_include_prompt(False)
    tiny.module_kwargs = {"1": ["task"]}
    tiny.save(str(tmp_path / "m"))
    again = SentenceTransformer.load(tmp_path / "m")
    for name in ("prompts", "default_prompt_name", "truncate_dim", "similarity_fn_name", "max_seq_length", "dtype"):
        assert getattr(again, name) == getattr(tiny, name), name
    assert again.module_kwargs["1"] == ["task"]
    assert again[1].include_prompt is False
    np.testing.assert_array_equal(again.encode(SENTENCES), tiny.encode(SENTENCES))


def test_blocks_are_named_by_their_place_whatever_the_folder_calls_them(tmp_path):
    folder = model_folder(tmp_path / "m")
    expected = vectors(folder)
    lines = json.loads((folder / "modules.json").read_text())
    write_json(folder / "modules.json", [line | {"name": "forward.x", "kwargs": ["task"]} for line in lines])
    model = SentenceTransformer(folder, device="cpu")
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    assert model.module_kwargs == {"0": ["task"], "1": ["task"]}
    np.testing.assert_array_equal(model.encode(SENTENCES), expected)


def test_half_precision_survives_save_and_load(tiny, tmp_path):
    tiny.half().save(tmp_path / "m")
    assert load_state(tmp_path / "m")["embeddings.word_embeddings.weight"].dtype == torch.float16


def test_a_loaded_model_keeps_its_card_until_another_is_asked_for(tmp_path):
    folder = model_folder(tmp_path / "m")
    (folder / "README.md").write_text("# Mine, with ümlauts\n", encoding="utf-8")
    model = SentenceTransformer(folder, device="cpu")
    model.save(tmp_path / "a")
    assert (tmp_path / "a" / "README.md").read_text(encoding="utf-8") == "# Mine, with ümlauts\n"
    model.save(tmp_path / "b", create_model_card=False)
    assert not (tmp_path / "b" / "README.md").exists()
    model.save(tmp_path / "c", model_name="me/model")
    assert "me/model" in (tmp_path / "c" / "README.md").read_text(encoding="utf-8")


# ── in one step ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tiny, tmp_path):
    tiny.save(tmp_path / "models" / "m")
    return tmp_path / "models" / "m"


def test_a_model_is_saved_over_the_folder_it_came_from(folder):
    model = changed(SentenceTransformer(folder, device="cpu"))
    expected = model.encode(SENTENCES)
    for _ in range(2):
        model.save(folder)
        np.testing.assert_array_equal(vectors(folder), expected)
    np.testing.assert_array_equal(model.encode(SENTENCES), expected)
    assert names(folder.parent) == ["m"]


def test_saving_keeps_what_others_put_into_the_folder(folder, tiny):
    (folder / "notes.txt").write_text("mine")
    (folder / "mine").mkdir()
    (folder / "mine" / "model.onnx").write_bytes(b"onnx")
    (folder / "checkpoint").symlink_to("nowhere")
    tiny.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "mine" / "model.onnx").read_bytes() == b"onnx"
    assert (folder / "checkpoint").readlink() == Path("nowhere")


def test_saving_leaves_no_block_and_no_weights_of_the_model_before(folder, tiny):
    SentenceTransformer(modules=[*tiny, Dense(DIM, 8)], device="cpu").save(folder, safe_serialization=False)
    assert "2_Dense/pytorch_model.bin" in files(folder)
    assert "model.safetensors" not in files(folder)
    tiny.save(folder)
    assert not (folder / "2_Dense").exists()
    assert not list(folder.rglob("*.bin"))
    np.testing.assert_array_equal(vectors(folder), tiny.encode(SENTENCES))


class Fails(nn.Module):
    """A block that cannot be saved."""

    def forward(self, features):
        return features

    def save(self, path):
        (Path(path) / "half").write_text("half")
        raise OSError("No space left on device")


def test_an_error_while_saving_leaves_the_old_folder_as_it_was(folder, tiny):
    before, listing = vectors(folder), files(folder)
    model = SentenceTransformer(modules=[*changed(tiny), Fails()], device="cpu")
    with pytest.raises(OSError, match="No space left"):
        model.save(folder)
    with pytest.raises(OSError, match="No space left"):
        model.save(folder.parent / "new")
    np.testing.assert_array_equal(vectors(folder), before)
    assert files(folder) == listing
    assert names(folder.parent) == ["m"]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from workbench import SentenceTransformer, folders, persist
from workbench.models import Pooling

root = Path(sys.argv[1])
model = SentenceTransformer(root / "new", device="cpu")
die = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
swap, keep = folders._swap, folders._keep_others
stages = {
    "first block": lambda: setattr(type(model[0]), "save", die),
    "second block": lambda: setattr(Pooling, "save", die),
    "settings": lambda: setattr(persist, "version", die),
    "keeping": lambda: setattr(folders, "_keep_others", die),
    "before": lambda: setattr(folders, "_swap", die),
    "after": lambda: setattr(folders, "_swap", lambda *args: (swap(*args), die())),
}
for stage, prepare in stages.items():
    if not (child := os.fork()):
        prepare()
        model.save(root / stage)
    _, status = os.waitpid(child, 0)
    print(stage, os.WTERMSIG(status))
random.seed(0)
for _ in range(8):  # and whenever it comes
    if not (child := os.fork()):
        while True:
            model.save(root / "loop")
    time.sleep(random.uniform(0.02, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    folders.load_state(root / "loop"), folders.read_json(root / "loop", "modules.json", list)
"""


def test_a_save_that_is_killed_leaves_the_old_folder_or_the_new_one(tiny, tmp_path):
    stages = ["first block", "second block", "settings", "keeping", "before", "after", "loop"]
    for stage in stages:
        tiny.save(tmp_path / stage)
        (tmp_path / stage / "notes.txt").write_text("mine")
    old = vectors(tmp_path / "loop")
    changed(tiny).save(tmp_path / "new")
    new = vectors(tmp_path / "new")
    command = [sys.executable, "-c", KILLED, tmp_path]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:-1] == [f"{stage} {int(signal.SIGKILL)}" for stage in stages[:-1]]
    for stage in stages:
        found = vectors(tmp_path / stage)
        kept = {"after": [new], "loop": [old, new]}.get(stage, [old])
        assert any(np.array_equal(found, one) for one in kept), stage
        assert (tmp_path / stage / "notes.txt").read_text() == "mine"
        assert {entry["path"] for entry in read_json(tmp_path / stage, "modules.json", list)} == {"", "1_Pooling"}


def test_threads_that_save_to_one_folder_leave_a_whole_model(folder, tiny_folder):
    made = [changed(SentenceTransformer(tiny_folder, device="cpu")) for _ in range(4)]
    expected = [model.encode(SENTENCES) for model in made]
    threads = [threading.Thread(target=model.save, args=[folder]) for model in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = vectors(folder)
    assert any(np.array_equal(found, one) for one in expected)
    assert names(folder.parent) == ["m"]


@pytest.mark.parametrize("exchange", [True, False])
def test_folders_are_swapped_with_and_without_the_systems_help(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(sys, "platform", "darwin")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    folders._swap(tmp_path / "a", tmp_path / "b")
    assert files(tmp_path) == {"a/b", "b/a"}


@pytest.mark.parametrize("place", [".", "..", "../.."])
def test_saving_over_the_working_directory_is_refused(tiny, tmp_path, monkeypatch, place):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(ValueError, match="working directory"):
        tiny.save(place)
    assert (tmp_path / "a" / "b").exists()


def test_a_folder_below_folders_that_do_not_exist_is_made(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save("x/y/z")
    np.testing.assert_array_equal(vectors(tmp_path / "x" / "y" / "z"), tiny.encode(SENTENCES))


def test_saving_through_a_link_writes_where_it_leads(folder, tiny):
    link = folder.parent / "latest"
    link.symlink_to("m")
    changed(tiny).save(link)
    assert link.is_symlink()
    np.testing.assert_array_equal(vectors(folder), tiny.encode(SENTENCES))


def test_a_file_where_the_folder_should_be_is_left_alone(tiny, tmp_path):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(OSError, match="m"):
        tiny.save(tmp_path / "m")
    assert (tmp_path / "m").read_text() == "mine"
    assert names(tmp_path) == ["m"]


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\b", "a\0b", "..", "C:\\x"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(UnsafeModelError, match="leaves the model folder"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a", "a/b.json", "", ".", "...", "a..b", "ä/☃"])
def test_names_inside_the_folder_are_followed(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


def test_links_are_followed_inside_the_folder_only(tmp_path):
    (tmp_path / "m" / "a").mkdir(parents=True)
    (tmp_path / "m" / "in").symlink_to("a")
    (tmp_path / "m" / "out").symlink_to("..")
    (tmp_path / "m" / "loop").symlink_to("loop")
    assert inside(tmp_path / "m", "in/x") == tmp_path / "m" / "in" / "x"
    for name in ("out", "out/x"):
        with pytest.raises(UnsafeModelError, match="outside the model folder"):
            inside(tmp_path / "m", name)
    (tmp_path / "link").symlink_to("m")  # the folder itself may be reached by a link
    assert inside(tmp_path / "link", "a") == tmp_path / "link" / "a"


def test_json_is_read_as_what_it_should_be(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path, "a.json") == {"ä": [1, None]}
    assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(ModelFormatError, match="holds a JSON dict; expected a list"):
        read_json(tmp_path, "a.json", list)
    with pytest.raises(ModelFormatError, match=r"b\.json is missing"):
        read_json(tmp_path, "b.json")


def test_writing_is_given_up_with_the_error_that_came(tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(IsADirectoryError), write_atomically(tmp_path / "m") as fresh:
        fresh.write_text("x")
    assert files(tmp_path) == set()
    assert names(tmp_path) == ["m"]
    with write_atomically(tmp_path / "m") as fresh:
        (fresh / "x").write_text("x")
    assert files(tmp_path) == {"m/x"}
    shutil.rmtree(tmp_path / "m")


def test_pooling_from_a_folder_keeps_unknown_settings_out(tmp_path):
    write_json(tmp_path / "config.json", {"word_embedding_dimension": 4, "pooling_mode_cls_token": True, "new": 1})
    assert Pooling.load(tmp_path).get_pooling_mode_str() == "cls+mean"
