"""Training without labels: a function for each way to learn from plain texts, on the trainer and the losses.

They teach a model a domain, from some ten thousand of its texts. Where pairs can be had, some hundred of them teach
more; ``adaptive_pretraining`` does both.
"""

import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from workbench import losses
from workbench.datasets import as_dataset, delete_words
from workbench.errors import ColumnsError, choose
from workbench.losses.base import Inputs, Loss
from workbench.losses.denoising import DenoisingAutoEncoderLoss
from workbench.losses.ranking import MultipleNegativesRankingLoss
from workbench.losses.unsupervised import ContrastiveTensionLoss, ContrastiveTensionLossInBatchNegatives
from workbench.models.base import Features
from workbench.sentence_transformer import SentenceTransformer
from workbench.texts import as_texts
from workbench.training.arguments import SentenceTransformerTrainingArguments
from workbench.training.columns import check_columns, suggest_losses
from workbench.training.defaults import usual_learning_rate
from workbench.training.trainer import SentenceTransformerTrainer

__all__ = [
    "adaptive_pretraining", "contrastive_tension", "contrastive_tension_in_batch", "masked_language_model", "simcse",
    "tsdae",
]  # fmt: skip


def tsdae(
    model: Any,
    texts: Iterable[str],
    output_path: str | Path | None = None,
    *,
    ratio: float = 0.6,
    decoder: str | None = None,
    tie_encoder_decoder: bool = True,
    **settings: Any,
) -> Any:
    """Train a transformer to put all of a text into its vector: a decoder rebuilds the text from a damaged copy's.

    The first choice to learn a domain from texts alone: in the paper ahead of SimCSE, CT and MLM on AskUbuntu,
    CQADupStack, Twitter and SciDocs. The paper pools the first token ("cls") and trains for 100,000 steps. Wang et al.
    2021, arXiv:2104.06979.

    Args:
        model: a ``SentenceTransformer`` that begins with a ``Transformer``; it is trained in place.
        texts: texts of the domain; blank ones and copies are left out.
        output_path: where to save the model, if anywhere.
        ratio: the share of the words that are deleted, drawn anew each time.
        decoder: see ``DenoisingAutoEncoderLoss``, as ``tie_encoder_decoder``.
        tie_encoder_decoder: one set of weights for encoder and decoder.
        settings: of the training arguments, and ``callbacks`` and ``evaluator`` of the trainer. Here batches of 8 and a
            constant learning rate of 3e-5, as in the paper. With an ``output_dir`` and a ``save_strategy`` there are
            checkpoints, from which ``resume_from_checkpoint=True`` goes on.

    Returns:
        The model.

    Raises:
        TextTypeError: a row is not a text; names it.
        ColumnsError: fewer than two different texts.
        TypeError: a model without a transformer.
        ValueError: ``ratio`` is not between 0 and 1.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio is {ratio}; it must be between 0 and 1.")
    rows, _ = _checked(model, texts), _transformer(model, "TSDAE")
    rng = np.random.default_rng(settings.get("seed", 42))

    def damaged(batch: Mapping[str, list[str]]) -> dict[str, list[str]]:
        return {**batch, "damaged": [delete_words(text, ratio, rng) for text in batch["original"]]}

    data = as_dataset({"damaged": rows, "original": rows}).with_transform(damaged)
    loss = partial(DenoisingAutoEncoderLoss, decoder_name_or_path=decoder, tie_encoder_decoder=tie_encoder_decoder)
    usual = {"per_device_train_batch_size": 8, "learning_rate": 3e-5, "lr_scheduler_type": "constant"}
    return _train(model, data, loss, output_path, usual | settings)


def simcse(
    model: Any,
    texts: Iterable[str],
    output_path: str | Path | None = None,
    *,
    scale: float = 20.0,
    **settings: Any,
) -> Any:
    """Train a transformer to find a text's own vector, made with other dropout, among those of the batch.

    Spreads a model's vectors over the sphere. Choose it for general sentences and to compare them, where a model has
    never been trained for sentences; it is fast. Gao et al. 2021, arXiv:2104.08821.

    Args:
        model: see ``tsdae``, as all that is not named here; the model must have dropout.
        texts: the texts; of copies, each batch would take one for the other's wrong answer, so that one is kept.
        output_path: where to save the model, if anywhere.
        scale: the inverse temperature.
        settings: here batches of 64 and a learning rate of 3e-5 that falls to zero, as in
            the paper, which also cuts texts to 32 tokens (``model.max_seq_length``).

    Raises:
        TextTypeError: see ``tsdae``, as the next two.
        ColumnsError: fewer than two different texts.
        TypeError: a model without a transformer.
        ValueError: the model has no dropout, without which a text is its own copy and nothing is learned.
    """
    rows, transformer = _checked(model, texts), _transformer(model, "SimCSE")
    if not any(isinstance(block, nn.Dropout) and block.p > 0 for block in transformer.modules()):
        raise ValueError(
            "SimCSE needs dropout, and the model has none, so both vectors of a text would be the same. Load it with "
            "config_kwargs={'hidden_dropout_prob': 0.1, 'attention_probs_dropout_prob': 0.1}, or take tsdae."
        )
    data, loss = as_dataset({"anchor": rows, "positive": rows}), partial(MultipleNegativesRankingLoss, scale=scale)
    return _train(model, data, loss, output_path, _CONTRASTIVE | settings)


def contrastive_tension(
    model: Any,
    texts: Iterable[str],
    output_path: str | Path | None = None,
    *,
    pos_neg_ratio: int = 8,
    **settings: Any,
) -> Any:
    """Train two copies of a model to give one text like vectors, and different texts unlike ones; the second is kept.

    Needs no dropout, and small batches do, since each pair is judged for itself. It reads by dot products.
    ``contrastive_tension_in_batch`` learns faster. Carlsson et al. 2021, openreview.net/forum?id=Ov_sMNau-PF.

    Args:
        model: see ``tsdae``, as all that is not named here; static models learn in this way, too.
        texts: the texts.
        output_path: where to save the model, if anywhere.
        pos_neg_ratio: one pair in so many is a text with itself; in the others the second text is drawn anew each time.
        settings: here, as in the paper, RMSProp with a learning rate that falls from 1e-5,
            and batches of 16 pairs.

    Raises:
        TextTypeError: see ``tsdae``, as the next.
        ColumnsError: fewer than two different texts.
        ValueError: ``pos_neg_ratio`` is below 2, so that there would be no wrong pair.
    """
    if pos_neg_ratio < 2:
        raise ValueError(f"pos_neg_ratio is {pos_neg_ratio}; it must be 2 or more.")
    rows = _checked(model, texts)
    draw = random.Random(settings.get("seed", 42))  # noqa: S311 (no secret)

    def other(text: str) -> str:
        while (found := draw.choice(rows)) == text:
            pass
        return found

    def paired(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        same = [place % pos_neg_ratio == 0 for place in range(len(batch["sentence1"]))]
        seconds = [text if one else other(text) for text, one in zip(batch["sentence1"], same, strict=True)]
        return {"sentence1": batch["sentence1"], "sentence2": seconds, "label": [float(one) for one in same]}

    columns = {"sentence1": rows, "sentence2": rows, "label": [float(not place) for place in range(len(rows))]}
    data = as_dataset(columns).with_transform(paired)
    usual = {"per_device_train_batch_size": 16, "learning_rate": 1e-5, "optim": "rmsprop"}
    return _train(model, data, ContrastiveTensionLoss, output_path, usual | settings)


def contrastive_tension_in_batch(
    model: Any,
    texts: Iterable[str],
    output_path: str | Path | None = None,
    *,
    scale: float = 20.0,
    **settings: Any,
) -> Any:
    """Train two copies of a model to find each text's own vector among those of the batch; the second copy is kept.

    Takes the place of ``contrastive_tension`` where batches of 64 and more fit: every other text of the batch is a
    wrong answer. It needs no dropout, which ``simcse`` does, but twice the memory. The idea is that of Carlsson et al.
    2021, openreview.net/forum?id=Ov_sMNau-PF, and the loss that of SimCSE, whose settings are the defaults here.

    Args:
        model: see ``tsdae``, as all that is not named here; static models learn in this way, too.
        texts: the texts.
        output_path: where to save the model, if anywhere.
        scale: the inverse temperature to begin with; it is learned.
        settings: here batches of 64 and a learning rate of 3e-5 that falls to zero.

    Raises:
        TextTypeError: see ``tsdae``, as the next.
        ColumnsError: fewer than two different texts.
    """
    data, loss = as_dataset({"sentence": _checked(model, texts)}), ContrastiveTensionLossInBatchNegatives
    return _train(model, data, partial(loss, scale=scale), output_path, _CONTRASTIVE | settings)


def masked_language_model(
    model: Any,
    texts: Iterable[str],
    output_path: str | Path | None = None,
    *,
    probability: float = 0.15,
    **settings: Any,
) -> Any:
    """Train the transformer of a model to guess hidden tokens, as it was trained at first, on texts of your own.

    Teaches words and their use, not which texts are alike: what follows must be ``adaptive_pretraining``'s second step,
    or ``tsdae``, which in its paper comes out ahead of MLM. The layer that names tokens is made anew around the model's
    word vectors, and not kept. Devlin et al. 2018, arXiv:1810.04805; on domains, Gururangan et al. 2020,
    arXiv:2004.10964.

    Args:
        model: see ``tsdae``, as all that is not named here.
        texts: the texts.
        output_path: where to save the model, if anywhere.
        probability: the share of the tokens to guess; of ten of them eight are hidden, and one is another token.
        settings: here batches of 32 and, as BERT was fine-tuned, a learning rate of 5e-5.

    Raises:
        TextTypeError: see ``tsdae``, as the next two.
        ColumnsError: fewer than two different texts.
        TypeError: a model without a transformer.
        ValueError: ``probability`` is not between 0 and 1, or the tokenizer knows no token that hides another.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}; it must be between 0 and 1.")
    rows, _ = _checked(model, texts), _transformer(model, "Masked language modelling")
    loss, usual = partial(_MaskedLanguageModelLoss, probability=probability), {"per_device_train_batch_size": 32}
    return _train(model, as_dataset({"text": rows}), loss, output_path, usual | settings)


