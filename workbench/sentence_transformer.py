"""The model that turns texts into vectors: blocks in a row, and the one road from texts to a table of vectors."""

import contextlib
import copy
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from workbench import encoding, hub
from workbench.backends import BACKENDS
from workbench.batching import SLICE, Batch, outputs
from workbench.devices import batch_to_device, pick_device, token_budget
from workbench.encoding import OUTPUT_VALUES, STREAM, Options, Parallel, Precision, Table
from workbench.errors import ChoiceError, choose
from workbench.folders import write_atomically
from workbench.images import naming_rows
from workbench.model_card import SentenceTransformerModelCardData, generate_model_card
from workbench.models.adapters import Adaptable
from workbench.models.base import Features, InputModule
from workbench.models.transformer import recompute_activations
from workbench.persist import ModelConfig, load_modules, read_config, save_modules
from workbench.pool import WorkerPool
from workbench.progress import track
from workbench.quantization import PRECISIONS, quantize_embeddings
from workbench.similarity import SimilarityFunction
from workbench.texts import as_texts, is_stream, iter_texts, slices, unique
from workbench.tokens import IntArray

__all__ = ["SentenceTransformer"]


class SentenceTransformer(nn.Sequential, Parallel, Adaptable):
    """Sentence embeddings: texts to vectors that are close when the texts mean alike.

    Args:
        model_name_or_path: a folder, a bundled model ("starter"), or a name on the hub.
        modules: blocks to build the model from, in place of loading one.
        device: "cuda", "cpu" …; None takes the fastest there is.
        prompts: texts put before the input, by name, such as ``{"query": "query: "}``.
        default_prompt_name: the prompt used when ``encode`` is told none.
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan"; None takes the model's, else cosine.
        cache_folder: where downloads are kept.
        trust_remote_code: allow a model to run classes of its own. Only for models whose code you have read.
        revision: branch, tag or commit on the hub.
        local_files_only: never ask the hub.
        token: hub token; ``use_auth_token`` is its old name.
        use_auth_token: see ``token``.
        truncate_dim: keep only this many leading dimensions (Matryoshka models).
        model_kwargs: for the transformers model, such as ``{"torch_dtype": "bfloat16"}``.
        tokenizer_kwargs: for the tokenizer.
        config_kwargs: for the transformers configuration.
        model_card_data: what the generated model card says.
        backend: "torch", or "onnx" or "openvino", which read an export in the folder or make one; ``model_kwargs`` then
            says which ``file_name`` and ``provider``, see ``workbench.backends.load_compiled``.

    Raises:
        ModelNotFoundError: no such model; lists what was tried.
        ModelFormatError: the folder is damaged or unknown.
        UnsafeModelError: the folder wants to run code or leave itself.
        ChoiceError: an unknown device, similarity, prompt name or backend; lists the choices.

    Source: Sentence-BERT, Reimers and Gurevych 2019, arXiv:1908.10084.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | None = None,
        modules: Iterable[nn.Module] | None = None,
        device: str | torch.device | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | SimilarityFunction | None = None,
        cache_folder: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        use_auth_token: bool | str | None = None,
        truncate_dim: int | None = None,
        model_kwargs: dict[str, Any] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        model_card_data: SentenceTransformerModelCardData | None = None,
        backend: Literal["torch", "onnx", "openvino"] = "torch",
    ) -> None:
        choose("backend", backend, {"torch": None, **BACKENDS})
        target = pick_device(device)
        blocks: dict[str, nn.Module] = {str(number): block for number, block in enumerate(modules or ())}
        kwargs: dict[str, list[str]] = {}
        config = ModelConfig()
        folder: Path | None = None
        if model_name_or_path is not None and blocks:
            raise ValueError("Give model_name_or_path or modules, not both.")
        if model_name_or_path is not None:
            token = token if token is not None else use_auth_token
            where: dict[str, Any] = {"revision": revision, "token": token, "cache_folder": cache_folder}
            folder = hub.resolve(model_name_or_path, local_files_only=local_files_only, **where)
            trust = {"trust_remote_code": trust_remote_code}
            arguments = {"model_args": model_kwargs, "tokenizer_args": tokenizer_kwargs, "config_args": config_kwargs}
            options: dict[str, Any] = {key: {**trust, **(value or {})} for key, value in arguments.items()}
            place = {"cache_dir": cache_folder, "token": token, "local_files_only": local_files_only}
            options["backend"] = backend
            options["model_args"] = place | options["model_args"]  # to find the model that an adapter belongs to
            blocks, kwargs = load_modules(folder, trust_remote_code=trust_remote_code, transformer_options=options)
            config = read_config(folder)
        super().__init__()
        self.module_kwargs = kwargs
        self.prompts = {**config.prompts, **(prompts or {})}
        if not all(isinstance(text, str) for text in self.prompts.values()):
            raise TypeError(f"prompts must be a table of strings, not {prompts!r:.100}.")
        self.default_prompt_name = default_prompt_name or config.default_prompt_name
        if self.default_prompt_name is not None:
            choose("default prompt name", self.default_prompt_name, self.prompts)
        self.truncate_dim = truncate_dim if truncate_dim is not None else config.truncate_dim
        self._similarity: str | None = None
        if (similarity := similarity_fn_name or config.similarity_fn_name) is not None:
            self.similarity_fn_name = str(similarity)
        self.backend = backend
        self.token_budget: int | None = None  # tokens in a batch; None: what fits the device as a rule
        self.model_card_data = model_card_data or SentenceTransformerModelCardData()
        if folder is not None:
            self.model_card_data.came_from(folder)
        other = (prompts, default_prompt_name, similarity_fn_name, revision, truncate_dim, model_kwargs)
        as_it_is = folder is not None and backend == "torch" and not any((*other, tokenizer_kwargs, config_kwargs))
        for name, block in blocks.items():
            self.add_module(name, block)
        self.loaded_from = str(model_name_or_path) if as_it_is else None
        self.eval()
        self.to(target)

    # ── encode ────────────────────────────────────────────────────────────────────────────────────────────────────

    def encode(
        self,
        sentences: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] | None = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | torch.device | Sequence[str] | None = None,
        normalize_embeddings: bool = False,
        *,
        truncate_dim: int | None = None,
        out: npt.NDArray[Any] | None = None,
        pool: WorkerPool | None = None,
        chunk_size: int | None = None,
        task: str | None = None,
    ) -> Any:
        """Turn texts into vectors. The result does not depend on how the texts are batched.

        Args:
            sentences: one text, or any iterable of texts: list, Series, array, ``datasets`` column. A generator is
                read as it is encoded, so that with ``out`` neither texts nor vectors need to fit in memory.
            prompt_name: the name of one of ``prompts`` to put before every text.
            prompt: the prompt itself; wins over ``prompt_name``.
            batch_size: rows in a batch. None (the default) fills batches by tokens, which is faster; ``token_budget``
                of the model says by how many, and ``workbench.evaluation.tune`` finds it.
            show_progress_bar: None shows one in interactive use; see ``workbench.show_progress``.
            output_value: "sentence_embedding"; "token_embeddings" for a list of (tokens, dim) tensors; None for a list
                of dicts with everything the model gives.
            precision: "float32", "int8", "uint8", "binary" or "ubinary"; see ``quantize_embeddings``.
            convert_to_numpy: give a numpy array; with neither this nor ``convert_to_tensor``, a list of tensors.
            convert_to_tensor: give one tensor on the model's device.
            device: where to run; a list of devices encodes in one process per device.
            normalize_embeddings: scale every vector to length 1.
            truncate_dim: keep only this many leading dimensions.
            out: an array of shape (texts, dim) to write into, such as a ``np.memmap``; it is also returned.
            pool: worker processes from ``start_multi_process_pool``.
            chunk_size: texts sent to a worker at a time.
            task: the route to take in a model with a ``Router``: "query" or "document".

        Returns:
            (texts, dim), or (dim,) for one text; dim is in bytes, an eighth, for the binary precisions.

        Raises:
            TextTypeError: a row is not a text; names its index and type.
            ImageError: a row is an image that cannot be used; names its index, and its file if it has one.
            ChoiceError: an unknown prompt name, precision, output value or device; lists the choices.
            WorkerError: a worker process raised or died.
        """
        if output_value not in OUTPUT_VALUES:
            raise ChoiceError(
                f"Unknown output_value {output_value!r}. Choose one of: {', '.join(map(repr, OUTPUT_VALUES))}."
            )
        choose("precision", precision, PRECISIONS)
        row_wise = precision not in ("int8", "uint8")  # these two need all vectors, to know their ranges
        options = Options(
            self._prompt(prompt_name, prompt),
            batch_size,
            truncate_dim if truncate_dim is not None else self.truncate_dim,
            normalize_embeddings,
            precision if row_wise else "float32",
            precision == "float32" and (convert_to_tensor or not convert_to_numpy) and out is None,
            show_progress_bar,
            task,
        )
        single, parts = False, slices(iter_texts(sentences, accept=self._accepts), STREAM)
        if not is_stream(sentences):
            texts, single = as_texts(sentences, accept=self._accepts)
            parts = iter([texts])
        if output_value != "sentence_embedding":
            if pool is not None or isinstance(device, (list, tuple)):
                raise ValueError(f"Worker processes give sentence embeddings only, not output_value={output_value!r}.")
            self.to(self.device if device is None else pick_device(device))  # type: ignore[arg-type]
            rows = list(itertools.chain.from_iterable(parts))
            with naming_rows(rows):
                results, cut = self._features(rows, output_value, options)
            encoding.warn_cut(cut, len(rows), self.max_seq_length, what="texts", setting="max_seq_length")
            return results[0] if single else results
        if out is not None and not row_wise:
            width = self._width(options.truncate_dim) or out.shape[-1]
            encoding.check_out(out, (0 if is_stream(sentences) else len(texts), width), precision)
        with contextlib.ExitStack() as stack:
            if isinstance(device, (list, tuple)):
                pool = stack.enter_context(self.start_multi_process_pool(list(device)))
            elif pool is None:
                self.to(self.device if device is None else pick_device(device))  # type: ignore[arg-type]
            if pool is not None:
                options = replace(options, to_tensor=False)
            vectors, cut, count = self._encode_parts(parts, options, out if row_wise else None, pool, chunk_size)
        encoding.warn_cut(cut, count, self.max_seq_length, what="texts", setting="max_seq_length")
        if not row_wise:
            vectors = quantize_embeddings(vectors, precision)
            if out is not None:
                encoding.check_out(out, np.shape(vectors), precision)
                out[: len(vectors)] = vectors
                vectors = out[: len(vectors)]
        if convert_to_tensor:
            vectors = torch.as_tensor(vectors)
        elif not convert_to_numpy and out is None:
            vectors = list(torch.as_tensor(vectors))
        return vectors[0] if single else vectors

    def encode_query(self, sentences: Any, **options: Any) -> Any:
        """Encode questions: with the prompt named "query" or none, on the route "query" if there are routes."""
        return self._encode_as("query", sentences, options)

    def encode_document(self, sentences: Any, **options: Any) -> Any:
        """Encode documents: with the prompt named "document", "passage" or "corpus", or none, on route "document"."""
        return self._encode_as("document", sentences, options)

    def _encode_as(self, task: str, sentences: Any, options: dict[str, Any]) -> Any:
        if options.get("prompt_name") is None and options.get("prompt") is None:
            names = {"query": ("query",), "document": ("document", "passage", "corpus")}[task]
            options["prompt"] = next((self.prompts[name] for name in names if name in self.prompts), "")
        return self.encode(sentences, **{"task": task, **options})

    @property
    def _accepts(self) -> tuple[type, ...]:
        return tuple(itertools.chain.from_iterable(getattr(block, "accepts", ()) for block in self))

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        if name is not None:
            return choose("prompt name", name, self.prompts)
        return self.prompts.get(self.default_prompt_name, "") if self.default_prompt_name else ""

    def _encode_parts(
        self,
        parts: Iterable[list[Any]],
        options: Options,
        out: npt.NDArray[Any] | None,
        pool: WorkerPool | None,
        chunk_size: int | None,
    ) -> tuple[Any, int, int]:
        """Encode part by part; returns the vectors, how many texts were cut, and how many there were."""
        made, cut, done = [], 0, 0
        for part in parts:
            if out is not None and len(out) < done + len(part):
                need = (done + len(part), self._width(options.truncate_dim))
                raise ValueError(f"out has shape {out.shape}; these vectors need {need}, or more rows.")
            table = Table(len(part), None if out is None else out[done : done + len(part)], options.to_tensor)
            if part:
                with naming_rows(part, done):
                    cut += encoding.fill_table(table, part, self._fill, options, pool, chunk_size)
                made.append(table.data)
            done += len(part)
        if out is not None:
            return out[:done], cut, done
        if not made:
            nothing = torch.empty((0, self._width(options.truncate_dim) or 0), dtype=self.dtype, device=self.device)
            return self._finish(nothing, options), 0, 0
        joined = made[0] if len(made) == 1 else torch.cat(made) if options.to_tensor else np.concatenate(made)
        return joined, cut, done

    def _fill(self, table: Table, texts: list[Any], places: IntArray, options: Options) -> npt.NDArray[np.bool_]:
        """Write the vector of each text to its place in the table; returns which texts were cut."""
        cut = np.zeros(len(texts), bool)
        with torch.inference_mode():
            for batch in self._batches(texts, options):
                table.write(places[batch.rows], self._finish(batch.features["sentence_embedding"], options))
                cut[batch.rows] = batch.cut
        return cut

    def _batches(self, texts: list[Any], options: Options) -> Iterator[Batch]:
        """Run the model on texts, in batches of like length."""
        self.eval()
        first, device, prompt = self._first_module(), self.device, options.prompt
        knows_tokens = isinstance(first, InputModule) and type(first).token_rows is not InputModule.token_rows
        extra: Features = {"prompt_length": length} if (length := self.prompt_length(prompt)) else {}
        if dict in self._accepts:  # a block somewhere has routes
            texts = [{options.task: text} if options.task and isinstance(text, str) else text for text in texts]
            if dict not in getattr(first, "accepts", ()):
                from workbench.models.router import split_route

                extra["task"], texts = split_route(texts)

        def tokenise(part: list[Any]) -> Any:
            texts = [encoding.prefixed(prompt, text) for text in part] if prompt else part
            return first.token_rows(texts) if knows_tokens else texts

        def collate(tokens: Any, index: IntArray) -> Features:
            batch = first.collate(tokens, index) if knows_tokens else first.tokenize([tokens[row] for row in index])
            return {**batch_to_device(batch, device), **extra}

        with track(0, unit="tokens", desc="Encoding", show=options.show) as bar:
            yield from outputs(
                texts,
                tokenise,
                collate,
                self.forward,
                bar=bar,
                budget=self.token_budget or token_budget(device),
                batch_size=options.batch_size,
                padded=getattr(first, "padded", True),
            )

    def _finish(self, vectors: Tensor, options: Options) -> Any:
        """Truncate, normalise and convert a batch of vectors."""
        if options.truncate_dim is not None:
            vectors = vectors[:, : options.truncate_dim]
        if options.normalize:
            vectors = nn.functional.normalize(vectors, dim=1)
        if options.to_tensor:
            return vectors
        array = (vectors.float() if vectors.dtype == torch.bfloat16 else vectors).cpu().numpy()
        return array if options.precision == "float32" else quantize_embeddings(array, options.precision)

    def _features(self, texts: list[Any], output_value: str | None, options: Options) -> tuple[list[Any], int]:
        """Return for every text its token vectors, or everything the model gives for it; and how many were cut."""
        first, inverse = unique(texts)
        cut = np.zeros(len(first), bool)
        made: list[Any] = [None] * len(first)
        with torch.no_grad():
            for batch in self._batches([texts[row] for row in first], options):
                if output_value is not None and output_value not in batch.features:
                    raise ValueError(f"This model has no {output_value}; it gives {', '.join(sorted(batch.features))}.")
                if options.truncate_dim is not None and output_value is None:
                    batch.features["sentence_embedding"] = batch.features["sentence_embedding"][
                        :, : options.truncate_dim
                    ]
                cut[batch.rows] = batch.cut
                for place, row in enumerate(batch.rows):
                    one = {key: encoding.row_of(value, place, len(batch.rows)) for key, value in batch.features.items()}
                    made[row] = one if output_value is None else encoding.real_tokens(one)
        rows = [
            made[number] if first[number] == row else copy.deepcopy(made[number]) for row, number in enumerate(inverse)
        ]
        return rows, int(cut[inverse].sum())

    def prompt_length(self, prompt: str) -> int:
        """Tokens at the front of a text that pooling leaves out: a prompt's and the opening special ones, or none."""
        if not prompt or all(getattr(block, "include_prompt", True) for block in self):
            return 0
        ids = self.tokenize([prompt])["input_ids"][0].tolist()
        return len(ids) - (ids[-1] in getattr(self.tokenizer, "all_special_ids", ()))

    def token_counts(self, texts: Any) -> IntArray:
        """Return how many tokens each text has, special tokens included, before anything is cut: (texts,)."""
        first = self._first_module()
        if not isinstance(first, InputModule):
            raise ValueError(f"{type(first).__name__} does not count tokens.")
        rows, _ = as_texts(texts, accept=self._accepts, name="texts")
        return np.concatenate([np.zeros(0, np.int64), *(first.token_counts(part) for part in slices(rows, SLICE))])

    # ── several processes ─────────────────────────────────────────────────────────────────────────────────────────

    def encode_multi_process(
        self,
        sentences: Any,
        pool: WorkerPool,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        chunk_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: Precision = "float32",
        normalize_embeddings: bool = False,
    ) -> npt.NDArray[Any]:
        """Encode with a pool of worker processes; the older name of ``encode(pool=...)``."""
        shown = (prompt_name, prompt, batch_size, show_progress_bar)
        how: dict[str, Any] = {
            "precision": precision,
            "normalize_embeddings": normalize_embeddings,
            "chunk_size": chunk_size,
        }
        vectors: npt.NDArray[Any] = self.encode(sentences, *shown, pool=pool, **how)
        return vectors

    # ── the model as blocks ───────────────────────────────────────────────────────────────────────────────────────

    def forward(self, input: Features, **kwargs: Any) -> Features:  # noqa: A002  (the name that torch gave it)
        """Run the blocks one after the other on ``input``."""
        for name, block in self.named_children():
            wanted = self.module_kwargs.get(name, ())
            input = block(input, **{key: value for key, value in kwargs.items() if key in wanted})  # noqa: A001
        return input

    def _first_module(self) -> Any:
        if not len(self):
            raise ValueError("This model has no blocks. Make it with model_name_or_path or modules.")
        return self[0]

    def tokenize(self, texts: list[Any]) -> Features:
        """Return one padded batch of features for texts."""
        return cast("Features", self._first_module().tokenize(texts))

    def get_sentence_features(self, *features: Any) -> Features:
        """Return features of the given texts, ready for ``forward``."""
        return self.tokenize(list(features))

    @property
    def tokenizer(self) -> Any:
        """The first block's tokenizer."""
        return self._first_module().tokenizer

    @tokenizer.setter
    def tokenizer(self, value: Any) -> None:
        self._first_module().tokenizer = value

    @property
    def loaded_from(self) -> str | None:
        """The name or folder that makes this model again without further options.

        None for any other model, and for one that was trained, adapted or set otherwise since.
        """
        return self._loaded[0] if self._loaded and self._loaded[1] == self._settings() else None

    @loaded_from.setter
    def loaded_from(self, name: str | None) -> None:
        self._loaded = None if name is None else (name, self._settings())

    def _changed(self) -> None:
        self.loaded_from = None

    def _settings(self) -> tuple[Any, ...]:
        """What of this model can be set and changes its vectors."""
        own = dict(self.prompts), self.default_prompt_name, self.truncate_dim, self._similarity
        return (*own, self.max_seq_length if len(self) else None, len(self))

    @property
    def max_seq_length(self) -> int | None:
        """Texts are cut to this many tokens; None: never."""
        return cast("int | None", getattr(self._first_module(), "max_seq_length", None))

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        self._first_module().max_seq_length = value

    def get_max_seq_length(self) -> int | None:
        """Return ``max_seq_length``."""
        return self.max_seq_length

    def get_sentence_embedding_dimension(self) -> int | None:
        """Length of a text's vector, after ``truncate_dim``; None when no block knows it."""
        return self._width(self.truncate_dim)

    def _width(self, truncate_dim: int | None) -> int | None:
        for block in reversed(self):
            if callable(dimension := getattr(block, "get_sentence_embedding_dimension", None)):
                return min(int(dimension()), truncate_dim or int(dimension()))
        return None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype | None:
        """The type of the weights; None when there are none."""
        return next((tensor.dtype for tensor in self.parameters()), None)

    @property
    def transformers_model(self) -> Any:
        """The transformers model inside; None where there is none, or another engine runs it."""
        blocks = (block for block in self if hasattr(block, "auto_model"))
        return next((block.auto_model for block in blocks if getattr(block, "backend", "torch") == "torch"), None)

    def get_backend(self) -> str:
        """Return what runs the model: "torch", "onnx" or "openvino"."""
        return self.backend

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Trade time for memory in training: activations are computed again in the backward pass."""
        if (model := self.transformers_model) is None:
            raise ValueError("This model has no transformer, so there is nothing to checkpoint.")
        recompute_activations(model, gradient_checkpointing_kwargs, **options)

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> None:
        """Do as ``gradient_checkpointing_enable``, under its later name."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **options)

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Say whether the tokens of a prompt count in pooling."""
        for block in self:
            if hasattr(block, "include_prompt"):
                setattr(block, "include_prompt", include_prompt)  # noqa: B010  (not every block has it)

    @contextlib.contextmanager
    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Keep only the first ``truncate_dim`` dimensions of vectors encoded inside the ``with`` block."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    # ── compare and judge ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def similarity_fn_name(self) -> str:
        """The similarity this model was trained for: "cosine", "dot", "euclidean" or "manhattan"."""
        return self._similarity or "cosine"

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: str | SimilarityFunction) -> None:
        SimilarityFunction.to_similarity_fn(value)  # raises ChoiceError
        self._similarity = SimilarityFunction(value).value

    @property
    def similarity(self) -> Callable[[Any, Any], Tensor]:
        """The function that compares every row of a with every row of b: (a, b) → (rows of a, rows of b)."""
        return SimilarityFunction.to_similarity_fn(self.similarity_fn_name)

    @property
    def similarity_pairwise(self) -> Callable[[Any, Any], Tensor]:
        """The function that compares row i of a with row i of b: (a, b) → (rows,)."""
        return SimilarityFunction.to_similarity_pairwise_fn(self.similarity_fn_name)

    def evaluate(self, evaluator: Any, output_path: str | Path | None = None) -> Any:
        """Return ``evaluator(self, output_path)``, having made the folder ``output_path``."""
        if output_path is not None:
            Path(output_path).mkdir(parents=True, exist_ok=True)
        return evaluator(self, output_path if output_path is None else str(output_path))

    # ── keep ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def save(
        self,
        path: str | Path,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Write the model to a folder that this class and every release of the reference load.

        The folder is put in place in one step: a save that is killed leaves what was there before.

        Args:
            path: the folder.
            model_name: the name on the model card.
            create_model_card: whether to write README.md; a loaded model keeps the card it came with.
            train_datasets: data sets to name on the card.
            safe_serialization: safetensors (True) or torch pickles.
        """
        config = ModelConfig(self.prompts, self.default_prompt_name, self.similarity_fn_name, self.truncate_dim)
        with write_atomically(path) as folder:
            save_modules(folder, dict(self.named_children()), self.module_kwargs, config, safe_serialization)
            if create_model_card:
                (folder / "README.md").write_text(self._card(model_name, train_datasets), encoding="utf-8")

    save_pretrained = save

    def _card(self, model_name: str | None, train_datasets: list[str] | None) -> str:
        if model_name:
            self.model_card_data.model_name = model_name
        if train_datasets:
            self.model_card_data.train_datasets = [{"name": name, "id": name} for name in train_datasets]
        return generate_model_card(self, anew=bool(model_name or train_datasets))

    @staticmethod
    def load(input_path: str | Path) -> "SentenceTransformer":
        """Load a model from a folder; the same as calling the class."""
        return SentenceTransformer(input_path)

    def push_to_hub(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str | None = None,
        local_model_path: str | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload the model to the hub; returns the address of the commit."""
        with tempfile.TemporaryDirectory() as folder:
            if local_model_path is None:
                self.save(Path(folder) / "model", repo_id, True, train_datasets, safe_serialization)
            where: dict[str, Any] = {"token": token, "private": private, "revision": revision, "create_pr": create_pr}
            where["commit_message"] = commit_message or "Add a SentenceTransformer model"
            source = local_model_path or Path(folder) / "model"
            return hub.push(source, repo_id, exist_ok=exist_ok, keep_card=not replace_model_card, **where)

    def save_to_hub(self, repo_id: str, organization: str | None = None, **options: Any) -> str:
        """Upload to the hub; the older name of ``push_to_hub``."""
        return self.push_to_hub(f"{organization}/{repo_id}" if organization else repo_id, **options)
