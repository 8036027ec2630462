"""The steps of a guided fine-tuning, from a table to a trained model, as work, as Python to print, and as a result."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from widgets._curves import explained, main_metric
from widgets._data_panel import written
from widgets._finetune_figure import finetune_figure
from widgets._models import model_name
from widgets._theme import count
from workbench import SentenceTransformerTrainer, SentenceTransformerTrainingArguments, losses
from workbench.errors import WorkbenchError
from workbench.mining import mine_hard_negatives
from workbench.projection import aligned, neighbour_overlap
from workbench.similarity import cos_sim
from workbench.training import (
    hold_out,
    pick_columns,
    suggest_evaluator,
    suggest_losses,
    usual_learning_rate,
)

__all__ = ["Finetuned", "chosen_loss", "code", "finetune", "make_trainer", "mine", "picked", "suggestions"]

_Inputs = Mapping[str, Any]  # those of ``FinetunePanel``

_ON_MAP = 1000  # texts that are compared before and after
_NEIGHBOURS = 10
_MARGIN = 0.05  # how much less alike than the answer a mined negative must be, as a share


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A trained model, how the run went, and n texts before and after it."""

    model: Any
    inputs: _Inputs
    rows: list[dict[str, float]]  # what the steps logged
    sizes: tuple[int, int]  # rows trained on, rows held out
    texts: list[str]
    places: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]  # (n, 2) before and after
    kept: npt.NDArray[np.float32]  # (n,) the share of neighbours that stayed
    nearest: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # (n,) before and after

    def metrics(self) -> dict[str, tuple[float, float]]:
        """Return before and after of everything that was measured on the rows held out."""
        judged = [row for row in self.rows if main_metric(self.rows) in row]
        names = [name for name in judged[0] if name.startswith("eval_")]
        return {name.removeprefix("eval_"): (judged[0][name], judged[-1][name]) for name in names}

    def plain(self) -> dict[str, Any]:
        """Return the metrics before and after, and what the steps logged."""
        before, after = ({name: pair[place] for name, pair in self.metrics().items()} for place in (0, 1))
        return {"before": before, "after": after, "history": self.rows}

    def figure(self) -> go.Figure:
        """Return the curves and the map."""
        return finetune_figure(self.rows, self.texts, *self.places, self.kept)

    def frame(self) -> pd.DataFrame:
        """Return the texts, those first whose neighbours changed most."""
        order, texts = np.argsort(self.kept, kind="stable"), np.array(self.texts, dtype=object)
        before, after = (texts[side[order]] for side in self.nearest)
        kept = {f"of {_NEIGHBOURS} neighbours kept": self.kept[order].astype(float)}
        return pd.DataFrame({"text": texts[order], "nearest before": before, "nearest after": after, **kept})

    def caption(self) -> str:
        """Return how to read the figure."""
        return (
            "Left: the loss of the rows trained on (faint: as measured, strong: smoothed); and, on the axis at the "
            f"right, what {count(self.sizes[1])} rows say that were held out ({explained(main_metric(self.rows))}). "
            f"Only the latter says whether the model got better. Right: {count(len(self.texts))} texts on one map of "
            "both models. A line joins the two places of a text whose neighbours changed most. Distance on the map is "
            "not similarity."
        )

    def facts(self) -> dict[str, object]:
        """Return what was trained on what, and the metrics before and after."""
        asked = {name: self.inputs[name] for name in ("loss", "epochs", "batch_size", "negatives", "seed")}
        return {
            "Model": model_name(self.inputs["model"]),
            "Rows": f"{count(self.sizes[0])} to train on, {count(self.sizes[1])} held out",
            "Settings": ", ".join(f"{name} {value}" for name, value in asked.items()),
            "Map": f"{self.inputs['map']} of {count(len(self.texts))} texts, seed {self.inputs['seed']}",
            **{name: f"{before:.4f} → {after:.4f}" for name, (before, after) in self.metrics().items()},
        }


def picked(inputs: _Inputs, most: int = 0) -> Any:
    """Return the chosen columns as a data set; of some of the rows, if there are more than ``most``."""
    if (frame := inputs["frame"]) is None:
        raise WorkbenchError("There is no data yet. Choose a set, upload a file, or pass a DataFrame.")
    return pick_columns(frame.sample(most, random_state=0) if 0 < most < len(frame) else frame, *_columns(inputs))


def suggestions(inputs: _Inputs, most: int) -> dict[str, str]:
    """Return the losses that fit the columns and can be made from the model alone: name → what speaks for it."""
    found = suggest_losses(picked(inputs, most))
    return {one.loss: one.reason for one in found if not one.code and _is_plain(getattr(losses, one.loss))}


def chosen_loss(inputs: _Inputs) -> str:
    """Return the name of the loss that was asked for, or of the first that fits."""
    if loss := inputs["loss"] or next(iter(suggestions(inputs, 0)), ""):
        return str(loss)
    raise WorkbenchError("No loss fits these columns. Choose pairs, pairs with a score, or texts with a class.")