def adaptive_pretraining(
    model: Any,
    texts: Iterable[str],
    pairs: Any,
    output_path: str | Path | None = None,
    *,
    method: str = "tsdae",
    pretraining: Mapping[str, Any] | None = None,
    loss: Any = None,
    **settings: Any,
) -> Any:
    """Let a model read a domain's texts, then fine-tune it on labelled rows, of this domain or of any.

    The order matters: first the domain, then the task. With TSDAE and general pairs the paper gains up to 8 points over
    the pairs alone; where the pairs are many and of the domain, expect little. Wang et al. 2021, arXiv:2104.06979,
    section 6; Gururangan et al. 2020, arXiv:2004.10964.

    Args:
        model: see ``tsdae``, as all that is not named here.
        texts: texts of the domain, without labels.
        pairs: what to fine-tune on: all that ``as_dataset`` takes.
        output_path: where to save the model, if anywhere.
        method: "tsdae", "simcse", "contrastive_tension", "contrastive_tension_in_batch" or "masked_language_model".
        pretraining: what the method takes, its ``callbacks`` included.
        loss: of the fine-tuning, or a function that makes it of the model; None: the first that ``suggest_losses`` has
            for the columns.
        settings: of the fine-tuning; here batches of 32, the usual learning rate of the kind of model, and a
            tenth of the steps to warm up.

    Raises:
        ChoiceError: an unknown method; lists the known ones.
        ColumnsError: the rows fit no loss; and see ``tsdae``. Nothing has been trained then.
    """
    first = choose("method", method, _METHODS)
    rows, data = _checked(model, texts), as_dataset(pairs)
    if loss is None:
        names = [one.loss for one in suggest_losses(data)]
        loss = getattr(losses, names[0] if names else "MultipleNegativesRankingLoss")  # which then says what it lacks
    check_columns(data, loss if isinstance(loss, nn.Module) else loss(model), name="pairs")
    usual = {
        "per_device_train_batch_size": 32,
        "learning_rate": usual_learning_rate(model),
        "warmup_ratio": 0.1,
        "batch_sampler": "batch_sampler" if "label" in data.column_names else "no_duplicates",
    }
    first(model, rows, **(pretraining or {}))
    return _train(model, data, loss, output_path, usual | settings)


