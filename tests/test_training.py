"""The trainer: what it learns, what it checks before the first step, and how it stops, saves and goes on."""

import errno
import gc
import json
import re
import resource
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import TrainingArguments

from tests import tiny_pairs
from tests.tiny_training import TEXTS, arguments, losses_of, pairs, static
from tests.training_worker import train
from workbench import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments, SentenceTransformer
from workbench.devices import bfloat16_is_faster
from workbench.errors import ChoiceError, ColumnsError, ModelFormatError, TrainingError
from workbench.losses import (
    CachedMultipleNegativesRankingLoss,
    ContrastiveTensionLossInBatchNegatives,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
    SoftmaxLoss,
)
from workbench.losses.joined import joined
from workbench.training import SentenceTransformerTrainer as Trainer
from workbench.training import SentenceTransformerTrainingArguments as Arguments
from workbench.training import checkpoints
from workbench.training.collator import SentenceCollator, TokenCache
from workbench.training.loader import NamedDatasets

ROOT = Path(__file__).parents[1]
SCORES = [number / 32 for number in range(32)]


class Evaluator:
    """Counts its calls; what it measures grows."""

    primary_metric = "mine"

    def __init__(self):
        self.calls = 0

    def __call__(self, model, output_path=None, epoch=-1, steps=-1):
        self.calls += 1
        return {"mine": float(self.calls), "other": 0.5}


