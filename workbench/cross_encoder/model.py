"""The model that scores pairs: one transformer reads both texts at once, slower than vectors and more exact."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from workbench import hub
from workbench.backends import BACKENDS
from workbench.batching import SLICE, outputs
from workbench.devices import batch_to_device, pick_device, token_budget
from workbench.encoding import Options, Parallel, Table, fill_table, warn_cut
from workbench.errors import ModelFormatError, choose
from workbench.folders import inside, read_entries, read_json, write_atomically, write_json
from workbench.model_card import CrossEncoderModelCardData, generate_model_card
from workbench.models.adapters import Adaptable, base_folder, has_adapter
from workbench.models.base import Features
from workbench.models.dense import activation, activation_name
from workbench.models.transformer import (
    Pretrained,
    load_pretrained,
    longest,
    model_inputs,
    pad,
    recompute_activations,
    save_pretrained,
)
from workbench.persist import CONFIG, FORMAT_VERSION, versions
from workbench.pool import WorkerPool
from workbench.progress import track
from workbench.texts import as_pairs, as_texts, slices
from workbench.tokens import IntArray, TokenRows

__all__ = ["CrossEncoder"]

_HEAD = "ForSequenceClassification"
_NO_LIMIT = 10**9  # tokenizers say so, and more, when they know no limit
_DTYPES = {"dtype", "torch_dtype"}
_LATEST: dict[str, Any] = {  # file → what says there that the folder holds one sequence classifier
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    ],
    "sentence_bert_config.json": {
        "transformer_task": "sequence-classification",
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
        "module_output_name": "scores",
    },
}
_Activation = Callable[[Tensor], Tensor]


class CrossEncoder(Pretrained, Parallel, Adaptable):
    """Scores for pairs of texts: how relevant a passage is to a query, or which class a pair belongs to.

    Choose it to put the best few dozen hits of a search in order; for comparing many texts with many, use
    ``SentenceTransformer``. A model without a classifier gets a new, untrained one.

    Args:
        model_name: a folder, a bundled model, or a name on the hub.
        num_labels: scores per pair; None takes the model's own, 1 for a model without a classifier.
        max_length: pairs are cut to this many tokens; None takes the smaller limit of tokenizer and model.
        device: "cuda", "cpu" …; None takes the fastest there is.
        automodel_args: for the transformers model (``model_kwargs`` in later versions). Weights in half precision run
            as float32 on the cpu unless ``dtype`` is given here.
        tokenizer_args: for its tokenizer (later ``tokenizer_kwargs``).
        config_args: for its configuration (later ``config_kwargs``).
        cache_dir: where downloads are kept (later ``cache_folder``).
        trust_remote_code: allow a model to run code of its own. Only for models whose code you have read.
        revision: branch, tag or commit on the hub; ``token`` and ``local_files_only`` as in ``SentenceTransformer``.
        default_activation_function: from logits (pairs, labels) to scores (later ``activation_fn``); None takes the
            model's own, else the sigmoid for one label and nothing for more.
        classifier_dropout: share of the classifier's input dropped in training.
        model_card_data: what the generated model card says.
        backend: "torch", "onnx" or "openvino", as in ``SentenceTransformer``.

    Raises:
        ModelNotFoundError: no such model; lists what was tried.
        ModelFormatError: the folder is damaged, unknown, or lacks a trained classifier's weights.
        UnsafeModelError: the folder wants to run code or leave itself.

    Source: passage re-ranking with BERT, Nogueira and Cho 2019, arXiv:1901.04085.
    """

    _kept: ClassVar[str] = "model"

    def __init__(
        self,
        model_name: str | Path,
        num_labels: int | None = None,
        max_length: int | None = None,
        device: str | torch.device | None = None,
        automodel_args: dict[str, Any] | None = None,
        tokenizer_args: dict[str, Any] | None = None,
        config_args: dict[str, Any] | None = None,
        cache_dir: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        default_activation_function: _Activation | None = None,
        classifier_dropout: float | None = None,
        *,
        model_kwargs: dict[str, Any] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        cache_folder: str | None = None,
        activation_fn: _Activation | None = None,
        token: bool | str | None = None,
        model_card_data: CrossEncoderModelCardData | None = None,
        backend: Literal["torch", "onnx", "openvino"] = "torch",
    ) -> None:
        choose("backend", backend, {"torch": None, **BACKENDS})
        super().__init__()
        self.backend = backend
        target = pick_device(device)
        where: dict[str, Any] = {"revision": revision, "token": token, "cache_folder": cache_dir or cache_folder}
        root = hub.resolve(model_name, local_files_only=local_files_only, organization="cross-encoder", **where)
        self.model_card_data = model_card_data or CrossEncoderModelCardData()
        self.model_card_data.came_from(root)
        folder, saved, named = _opened(root, local_files_only=local_files_only, **where)
        if num_labels is None and _HEAD not in str(saved.get("architectures")):
            num_labels = 1
        trust = {"trust_remote_code": trust_remote_code}
        settings = {"num_labels": num_labels, "classifier_dropout": classifier_dropout, **trust}
        place = {"cache_dir": where["cache_folder"], "token": token, "local_files_only": local_files_only or None}
        model_args = _merged(place, trust, automodel_args, model_kwargs)
        tokenizer_args = _merged(trust, tokenizer_args, tokenizer_kwargs)
        config_args = _merged(settings, config_args, config_kwargs)
        self.model, self.tokenizer = load_pretrained(
            str(folder), None, model_args, tokenizer_args, config_args, head=f"AutoModel{_HEAD}", backend=backend
        )
        limit = longest(self._held.config, self._tokens.tokenizer)
        self.max_length = max_length if max_length is not None else limit
        usual = nn.Sigmoid() if self.num_labels == 1 else nn.Identity()
        self.default_activation_function = default_activation_function or activation_fn or named or usual
        half = self._held.dtype in (torch.float16, torch.bfloat16)
        self.eval()
        self.to(target, torch.float32 if half and target.type == "cpu" and not _DTYPES & set(model_args) else None)

    # ── score ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def predict(
        self,
        sentences: Any,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        num_workers: int = 0,
        activation_fct: _Activation | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        *,
        activation_fn: _Activation | None = None,
        pool: WorkerPool | None = None,
        chunk_size: int | None = None,
        device: str | torch.device | Sequence[str] | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> Any:
        """Score pairs of texts. The result does not depend on how the pairs are batched.

        Args:
            sentences: one pair of texts, or any iterable of pairs (a DataFrame of two columns is one, too).
            batch_size: pairs in a batch. None (the default) fills batches by tokens, which is faster.
            show_progress_bar: None shows one in interactive use; see ``workbench.show_progress``.
            num_workers: accepted for older code; pairs are always tokenised in a thread beside the model.
            activation_fct: from logits to scores in place of the model's own.
            apply_softmax: make the scores of each pair sum to 1, in a model of several labels.
            convert_to_numpy: give a numpy array; with neither this nor ``convert_to_tensor``, a list of tensors.
            convert_to_tensor: give one tensor on the model's device.
            activation_fn: see ``activation_fct``.
            pool: worker processes from ``start_multi_process_pool``.
            chunk_size: pairs sent to a worker at a time.
            device: where to run; a list of devices scores in one process per device.
            prompt_name: none can be chosen: models that score pairs with prompts of their own are not read here.
            prompt: put before the first text of every pair.

        Returns:
            float32 (pairs,) for one label, (pairs, labels) for several; without the first axis for a single pair.

        Raises:
            TextTypeError: a row is not a pair of texts; names its index and what is wrong.
            ChoiceError: an unknown device; lists the choices.
            WorkerError: a worker process raised or died.
        """
        pairs, single = as_pairs(sentences)
        if prompt is None and prompt_name is not None:
            choose("prompt name", prompt_name, {})
        if prompt:
            pairs = [(prompt + first, second) for first, second in pairs]
        with contextlib.ExitStack() as stack:
            if isinstance(device, (list, tuple)):
                pool = stack.enter_context(self.start_multi_process_pool(list(device)))
            elif device is not None and pool is None:
                self.to(pick_device(device))  # type: ignore[arg-type]
            options = Options(batch_size=batch_size, to_tensor=pool is None, show=show_progress_bar)
            table, cut = Table(len(pairs), None, options.to_tensor), 0
            if pairs:
                cut = fill_table(table, pairs, self._fill, options, pool, chunk_size)
        warn_cut(cut, len(pairs), self.max_length, what="pairs", setting="max_length")
        logits = torch.as_tensor(table.data) if pairs else torch.empty((0, self.num_labels), device=self.device)
        with torch.no_grad():
            scores = (activation_fct or activation_fn or self.default_activation_function)(logits)
            if apply_softmax and scores.ndim == 2 and scores.shape[1] > 1:
                scores = scores.softmax(dim=1)
        if self.num_labels == 1 and scores.ndim == 2:
            scores = scores[:, 0]
        if not convert_to_tensor:
            scores = scores.cpu().numpy() if convert_to_numpy else list(scores)
        return scores[0] if single else scores

    def rank(
        self,
        query: str,
        documents: Any,
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        num_workers: int = 0,
        activation_fct: _Activation | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Put documents in order for a query: ``[{"corpus_id", "score", "text"?}]``, best first, equal ones as given.

        ``top_k`` keeps only that many, ``return_documents`` puts the ``text`` in; the rest is as in ``predict``. Scores
        are floats unless tensors are asked for.

        Raises:
            ValueError: the model gives more than one score per pair.
            TextTypeError: a document is not a text; names its index and type.
        """
        if self.num_labels != 1:
            raise ValueError(f"rank needs a model of one label; this one has {self.num_labels}. Use predict(pairs).")
        texts, _ = as_texts(documents, name="documents")
        how = (batch_size, show_progress_bar, num_workers, activation_fct, apply_softmax)
        scores = self.predict([(query, text) for text in texts], *how, convert_to_tensor=True, **options)
        values = scores.tolist()
        order = sorted(range(len(texts)), key=values.__getitem__, reverse=True)[:top_k]
        shown = scores if convert_to_tensor or not convert_to_numpy else values
        return [
            {"corpus_id": row, "score": shown[row], **({"text": texts[row]} if return_documents else {})}
            for row in order
        ]

    def forward(self, features: Features) -> Tensor:
        """Return the logits of a batch: (pairs, labels)."""
        model = self._ready
        logits: Tensor = model(**model_inputs(features, model, self._tokens.tokenizer)).logits
        return logits

    def features(self, pairs: Sequence[tuple[str, str]]) -> Features:
        """Return one padded batch of features for pairs of texts, ready for ``forward``."""
        return pad(self._token_rows(list(pairs)), np.arange(len(pairs)), self._tokens.tokenizer)

    def _fill(self, table: Table, pairs: list[Any], places: IntArray, options: Options) -> npt.NDArray[np.bool_]:
        """Write the logits of each pair to its place in the table; returns which pairs were cut."""
        self.eval()
        cut, device = np.zeros(len(pairs), bool), self.device

        def forward(batch: Features) -> Features:
            return {"logits": self(batch_to_device(batch, device)).float()}

        with torch.inference_mode(), track(0, unit="tokens", desc="Scoring", show=options.show) as bar:
            for batch in outputs(
                pairs,
                self._token_rows,
                lambda rows, index: pad(rows, index, self._tokens.tokenizer),
                forward,
                bar=bar,
                budget=token_budget(device),
                batch_size=options.batch_size,
            ):
                logits = batch.features["logits"]
                table.write(places[batch.rows], logits if options.to_tensor else logits.cpu().numpy())
                cut[batch.rows] = batch.cut
        return cut

    def _token_rows(self, pairs: list[Any]) -> TokenRows:
        return self._tokens.rows(_stripped(pairs), self.max_length)

    def token_counts(self, pairs: Any) -> IntArray:
        """Return how many tokens each pair has, special tokens included, before anything is cut: (pairs,)."""
        rows, _ = as_pairs(pairs, name="pairs")
        return np.concatenate([np.zeros(0, np.int64), *map(self._tokens.counts, slices(_stripped(rows), SLICE))])

    # ── what it is made of ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def max_length(self) -> int | None:
        """Pairs are cut to this many tokens, the longer text first; None: never. It is kept in the tokenizer."""
        length: int = self._tokens.tokenizer.model_max_length
        return length if length < _NO_LIMIT else None

    @max_length.setter
    def max_length(self, value: int | None) -> None:
        self._tokens.tokenizer.model_max_length = _NO_LIMIT if value is None else value

    @property
    def transformers_model(self) -> Any:
        """The transformers model inside; None where another engine runs it."""
        return self.model if self.backend == "torch" else None

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self.model.config

    @property
    def num_labels(self) -> int:
        """Scores per pair."""
        return int(self._held.config.num_labels)

    @property
    def activation_fn(self) -> _Activation:
        """The newer name of ``default_activation_function``."""
        return self.default_activation_function

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__("default_activation_function" if name == "activation_fn" else name, value)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Trade time for memory in training: activations are computed again in the backward pass."""
        recompute_activations(self.model, gradient_checkpointing_kwargs, **options)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Do as ``gradient_checkpointing_enable``, under its later name."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **options)

    def add_adapter(self, adapter_config: Any, adapter_name: str | None = None) -> None:
        """Add a new adapter, see ``Adaptable.add_adapter``; one to a new classifier must train and keep that too."""
        if _HEAD not in str(self.config.architectures) and not getattr(adapter_config, "modules_to_save", True):
            raise ValueError(
                "This model's classifier is new, and an adapter would neither train nor keep it: name it in the "
                "adapter's configuration, modules_to_save=['classifier'] or what this model calls it."
            )
        super().add_adapter(adapter_config, adapter_name)

    # ── keep ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def save_pretrained(
        self, path: str | Path, safe_serialization: bool = True, *, create_model_card: bool = True
    ) -> None:
        """Write the model to a folder that this class, transformers and every release of the reference load.

        The folder is put in place in one step: a save that is killed leaves what was there before. A README.md is
        written unless ``create_model_card`` is False; a loaded model keeps the card it came with until it is trained.

        Raises:
            ValueError: the default activation is not one that a folder can name.
        """
        name = activation_name(self.default_activation_function)  # type: ignore[arg-type]  # anything else is refused
        with write_atomically(path, replaced=[CONFIG, *_LATEST]) as folder:
            save_pretrained(self._transformers(), self.tokenizer, folder, safe_serialization)
            if create_model_card:
                (folder / "README.md").write_text(generate_model_card(self, anew=False), encoding="utf-8")
            if has_adapter(folder):  # it has no config.json, so what an older layout says there is said in the latest
                own = {"__version__": versions(), "model_type": "CrossEncoder", "activation_fn": name}
                for file, value in {CONFIG: own, **_LATEST}.items():
                    write_json(folder / file, value)
                return
            later = {"sentence_transformers": {"activation_fn": name, "version": FORMAT_VERSION}}
            config = read_json(folder, "config.json") | {"sbert_ce_default_activation_function": name} | later
            write_json(folder / "config.json", config)

    save = save_pretrained

    def push_to_hub(self, repo_id: str, *, safe_serialization: bool = True, **options: Any) -> str:
        """Upload the model to the hub, ``options`` as in ``hub.push``; returns the address of the commit."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(Path(folder) / "model", safe_serialization)
            address: str = hub.push(Path(folder) / "model", repo_id, **options)
        return address


