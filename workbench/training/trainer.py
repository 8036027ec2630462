"""The one trainer, for sentence encoders and cross-encoders, on the Trainer of transformers."""

import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset
from transformers import Trainer as HuggingFaceTrainer
from transformers.trainer_utils import EvalLoopOutput

from workbench.errors import ChoiceError, ModelFormatError, WorkbenchError, choose
from workbench.folders import load_state, save_state
from workbench.training.arguments import CrossEncoderTrainingArguments, SentenceTransformerTrainingArguments
from workbench.training.collator import DATASET, PairCollator, SentenceCollator
from workbench.training.columns import VALID_LABEL_COLUMNS
from workbench.training.samplers import (
    DefaultBatchSampler,
    GroupByLabelBatchSampler,
    NoDuplicatesBatchSampler,
    ProportionalBatchSampler,
    RoundRobinBatchSampler,
)

__all__ = ["CrossEncoderTrainer", "SentenceTransformerTrainer", "Trainer", "TrainingError"]

_SAMPLERS = {
    "batch_sampler": DefaultBatchSampler,
    "no_duplicates": NoDuplicatesBatchSampler,
    "group_by_label": GroupByLabelBatchSampler,
}
_TURNS = {"proportional": ProportionalBatchSampler, "round_robin": RoundRobinBatchSampler}
_LOSSES = "losses"  # the folder of a checkpoint that holds what a loss itself has learned
_STATE = "trainer_state.json"  # what a checkpoint gets last


