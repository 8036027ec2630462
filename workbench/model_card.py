"""The README.md of a saved model: what it is, how to use it, how it was made and judged, written without the network.

Source: Model cards, Mitchell et al. 2019, arXiv:1810.03993; the front matter is the one that the hub reads.
"""

import json
import math
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from workbench import __version__, hub
from workbench.folders import inside

__all__ = [
    "CrossEncoderModelCardData", "Evaluation", "SentenceTransformerModelCardData", "Training", "as_table", "as_text",
    "code_block", "generate_model_card",
]  # fmt: skip

_TRAINING = {"Accelerate": "accelerate", "Datasets": "datasets"}
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
_PAIRS = """\
from workbench import CrossEncoder

model = CrossEncoder(%s)
documents = ["A man is eating pasta.", "The girl is carrying a baby."]
print(model.predict([("A man is eating food.", text) for text in documents]))"""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator found."""

    task: str
    dataset: str
    evaluator: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    primary: str | None
    step: int  # of the training in which it ran, -1 outside of one


@dataclass(frozen=True)
class Training:
    """What a training adds to a card."""

    tags: Sequence[str]
    datasets: Sequence[str]  # their names on the hub
    details: str  # Markdown in which every text is escaped
    citations: Sequence[str]  # BibTeX


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

    Attributes:
        training: what the last training tells; trainers fill it in.
        evaluations: what evaluators found, by their class and name, the latest last.
        kept: the text of the card that the model came with; it is saved again until the model is trained.
    """

    title: ClassVar[str] = "SentenceTransformer"
    fixed_tags: ClassVar[Sequence[str]] = ("sentence-transformers", "sentence-similarity", "feature-extraction")
    pipeline_tag: ClassVar[str] = "sentence-similarity"

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
    training: Training | None = field(default=None, init=False, repr=False)
    evaluations: dict[tuple[str, str], list[Evaluation]] = field(default_factory=dict, init=False, repr=False)
    kept: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        self.language = [self.language] if isinstance(self.language, str) else list(self.language or [])
        for name in ("license", "model_name", "model_id", "task_name", "base_model"):
            if not isinstance(value := getattr(self, name), str | None):
                raise TypeError(f"{name} is a {type(value).__name__}; a model card takes text there.")
        for name in ("language", "tags"):
            if isinstance(values := getattr(self, name), str) or not all(isinstance(value, str) for value in values):
                raise TypeError(f"{name} is {values!r}; a model card takes a list of texts there.")

    def came_from(self, folder: Path) -> None:
        """Keep the card that lies in the folder of a model, and the model's name if that is one of the hub's."""
        if (card := inside(folder, "README.md")).is_file():
            self.kept = card.read_text(encoding="utf-8", errors="replace")
        self.base_model = self.base_model or hub.repo_of(folder)

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: dict[str, float], epoch: int | float = 0, step: int = -1
    ) -> None:
        """Take note of what an evaluator found; the latest of each class and name is shown."""
        kind, name = type(evaluator).__name__, str(getattr(evaluator, "name", None) or "")
        plain = {key.removeprefix(f"{name}_") if name else key: float(value) for key, value in metrics.items()}
        primary = getattr(evaluator, "primary_metric", None)
        primary = primary.removeprefix(f"{name}_") if primary and name else primary
        settings: dict[str, Any] = getattr(evaluator, "get_config_dict", dict)()
        task = getattr(evaluator, "description", None) or kind
        found = Evaluation(task, name, kind, settings, plain, primary, step)
        self.evaluations.setdefault((kind, name), []).append(found)

    def back_to(self, step: int) -> None:
        """Forget what was measured after a step, because the model went back to it."""
        for key, found in self.evaluations.items():
            self.evaluations[key] = [one for one in found if one.step <= step]

    def latest(self) -> list[Evaluation]:
        """What each evaluator found last."""
        return [found[-1] for found in self.evaluations.values() if found]

    def front_matter(self) -> dict[str, Any]:
        """The metadata that the hub reads from the top of the card."""
        training = self.training or Training((), (), "", ())
        ids = [*(row.get("id", "") for row in self.train_datasets), *training.datasets]
        results = [_indexed(one) for one in self.latest()]
        values: dict[str, Any] = {
            "language": self.language,
            "license": self.license,
            "library_name": "sentence-transformers",
            "pipeline_tag": self.pipeline_tag,
            "tags": list(dict.fromkeys([*self.fixed_tags, *training.tags, *self.tags])),
            "base_model": self.base_model,
            "datasets": list(dict.fromkeys(name for name in ids if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name))),
            "metrics": list(dict.fromkeys(metric["type"] for one in results for metric in one["metrics"])),
            "model-index": [{"name": self.model_name or self.title, "results": results}] if results else None,
        }
        return {key: value for key, value in values.items() if value}

    def facts(self, model: Any) -> dict[str, str | None]:
        """What is to be known of ``model``, by name."""
        length, width = model.max_seq_length, model.get_sentence_embedding_dimension()
        return {
            "Maximum sequence length": f"{length} tokens" if length and math.isfinite(length) else "not limited",
            "Output dimensionality": f"{width} dimensions" if width else None,
            "Similarity function": str(model.similarity_fn_name),
        }

    def usage(self, model: Any) -> str:
        """What the model is for, in Markdown."""
        prompts = ""
        if any(model.prompts.values()):
            table = json.dumps(model.prompts, indent=2, ensure_ascii=False)
            prompts = f"\n\nPut before the texts, by name of the prompt:\n\n{code_block(table, 'json')}"
        code = _USAGE % self._address() + (_QUERIES if model.prompts.get("query") else _ALIKE)
        return code_block(code, "python") + prompts

    def purpose(self) -> str:
        """What the model does, in a sentence of Markdown."""
        return f"This model maps texts to vectors. They serve {as_text(self.task_name)}."

    def _address(self) -> str:
        return json.dumps(self.model_id or self.model_name or "path/to/this/folder")


