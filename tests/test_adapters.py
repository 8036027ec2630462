"""Adapters: added, trained, saved apart from their model, loaded, merged; and what goes wrong, in clear words."""

import json
import pickle
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset

from tests import tiny_pairs
from tests.tiny import write_json
from tests.tiny_adapters import PAIRS, TEXTS, lora
from tests.tiny_training import arguments, losses_of, pairs, static
from workbench import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments, SentenceTransformer
from workbench.errors import (
    ChoiceError,
    DependencyError,
    ModelFormatError,
    ModelNotFoundError,
    TrainingError,
    UnsafeModelError,
)
from workbench.losses import MultipleNegativesRankingLoss
from workbench.models import Dense, Pooling, Transformer
from workbench.store import model_fingerprint
from workbench.training import SentenceTransformerTrainer


@pytest.fixture
def adapted(tiny):
    torch.manual_seed(1)
    tiny.add_adapter(lora())
    return tiny


@pytest.fixture
def pair_model(tmp_path):
    return CrossEncoder(tiny_pairs.write(tmp_path / "pairs"), device="cpu")


def same(one, other, texts=TEXTS):
    return np.allclose(one.encode(texts), other.encode(texts), atol=1e-6)


# ── adding, switching, removing ───────────────────────────────────────────────────────────────────────────────────


def test_an_adapter_alone_is_trainable_and_changes_the_vectors(tiny):
    before = tiny.encode(TEXTS)
    tiny.add_adapter(lora())
    assert tiny.active_adapters() == ["default"]
    trainable = {name for name, weight in tiny.named_parameters() if weight.requires_grad}
    assert trainable == {name for name in tiny.state_dict() if "lora" in name}
    assert len(tiny.get_adapter_state_dict()) == len(trainable) == 8
    assert np.abs(tiny.encode(TEXTS) - before).max() > 0.01


def test_a_model_with_an_adapter_is_no_longer_the_one_of_its_name(tiny):
    assert tiny.loaded_from
    tiny.add_adapter(lora())
    assert tiny.loaded_from is None
    tiny.merge_and_unload()
    assert tiny.loaded_from is None


def test_disabled_adapters_give_the_vectors_of_the_model_until_they_are_enabled(tiny):
    plain = tiny.encode(TEXTS)
    tiny.add_adapter(lora())
    changed = tiny.encode(TEXTS)
    tiny.disable_adapters()
    assert np.allclose(tiny.encode(TEXTS), plain, atol=1e-6)
    tiny.enable_adapters()
    assert np.array_equal(tiny.encode(TEXTS), changed)


def test_one_of_two_adapters_is_chosen_by_name_and_deleted_by_name(adapted):
    first = adapted.encode(TEXTS)
    adapted.add_adapter(lora(r=2), "other")
    assert adapted.active_adapters() == ["other"]
    assert not np.allclose(adapted.encode(TEXTS), first, atol=1e-3)
    adapted.set_adapter("default")
    assert np.array_equal(adapted.encode(TEXTS), first)
    adapted.delete_adapter("other")
    assert np.array_equal(adapted.encode(TEXTS), first)
    adapted.delete_adapter(["default"])
    assert all(weight.requires_grad for weight in adapted.parameters())


def test_merged_adapters_leave_a_plain_model_of_the_same_vectors(adapted, tmp_path):
    vectors = adapted.encode(TEXTS)
    adapted.save(tmp_path)
    adapted.merge_and_unload()
    assert np.allclose(adapted.encode(TEXTS), vectors, atol=1e-6)
    assert not [name for name in adapted.state_dict() if "lora" in name]
    assert all(weight.requires_grad for weight in adapted.parameters())
    adapted.save(tmp_path)  # over the adapter, which must not be added once more
    assert not list(tmp_path.glob("adapter*"))
    assert np.allclose(SentenceTransformer(tmp_path, device="cpu").encode(TEXTS), vectors, atol=1e-6)


