"""A search over settings that is killed in its second trial: python -m tests.trials_worker FOLDER."""

import os
import signal
import sys
from pathlib import Path

from tests.tiny_training import arguments, pairs, static
from workbench.losses import MultipleNegativesRankingLoss
from workbench.training import SentenceTransformerTrainer

STUDY = {"study_name": "rates", "load_if_exists": True}


def storage(folder):
    """Where the trials are kept."""
    return f"sqlite:///{folder}/trials.db"


def search(folder, started, n_trials=3, **options):
    """Search the learning rate; ``started`` is told the number of each trial that begins."""
    trainer = SentenceTransformerTrainer(
        None, arguments(folder, max_steps=2), pairs(), pairs(8), MultipleNegativesRankingLoss,
        model_init=lambda trial: started(trial) or static(),
    )  # fmt: skip

    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)}

    return trainer.hyperparameter_search(space, n_trials=n_trials, storage=storage(folder), **STUDY, **options)


def _die(trial):
    if trial is not None and trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    search(Path(sys.argv[1]), _die)
