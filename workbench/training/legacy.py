"""``fit``, as earlier versions trained: data loaders of examples, and a loss each; thin over the trainer of today."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from workbench.errors import choose
from workbench.losses.cross_encoder import BinaryCrossEntropyLoss, CrossEntropyLoss
from workbench.training.arguments import SentenceTransformerTrainingArguments
from workbench.training.trainer import CrossEncoderTrainer, SentenceTransformerTrainer

__all__ = ["fit", "fit_pairs"]

_SCHEDULERS = {
    "constantlr": "constant",
    "warmupconstant": "constant_with_warmup",
    "warmuplinear": "linear",
    "warmupcosine": "cosine",
    "warmupcosinewithhardrestarts": "cosine_with_restarts",
}


def fit(
    model: Any,
    train_objectives: Iterable[tuple[Any, nn.Module]],
    evaluator: Any = None,
    epochs: int = 1,
    steps_per_epoch: int | None = None,
    scheduler: str = "WarmupLinear",
    warmup_steps: int = 10000,
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
    optimizer_params: dict[str, Any] | None = None,
    weight_decay: float = 0.01,
    evaluation_steps: int = 0,
    output_path: str | None = None,
    save_best_model: bool = True,
    max_grad_norm: float = 1,
    use_amp: bool = False,
    callback: Callable[[float, int, int], None] | None = None,
    show_progress_bar: bool = True,
    checkpoint_path: str | None = None,
    checkpoint_save_steps: int = 500,
    checkpoint_save_total_limit: int = 0,
    resume_from_checkpoint: bool = False,
) -> None:
    """Train a ``SentenceTransformer``; new code is better off with ``SentenceTransformerTrainer``.

    Args:
        model: the model.
        train_objectives: a data loader of ``InputExample`` rows and a loss, one or several; their batches take turns.
        evaluator: measures the model after each epoch, and every ``evaluation_steps``.
        epochs: how often to go through the data.
        steps_per_epoch: steps that count as an epoch; None: as many as the data have.
        scheduler: "ConstantLR", "WarmupConstant", "WarmupLinear", "WarmupCosine" or "WarmupCosineWithHardRestarts".
        warmup_steps: steps in which the learning rate rises.
        optimizer_class: the optimizer.
        optimizer_params: its arguments; None: a learning rate of 2e-5.
        weight_decay: for all but biases and norms.
        evaluation_steps: steps between evaluations; 0: once an epoch.
        output_path: where the best model is saved, by the evaluator's first metric; without one, the last.
        save_best_model: whether to save the best one.
        max_grad_norm: gradients are scaled down to this norm.
        use_amp: half precision, on a GPU.
        callback: is told (score, epoch, steps) after each evaluation.
        show_progress_bar: whether to show one.
        checkpoint_path: where checkpoints go; None: there are none.
        checkpoint_save_steps: steps between them.
        checkpoint_save_total_limit: how many to keep; 0: all.
        resume_from_checkpoint: go on from the last one.

    Raises:
        ChoiceError: an unknown scheduler; lists the known ones.
        ValueError: a loader has no examples.
    """
    objectives = list(train_objectives)
    if not objectives:
        raise ValueError("There is nothing to train on: train_objectives is empty.")
    names = [f"objective {number}" for number in range(1, len(objectives) + 1)]
    data = {name: _dataset(one, name) for name, (one, _) in zip(names, objectives, strict=True)}
    losses = {name: loss for name, (_, loss) in zip(names, objectives, strict=True)}
    first = objectives[0][0]
    distinct = any(type(one).__name__ == "NoDuplicatesDataLoader" for one, _ in objectives)
    rate = {"lr": 2e-5, **(optimizer_params or {})}
    with tempfile.TemporaryDirectory() as folder:
        args = SentenceTransformerTrainingArguments(
            checkpoint_path or folder,
            per_device_train_batch_size=getattr(first, "batch_size", None) or 8,
            num_train_epochs=epochs,
            max_steps=(steps_per_epoch or 0) * epochs or -1,
            lr_scheduler_type=choose("scheduler", scheduler.lower(), _SCHEDULERS),
            warmup_steps=warmup_steps,
            learning_rate=rate["lr"],
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            fp16=use_amp,
            disable_tqdm=not show_progress_bar,
            eval_strategy="no" if evaluator is None else "steps" if evaluation_steps else "epoch",
            eval_steps=evaluation_steps or None,
            save_strategy="steps" if checkpoint_path else "no",
            save_steps=checkpoint_save_steps,
            save_total_limit=checkpoint_save_total_limit or None,
            batch_sampler="no_duplicates" if distinct else "batch_sampler",
            multi_dataset_batch_sampler="round_robin",
            report_to="none",
            use_cpu=model.device.type == "cpu",
        )
        kind = CrossEncoderTrainer if hasattr(model, "num_labels") else SentenceTransformerTrainer
        best = _Best(model, evaluator, output_path if save_best_model else None, callback)
        trainer = kind(
            model,
            args,
            data if len(data) > 1 else data[names[0]],
            loss=losses if len(data) > 1 else losses[names[0]],
            evaluator=evaluator,
            callbacks=[best],
            optimizer_cls_and_kwargs=(optimizer_class, rate),
        )
        trainer.train(resume_from_checkpoint=resume_from_checkpoint or None)
    if output_path and evaluator is None:
        model.save(output_path)


def fit_pairs(
    model: Any,
    train_dataloader: Any,
    evaluator: Any = None,
    epochs: int = 1,
    loss_fct: nn.Module | None = None,
    activation_fct: nn.Module | None = None,
    *args: Any,
    **options: Any,
) -> None:
    """Train a ``CrossEncoder``; new code is better off with ``CrossEncoderTrainer``.

    Args:
        model: the model.
        train_dataloader: gives ``InputExample`` rows of two texts.
        evaluator: see ``fit``, as ``epochs``, and the rest from ``scheduler`` on.
        epochs: how often to go through the data.
        loss_fct: (logits, labels) → loss; None: binary cross-entropy for one label, cross-entropy for more.
        activation_fct: applied to the logits before the loss.
        args: what ``fit`` takes from ``scheduler`` on.
        options: the same, by name.
    """
    kind: type[Any] = BinaryCrossEntropyLoss if model.num_labels == 1 else CrossEntropyLoss
    loss = kind(model, activation_fct)
    if loss_fct is not None:
        loss.loss_fct = loss_fct
    fit(model, [(train_dataloader, loss)], evaluator, epochs, None, *args, **options)


def _dataset(loader: Any, name: str) -> Any:
    """The examples of a loader as columns: the texts, and the labels where they say something."""
    from datasets import Dataset

    loader.collate_fn = list
    rows = [example for batch in loader for example in batch]
    widths = {len(row.texts) for row in rows}
    if len(widths) != 1:
        raise ValueError(f"The loader of {name} gives rows of {sorted(widths) or 'no'} texts; each must have as many.")
    texts = zip(*(row.texts for row in rows), strict=True)
    columns = {f"sentence_{place}": list(column) for place, column in enumerate(texts)}
    labels = [row.label.tolist() if hasattr(row.label, "tolist") else row.label for row in rows]
    return Dataset.from_dict({**columns, "label": labels} if any(label != 0 for label in labels) else columns)


class _Best(TrainerCallback):
    """Keeps the best model in a folder, and tells a callback each score."""

    def __init__(self, model: Any, evaluator: Any, folder: str | None, callback: Any) -> None:
        self.model, self.evaluator, self.folder, self.callback = model, evaluator, folder, callback
        self.score = float("-inf")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Look at what the evaluator found."""
        found = {name.removeprefix("eval_"): value for name, value in metrics.items()}
        score = found[getattr(self.evaluator, "primary_metric", None) or next(iter(found))]
        if self.callback is not None:
            self.callback(score, state.epoch, state.global_step)
        if self.folder and score > self.score:
            self.score = score
            Path(self.folder).parent.mkdir(parents=True, exist_ok=True)
            self.model.save(self.folder)
