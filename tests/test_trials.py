"""The search over settings: which trial wins, which are pruned, how a search goes on, and what it cannot do."""

import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import torch

from tests.test_training import Evaluator
from tests.tiny_training import arguments, losses_of, pairs, static
from tests.trials_worker import STUDY, search, storage
from workbench.errors import ChoiceError, DependencyError, TrainingError
from workbench.losses import MultipleNegativesRankingLoss
from workbench.training import SentenceTransformerTrainer as Trainer
from workbench.training import trial_table

ROOT = Path(__file__).parents[1]

optuna.logging.set_verbosity(optuna.logging.WARNING)


def rates(*values):
    """A space of learning rates, tried in this order."""
    return lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", values)}


def in_order(*values):
    return optuna.samplers.GridSampler({"learning_rate": values}, seed=0)


def fresh():
    return static()


def trainer(folder, loss=MultipleNegativesRankingLoss, model_init=fresh, evaluator=None, **options):
    how = arguments(folder, **{"max_steps": 3, **options})
    return Trainer(None, how, pairs(), pairs(8), loss, evaluator, model_init=model_init)


def test_the_best_of_two_trials_is_the_one_that_learned(tmp_path):
    best = trainer(tmp_path).hyperparameter_search(rates(1e-2, 0.0), n_trials=2, sampler=in_order(1e-2, 0.0))
    table = best.run_summary.sort_values("learning_rate", ignore_index=True)
    assert list(table.columns) == ["number", "value", "state", "seconds", "learning_rate"]
    assert table["learning_rate"].tolist() == [0.0, 1e-2]
    assert table["state"].tolist() == ["COMPLETE", "COMPLETE"]
    assert table["value"][1] < table["value"][0]
    assert (table["seconds"] > 0).all()
    assert best.hyperparameters == {"learning_rate": 1e-2}
    assert best.objective == table["value"][1]


def test_each_trial_has_a_fresh_model_and_a_loss_of_its_own(tmp_path):
    models, losses = [], []

    def init(trial):
        models.append(static())
        return models[-1]

    def loss(model):
        losses.append(MultipleNegativesRankingLoss(model))
        return losses[-1]

    searched = trainer(tmp_path, loss, init)
    values = searched.hyperparameter_search(rates(1e-2), n_trials=2).run_summary["value"]
    assert values[0] == values[1]  # the second did not begin where the first had ended
    assert [one.model for one in losses] == models
    assert len(models) == 3  # the first when the trainer was made


def test_what_an_evaluator_measures_is_made_as_large_as_can_be(tmp_path):
    searched = trainer(tmp_path, evaluator=Evaluator())
    best = searched.hyperparameter_search(rates(1e-2), n_trials=2)
    assert best.run_summary["value"].tolist() == [1.0, 2.0]  # this evaluator counts its calls
    assert (best.run_id, best.objective) == ("1", 2.0)
    assert searched.hyperparameter_search(rates(1e-2), lambda metrics: metrics["eval_other"], 1).objective == 0.5


def test_a_trial_that_falls_behind_is_pruned_at_an_evaluation(tmp_path):
    searched = trainer(
        tmp_path, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, max_steps=2,
        load_best_model_at_end=True,
    )  # fmt: skip
    pruner = optuna.pruners.ThresholdPruner(upper=1e-3)
    first = optuna.pruners.NopPruner()
    where = {**STUDY, "storage": storage(tmp_path)}
    searched.hyperparameter_search(rates(1e-2), n_trials=1, pruner=first, **where)
    best = searched.hyperparameter_search(rates(1e-2), n_trials=3, pruner=pruner, **where)
    assert best.run_summary["state"].tolist() == ["COMPLETE", "PRUNED", "PRUNED"]
    study = optuna.load_study(study_name="rates", storage=storage(tmp_path))
    assert [sorted(trial.intermediate_values) for trial in study.trials] == [[1, 2], [1], [1]]


def test_a_killed_search_goes_on_and_redoes_no_finished_trial(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tests.trials_worker", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    assert trial_table(storage(tmp_path), "rates")["state"].tolist() == ["COMPLETE", "RUNNING"]
    started = []
    best = search(tmp_path, lambda trial: started.append(trial and trial.number))
    assert started == [None, 2, 3]  # None: the model that a trainer is made with
    assert best.run_summary["state"].tolist() == ["COMPLETE", "RUNNING", "COMPLETE", "COMPLETE"]
    started.clear()
    assert search(tmp_path, lambda trial: started.append(trial and trial.number)).run_id == best.run_id
    assert started == [None]


def test_a_trial_whose_loss_is_no_number_fails_and_the_search_goes_on(tmp_path):
    class Fragile(MultipleNegativesRankingLoss):
        def compute(self, embeddings, labels):
            value = super().compute(embeddings, labels)
            return value * float("nan") if embeddings[0].abs().max() > 100 else value

    searched = trainer(tmp_path, Fragile)
    best = searched.hyperparameter_search(rates(1e3, 1e-3), n_trials=2, sampler=in_order(1e3, 1e-3))
    assert sorted(best.run_summary["state"]) == ["COMPLETE", "FAIL"]
    assert best.hyperparameters == {"learning_rate": 1e-3}
    with pytest.raises(TrainingError, match=r"1 FAIL.*gentler"):
        trainer(tmp_path, Fragile).hyperparameter_search(rates(1e3), n_trials=1)


def test_a_warm_up_ratio_of_a_trial_is_used(tmp_path):
    searched = trainer(tmp_path, logging_steps=1)
    searched.hyperparameter_search(lambda trial: {"warmup_ratio": trial.suggest_float("w", 1.0, 1.0)}, n_trials=1)
    assert searched.args.warmup_steps == 1.0
    assert len(losses_of(searched)) == 3


def test_training_goes_on_as_usual_after_a_search(tmp_path):
    searched = trainer(tmp_path)
    searched.hyperparameter_search(rates(1e-2), n_trials=1)
    searched.train()
    assert not torch.equal(searched.model[0].embedding.weight, static()[0].embedding.weight)


# ── bad input ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_search_without_what_it_needs_says_what_to_give(tmp_path, monkeypatch):
    plain = Trainer(static(), arguments(tmp_path), pairs(), pairs(8), MultipleNegativesRankingLoss)
    with pytest.raises(ValueError, match="model_init="):
        plain.hyperparameter_search(rates(1e-2))
    blind = Trainer(None, arguments(tmp_path), pairs(), None, MultipleNegativesRankingLoss, model_init=fresh)
    with pytest.raises(ValueError, match="evaluator or eval_dataset"):
        blind.hyperparameter_search(rates(1e-2))
    searched = trainer(tmp_path)
    for options, error, message in (
        ({"direction": "up"}, ChoiceError, "'minimize', 'maximize'"),
        ({"load_if_exists": True, "study_name": "x"}, ValueError, "storage"),
        ({"load_if_exists": True, "storage": storage(tmp_path)}, ValueError, "study_name"),
        ({"n_jobs": 2}, ValueError, "one trial at a time"),
    ):
        with pytest.raises(error, match=message):
            searched.hyperparameter_search(rates(1e-2), **options)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(DependencyError, match=r"sentence-workbench\[hpo\]"):
        searched.hyperparameter_search(rates(1e-2))


def test_an_unknown_study_is_named_with_those_there_are(tmp_path):
    trainer(tmp_path).hyperparameter_search(rates(1e-2), n_trials=1, storage=storage(tmp_path), study_name="mine")
    with pytest.raises(ChoiceError, match=r"'yours'.*'mine'"):
        trial_table(storage(tmp_path), "yours")