def _stripped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(first.strip(), second.strip()) for first, second in pairs]


def _merged(*tables: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for table in tables for key, value in (table or {}).items() if value is not None}


def _opened(root: Path, **where: Any) -> tuple[Path, dict[str, Any], nn.Module | None]:
    """Where the transformers model lies, its configuration, and the activation named there, in any layout."""
    folder, later = root, dict[str, Any]()
    if inside(root, "modules.json").is_file():
        first, *rest = read_entries(root)
        folder = inside(root, first.path)
        later = read_json(root, CONFIG) if inside(root, CONFIG).is_file() else {}
        if later.get("model_type") == "CrossEncoder" and (rest or later.get("default_prompt_name")):
            raise ModelFormatError(
                f"{root} scores pairs with a prompt or further blocks ({', '.join(entry.type for entry in rest)}); "
                "only cross-encoders that are one sequence classifier can be read."
            )
    where["revision"] = None  # an adapter's own
    config = read_json(base_folder(folder, **where) if has_adapter(folder) else folder, "config.json")
    section = config.get("sentence_transformers")
    names = [later.get("activation_fn"), section.get("activation_fn") if isinstance(section, dict) else None]
    name = next(filter(None, [*names, config.get("sbert_ce_default_activation_function")]), None)
    return folder, config, activation(name) if name else None
