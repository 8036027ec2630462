"""A model in the form that the benchmark MTEB asks for (arXiv:2210.07316; its package ``mteb``, versions 1 and 2)."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench._optional import require
from workbench.errors import DependencyError, TextTypeError
from workbench.sentence_transformer import SentenceTransformer

__all__ = ["MtebModel"]

_KINDS = {"query": "query", "document": "document", "passage": "document"}  # what MTEB calls the sides of a search


class MtebModel:
    """A ``SentenceTransformer`` that ``mteb`` evaluates: ``mteb.evaluate(MtebModel("starter"), tasks)``.

    Version 2 gives batches of a ``DataLoader`` with the task's description, version 1 lists of texts with the task's
    name. A prompt of the model is taken by the first of these names that it has: task-kind, task, type-kind, type,
    kind, where the kind is "query" or "document" (or "passage"), and the type such as "Retrieval"; else as
    ``encode_query`` and ``encode_document`` decide.

    Args:
        model: a name, a folder or a model.
        revision: on the hub.
        options: of ``SentenceTransformer``.
    """

    def __init__(self, model: str | Path | SentenceTransformer, revision: str | None = None, **options: Any) -> None:
        self.model: Any = model
        if not isinstance(model, SentenceTransformer):
            self.model = SentenceTransformer(model, revision=revision, **options)
        card = self.model.model_card_data
        named = str(model) if isinstance(model, (str, Path)) else getattr(card, "model_name", None)
        self.name = named or "model"
        self.revision = revision
        self.model_card_data = card

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any = None,
        hf_split: str | None = None,
        hf_subset: str | None = None,
        prompt_type: Any = None,
        task_name: str | None = None,
        prompt_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Return vectors, (texts, dim).

        Args:
            inputs: texts, dicts with "text" (and maybe "title"), or batches: dicts with a list "text".
            task_metadata: the task, with ``name`` and ``type``.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: "query", "document" or "passage", or a member of an enumeration with such a value.
            task_name: the task's name, as version 1 gives it.
            prompt_name: the same, as its first versions gave it.
            options: of ``SentenceTransformer.encode``; others are left out.

        Raises:
            TextTypeError: there are no texts in ``inputs``, such as in tasks of pictures.
        """
        kind = getattr(prompt_type, "value", prompt_type)
        task, form = getattr(task_metadata, "name", task_name or prompt_name), getattr(task_metadata, "type", None)
        kinds = [kind, *(("document", "passage") if kind in ("document", "passage") else ())] if kind else []
        names = [name for whole in (task, form) if whole for name in (*(f"{whole}-{kind}" for kind in kinds), whole)]
        chosen = next((name for name in (*names, *kinds) if name in self.model.prompts), None)
        known = inspect.signature(self.model.encode).parameters
        options = {name: value for name, value in options.items() if name in known}
        if chosen is not None:
            options["prompt_name"] = chosen
        encode = getattr(self.model, f"encode_{_KINDS.get(str(kind))}", self.model.encode)
        return encode(list(_texts(inputs)), **options)

    def encode_queries(self, queries: Any, **options: Any) -> Any:
        """Return vectors of queries, as the first versions ask for them."""
        return self.encode(queries, **{**options, "prompt_type": "query"})

    def encode_corpus(self, corpus: Any, **options: Any) -> Any:
        """Return vectors of documents: dicts with "text" and maybe "title", or a dict of such lists."""
        return self.encode(corpus, **{**options, "prompt_type": "document"})

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Compare every row with every row by the model's similarity."""
        return self.model.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Compare row i with row i by the model's similarity."""
        return self.model.similarity_pairwise(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> Any:
        """What MTEB files results under: its own ``ModelMeta``; what the model does not tell of itself is None.

        Raises:
            DependencyError: ``mteb`` is not installed.
        """
        try:
            kind = require("mteb.models.model_meta", extra="test").ModelMeta
        except DependencyError:
            try:
                kind = require("mteb.model_meta", extra="test").ModelMeta  # version 1
            except DependencyError as error:
                raise DependencyError("This needs 'mteb', which is not installed: pip install mteb") from error
        weights = list(self.model.parameters())
        similarity = self.model.similarity_fn_name
        known = {
            "name": self.name if "/" in self.name.strip("/") else f"sentence-workbench/{self.name.strip('/')}",
            "revision": self.revision or "local",
            "n_parameters": sum(weight.numel() for weight in weights),
            "memory_usage_mb": sum(weight.nbytes for weight in weights) / 2**20,
            "max_tokens": self.model.max_seq_length,
            "embed_dim": self.model.get_sentence_embedding_dimension(),
            "similarity_fn_name": similarity if similarity in ("cosine", "dot") else None,
            "framework": ["PyTorch"],
        }
        lacking = {name: None for name, field in kind.model_fields.items() if field.is_required()}
        return kind(**{**lacking, **known})


def _texts(inputs: Any) -> Iterable[str]:
    """The texts of what MTEB gives: texts, documents, or batches of them."""
    for row in [inputs] if isinstance(inputs, Mapping) else inputs:
        if not isinstance(row, Mapping):
            yield row
            continue
        if "text" not in row:
            raise TextTypeError(f"The input has {', '.join(map(str, row))} and no text; this model reads texts only.")
        text, title = row["text"], row.get("title") or ""
        if isinstance(text, str):
            yield f"{title} {text}".strip()
        else:  # the texts of a version 2 batch hold their titles already, those of a version 1 table do not
            whole = title and not all(one.startswith(head or "") for one, head in zip(text, title, strict=True))
            yield from (f"{h or ''} {t}".strip() for t, h in zip(text, title, strict=True)) if whole else text
