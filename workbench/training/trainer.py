"""The one trainer, for sentence encoders and cross-encoders, on the Trainer of transformers."""

import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback
from transformers import Trainer as HuggingFaceTrainer
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import EvalLoopOutput

from workbench import processes
from workbench.errors import ChoiceError, ModelFormatError, TrainingError, choose
from workbench.losses.cross_encoder import BinaryCrossEntropyLoss, CrossEntropyLoss
from workbench.losses.scored import CoSENTLoss
from workbench.models import Router
from workbench.progress import Bar, track
from workbench.training import checkpoints, trials
from workbench.training.arguments import CrossEncoderTrainingArguments, SentenceTransformerTrainingArguments
from workbench.training.card import SAMPLES, training_part
from workbench.training.collator import COPY, DATASET, PairCollator, Rows, SentenceCollator
from workbench.training.columns import check_columns
from workbench.training.loader import is_stream, loader

__all__ = ["CrossEncoderTrainer", "SentenceTransformerTrainer", "Trainer"]


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
        made = loss.values() if isinstance(loss, Mapping) else [loss]
        if model_init is not None and any(isinstance(one, nn.Module) for one in made):
            raise ValueError("With model_init, give the loss as a function of the model: lambda model: TheLoss(model).")
        args = args or self.arguments("tmp_trainer")
        if not isinstance(args, SentenceTransformerTrainingArguments):
            raise TypeError(f"args are {type(args).__name__}; expected {self.arguments.__name__}.")
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"model is {type(model).__name__} {model!r:.100}; expected a loaded model.")
        self.evaluators: list[Any] = list(evaluator) if isinstance(evaluator, (list, tuple)) else [evaluator]
        self.evaluators = [one for one in self.evaluators if one is not None]
        self._wanted_loss = loss
        self._losses: dict[str | None, nn.Module] = {}  # by data set; None: for all
        self._bar = Bar("Training", "steps", 0)
        self._described: dict[str, dict[str | None, tuple[Any, list[Any]]]] = {}  # for the card: data, their first rows
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
            callbacks=[_ClearGradients(), *(callbacks or [])],
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        if self._is_sharded:  # blocks that go over to transformers by need do so before they are cut up
            _ = [getattr(block, "auto_model", None) for block in self.model.modules()]
        self.model_accepts_loss_kwargs = False  # a batch's loss is a mean, to be divided by the accumulated batches
        self._make_losses()
        if data_collator is None:
            self.data_collator = self.usual_collator()
        self._check_data()

    def add_callback(self, callback: Any) -> None:
        """Add a callback; one that ``shows_progress`` takes the place of the usual bar or lines."""
        super().add_callback(callback)
        if any(getattr(one, "shows_progress", False) for one in self.callback_handler.callbacks):
            self.remove_callback(PrinterCallback)
            self.remove_callback(DEFAULT_PROGRESS_CALLBACK)

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
        wanted = self._wanted_loss if isinstance(self._wanted_loss, Mapping) else {None: self._wanted_loss}
        for name, loss in wanted.items():
            made = self.usual_loss() if loss is None else loss if isinstance(loss, nn.Module) else loss(self.model)
            self._losses[name] = made.to(self.args.device)

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
        for pattern, rate in (self.args.learning_rate_mapping or {}).items():
            found = {id(one) for name, one in every.named_parameters() if re.search(pattern, name.partition(".")[2])}
            for group in list(optimizer.param_groups):
                moved = [one for one in group["params"] if id(one) in found]
                if moved:
                    group["params"] = [one for one in group["params"] if id(one) not in found]
                    optimizer.add_param_group({**group, "params": moved, "lr": rate})
        return optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch that the collator made."""
        loss = self._loss_for(inputs[DATASET])
        if loss.training != model.training:
            loss.train(model.training)
        with _bound(loss, self.model, model), processes.copying(inputs.get(COPY, False)):
            value = loss(inputs["features"], inputs["labels"])
            if isinstance(rows := inputs.get("rows"), Rows):
                value = value * processes.row_weight(len(rows), value.device)
        return (value, {}) if return_outputs else value

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Train on a batch; raises ``TrainingError`` when its loss is not a number."""
        self._bar.update(self.state.global_step - self._bar.done, total=self.state.max_steps)
        rows = inputs["rows"]
        value: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(value.item()):
            raise TrainingError(
                f"The loss is {value.item()} at step {self.state.global_step + 1}. Lower the learning rate, give the "
                f"loss a lower scale, or train without fp16; look at this batch, whose rows begin with: {rows}"
            )
        if self.accelerator.sync_gradients:  # the last batch before a step of the optimizer
            processes.average_gradients(self._replicated())
        return value

    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        """Leave the model unwrapped among several processes, unless it is sharded: ``training_step`` joins gradients.

        A wrapper that does so at every backward pass would know neither what a loss itself learns nor when a cached
        loss, which goes backward part by part, is done.
        """
        if training and self._is_sharded and (own := list(self._own_parameters())):
            raise ValueError(
                f"The loss itself learns ({', '.join(own[:3])} …), and FSDP and DeepSpeed take only what the model "
                "learns. Start the run without them."
            )
        if training and processes.count() > 1 and not self._is_sharded:
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
            processes.align([*self._replicated(), *self.model.buffers()])
        return super()._wrap_model(model, training, dataloader)

    @property
    def _is_sharded(self) -> bool:
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _replicated(self) -> list[nn.Parameter]:
        """All that is trained, where every process holds the whole of it."""
        return [] if self._is_sharded else [*self.model.parameters(), *self._own_parameters().values()]

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
        return self._placed(loader(self.train_dataset, size, drop, self.args, self.data_collator))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return batches of evaluation data, in order."""
        named = {eval_dataset: self.eval_dataset[eval_dataset]} if isinstance(eval_dataset, str) else None
        dataset = named or (self.eval_dataset if eval_dataset is None else _as_datasets(eval_dataset))
        made = loader(dataset, self.args.eval_batch_size, False, self.args, self.data_collator, in_order=True)
        return self._placed(made)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Return batches of test data, in order."""
        return self.get_eval_dataloader(test_dataset)

    def _placed(self, made: Any) -> Any:
        """A loader whose batches come on this process's device; accelerate shares out streams only."""
        from accelerate.data_loader import prepare_data_loader  # type: ignore[import-untyped]

        if is_stream(made.dataset):
            return self.accelerator.prepare(made)
        non_blocking = self.accelerator.non_blocking
        return prepare_data_loader(made, self.accelerator.device, 1, 0, put_on_device=True, non_blocking=non_blocking)

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
        """What the evaluators say of the model as it is; all processes share the work, and the first one writes."""
        metrics: dict[str, float] = {}
        training = self.model.training
        for evaluator in self.evaluators:
            when = {"epoch": self.state.epoch or 0, "steps": self.state.global_step}
            folder = Path(self.args.output_dir) / "eval"
            if first := self.is_world_process_zero():
                folder.mkdir(parents=True, exist_ok=True)
            with nullcontext() if self._is_sharded else processes.spread():
                found = evaluator(self.model, output_path=str(folder) if first else None, **when)
            found = found if isinstance(found, dict) else {getattr(evaluator, "name", "") or "evaluator": found}
            metrics |= {f"{prefix}_{name}": float(value) for name, value in found.items()}
        self.model.train(training)
        agreed: dict[str, float] = processes.agreed(metrics)
        return agreed

    # ── checks before the first step ──────────────────────────────────────────────────────────────────────────────

    def _check_data(self) -> None:
        streams = is_stream(self.train_dataset) and self.train_dataset is not None
        if streams and self.args.max_steps < 1:
            raise ValueError("A stream has no length, so say how long to train: max_steps.")
        names: set[str] = set()
        for role, place in (("Training", "train_dataset"), ("Evaluation", "eval_dataset")):
            dataset = getattr(self, place)
            for name, part in dataset.items() if isinstance(dataset, dict) else [(None, dataset)]:
                if part is not None:
                    check_columns(part, self._loss_for(name), name=f"{place}[{name!r}]" if name else place)
                    rows = list(islice(part, SAMPLES))
                    self._described.setdefault(role, {})[name] = part, rows
                    names |= {*filter(None, [name]), *rows[0]}
        self._check_tables(sorted(names))

    def _check_tables(self, names: list[str]) -> None:
        """Refuse prompts and routes for columns and data sets that there are not."""
        args = self.args
        for what, table in (("prompts", args.prompts), ("router_mapping", args.router_mapping)):
            for one in [table, *table.values()] if isinstance(table, Mapping) else []:
                for key in one if isinstance(one, Mapping) and names else []:
                    choose(f"column or data set of {what}", key, dict.fromkeys(names))
        if args.router_mapping and not any(isinstance(block, Router) for block in self.model.modules()):
            raise ValueError("router_mapping is given, but the model has no Router whose routes it could name.")

    def _check_metric(self) -> None:
        """Refuse a metric for the best model that no evaluation will give; without one, take the first evaluator's."""
        args, asked = self.args, self.args.metric_for_best_model
        if asked is None:
            return
        names = list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else []
        known = [f"eval_{name}_loss" for name in names] if names else ["eval_loss"] if self.eval_dataset else []
        choose_own = args.asked_metric is None and bool(self.evaluators)
        if asked.removeprefix("eval_") in [name.removeprefix("eval_") for name in known] and not choose_own:
            return
        known += self._measured("eval")  # what evaluators give is known when they have run
        if choose_own:
            first = getattr(self.evaluators[0], "primary_metric", None)
            args.metric_for_best_model = asked = first or known[-1]
            args.greater_is_better = not asked.endswith("loss")
        if f"eval_{asked.removeprefix('eval_')}" not in known:
            shown = ", ".join(map(repr, known)) or "nothing"
            raise ChoiceError(f"Unknown metric_for_best_model {asked!r}. Each evaluation gives: {shown}.")

    # ── search over settings ──────────────────────────────────────────────────────────────────────────────────────

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        backend: str | None = None,
        hp_name: Callable[[Any], str] | None = None,
        **options: Any,
    ) -> Any:
        """Train with other settings again and again; returns the best run, whose ``run_summary`` is a table of all.

        A trial reports its objective at each evaluation, so that a ``pruner`` can end it early. With ``storage``,
        ``study_name`` and ``load_if_exists=True`` a search that was stopped goes on, and no finished trial is redone.

        Args:
            hp_space: trial → training arguments to set, such as ``{"learning_rate": trial.suggest_float(...)}``.
            compute_objective: metrics → what to make small or large; None: the first evaluator's primary metric, or
                the loss on the evaluation data.
            n_trials: how many trials there are to be, those of an earlier run included.
            direction: "minimize" or "maximize"; None: "maximize" what an evaluator measures, "minimize" a loss.
            backend: "optuna"; others as transformers has them.
            hp_name: trial → its name for trackers.
            options: for ``optuna.create_study`` (storage, study_name, load_if_exists, sampler, pruner) and
                ``Study.optimize`` (timeout, catch).

        Raises:
            ValueError: no ``model_init``, nothing to evaluate with, or options that do not go together.
            DependencyError: Optuna is not installed.
            TrainingError: no trial came to its end.
        """
        if self.model_init is None:
            raise ValueError("A search trains a fresh model in each trial: give model_init=lambda: ..., not a model.")
        if not self.eval_dataset and not self.evaluators:
            raise ValueError("There is nothing to compare trials by: give the trainer an evaluator or eval_dataset.")
        direction = direction or ("maximize" if self.evaluators and compute_objective is None else "minimize")
        objective = compute_objective or self._objective

        def run(count: int, goal: str | list[str], how: dict[str, Any]) -> Any:
            return super(Trainer, self).hyperparameter_search(hp_space, objective, count, goal, backend, hp_name, **how)

        try:
            return (
                run(n_trials, direction, options)
                if backend not in (None, "optuna")
                else trials.search(run, n_trials, direction, options)
            )
        finally:
            self.hp_search_backend = None

    def _hp_search_setup(self, trial: Any) -> None:
        super()._hp_search_setup(trial)
        if trial is not None and self.args.warmup_ratio is not None:
            self.args.warmup_steps = self.args.warmup_ratio  # as the arguments themselves do when they are made

    def _objective(self, metrics: dict[str, float]) -> float:
        if self.evaluators:
            primary = getattr(self.evaluators[0], "primary_metric", None)
            return choose("primary metric of the evaluator", f"eval_{primary}", metrics)
        losses = [value for name, value in metrics.items() if name.endswith("_loss")]
        return sum(losses) / len(losses)

    # ── keeping ───────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; ``resume_from_checkpoint=True`` goes on from the last checkpoint that was written to its end.

        Who listens to progress (``workbench.progress.listen``) hears of every step, and may cancel the run there.
        """
        if self.hp_search_backend is None or not self.state.global_step:  # between trials there is no model
            self._check_metric()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = checkpoints.latest(Path(self.args.output_dir))
        elif resume_from_checkpoint and not checkpoints.is_complete(Path(resume_from_checkpoint)):
            raise ModelFormatError(f"{resume_from_checkpoint} is no checkpoint, or was not written to its end.")
        if hasattr(self.model, "loaded_from"):
            self.model.loaded_from = None
        with track(0, unit="steps", desc="Training", show=False) as self._bar:
            try:
                return super().train(str(resume_from_checkpoint) if resume_from_checkpoint else None, *args, **kwargs)
            finally:
                self._tell_card()

    def _tell_card(self) -> None:
        """Have the model's card tell of this run, if the model has one and the run has changed it."""
        if (data := getattr(self.model, "model_card_data", None)) is None or not self.state.global_step:
            return
        primary = [getattr(one, "primary_metric", None) for one in self.evaluators]
        log, examples = self.state.log_history, data.generate_widget_examples
        data.training = training_part(self._described, self._losses, self.args, log, primary, examples=examples)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            checkpoints.begin(folder)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # a full disk, in the words of torch and safetensors
            shutil.rmtree(folder, ignore_errors=True)
            raise TrainingError(
                f"The checkpoint {folder} could not be written ({error}). Free some space, or choose another "
                "output_dir, and resume from the checkpoint before it."
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        self._tell_card()
        with checkpoints.holding(self.model, state_dict or {}):  # of a sharded model, the whole of it
            self.model.save_pretrained(folder)
        checkpoints.save_losses(folder, self._own_parameters())

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # what comes next tells that the checkpoint is whole

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoints.restore(Path(resume_from_checkpoint), self.model, self._own_parameters())

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))
        if (data := getattr(self.model, "model_card_data", None)) is not None:
            data.back_to(self.state.best_global_step)