_CONTRASTIVE = {"per_device_train_batch_size": 64, "learning_rate": 3e-5}
_METHODS: dict[str, Callable[..., Any]] = {
    "tsdae": tsdae,
    "simcse": simcse,
    "contrastive_tension": contrastive_tension,
    "contrastive_tension_in_batch": contrastive_tension_in_batch,
    "masked_language_model": masked_language_model,
}


class _MaskedLanguageModelLoss(Loss):
    """Cross-entropy of the tokens that transformers' collator hides, for a head of transformers on the encoder."""

    inputs: ClassVar[tuple[Inputs, ...]] = (Inputs(("text",)),)

    def __init__(self, model: Any, probability: float) -> None:
        super().__init__(model)
        from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

        encoder = model[0].auto_model
        if model.tokenizer.mask_token is None:
            raise ValueError(
                "The tokenizer has no token that hides another (mask_token), so there is nothing to guess."
            )
        self.collator = DataCollatorForLanguageModeling(model.tokenizer, mlm_probability=probability)
        self.whole: Any = AutoModelForMaskedLM.from_config(encoder.config)  # type: ignore[no-untyped-call]
        setattr(self.whole, self.whole.base_model_prefix, encoder)
        self.whole.tie_weights()  # the layer that names tokens follows the word vectors
        self.whole.to(model.device)

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Hide some tokens of a batch, and return the loss of guessing them; 0 where none was hidden."""
        (batch,) = sentence_features
        ids, names = batch["input_ids"], self.collator.tokenizer
        special = torch.isin(ids, torch.tensor(names.all_special_ids, device=ids.device))
        hidden, wanted = self.collator.torch_mask_tokens(ids.clone(), special)
        logits = self.whole(input_ids=hidden, attention_mask=batch["attention_mask"]).logits
        some = wanted != -100
        return nn.functional.cross_entropy(logits[some], wanted[some]) if some.any() else logits.sum() * 0


def _checked(model: Any, texts: Any) -> list[str]:
    """The different texts, in order, if there are some and a model to train on them."""
    if not isinstance(model, SentenceTransformer):
        raise TypeError(f"model is {type(model).__name__} {model!r:.100}; expected a loaded SentenceTransformer.")
    every, _ = as_texts(texts, name="texts")
    rows = list(dict.fromkeys(text for text in every if text.strip()))
    if len(rows) < 2:
        raise ColumnsError(f"There are {len(rows)} different texts; training needs two or more, and better thousands.")
    return rows


def _transformer(model: Any, method: str) -> Any:
    """The transformers model of a model's first block."""
    if not hasattr(model[0], "auto_model"):
        raise TypeError(
            f"{method} trains a transformer; the model begins with {type(model[0]).__name__}. Give a "
            "SentenceTransformer around a transformer, or use contrastive_tension_in_batch, which trains any model."
        )
    return model[0].auto_model


def _train(model: Any, data: Any, loss: Any, output_path: str | Path | None, settings: dict[str, Any]) -> Any:
    """Train for an epoch, or as the settings say; save the model if asked, and return it.

    ``loss`` is made of the model when the seed is set, so that all that is new in it is the same in each run.
    """
    usual = {"num_train_epochs": 1, "save_strategy": "no", "report_to": "none", "use_cpu": model.device.type == "cpu"}
    others = {name: settings.pop(name, None) for name in ("callbacks", "evaluator")}
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(**{"output_dir": folder, **usual, **settings})
        trainer = SentenceTransformerTrainer(model, arguments, data, loss=loss, **others)
        trainer.train(arguments.resume_from_checkpoint)
    model.eval()
    if output_path is not None:
        model.save_pretrained(output_path)
    return model
