"""The README.md of a saved model: what it is, how to use it and what it was made with, written without the network.

Source: Model cards, Mitchell et al. 2019, arXiv:1810.03993; the front matter is the one that the hub reads.
"""

import json
import platform
import re
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from typing import Any

from workbench import __version__

__all__ = ["SentenceTransformerModelCardData", "generate_model_card"]

_TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction")
_PACKAGES = {"Transformers": "transformers", "PyTorch": "torch", "Tokenizers": "tokenizers"}
_USAGE = """\
from workbench import SentenceTransformer

model = SentenceTransformer(%s)
sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
"""
_ALIKE = """\
vectors = model.encode(sentences)
print(vectors.shape)
print(model.similarity(vectors, vectors))"""
_QUERIES = """\
queries = model.encode_query(sentences[:1])
documents = model.encode_document(sentences[1:])
print(model.similarity(queries, documents))"""


@dataclass
class SentenceTransformerModelCardData:
    """What only its maker knows about a model, for the generated card.

    Args:
        language: codes such as "en", or a list of them.
        license: an identifier such as "apache-2.0".
        model_name: the title; None makes one from what is known.
        model_id: the name on the hub, ``owner/name``.
        train_datasets: one dictionary for each set, with "name" and, where the hub has it, "id".
        eval_datasets: the same for evaluation.
        task_name: what the vectors are good for, as the end of a sentence.
        tags: further words to find the model by.
        generate_widget_examples: whether examples of the training data may be shown.
        base_model: the model this one was made from.
    """

    language: str | list[str] | None = field(default_factory=list)
    license: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    train_datasets: list[dict[str, str]] = field(default_factory=list)
    eval_datasets: list[dict[str, str]] = field(default_factory=list)
    task_name: str = "semantic similarity, search, paraphrase mining, classification and clustering"
    tags: list[str] = field(default_factory=list)
    generate_widget_examples: bool = True
    base_model: str | None = None

    def __post_init__(self) -> None:
        self.language = [self.language] if isinstance(self.language, str) else list(self.language or [])
        for name in ("license", "model_name", "model_id", "task_name", "base_model"):
            if not isinstance(value := getattr(self, name), str | None):
                raise TypeError(f"{name} is a {type(value).__name__}; a model card takes text there.")
        for name in ("language", "tags"):
            if isinstance(values := getattr(self, name), str) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"{name} is {values!r}; a model card takes a list of texts there.")

    def front_matter(self) -> dict[str, Any]:
        """The metadata that the hub reads from the top of the card."""
        names = [row.get("id") or row.get("name", "") for row in self.train_datasets]
        values = {
            "language": self.language,
            "license": self.license,
            "library_name": "sentence-transformers",
            "pipeline_tag": "sentence-similarity",
            "tags": list(dict.fromkeys([*_TAGS, *self.tags])),
            "base_model": self.base_model,
            "datasets": list(dict.fromkeys(name for name in names if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name))),
        }
        return {key: value for key, value in values.items() if value}


def generate_model_card(model: Any) -> str:
    """Return the text of a README.md for ``model``, a ``SentenceTransformer``, from its public attributes.

    Text that came from outside is escaped, so that it can neither end the front matter nor become markup.
    """
    import yaml  # type: ignore[import-untyped]

    data: SentenceTransformerModelCardData = model.model_card_data
    length, width = model.max_seq_length, model.get_sentence_embedding_dimension()
    facts = {
        "Base model": data.base_model,
        "Maximum sequence length": f"{length} tokens" if length else "not limited",
        "Output dimensionality": f"{width} dimensions" if width else None,
        "Similarity function": str(model.similarity_fn_name),
        "Languages": ", ".join(data.language or []),
        "License": data.license,
        "Training data": _names(data.train_datasets),
        "Evaluation data": _names(data.eval_datasets),
    }
    versions = {"Python": platform.python_version(), "Sentence Workbench": __version__}
    versions |= {name: version(package) for name, package in _PACKAGES.items()}
    front = yaml.safe_dump(data.front_matter(), sort_keys=False, allow_unicode=True, width=10_000)
    address = json.dumps(data.model_id or data.model_name or "path/to/this/folder")
    prompts = ""
    if any(model.prompts.values()):
        table = json.dumps(model.prompts, indent=2, ensure_ascii=False)
        prompts = f"Put before the texts, by name of the prompt:\n\n{_fence(table, 'json')}"
    parts = [
        f"---\n{front}---",
        f"# {_text(data.model_name or 'SentenceTransformer')}",
        f"This model maps texts to vectors. They serve {_text(data.task_name)}.",
        "## Model details",
        "\n".join(f"- **{name}:** {_text(value)}" for name, value in facts.items() if value),
        prompts,
        "### Full architecture",
        _fence(str(model)),
        "## Usage",
        _fence(_USAGE % address + (_QUERIES if model.prompts.get("query") else _ALIKE), "python"),
        "The folder is in the common format: `sentence_transformers.SentenceTransformer` loads it as well.",
        "## Framework versions",
        "\n".join(f"- {name}: {number}" for name, number in versions.items()),
    ]
    return "\n\n".join(filter(None, parts)).encode("utf-8", "replace").decode() + "\n"


def _names(datasets: list[dict[str, str]]) -> str:
    return ", ".join(row.get("name") or row.get("id") or "unnamed" for row in datasets)


def _text(value: str) -> str:
    """A text as one line of Markdown that reads as it is written: no markup, no HTML."""
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", escape(" ".join(value.split()), quote=False))


def _fence(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"