def run(folder, model=None, loss=MultipleNegativesRankingLoss, resume=None, data=None, more=None, **options):
    model = model or static()
    trainer = Trainer(
        model, arguments(folder, **options), data if data is not None else pairs(), loss=loss, **more or {}
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def weights(trainer):
    return trainer.model[0].embedding.weight.detach().clone()


# ── learning ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_training_lowers_the_loss_and_the_saved_model_gives_the_same_vectors(tmp_path):
    trainer = run(tmp_path, num_train_epochs=10)
    losses = losses_of(trainer)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    trainer.save_model(str(tmp_path / "model"))
    again = SentenceTransformer(tmp_path / "model", device="cpu")
    assert np.array_equal(again.encode(TEXTS[:4]), trainer.model.encode(TEXTS[:4]))


def test_without_a_loss_scored_pairs_are_trained_with_cosent(tmp_path):
    trainer = run(tmp_path, data=pairs(label=SCORES), loss=None, max_steps=2)
    assert isinstance(trainer.loss, CoSENTLoss)


def test_what_a_loss_itself_learns_is_trained_and_comes_back_with_a_checkpoint(tmp_path):
    data = pairs(label=[number % 3 for number in range(32)])
    for loss in (lambda model: SoftmaxLoss(model, 16, 3), ContrastiveTensionLossInBatchNegatives):
        chosen = data if "lambda" in str(loss) else data.remove_columns("label")
        whole = run(tmp_path / "whole", loss=loss, data=chosen, max_steps=6, save_strategy="steps", save_steps=3)
        again = run(tmp_path / "whole", loss=loss, data=chosen, max_steps=6, resume=tmp_path / "whole" / "checkpoint-3")
        for mine, first in zip(again.loss.parameters(), whole.loss.parameters(), strict=True):
            assert torch.equal(mine, first)


def test_each_data_set_is_trained_with_its_own_loss(tmp_path):
    data = {"scored": pairs(label=SCORES), "pairs": pairs()}
    loss = {"scored": CoSENTLoss, "pairs": MultipleNegativesRankingLoss}
    for order in ("round_robin", "proportional"):
        trainer = run(tmp_path, data=data, loss=loss, num_train_epochs=1, multi_dataset_batch_sampler=order)
        assert trainer.state.global_step == 8


def test_a_stream_is_trained_for_as_many_steps_as_asked(tmp_path):
    trainer = run(tmp_path, data=pairs().to_iterable_dataset(), max_steps=3)
    assert trainer.state.global_step == 3


def test_prompts_come_in_four_forms(tiny):
    columns = {"anchor": ["a"], "positive": ["b"]}
    forms = {
        "one": ("x: ", ["x: a", "x: b"]),
        "by column": ({"anchor": "q: "}, ["q: a", "b"]),
        "by data set": ({"one": "d: "}, ["d: a", "d: b"]),
        "by both": ({"one": {"positive": "p: "}}, ["a", "p: b"]),
        "none": (None, ["a", "b"]),
        "another data set": ({"two": "d: "}, ["a", "b"]),
    }
    for prompts, texts in forms.values():
        found = SentenceCollator(tiny, prompts).features(columns, "one")
        for features, text in zip(found, texts, strict=True):
            assert torch.equal(features["input_ids"], tiny.tokenize([text])["input_ids"])


def test_a_prompt_that_pooling_leaves_out_is_left_out_in_training(tiny):
    tiny.set_pooling_include_prompt(False)
    features = SentenceCollator(tiny, "query: ").features({"anchor": TEXTS[:3]}, None)[0]
    vectors = tiny(features)["sentence_embedding"].detach().numpy()
    assert np.allclose(vectors, tiny.encode(TEXTS[:3], prompt="query: "), atol=1e-6)


def test_learning_rates_can_be_set_by_name(tmp_path):
    trainer = run(tmp_path, static(), max_steps=1, learning_rate_mapping={r"embedding\.weight": 0.0})
    assert torch.equal(weights(trainer), static()[0].embedding.weight)


def test_gradients_of_a_transformer_are_the_same_with_checkpointing(tmp_path, tiny_folder):
    found = []
    for checkpointing in (False, True):
        model = SentenceTransformer(tiny_folder, device="cpu")
        found.append(losses_of(run(tmp_path, model, max_steps=3, activation_checkpointing=checkpointing)))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_cached_loss_with_accumulation_gives_a_finite_loss(tmp_path):
    trainer = run(tmp_path, loss=CachedMultipleNegativesRankingLoss, max_steps=2, gradient_accumulation_steps=2)
    assert all(np.isfinite(losses_of(trainer)))


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_columns_embedded_together_give_the_vectors_of_columns_embedded_apart(tiny):
    for model in (tiny, static()):
        loss = MultipleNegativesRankingLoss(model)
        columns = [TEXTS[:20], TEXTS[20:40], TEXTS[40:60]]
        found = loss.embed([model.tokenize(column) for column in columns])
        for vectors, column in zip(found, columns, strict=True):
            assert torch.allclose(vectors, model(model.tokenize(column))["sentence_embedding"], atol=1e-6)


def test_sorting_rows_by_length_takes_less_padding(tiny):
    columns = [tiny.tokenize(TEXTS[:48]), tiny.tokenize(TEXTS[48:])]
    batches, places = joined(columns)
    assert sorted(places.tolist()) == list(range(96))
    assert sum(batch["input_ids"].numel() for batch in batches) < 0.9 * sum(one["input_ids"].numel() for one in columns)


def test_a_text_is_tokenised_once_for_all_epochs(tiny, monkeypatch):
    cache, seen = TokenCache(tiny[0]), []
    whole = tiny[0].token_rows
    monkeypatch.setattr(tiny[0], "token_rows", lambda texts: seen.extend(texts) or whole(texts), raising=False)
    for _ in range(2):
        rows = cache.rows(TEXTS[:30] + TEXTS[:5])
        wanted = whole(TEXTS[:30] + TEXTS[:5])
        assert np.array_equal(rows.starts, wanted.starts)
        for name, column in rows.columns.items():
            assert np.array_equal(column, wanted.columns[name])
    assert seen == TEXTS[:30]


def test_a_full_token_cache_still_gives_every_row(tiny):
    cache = TokenCache(tiny[0], limit=50)
    for start in (0, 10, 0, 5):
        texts = TEXTS[start : start + 10]
        assert np.array_equal(cache.rows(texts).columns["input_ids"], tiny[0].token_rows(texts).columns["input_ids"])


def test_rows_of_several_data_sets_say_where_they_are_from():
    rows = NamedDatasets({"a": pairs(4), "b": pairs(4)}).__getitems__([0, 5, 3])
    assert [row["dataset_name"] for row in rows] == ["a", "b", "a"]


# ── evaluation and the best model ─────────────────────────────────────────────────────────────────────────────────


def test_an_evaluator_runs_once_per_evaluation_beside_the_loss(tmp_path):
    evaluator = Evaluator()
    data = {"a": pairs(8), "b": pairs(8)}
    trainer = run(
        tmp_path, max_steps=2, eval_strategy="steps", eval_steps=1, more={"eval_dataset": data, "evaluator": evaluator}
    )
    assert evaluator.calls == 2
    names = set().union(*trainer.state.log_history)
    assert {"eval_a_loss", "eval_b_loss", "eval_mine", "eval_other"} <= names


def test_evaluators_need_no_data_set_and_choose_the_best_model(tmp_path):
    trainer = run(
        tmp_path, max_steps=3, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        load_best_model_at_end=True, more={"evaluator": [Evaluator()]},
    )  # fmt: skip
    assert trainer.args.metric_for_best_model == "mine"
    assert trainer.state.best_global_step == 3


def test_the_best_model_is_loaded_at_the_end(tmp_path):
    trainer = run(
        tmp_path, max_steps=4, learning_rate=5.0, eval_strategy="steps", eval_steps=1, save_strategy="steps",
        save_steps=1, load_best_model_at_end=True, more={"eval_dataset": pairs(16)},
    )  # fmt: skip
    best = SentenceTransformer(trainer.state.best_model_checkpoint, device="cpu")
    assert torch.equal(weights(trainer), best[0].embedding.weight)


def test_an_unknown_metric_is_refused_before_the_first_step(tmp_path):
    trainer = Trainer(
        static(), arguments(tmp_path, metric_for_best_model="f1"), pairs(), pairs(8), MultipleNegativesRankingLoss,
        Evaluator(),
    )  # fmt: skip
    with pytest.raises(ChoiceError, match=r"'f1'.*'eval_loss', 'eval_mine', 'eval_other'"):
        trainer.train()
    assert trainer.state.global_step == 0


# ── stopping and going on ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_resumed_run_has_the_losses_and_weights_of_an_unbroken_one(tmp_path, tiny_folder):
    found = []
    for resume in (None, tmp_path / "out" / "checkpoint-5"):
        model = SentenceTransformer(tiny_folder, device="cpu")
        assert model.loaded_from == str(tiny_folder)
        how = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5, "learning_rate": 1e-3}
        trainer = run(tmp_path / "out", model, resume=resume, batch_sampler="no_duplicates", **how)
        assert model.loaded_from is None
        found.append((losses_of(trainer), {name: value.clone() for name, value in model.state_dict().items()}))
    (whole, state), (rest, again) = found
    assert rest[-3:] == whole[-3:]
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_a_checkpoint_that_was_not_finished_is_never_chosen(tmp_path):
    run(tmp_path, max_steps=4, save_strategy="steps", save_steps=2)
    (tmp_path / "checkpoint-4" / "trainer_state.json").write_text('{"half')
    with pytest.warns(UserWarning, match="checkpoint-4 was not written to its end"):
        trainer = run(tmp_path, max_steps=4, resume=True)
    assert [line["step"] for line in trainer.state.log_history if "loss" in line] == [1, 2, 3, 4]
    with pytest.raises(ModelFormatError, match=r"checkpoint-4 is no checkpoint"):
        run(tmp_path, max_steps=4, resume=tmp_path / "checkpoint-4")
    with pytest.raises(ModelFormatError, match="holds no checkpoint"):
        run(tmp_path / "nothing", max_steps=4, resume=True)