class Trainer(HuggingFaceTrainer):
    """Fine-tunes a model on the columns of a data set.

    Everything that can be wrong is checked before the first step: columns against the loss, rows, the metric that
    chooses the best model, prompts and samplers. A checkpoint that was not written to its end is never chosen.

    Args:
        model: the model to train.
        args: how to train; see the arguments class.
        train_dataset: a data set, a dict of them, or a stream; texts in columns, in the order that the loss takes.
        eval_dataset: the same, for the loss on texts not trained on.
        loss: one loss, a function that makes it from the model, or a dict of either by data set; None takes the usual.
        evaluator: what to measure at each evaluation, beside the loss: one or a list.
        data_collator: turns rows into batches; None takes the usual.
        processing_class: kept for older code, as ``tokenizer`` is; the model has its own.
        model_init: makes a fresh model for each run of a search over settings, in place of ``model``.
        compute_metrics: see ``transformers.Trainer``, as the rest.

    Raises:
        ColumnsError: the columns do not fit the loss, or rows are empty; says what would fit.
        ChoiceError: an unknown metric, data set or sampler; lists the known ones.
        TrainingError: while training: a loss that is not a number, or a checkpoint that cannot be written.
    """

    model: Any
    args: Any
    eval_dataset: Any
    arguments: type[SentenceTransformerTrainingArguments] = SentenceTransformerTrainingArguments

    def __init__(
        self,
        model: Any = None,
        args: SentenceTransformerTrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        loss: Any = None,
        evaluator: Any = None,
        data_collator: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., Any] | None = None,
        compute_metrics: Callable[..., Any] | None = None,
        callbacks: list[Any] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[..., Any] | None = None,
        *,
        tokenizer: Any = None,
    ) -> None:
        args = args or self.arguments("tmp_trainer")
        self.evaluators: list[Any] = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
        self.evaluators = [one for one in self.evaluators if one is not None]
        self._wanted_loss = loss
        self._losses: dict[str | None, nn.Module] = {}  # by data set; None: for all
        super().__init__(
            model,
            args,
            data_collator or PairCollator(),
            _as_datasets(train_dataset),
            # Evaluators need no data set; an empty dict says to transformers that there is something to evaluate on.
            {} if eval_dataset is None and self.evaluators else _as_datasets(eval_dataset),
            processing_class or tokenizer,
            model_init,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        self.model_accepts_loss_kwargs = False  # a batch's loss is a mean, to be divided by the accumulated batches
        self._make_losses()
        if data_collator is None:
            self.data_collator = self.usual_collator()
        self._check()

    # ── what differs between the two kinds of model ───────────────────────────────────────────────────────────────

    def usual_loss(self) -> nn.Module:
        """Return the loss that is taken when none is given."""
        raise NotImplementedError

    def usual_collator(self) -> PairCollator:
        """Return what turns rows into batches when nothing else is given."""
        return PairCollator()

    # ── losses ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def loss(self) -> Any:
        """The loss, or a dict of them by data set."""
        return self._losses[None] if None in self._losses else dict(self._losses)

    def _make_losses(self) -> None:
        wanted = self._wanted_loss
        table = dict(wanted) if isinstance(wanted, Mapping) else {None: wanted}
        self._losses = {name: self._made(loss) for name, loss in table.items()}

    def _made(self, loss: Any) -> Any:
        if loss is None:
            loss = self.usual_loss()
        elif not isinstance(loss, nn.Module):
            loss = loss(self.model)
        elif self.model_init is not None:
            raise ValueError("With model_init, give the loss as a function of the model: lambda model: TheLoss(model).")
        return loss.to(self.args.device)

    def _loss_for(self, dataset: str | None) -> nn.Module:
        if None in self._losses:
            return self._losses[None]
        return choose("data set of a loss", dataset, {str(name): loss for name, loss in self._losses.items()})

    def _own_parameters(self) -> dict[str, nn.Parameter]:
        """What the losses themselves learn, by name: a classifier, a temperature, a second model."""
        known = {id(parameter) for parameter in self.model.parameters()}
        return {
            f"{place}.{name}": parameter
            for place, loss in enumerate(self._losses.values())
            for name, parameter in loss.named_parameters()
            if id(parameter) not in known and parameter.requires_grad
        }

    def call_model_init(self, trial: Any = None) -> Any:
        """Make a fresh model, and its losses."""
        model = super().call_model_init(trial)
        if self._losses:  # not while the trainer itself is being made
            self.model = model
            self._make_losses()
            if isinstance(self.data_collator, PairCollator):
                self.data_collator = self.usual_collator()
        return model

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimizer, over the model's parameters and the losses' own."""
        every = nn.ModuleList([self.model if model is None else model, *self._losses.values()])
        optimizer: torch.optim.Optimizer = super().create_optimizer(every)
        return optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch that the collator made."""
        loss = self._loss_for(inputs[DATASET])
        if loss.training != model.training:
            loss.train(model.training)
        with _bound(loss, self.model, model):
            value = loss(inputs["features"], inputs["labels"])
        return (value, {}) if return_outputs else value

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Train on a batch; raises ``TrainingError`` when its loss is not a number."""
        rows = inputs["rows"]
        value: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(value.item()):
            shown = "; ".join(f"{row!r:.200}" for row in rows[:3])
            raise TrainingError(
                f"The loss is {value.item()} at step {self.state.global_step + 1}. Lower the learning rate, or train "
                f"without fp16; look at the rows of this batch, which begin with: {shown}"
            )
        return value

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor, None, None]:
        """Return the loss of a batch of evaluation data."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            value = self.compute_loss(model, inputs)
        return value.detach().mean(), None, None

    # ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_train_dataloader(self) -> Any:
        """Return batches of training data."""
        if self.train_dataset is None:
            raise ValueError("There is nothing to train on: give train_dataset.")
        size, drop = self._train_batch_size, self.args.dataloader_drop_last
        return self._loader(self.train_dataset, size, drop, self.args.batch_sampler)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches of evaluation data, in order."""
        named = {eval_dataset: self.eval_dataset[eval_dataset]} if isinstance(eval_dataset, str) else None
        dataset = named or (self.eval_dataset if eval_dataset is None else _as_datasets(eval_dataset))
        return self._loader(dataset, self.args.eval_batch_size, False, None)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Return batches of test data, in order."""
        return self.get_eval_dataloader(test_dataset)

    def _loader(self, dataset: Any, size: int, drop_last: bool, sampler: Any) -> Any:
        args = self.args
        how: dict[str, Any] = {
            "collate_fn": self.data_collator,
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory,
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
        }
        if _is_stream(dataset):
            return self.accelerator.prepare(DataLoader(dataset, batch_size=size, drop_last=drop_last, **how))
        parts = dataset if isinstance(dataset, dict) else {None: dataset}
        joined = _Named(parts)
        if sampler is None:
            return self.accelerator.prepare(DataLoader(joined, batch_size=size, drop_last=drop_last, **how))
        make = sampler if callable(sampler) and not isinstance(sampler, str) else _SAMPLERS[sampler]
        seed = args.data_seed if args.data_seed is not None else args.seed
        batches = [
            make(part, batch_size=size, drop_last=drop_last, valid_label_columns=list(VALID_LABEL_COLUMNS),
                 generator=torch.Generator().manual_seed(seed), seed=seed)
            for part in parts.values()
        ]  # fmt: skip
        whole = batches[0]
        if isinstance(dataset, dict):
            turns = args.multi_dataset_batch_sampler
            make = turns if callable(turns) and not isinstance(turns, str) else _TURNS[turns]
            whole = make(joined, batches, generator=torch.Generator().manual_seed(seed), seed=seed)
        return self.accelerator.prepare(DataLoader(joined, batch_sampler=whole, **how))

    # ── evaluation ────────────────────────────────────────────────────────────────────────────────────────────────

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the loss on the evaluation data, and what the evaluators measure."""
        if eval_dataset is None and not self.eval_dataset:
            metrics = self._measured(metric_key_prefix)
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics
        found: dict[str, float] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        return found

    def evaluation_loop(self, dataloader: Any, description: str, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Add what the evaluators measure, once for all evaluation sets."""
        output = super().evaluation_loop(dataloader, description, *args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        names = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []
        if prefix == "eval" or (names and prefix == f"eval_{names[-1]}"):
            output = output._replace(metrics={**(output.metrics or {}), **self._measured("eval")})
        return output

    def _measured(self, prefix: str) -> dict[str, float]:
        """What the evaluators say of the model as it is."""
        metrics: dict[str, float] = {}
        training = self.model.training
        for evaluator in self.evaluators:
            epoch, steps = self.state.epoch or 0, self.state.global_step
            folder = Path(self.args.output_dir) / "eval"
            folder.mkdir(parents=True, exist_ok=True)
            found = evaluator(self.model, output_path=str(folder), epoch=epoch, steps=steps)
            found = found if isinstance(found, dict) else {getattr(evaluator, "name", "") or "evaluator": found}
            metrics |= {f"{prefix}_{name}": float(value) for name, value in found.items()}
        self.model.train(training)
        return metrics

    # ── checks before the first step ──────────────────────────────────────────────────────────────────────────────

    def _check(self) -> None:
        from workbench.training.columns import check_columns

        for role, dataset in (("train_dataset", self.train_dataset), ("eval_dataset", self.eval_dataset)):
            for name, part in dataset.items() if isinstance(dataset, dict) else [(None, dataset)]:
                if part is not None:
                    check_columns(part, self._loss_for(name), name=f"{role}[{name!r}]" if name else role)
        if self.args.load_best_model_at_end or self.args.metric_for_best_model:
            self._check_metric()

    def _check_metric(self) -> None:
        """Refuse a metric for the best model that no evaluation will give."""
        asked = self.args.metric_for_best_model or "loss"
        primary = [f"eval_{one.primary_metric}" for one in self.evaluators if getattr(one, "primary_metric", None)]
        if asked in ("loss", "eval_loss") and not self.eval_dataset and primary:
            self.args.metric_for_best_model, self.args.greater_is_better = primary[0], True
            return
        names = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []
        known = [f"eval_{name}_loss" for name in names] if names else ["eval_loss"] if self.eval_dataset else []
        full = asked if asked.startswith("eval_") else f"eval_{asked}"
        if full in known or full in primary:
            return
        known += list(self._measured("eval"))  # an evaluator's other names are known when it has run
        if full not in known:
            shown = ", ".join(map(repr, sorted({*known, *primary})))
            raise ChoiceError(f"Unknown metric_for_best_model {asked!r}. Each evaluation gives: {shown or 'nothing'}.")

    # ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; ``resume_from_checkpoint=True`` goes on from the last checkpoint that was written to its end."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = _last_checkpoint(Path(self.args.output_dir))
        elif resume_from_checkpoint and not _is_complete(Path(resume_from_checkpoint)):
            raise ModelFormatError(f"{resume_from_checkpoint} is no checkpoint, or was not written to its end.")
        return super().train(str(resume_from_checkpoint) if resume_from_checkpoint else None, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError) as error:  # torch and safetensors report a full disk as RuntimeError
            shutil.rmtree(folder, ignore_errors=True)
            raise TrainingError(
                f"The checkpoint {folder} could not be written ({error}). Free some space, or choose another "
                "output_dir, and resume from the checkpoint before it."
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        if not self.args.should_save:
            return
        self.accelerator.unwrap_model(self.model).save_pretrained(folder)
        if own := self._own_parameters():
            (folder / _LOSSES).mkdir(exist_ok=True)
            save_state(folder / _LOSSES, dict(own))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        kept = type(self.model)(resume_from_checkpoint, device="cpu")
        self.model.load_state_dict(kept.state_dict())
        if own := self._own_parameters():
            saved = load_state(Path(resume_from_checkpoint) / _LOSSES)
            with torch.no_grad():
                for name, parameter in own.items():
                    parameter.copy_(saved[name])

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


class SentenceTransformerTrainer(Trainer):
    """Fine-tunes a ``SentenceTransformer``; see ``Trainer``. The usual loss is ``CoSENTLoss``."""

    def usual_loss(self) -> nn.Module:
        """Return a ``CoSENTLoss``."""
        from workbench.losses.scored import CoSENTLoss

        return CoSENTLoss(self.model)

    def usual_collator(self) -> PairCollator:
        """Return a collator that tokenises, with the prompts of the arguments."""
        return SentenceCollator(self.model, self.args.prompts)


class CrossEncoderTrainer(Trainer):
    """Fine-tunes a ``CrossEncoder``; see ``Trainer``."""

    arguments = CrossEncoderTrainingArguments


class TrainingError(WorkbenchError, RuntimeError):
    """Training had to stop; the message names the step and what to do."""


class _Named(ConcatDataset[Any]):
    """Data sets end to end, whose rows say which of them they are from."""

    def __init__(self, parts: Mapping[str | None, Any]) -> None:
        super().__init__(list(parts.values()))
        self.names = list(parts)

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return rows of one data set, read at once; without one for all, one by one."""
        place = next(place for place, end in enumerate(self.cumulative_sizes) if rows[0] < end)
        start = self.cumulative_sizes[place - 1] if place else 0
        if not all(start <= row < self.cumulative_sizes[place] for row in rows):
            return [self.__getitems__([row])[0] for row in rows]
        dataset = self.datasets[place]
        local = [row - start for row in rows]
        found = dataset.__getitems__(local) if hasattr(dataset, "__getitems__") else [dataset[row] for row in local]
        return [{**row, DATASET: self.names[place]} for row in found]


@contextmanager
def _bound(loss: nn.Module, model: nn.Module, wrapped: nn.Module) -> Iterator[None]:
    """Have a loss call the wrapped model (for several processes) while it runs."""
    holders = [module for module in loss.modules() if wrapped is not model and getattr(module, "model", None) is model]
    for holder in holders:
        holder.model = wrapped
    try:
        yield
    finally:
        for holder in holders:
            holder.model = model


def _as_datasets(data: Any) -> Any:
    """A data set, or a plain dict of them."""
    return dict(data) if isinstance(data, Mapping) else data


def _is_stream(dataset: Any) -> bool:
    return isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__")


def _is_complete(folder: Path) -> bool:
    try:
        json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _last_checkpoint(output_dir: Path) -> Path:
    """The newest checkpoint that was written to its end; others are left and named in a warning."""
    numbered = [(folder.name.rpartition("-")[2], folder) for folder in output_dir.glob("checkpoint-*")]
    steps = {int(number): folder for number, folder in numbered if number.isdecimal()}
    for step in sorted(steps, reverse=True):
        if _is_complete(steps[step]):
            return steps[step]
        warnings.warn(f"{steps[step]} was not written to its end; an earlier checkpoint is taken.", stacklevel=3)
    raise ModelFormatError(f"{output_dir} holds no checkpoint that was written to its end.")