class SentenceTransformerTrainer(Trainer):
    """Fine-tunes a ``SentenceTransformer``; see ``Trainer``. The usual loss is ``CoSENTLoss``."""

    def usual_loss(self) -> nn.Module:
        """Return a ``CoSENTLoss``."""
        return CoSENTLoss(self.model)

    def usual_collator(self) -> PairCollator:
        """Return a collator that tokenises, with the prompts of the arguments."""
        return SentenceCollator(self.model, self.args.prompts, self.args.router_mapping)


class CrossEncoderTrainer(Trainer):
    """Fine-tunes a ``CrossEncoder``; see ``Trainer``."""

    arguments = CrossEncoderTrainingArguments

    def usual_loss(self) -> nn.Module:
        """Return a ``BinaryCrossEntropyLoss``, or a ``CrossEntropyLoss`` for a model of several classes."""
        return BinaryCrossEntropyLoss(self.model) if self.model.num_labels == 1 else CrossEntropyLoss(self.model)


class _ClearGradients(TrainerCallback):
    """Transformers clears the gradients of the model only; those of a loss's own parameters would add up."""

    def on_optimizer_step(self, args: Any, state: Any, control: Any, *, optimizer: Any = None, **kwargs: Any) -> None:
        optimizer.zero_grad()


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