def test_the_fingerprint_tells_which_adapters_are_at_work(adapted):
    prints = [model_fingerprint(adapted)]
    adapted.disable_adapters()
    prints.append(model_fingerprint(adapted))
    adapted.enable_adapters()
    assert model_fingerprint(adapted) == prints[0]
    adapted.add_adapter(lora(), "other")
    prints.append(model_fingerprint(adapted))
    adapted.set_adapter("default")
    prints.append(model_fingerprint(adapted))
    adapted.transformers_model.encoder.layer[0].attention.self.query.scaling["default"] = 5.0
    prints.append(model_fingerprint(adapted))
    assert len(set(prints)) == 5


def test_a_model_loaded_with_its_adapter_has_the_same_fingerprint(adapted, tmp_path):
    adapted.save(tmp_path)
    assert model_fingerprint(SentenceTransformer(tmp_path, device="cpu")) == model_fingerprint(adapted)


# ── saving and loading ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_adapter_holds_no_other_weights_and_loads_like_any_model(adapted, tmp_path, tiny_folder):
    adapted.prompts = {"query": "q: "}
    for safe in (True, False):
        adapted.save(tmp_path, safe_serialization=safe)
        assert not {"config.json", "model.safetensors", "pytorch_model.bin"} & {
            path.name for path in tmp_path.iterdir()
        }
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(tiny_folder)
        again = SentenceTransformer(tmp_path, device="cpu")
        assert np.array_equal(again.encode(TEXTS), adapted.encode(TEXTS))
        assert (again.active_adapters(), again.prompts, again.max_seq_length) == (["default"], {"query": "q: "}, 48)


def test_a_saved_adapter_replaces_a_whole_model_in_the_same_folder(adapted, tiny_folder, tmp_path):
    SentenceTransformer(tiny_folder, device="cpu").save(tmp_path)
    adapted.save(tmp_path)
    assert same(SentenceTransformer(tmp_path, device="cpu"), adapted)


def test_an_adapter_is_loaded_beside_another_and_may_be_frozen(adapted, tmp_path, tiny_folder):
    adapted.save(tmp_path)
    model = SentenceTransformer(tiny_folder, device="cpu")
    model.load_adapter(tmp_path, "mine", is_trainable=False)
    assert same(model, adapted)
    assert not [name for name, weight in model.named_parameters() if weight.requires_grad]
    model.load_adapter(tmp_path)
    assert model.active_adapters() == ["default"]
    with pytest.raises(ChoiceError, match="'default' already"):
        model.load_adapter(tmp_path)


def test_a_folder_of_peft_alone_gets_mean_pooling_and_the_tokenizer_of_its_model(adapted, tmp_path):
    adapted.transformers_model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert same(SentenceTransformer(tmp_path, device="cpu"), adapted)


def test_a_model_that_lies_beside_its_adapter_is_loaded_with_it(adapted, tmp_path, tiny_folder):
    SentenceTransformer(tiny_folder, device="cpu").save(tmp_path)
    adapted.transformers_model.save_pretrained(tmp_path)
    assert same(SentenceTransformer(tmp_path, device="cpu"), adapted)


def test_an_adapter_of_a_cross_encoder_is_saved_with_its_classifier_and_activation(pair_model, tmp_path):
    pair_model.add_adapter(lora(modules_to_save=["classifier"]))
    pair_model.default_activation_function = torch.nn.Identity()
    with torch.no_grad():
        pair_model.model.classifier.modules_to_save["default"].bias.add_(1)
    scores = pair_model.predict(PAIRS)
    pair_model.save(tmp_path / "adapter")
    again = CrossEncoder(tmp_path / "adapter", device="cpu")
    assert np.array_equal(again.predict(PAIRS), scores)
    again.default_activation_function = torch.nn.Sigmoid()
    again.merge_and_unload()
    again.save(tmp_path / "adapter")
    whole = CrossEncoder(tmp_path / "adapter", device="cpu")
    assert np.allclose(whole.predict(PAIRS), 1 / (1 + np.exp(-scores)), atol=1e-6)


def test_a_new_classifier_must_be_kept_with_the_adapter(tiny_folder, tmp_path):
    model = CrossEncoder(tiny_folder, device="cpu")
    with pytest.raises(ValueError, match="modules_to_save"):
        model.add_adapter(lora())
    model.add_adapter(lora(modules_to_save=["classifier"]))
    model.save(tmp_path)
    assert np.array_equal(CrossEncoder(tmp_path, device="cpu").predict(PAIRS), model.predict(PAIRS))


