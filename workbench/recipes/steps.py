"""Steps of a recipe: tables and models that are made once, written in one piece, and found again after a kill."""

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from transformers import PrinterCallback

from workbench.cross_encoder import CrossEncoder
from workbench.errors import DataFormatError
from workbench.folders import read_json, write_atomically, write_json
from workbench.progress import track
from workbench.store.fingerprint import model_fingerprint
from workbench.texts import slices
from workbench.training import checkpoints
from workbench.training.defaults import usual_learning_rate
from workbench.training.trainer import CrossEncoderTrainer, SentenceTransformerTrainer

__all__ = ["Steps", "as_model"]

_RECIPE, _ROWS = "recipe.json", "rows.jsonl"
_T = TypeVar("_T")


def as_model(what: str, model: Any, method: str, kind: Callable[..., Any]) -> Any:
    """Return ``model``, loaded by ``kind`` where it is a name or a folder.

    Raises:
        TypeError: it has no ``method``: nothing was given, or something else.
        ModelNotFoundError: no such model; lists what was tried.
    """
    if isinstance(model, (str, Path)):
        return kind(model)
    if not callable(getattr(model, method, None)):
        raise TypeError(
            f"{what} is {type(model).__name__}; expected a model with {method}(), or the name or folder of one."
        )
    return model


class Steps:
    """The steps of one run of a recipe.

    Each step is a folder that appears in one piece. The same call again, after a kill, takes up what is there: a table
    block by block, a training at its last checkpoint, and a trained model from ``model``.

    Args:
        folder: where the steps are kept; None: nowhere.
        inputs: what the steps depend on, by name: models, tables and plain values. Models are told apart by their
            weights, and generators and functions by their names only.

    Raises:
        DataFormatError: the folder holds the steps of a run with other inputs; names them.
    """

    def __init__(self, folder: str | Path | None, **inputs: Any) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        said = {name: _digest(value) for name, value in inputs.items()}
        if (self.folder / _RECIPE).exists():
            known = read_json(self.folder, _RECIPE)
            if other := sorted(name for name in said.keys() | known.keys() if said.get(name) != known.get(name)):
                raise DataFormatError(
                    f"{self.folder} holds the steps of a run with another {' and '.join(other)}. Call with the same to "
                    "go on, choose another folder, or delete this one."
                )
            return
        with write_atomically(self.folder) as fresh:
            write_json(fresh / _RECIPE, said)

    def rows(
        self, name: str, inputs: Sequence[_T], make: Callable[[list[_T]], list[dict[str, Any]]], size: int = 5000
    ) -> list[dict[str, Any]]:
        """Return the rows that ``make`` makes of the inputs, ``size`` of them at a time; rows that are kept are read.

        Raises:
            DataFormatError: a kept table is damaged; names the folder to delete.
        """
        found: list[dict[str, Any]] = []
        with track(len(inputs), unit="rows", desc=name.capitalize()) as bar:
            for number, part in enumerate(slices(inputs, size)):
                place = None if self.folder is None else self.folder / name / f"{number:06d}"
                if place is not None and place.exists():
                    found += _read(place)
                else:
                    made = make(part)
                    if place is not None:
                        with write_atomically(place) as fresh:
                            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
                            (fresh / _ROWS).write_text(lines, encoding="utf-8", errors="surrogatepass")
                    found += made
                bar.update(len(part))
        return found

    def fit(
        self, model: Any, dataset: Any, loss: Callable[[Any], nn.Module], name: str = "model", **options: Any
    ) -> Any:
        """Return a trained copy of a model; the given one stays as it is.

        Args:
            model: a ``SentenceTransformer`` or a ``CrossEncoder``.
            dataset: what to train on.
            loss: makes the loss from the copy.
            name: the folder that the trained model is written to.
            options: training arguments, and ``evaluator``. Without them: one epoch, batches of 32, the usual learning
                rate, on the device where the model is.
        """
        student = copy.deepcopy(model)
        if self.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                self._train(student, dataset, loss, Path(folder), options | {"save_strategy": "no"})
            return student
        if not (self.folder / name).exists():
            training = self.folder / f"{name}-training"
            self._train(student, dataset, loss, training, options)
            student.save_pretrained(self.folder / name)
            for checkpoint in training.glob("checkpoint-*"):
                shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            checkpoints.restore(self.folder / name, student, {})
        return student

    @staticmethod
    def _train(model: Any, dataset: Any, loss: Any, folder: Path, options: dict[str, Any]) -> None:
        trainer: Any = CrossEncoderTrainer if isinstance(model, CrossEncoder) else SentenceTransformerTrainer
        on_cpu = model.device.type == "cpu"
        usual = {
            "learning_rate": usual_learning_rate(model),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 32,
            "warmup_ratio": 0.1,
            "save_strategy": "steps",
            "save_steps": 0.1,  # of all steps
            "save_total_limit": 2,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": on_cpu,
            "dataloader_pin_memory": not on_cpu,
        }
        extra = {"evaluator": options.pop("evaluator", None)}
        run = trainer(model, trainer.arguments(str(folder), **usual | options), dataset, loss=loss, **extra)
        run.remove_callback(PrinterCallback)
        begun = any(checkpoints.is_complete(one) for one in folder.glob("checkpoint-*"))
        run.train(resume_from_checkpoint=begun or None)
        model.eval()


def _read(place: Path) -> list[dict[str, Any]]:
    try:
        with (place / _ROWS).open(encoding="utf-8", errors="surrogatepass") as file:
            rows = [json.loads(line) for line in file]
    except (OSError, ValueError, RecursionError) as error:
        raise DataFormatError(f"{place} is damaged ({error}). Delete it, and call again to make it anew.") from error
    return rows


def _digest(value: Any) -> Any:
    """What a value is known by in a folder: itself where it is short, a model's weights, a table's hash."""
    if isinstance(value, nn.Module):
        return model_fingerprint(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple, dict)):
        text = json.dumps(value, default=_digest, sort_keys=True)
        return text if len(text) < 200 else sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return getattr(value, "__qualname__", type(value).__qualname__)
