"""A search over settings: trials of Optuna, kept on disk if asked, so that a search that was stopped goes on."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from workbench._optional import require
from workbench.errors import TrainingError, choose

__all__ = ["search", "trial_table"]


def search(run: Callable[..., Any], n_trials: int, direction: str | list[str], options: dict[str, Any]) -> Any:
    """Run trials until there are ``n_trials``, those of an earlier run included; returns the best, and all as a table.

    Args:
        run: makes trials: (n_trials, direction, options of a study) → the best run.
        n_trials: how many trials there are to be in the end.
        direction: "minimize" or "maximize", or one for each objective.
        options: for ``optuna.create_study`` and ``Study.optimize``.

    Raises:
        DependencyError: Optuna is not installed.
        ValueError: options that do not go together.
        TrainingError: no trial came to its end.
    """
    optuna = require("optuna", extra="hpo")
    for one in direction if isinstance(direction, list) else [direction]:
        choose("direction", one, dict.fromkeys(("minimize", "maximize")))
    if options.get("n_jobs", 1) != 1:
        raise ValueError("A trainer runs one trial at a time: for more, start several processes with one storage.")
    if options.get("load_if_exists") and not (options.get("storage") and options.get("study_name")):
        raise ValueError("To go on with a study, give its storage, such as 'sqlite:///trials.db', and its study_name.")
    options.setdefault("catch", (TrainingError,))  # a loss that is no number ends its trial, not the search
    options.setdefault("gc_after_trial", True)  # a trial's trainer, model and optimizer hold each other
    options["storage"] = options.get("storage") or optuna.storages.InMemoryStorage()
    options["study_name"] = options.get("study_name") or f"study {uuid4()}"
    where = {key: options[key] for key in ("storage", "study_name")}
    if options.get("load_if_exists") and where["study_name"] in optuna.get_all_study_names(where["storage"]):
        known = optuna.load_study(**where).get_trials(deepcopy=False)
        n_trials = max(0, n_trials - sum(trial.state.is_finished() for trial in known))
    try:
        best = run(n_trials, direction, options)
    except ValueError as error:
        table = trial_table(**where)
        if table.empty or "COMPLETE" in set(table["state"]):
            raise
        counts = ", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items())
        raise TrainingError(
            f"No trial came to its end ({counts}), so there is no best one. Look at trial_table(storage, study_name), "
            "search gentler settings, or prune later (n_warmup_steps of the pruner)."
        ) from error
    return best._replace(run_summary=trial_table(**where)) if hasattr(best, "_replace") else best


def trial_table(storage: Any, study_name: str) -> Any:
    """Return all trials of a study as a DataFrame, one a row: number, value, state, seconds, and each setting.

    Args:
        storage: where it is kept, such as "sqlite:///trials.db".
        study_name: its name.

    Raises:
        ChoiceError: there is no such study; lists those there are.
        DependencyError: Optuna is not installed.
    """
    import pandas as pd

    optuna = require("optuna", extra="hpo")
    choose("study", study_name, dict.fromkeys(optuna.get_all_study_names(storage)))
    rows = [
        {
            "number": trial.number,
            "value": trial.values[0] if trial.values and len(trial.values) == 1 else trial.values,
            "state": trial.state.name,
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **trial.params,
        }
        for trial in optuna.load_study(study_name=study_name, storage=storage).get_trials(deepcopy=False)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["number", "value", "state", "seconds"])
