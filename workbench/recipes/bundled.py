"""What ``workbench train-starter`` makes, by name: models trained from a data folder, each with its card."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import choose
from workbench.metrics import spearman
from workbench.recipes.multilingual import make_multilingual
from workbench.recipes.public_data import LANGUAGES, PublicData
from workbench.recipes.reranker import make_reranker
from workbench.recipes.starter import make_starter
from workbench.sentence_transformer import SentenceTransformer
from workbench.similarity import pairwise_cos_sim

__all__ = ["RECIPES", "Recipe", "train_bundled"]

_TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
_SETS = """\
| data, train splits only | licence | read for |
|---|---|---|
| STS benchmark, English (5,749 pairs) | CC BY-SA 4.0 (scores; texts as their sources) | texts, scores of pairs |
| SNLI, a subset (51,851 pairs) | CC BY-SA 4.0 | texts, entailed pairs |
| SQuAD 1.1 (87,599 questions, 18,896 paragraphs) | CC BY-SA 4.0 | texts, questions and paragraphs |
| MedQuAD (16,407 questions and answers) | CC BY 4.0 | texts, questions and answers |
| Wikipedia sentences of oos-eval (14,209), CLINC150 (15,100) | CC BY 3.0, text CC BY-SA | texts |
| BANKING77 (10,003) | CC BY 4.0 | texts |
| NTREX-128, English (1,997) | CC BY-SA 4.0 | texts |"""
_PARALLEL = """\
| data, train splits only | licence | read for |
|---|---|---|
| NTREX-128 (1,997 rows) | CC BY-SA 4.0 | the same sentence in all languages |
| STS benchmark (5,749 pairs), translated by machine | CC BY-SA 4.0 (scores; texts as their sources) | the same |"""


@dataclass(frozen=True)
class Recipe:
    """How a model is made, with the settings that its card names, and what else stands in there."""

    make: Callable[..., Any]
    settings: dict[str, Any]
    quick: dict[str, Any]  # settings of a trial
    task: str
    tag: str
    what: str
    limits: str
    sets: str = _SETS
    languages: tuple[str, ...] = ("en",)
    benchmark: str = "bundled"


RECIPES = {
    "starter": Recipe(
        make_starter,
        {"dimensions": 256, "texts": 81_920, "epochs": 4, "seeds": (0, 1)},
        {"texts": 2_000, "epochs": 1, "seeds": (0,)},
        "sentence-similarity",
        "static-embeddings",
        "English model that comes with Sentence Workbench: static vectors, no transformer: a text is the mean of its "
        "tokens' vectors",
        """\
English only: words in other scripts are skipped, and accents are dropped. Word order and negation are lost: "dog bites
man" and "man bites dog" have the same vector. Rare words are sums of pieces. It was taught on captions, news,
questions, medicine and Wikipedia: other fields are less well covered, and long texts are blurred. It carries the
biases of its teacher and of the texts: captions describe people by gender and age, the encyclopedia and the news look
from the United States. Before using it to decide about people, measure. For the best quality, take a transformer.""",
    ),
    "starter-multilingual": Recipe(
        make_multilingual,
        {"dimensions": 128, "epochs": 10, "least": 3, "pieces": 12_000, "seed": 0},
        {"epochs": 1, "pieces": 100},
        "sentence-similarity",
        "static-embeddings",
        "model for seven languages that comes with Sentence Workbench: static vectors, no transformer; a text and its "
        "translation are near each other",
        """\