def mine(rows: Any, model: Any, inputs: _Inputs) -> Any:
    """Return the rows with hard negatives, if these are asked for."""
    if not inputs["negatives"]:
        return rows
    if inputs["label"] or len(rows.column_names) != 2:
        raise WorkbenchError("Hard negatives are mined for pairs without labels. Set their number to 0.")
    mined = mine_hard_negatives(rows, model, num_negatives=inputs["negatives"], relative_margin=_MARGIN, verbose=False)
    if not len(mined):
        raise WorkbenchError("No hard negatives were found: there are too few rows. Set their number to 0.")
    return mined


def make_trainer(
    model: Any, rows: Any, evaluator: Any, inputs: _Inputs, callback: Any, folder: str, **options: Any
) -> SentenceTransformerTrainer:
    """Return the trainer of a run; ``options`` are arguments in place of the usual ones."""
    loss = chosen_loss(inputs)
    rate = inputs["learning_rate"] or usual_learning_rate(model)
    args = SentenceTransformerTrainingArguments(
        folder, learning_rate=rate, **_settings(inputs, loss) | options, disable_tqdm=True
    )
    made = getattr(losses, loss)(model)
    return SentenceTransformerTrainer(model, args, rows, loss=made, evaluator=evaluator, callbacks=[callback])


def finetune(inputs: _Inputs, model: Any, callback: Any, folder: str) -> Finetuned:
    """Train ``model`` and compare it with what it was."""
    inputs = {**inputs, "loss": chosen_loss(inputs)}
    train, held_out = hold_out(picked(inputs), inputs["held_out"], seed=inputs["seed"])
    rows, first = mine(train, model, inputs), train.column_names[0]
    texts = list(dict.fromkeys([*held_out[first], *train[first]]))[:_ON_MAP]
    before = np.asarray(model.encode(texts), dtype=np.float32)  # (n, dim)
    make_trainer(model, rows, suggest_evaluator(held_out, train), inputs, callback, folder).train()
    after = np.asarray(model.encode(texts), dtype=np.float32)
    kept = neighbour_overlap(before, after, _NEIGHBOURS, show=False)
    maps = aligned(before, after, inputs["map"], seed=inputs["seed"], show=False)
    places = (maps[0].coordinates, maps[1].coordinates)
    sizes = (len(rows), len(held_out))
    return Finetuned(model, inputs, callback.rows, sizes, texts, places, kept, (_nearest(before), _nearest(after)))


def code(inputs: _Inputs, data: Any) -> str:
    """Return Python that trains the same model on ``data``, written as a literal."""
    loss, (texts, label) = chosen_loss(inputs), _columns(inputs)
    rate = inputs["learning_rate"] or "usual_learning_rate(model)"
    options = [f"    {name}={value!r}," for name, value in _settings(inputs, loss).items()]
    mined = f"num_negatives={inputs['negatives']}, relative_margin={_MARGIN}, verbose=False"
    return f"""\
from widgets import LiveCurves, as_frame
from workbench import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from workbench.losses import {loss}
from workbench.mining import mine_hard_negatives
from workbench.training import hold_out, pick_columns, suggest_evaluator, usual_learning_rate

frame = as_frame({written(data)})
train, held_out = hold_out(pick_columns(frame, {texts!r}, {label!r}), {inputs["held_out"]}, seed={inputs["seed"]})
model = SentenceTransformer({model_name(inputs["model"])!r})
rows = {f"mine_hard_negatives(train, model, {mined})" if inputs["negatives"] else "train"}
args = SentenceTransformerTrainingArguments(
    "finetuned",
    learning_rate={rate},
{chr(10).join(options)}
)
curves, evaluator = LiveCurves(), suggest_evaluator(held_out, train)
loss = {loss}(model)
trainer = SentenceTransformerTrainer(model, args, rows, loss=loss, evaluator=evaluator, callbacks=[curves])
trainer.train()
model.save_pretrained("finetuned/model")
figure = curves.to_figure()
"""


def _columns(inputs: _Inputs) -> tuple[list[str], str]:
    return [inputs[name] for name in ("column", "second", "third") if inputs[name]], inputs["label"]


def _is_plain(loss: Any) -> bool:
    wanted = [one for one in inspect.signature(loss).parameters.values() if one.default is one.empty]
    return len(wanted) == 1


def _settings(inputs: _Inputs, loss: str) -> dict[str, Any]:
    usual = "batch_sampler" if inputs["label"] else "no_duplicates"
    return {
        "num_train_epochs": inputs["epochs"],
        "per_device_train_batch_size": inputs["batch_size"],
        "warmup_ratio": 0.1,
        "batch_sampler": "group_by_label" if loss.startswith("Batch") else usual,
        "eval_strategy": "steps",
        "eval_steps": 0.2,  # of the run
        "eval_on_start": True,
        "save_strategy": "no",
        "report_to": "none",
        "seed": inputs["seed"],
    }


def _nearest(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """The row nearest to each of n rows by cosine, (n,)."""
    scores = cos_sim(vectors, vectors).numpy()
    np.fill_diagonal(scores, -np.inf)
    nearest: npt.NDArray[np.intp] = scores.argmax(axis=1)
    return nearest