# ── training ──────────────────────────────────────────────────────────────────────────────────────────────────────


def trained(folder, model, resume=None, **options):
    how = {"learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 2, "max_steps": 4, **options}
    trainer = SentenceTransformerTrainer(
        model, arguments(folder, **how), pairs(), pairs(8), MultipleNegativesRankingLoss
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def with_dense(folder):
    torch.manual_seed(2)
    transformer = Transformer(folder)
    blocks = [transformer, Pooling(32), Dense(32, 8)]
    model = SentenceTransformer(modules=blocks, device="cpu")
    model.add_adapter(lora(lora_dropout=0.1), "mine")
    return model


def test_training_changes_adapters_and_later_blocks_and_nothing_else(tiny_folder, tmp_path):
    model = with_dense(tiny_folder)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trainer = trained(tmp_path, model, save_strategy="no", max_steps=12)
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "lora" in name or name.startswith("2.")}
    losses = losses_of(trainer)
    assert sum(losses[-4:]) < sum(losses[:4])


def test_a_resumed_run_of_an_adapter_ends_as_an_unbroken_one(tiny_folder, tmp_path):
    whole = trained(tmp_path, with_dense(tiny_folder)).model
    again = trained(tmp_path, with_dense(tiny_folder), resume=str(tmp_path / "checkpoint-2")).model
    for name, weight in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_the_best_adapter_is_loaded_at_the_end(adapted, tmp_path):
    trainer = trained(
        tmp_path, adapted, learning_rate=0.5, eval_strategy="steps", eval_steps=1, save_steps=1,
        load_best_model_at_end=True,
    )  # fmt: skip
    best = trainer.state.best_model_checkpoint
    assert best.endswith(("1", "2", "3"))  # so large a rate does harm: it was not the last
    assert same(SentenceTransformer(best, device="cpu"), trainer.model)


def test_a_cross_encoder_is_trained_and_resumed_with_an_adapter(tmp_path, pair_model):
    words = tiny_pairs.WORDS[4:12]
    data = Dataset.from_dict({"a": words, "b": words[::-1], "label": [0, 1] * 4})
    args = arguments(
        tmp_path / "out", CrossEncoderTrainingArguments, max_steps=4, save_strategy="steps", save_steps=2,
        per_device_train_batch_size=4,
    )  # fmt: skip
    found = []
    for resume in (None, str(tmp_path / "out" / "checkpoint-2")):
        torch.manual_seed(3)
        model = CrossEncoder(tmp_path / "pairs", device="cpu")
        model.add_adapter(lora(modules_to_save=["classifier"]))
        CrossEncoderTrainer(model, args, data).train(resume_from_checkpoint=resume)
        found.append(model.state_dict())
    assert all(torch.equal(weight, found[1][name]) for name, weight in found[0].items())


def test_a_loaded_adapter_can_be_trained_on(adapted, tmp_path):
    adapted.save(tmp_path / "adapter")
    model = SentenceTransformer(tmp_path / "adapter", device="cpu")
    trained(tmp_path / "out", model, save_strategy="no", max_steps=2)
    assert not same(model, adapted)


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_an_adapter_every_request_for_one_says_so(tiny):
    calls = ["active_adapters", "enable_adapters", "disable_adapters", "get_adapter_state_dict", "merge_and_unload"]
    for call in [*(getattr(tiny, name) for name in calls), lambda: tiny.set_adapter("x")]:
        with pytest.raises(ValueError, match="no adapter"):
            call()


def test_what_cannot_be_added_leaves_the_model_as_it_was(tiny, tmp_path):
    with pytest.raises(TypeError, match=r"dict; expected a peft\.PeftConfig"):
        tiny.add_adapter({"r": 4})
    with pytest.raises(ValueError, match="nowhere"):
        tiny.add_adapter(lora(target_modules=["nowhere"]))
    with pytest.raises(ValueError, match="no adapter"):
        tiny.active_adapters()
    tiny.save(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    tiny.add_adapter(lora())
    with pytest.raises(ValueError, match="nowhere"):
        tiny.add_adapter(lora(target_modules=["nowhere"]), "second")
    with pytest.raises(ChoiceError, match=r"'second'.*'default'"):
        tiny.set_adapter("second")
    with pytest.raises(ChoiceError, match=r"'second'.*'default'"):
        tiny.delete_adapter("second")


def test_static_vectors_have_no_place_for_an_adapter():
    with pytest.raises(ValueError, match="no transformer"):
        static().add_adapter(lora())


def test_disabled_adapters_are_not_merged(adapted):
    adapted.disable_adapters()
    with pytest.raises(ValueError, match="enable_adapters"):
        adapted.merge_and_unload()


def test_without_peft_an_adapter_says_what_to_install(adapted, tmp_path, tiny_folder, monkeypatch):
    adapted.save(tmp_path)
    monkeypatch.setitem(sys.modules, "peft", None)
    for call in (
        lambda: SentenceTransformer(tmp_path, device="cpu"),
        lambda: SentenceTransformer(tiny_folder, device="cpu").load_adapter(tmp_path),
        lambda: SentenceTransformer(tiny_folder, device="cpu").add_adapter(lora()),
    ):
        with pytest.raises(DependencyError, match=r"sentence-workbench\[peft\]"):
            call()


def changed(**values):
    """Damage: the adapter's configuration with other values."""

    def damage(folder):
        config = json.loads((folder / "adapter_config.json").read_text())
        write_json(folder / "adapter_config.json", config | values)

    return damage


DAMAGE = {
    "a base that is nowhere": (changed(base_model_name_or_path="/not/there"), ModelNotFoundError, "holds an adapter"),
    "no base": (changed(base_model_name_or_path=None), ModelFormatError, "base_model_name_or_path"),
    "a base of the wrong type": (changed(base_model_name_or_path=["x"]), ModelFormatError, "base_model_name_or_path"),
    "another rank": (changed(r=2), ModelFormatError, "does not fit"),
    "other layers": (changed(target_modules=["nowhere"]), ModelFormatError, "nowhere"),
    "an unknown kind": (changed(peft_type="TRAP"), ModelFormatError, "TRAP"),
    "a module to import": (
        changed(megatron_config={"x": 1}, megatron_core="this"), UnsafeModelError, "module of its own choice"
    ),
    "a table that is none": (
        lambda folder: (folder / "adapter_config.json").write_text("[1"), ModelFormatError, "not valid JSON"
    ),
    "damaged weights": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\0" * 40), ModelFormatError, "damaged"
    ),
    "no weights": (
        lambda folder: (folder / "adapter_model.safetensors").unlink(), ModelFormatError, "holds neither adapter_model"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_adapter_is_one_clear_error(what, adapted, tmp_path):
    damage, error, message = DAMAGE[what]
    adapted.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=message):
        SentenceTransformer(tmp_path, device="cpu")
    assert "this" not in sys.modules


def test_an_adapter_of_an_adapter_and_one_that_names_itself_are_refused(adapted, tmp_path):
    adapted.save(tmp_path)
    changed(base_model_name_or_path=str(tmp_path))(tmp_path)
    with pytest.raises(ModelFormatError, match="an adapter itself"):
        SentenceTransformer(tmp_path, device="cpu")


def test_a_failed_load_leaves_the_model_as_it_was(adapted, tmp_path, tiny_folder):
    adapted.save(tmp_path)
    changed(r=2)(tmp_path)
    model = SentenceTransformer(tiny_folder, device="cpu")
    before = model.encode(TEXTS)
    with pytest.raises(ModelFormatError, match="does not fit"):
        model.load_adapter(tmp_path)
    with pytest.raises(ValueError, match="no adapter"):
        model.active_adapters()
    assert np.allclose(model.encode(TEXTS), before, atol=1e-6)


def test_a_checkpoint_of_another_adapter_is_refused(tiny_folder, tmp_path):
    trained(tmp_path, with_dense(tiny_folder), max_steps=2)
    model = SentenceTransformer(modules=[Transformer(tiny_folder), Pooling(32), Dense(32, 8)], device="cpu")
    model.add_adapter(lora(r=2))
    with pytest.raises((ModelFormatError, TrainingError), match="does not fit"):
        trained(tmp_path, model, resume=str(tmp_path / "checkpoint-2"))


def test_an_adapted_model_can_be_sent_to_worker_processes(adapted):
    assert same(pickle.loads(pickle.dumps(adapted)), adapted)