English, German, French, Spanish, Italian, Portuguese and Dutch, each from only about 12,000 sentences: news, captions,
forum posts. Words that do not come there are guessed from their letters, often wrongly. Words in other scripts are
skipped, accents are dropped, and word order and negation are lost. Most of the translations that it learned from were
made by a machine. For texts in English alone take `starter`; where translations must be found reliably, take a
transformer such as LaBSE. It carries the biases of its teacher and of its texts.""",
        _PARALLEL,
        tuple(LANGUAGES),
        "languages",
    ),
    "starter-reranker": Recipe(
        make_reranker,
        {"layers": 2, "tokens": 21_000, "steps": 2_000, "lists": 12, "passages": 6, "max_length": 192, "seed": 0},
        {"steps": 10, "lists": 2, "passages": 3, "tokens": 2_000},
        "text-ranking",
        "cross-encoder",
        "English model that comes with Sentence Workbench: a small cross-encoder, which reads two texts together",
        """\
English only. Pairs are cut, so the end of a long passage is not read. It has learned from Wikipedia and medical
questions and from captions, news and forum sentences; elsewhere it can make a ranking worse, so measure on your own
queries. Rare words are read in small pieces. The scores order passages; they are not probabilities. It carries the
biases of its data and of its base model.""",
    ),
}


def train_bundled(
    model: str, data: str | Path, output_path: str | Path, *, teacher: Any = _TEACHER, quick: bool = False
) -> Any:
    """Train the model named ``model`` on the sets in the folder ``data``, write it with its card, and return it.

    Args:
        model: a name of ``RECIPES``.
        data: the folder; ``PublicData`` says what it must hold.
        output_path: where the folder is written.
        teacher: a SentenceTransformer that begins with BERT, as its name or folder.
        quick: a trial of a few minutes at most, to see that everything runs; the model is of no use.

    Raises:
        ChoiceError: there is no recipe for ``model``.
        DataFormatError: a file is missing; names it.
    """
    recipe, public = choose("model", model, RECIPES), PublicData(data)
    settings = recipe.settings | (recipe.quick if quick else {})
    start = time.perf_counter()
    extra = {"retriever": SentenceTransformer("starter", device="cpu")} if model == "starter-reranker" else {}
    made = recipe.make(teacher, public, output_path, **settings, **extra)
    minutes = (time.perf_counter() - start) / 60
    measured = {}
    for language in recipe.languages:
        first, second, scores = (list(column) for column in zip(*public.sts_dev(language), strict=True))
        if isinstance(made, SentenceTransformer):
            found = pairwise_cos_sim(made.encode(first), made.encode(second))
        else:
            found = made.predict(list(zip(first, second, strict=True)))
        measured[f"STS benchmark, {language}, development split, Spearman, percent"] = 100 * spearman(found, scores)
    _write_card(Path(output_path), model, settings, minutes, measured)
    return made


def _write_card(folder: Path, model: str, settings: dict[str, Any], minutes: float, measured: dict[str, float]) -> None:
    recipe = RECIPES[model]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    rows = "\n".join(f"| {name} | {value:.1f} |" for name, value in measured.items())
    head = f"language: [{', '.join(recipe.languages)}]\nlicense: apache-2.0\nlibrary_name: sentence-transformers"
    head += f"\npipeline_tag: {recipe.task}"
    (folder / "README.md").write_text(
        f"---\n{head}\nbase_model: {_TEACHER}\ntags:\n- {recipe.tag}\n---\n\n# {model}\n\n"
        f"The small {recipe.what}. {size:.1f} MB.\n\n"
        "## How it was made\n\n"
        f"From all-MiniLM-L6-v2 (Apache-2.0) and these sets; a text that also stands in a test or development set was "
        f"left out.\n\n{recipe.sets}\n\n"
        f"Settings: {', '.join(f'{name} {value}' for name, value in settings.items())}. It took {minutes:.0f} minutes. "
        "The code says the rest (`workbench.recipes`); this makes it again:\n\n"
        f"```\nworkbench train-starter --data PATH --out DIR --model {model}\n```\n\n"
        f"## Scores\n\n| measured | score |\n|---|---|\n{rows}\n\n"
        f"`python -m benchmarks.{recipe.benchmark} --data PATH` measures more.\n\n"
        f"## Limits\n\n{recipe.limits}\n",
        encoding="utf-8",
    )