@pytest.mark.parametrize("where", ["_save", "_save_optimizer_and_scheduler", "_save_rng_state"])
def test_a_full_disk_is_one_clear_error_and_leaves_the_checkpoint_before(where, tmp_path, monkeypatch):
    whole = getattr(Trainer, where)

    def full(self, folder, *args, **kwargs):
        if folder.endswith("checkpoint-4"):
            (Path(folder) / "part").parent.mkdir(exist_ok=True)
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, folder, *args, **kwargs)

    monkeypatch.setattr(Trainer, where, full)
    with pytest.raises(TrainingError, match=r"checkpoint-4 could not be written.*No space left.*Free some space"):
        run(tmp_path, max_steps=6, save_strategy="steps", save_steps=2)
    assert not (tmp_path / "checkpoint-4").exists()
    assert json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())["global_step"] == 2
    monkeypatch.setattr(Trainer, where, whole)
    assert run(tmp_path, max_steps=6, resume=True, save_strategy="no").state.global_step == 6


@pytest.mark.parametrize("room", [4_000, 15_000])  # bytes that a file may have: too few for weights, or for Adam's
def test_what_the_system_says_when_a_file_cannot_be_written_becomes_the_same_error(room, tmp_path, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(
        checkpoints, "begin", lambda folder: resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    )
    try:
        with pytest.raises(TrainingError, match="checkpoint-2 could not be written"):
            run(tmp_path, max_steps=2, save_strategy="steps", save_steps=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "checkpoint-2").exists()


def test_a_loss_that_is_no_number_stops_with_step_rows_and_a_hint(tmp_path):
    class Broken(MultipleNegativesRankingLoss):
        def compute(self, embeddings, labels):
            return super().compute(embeddings, labels) * float("nan")

    with pytest.raises(TrainingError, match=r"nan at step 1\. Lower the learning rate.*'anchor': '"):
        run(tmp_path, loss=Broken, max_steps=2)


def test_a_trainer_that_is_deleted_gives_its_memory_back(tmp_path):
    trainer = run(tmp_path, max_steps=1)
    seen = [weakref.ref(trainer), weakref.ref(trainer.model), weakref.ref(trainer.optimizer)]
    del trainer
    gc.collect()
    assert [ref() for ref in seen] == [None, None, None]


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────

MNR = MultipleNegativesRankingLoss


def bad(error, message, **given):
    """A case: a run with these arguments raises ``error`` with ``message``."""
    return (lambda folder: run(folder, **{"max_steps": 1, **given})), error, message


def plain_arguments(folder):
    return Trainer(static(), TrainingArguments(str(folder), report_to="none"), pairs())


def a_finished_loss(folder):
    return Trainer(None, arguments(folder), pairs(), loss=MNR(static()), model_init=lambda: static())


def two(**columns):
    return Dataset.from_dict(columns)


BAD = {
    "no data": bad(ColumnsError, "is empty", data=two(anchor=[], positive=[])),
    "columns that do not fit": bad(ColumnsError, "needs", data=pairs().select_columns("anchor")),
    "None": bad(ColumnsError, "row 1", data=two(a=["x", None], b=["y", "z"])),
    "an empty text": bad(ColumnsError, "row 1", data=two(a=["x", " "], b=["y", "z"])),
    "labels as strings": bad(ColumnsError, "strings", data=pairs(2, label=["x", "y"]), loss=CoSENTLoss),
    "a model's name": bad(TypeError, "expected a loaded model", model="starter"),
    "plain arguments": (plain_arguments, TypeError, "expected SentenceTransformerTrainingArguments"),
    "a finished loss with model_init": (a_finished_loss, ValueError, "function of the model"),
    "an unknown sampler": bad(ChoiceError, "no_duplicates", batch_sampler="none"),
    "an unknown turn": bad(ChoiceError, "round_robin", multi_dataset_batch_sampler="none"),
    "a warm-up above 1": bad(ValueError, "from 0 to 1", warmup_ratio=2),
    "a loss for another data set": bad(ChoiceError, "'b'", data={"a": pairs()}, loss={"b": MNR}),
    "batches larger than the data": bad(
        ValueError, "32 rows, and a batch takes 64", dataloader_drop_last=True, per_device_train_batch_size=64
    ),
    "a stream without an end": bad(ValueError, "max_steps", data=pairs().to_iterable_dataset(), max_steps=-1),
    "several streams": bad(ValueError, "interleave_datasets", data=dict.fromkeys("ab", pairs().to_iterable_dataset())),
    "prompts for no column": bad(ChoiceError, "'anker'.*'anchor'", prompts={"anker": "q: "}),
    "routes without a router": bad(ValueError, "Router", router_mapping={"anchor": "query"}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_error_before_the_first_step(what, tmp_path):
    make, error, message = BAD[what]
    with pytest.raises(error, match=message):
        make(tmp_path)


def test_unknown_names_are_refused_by_the_arguments_alone(tmp_path):
    with pytest.raises(ChoiceError, match=re.escape("'batch_sampler', 'no_duplicates', 'group_by_label'")):
        Arguments(str(tmp_path), batch_sampler="sorted")


def test_half_precision_needs_a_device_that_has_it(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="fp16"):
        run(tmp_path, max_steps=1, fp16=True)
    monkeypatch.setattr("workbench.training.arguments.bfloat16_is_faster", lambda: False)
    with pytest.warns(UserWarning, match="bf16 is slower"):
        run(tmp_path, max_steps=1, bf16=True)
    monkeypatch.setattr("workbench.training.arguments.bfloat16_is_faster", lambda: True)
    run(tmp_path, max_steps=1, bf16=True)


def test_whether_bfloat16_is_faster_is_measured(monkeypatch):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr("workbench.devices.time", clock)
    for slow in (torch.float32, torch.bfloat16):

        def product(left, right, slow=slow):
            clock.now += 1 + (left.dtype is slow)

        monkeypatch.setattr(torch, "mm", product)
        assert bfloat16_is_faster() == (slow is torch.float32)


def test_the_folder_of_an_evaluator_is_made(tmp_path):
    run(tmp_path, max_steps=1, eval_strategy="steps", eval_steps=1, more={"evaluator": Evaluator()})
    assert Path(tmp_path, "eval").is_dir()


def test_a_loss_of_ones_own_needs_only_a_forward(tmp_path):
    class Own(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, features, labels=None):
            return sum(self.model(one)["sentence_embedding"].square().mean() for one in features)

    assert len(losses_of(run(tmp_path, loss=Own, max_steps=2))) == 2


def test_a_run_killed_at_ten_moments_ends_with_the_weights_of_an_unbroken_one(tmp_path):
    (tmp_path / "killed").mkdir()
    command = [sys.executable, "-W", "ignore", "-m", "tests.training_worker", str(tmp_path / "killed")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "came to its end: True" in answer.stdout, answer.stderr[-2000:]
    assert "killed 10 times" in answer.stdout
    assert torch.equal(torch.load(tmp_path / "killed" / "weights"), train(tmp_path / "whole"))


# ── cross-encoders ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("labels", "usual"), [(1, "BinaryCrossEntropyLoss"), (3, "CrossEntropyLoss")])
def test_a_cross_encoder_is_trained_and_resumed_by_the_same_trainer(tmp_path, labels, usual):
    folder = tiny_pairs.write(tmp_path / "model", labels)
    words = tiny_pairs.WORDS[4:12]
    columns = {"sentence1": words * 2, "sentence2": words[::-1] * 2}
    data = Dataset.from_dict({**columns, "label": [row % max(2, labels) for row in range(16)]})
    args = arguments(
        tmp_path / "out", CrossEncoderTrainingArguments, num_train_epochs=3, save_strategy="steps", save_steps=3
    )
    states = []
    for resume in (None, str(tmp_path / "out" / "checkpoint-3")):
        model = CrossEncoder(folder, device="cpu")
        trainer = CrossEncoderTrainer(model, args, data)
        trainer.train(resume_from_checkpoint=resume)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert type(trainer.loss).__name__ == usual
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