@dataclass
class CrossEncoderModelCardData(SentenceTransformerModelCardData):
    """The same for a ``CrossEncoder``."""

    title: ClassVar[str] = "CrossEncoder"
    fixed_tags: ClassVar[Sequence[str]] = ("sentence-transformers", "cross-encoder", "reranker")
    pipeline_tag: ClassVar[str] = "text-ranking"

    task_name: str = "text reranking, semantic search and the classification of pairs"

    def facts(self, model: Any) -> dict[str, str | None]:
        """What is to be known of ``model``, by name."""
        length = model.max_length
        return {
            "Maximum sequence length": f"{length} tokens" if length else "not limited",
            "Scores per pair": str(model.num_labels),
        }

    def usage(self, model: Any) -> str:
        """What the model is for, in Markdown."""
        return code_block(_PAIRS % self._address(), "python")

    def purpose(self) -> str:
        """What the model does, in a sentence of Markdown."""
        return f"This model scores pairs of texts. The scores serve {as_text(self.task_name)}."


def generate_model_card(model: Any, *, anew: bool = True) -> str:
    """Return the text of a README.md for ``model`` from its public attributes.

    Unless it is wanted ``anew``, an untrained model keeps the card that it came with.

    Text that came from outside is escaped, so that it can neither end the front matter nor become markup.
    """
    import yaml  # type: ignore[import-untyped]

    data: SentenceTransformerModelCardData = model.model_card_data
    training = data.training
    if data.kept and training is None and not anew:
        return data.kept
    facts = {
        "Base model": data.base_model,
        **data.facts(model),
        "Languages": ", ".join(data.language or []),
        "License": data.license,
        "Training data": _names(data.train_datasets),
        "Evaluation data": _names(data.eval_datasets),
    }
    packages = _PACKAGES | (_TRAINING if training else {})
    versions = {"Python": platform.python_version(), "Sentence Workbench": __version__}
    versions |= {name: version(package) for name, package in packages.items()}
    front = yaml.safe_dump(data.front_matter(), sort_keys=False, allow_unicode=True, width=10_000)
    results = "\n\n".join(map(_shown, data.latest()))
    papers = "\n\n".join(training.citations) if training else ""
    parts = [
        f"---\n{front}---",
        f"# {as_text(data.model_name or data.title)}",
        data.purpose(),
        "## Model details",
        "\n".join(f"- **{name}:** {as_text(value)}" for name, value in facts.items() if value),
        "### Full architecture",
        code_block(str(model)),
        "## Usage",
        data.usage(model),
        f"The folder is in the common format: `sentence_transformers.{data.title}` loads it as well.",
        results and f"## Evaluation\n\n{results}",
        training.details if training else "",
        "## Framework versions",
        "\n".join(f"- {name}: {number}" for name, number in versions.items()),
        papers and "## Citation\n\n" + code_block(papers, "bibtex"),
    ]
    return "\n\n".join(filter(None, parts)).encode("utf-8", "replace").decode() + "\n"


def _indexed(found: Evaluation) -> dict[str, Any]:
    """An evaluation as the hub's index of models has it."""
    return {
        "task": {"type": found.task.lower().replace(" ", "-"), "name": found.task},
        "dataset": {"name": found.dataset or "Unknown", "type": found.dataset or "unknown"},
        "metrics": [
            {"type": name, "value": value, "name": name.replace("_", " ").title()}
            for name, value in found.metrics.items()
            if math.isfinite(value)
        ],
    }


def _shown(found: Evaluation) -> str:
    """An evaluation in Markdown, its primary metric in bold."""
    settings = "".join(f"\n- **{as_text(key)}:** {as_text(str(value))}" for key, value in found.settings.items())
    rows = [
        [f"**{as_text(name)}**", f"**{value:.4f}**"] if name == found.primary else [as_text(name), f"{value:.4f}"]
        for name, value in found.metrics.items()
    ]
    head = f"### {as_text(found.task)}\n\n- **Data:** {as_text(found.dataset or 'unnamed')}"
    head += f"\n- **Evaluator:** {as_text(found.evaluator)}"
    return f"{head}{settings}\n\n{as_table(['Metric', 'Value'], rows)}"


def _names(datasets: list[dict[str, str]]) -> str:
    return ", ".join(row.get("name") or row.get("id") or "unnamed" for row in datasets)


def as_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    names = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, ["---"] * len(names), *rows])


def as_text(value: str) -> str:
    """A text as one line of Markdown that reads as it is written: no markup, no HTML."""
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", escape(" ".join(value.split()), quote=False))


def code_block(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"
