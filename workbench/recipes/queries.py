"""Queries made from passages: by a sequence-to-sequence model, by any function, or by rules without a model."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from workbench import hub
from workbench.datasets import as_dataset
from workbench.devices import pick_device
from workbench.errors import ColumnsError
from workbench.recipes.steps import Steps
from workbench.texts import as_texts

__all__ = [
    "QueryGenerator", "RuleGenerator", "Seq2SeqGenerator", "as_generator", "distinct_passages", "generate_queries",
    "generator_name", "write_queries",
]  # fmt: skip

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_BLOCK = 256  # passages whose queries are written together


class QueryGenerator(Protocol):
    """Makes queries that a passage would answer."""

    def generate(self, passages: list[str], count: int) -> list[list[str]]:
        """Return up to ``count`` queries for each passage."""


class Seq2SeqGenerator:
    """Queries drawn from a sequence-to-sequence model that was trained to ask, such as docT5query's.

    Nogueira and Lin 2019 (doc2query); as in GenQ and GPL, queries are sampled (nucleus sampling), since the most likely
    ones are too much alike. The same passages and seed give the same queries.

    Args:
        model: a name on the hub ("BeIR/query-gen-msmarco-t5-base-v1", "doc2query/msmarco-t5-base-v1") or a folder of
            the T5 class.
        prefix: put before each passage, for models that want one.
        max_length: passages are cut to this many tokens, as queries to ``max_query_length``.
        max_query_length: see there.
        top_p: the share of probability that each next token is drawn from.
        batch_size: passages at a time.
        device: see ``SentenceTransformer``.
        seed: of the draw.

    Raises:
        ModelNotFoundError: no such model; lists what was tried.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        prefix: str = "",
        max_length: int = 350,
        max_query_length: int = 64,
        top_p: float = 0.95,
        batch_size: int = 16,
        device: str | torch.device | None = None,
        seed: int = 0,
    ) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        folder = hub.resolve(model)
        self.name, self.prefix, self.seed, self.batch_size = str(model), prefix, seed, batch_size
        self.max_length, self.max_query_length, self.top_p = max_length, max_query_length, top_p
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        loaded: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True)
        self.model = loaded.to(pick_device(device)).eval()

    def generate(self, passages: list[str], count: int) -> list[list[str]]:
        """Return ``count`` queries for each passage."""
        order = sorted(range(len(passages)), key=lambda row: -len(passages[row]))  # little is padded
        found: list[list[str]] = [[] for _ in passages]
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(self.seed)
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                texts = [self.prefix + passages[row] for row in rows]
                inputs = self.tokenizer(
                    texts, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt"
                ).to(self.model.device)
                out = self.model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    do_sample=True,
                    top_p=self.top_p,
                    max_new_tokens=self.max_query_length,
                    num_return_sequences=count,
                )
                queries = self.tokenizer.batch_decode(out, skip_special_tokens=True)
                for place, row in enumerate(rows):
                    found[row] = queries[place * count : (place + 1) * count]
        return found


class RuleGenerator:
    """Queries made by rules, for English texts: no model, at once, and the same each time. For tests and for demos.

    From the sentences of a passage, the most telling first: a question around its first content words, its content
    words alone as people type them, and those words that few other passages have. A model asks in other words than the
    passage, which these rules cannot; expect less from them.
    """

    def generate(self, passages: list[str], count: int) -> list[list[str]]:
        """Return up to ``count`` queries for each passage; what is rare is counted over the passages given."""
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        words = [[word.lower() for word in _WORD.findall(text)] for text in passages]
        spread = Counter(word for row in words for word in set(row))
        return [self._queries(text, spread, ENGLISH_STOP_WORDS)[:count] for text in passages]

    @staticmethod
    def _queries(passage: str, spread: Counter[str], stop: frozenset[str]) -> list[str]:
        sentences = []
        for sentence in _SENTENCE_END.split(passage):
            telling = [word for word in _WORD.findall(sentence) if word.lower() not in stop]
            if telling:
                sentences.append((sum(1 / spread[word.lower()] for word in telling) / len(telling) ** 0.5, telling))
        sentences.sort(key=lambda pair: -pair[0])
        made: list[str] = []
        for _, telling in sentences:
            rare = set(sorted(dict.fromkeys(word.lower() for word in telling), key=lambda word: spread[word])[:3])
            made += [
                f"what about {' '.join(telling[:5]).lower()}?",
                " ".join(telling[:6]).lower(),
                " ".join(dict.fromkeys(word.lower() for word in telling if word.lower() in rare)),
            ]
        return list(dict.fromkeys(made))


class _Function:
    """A function from a passage to queries, as a generator."""

    def __init__(self, function: Callable[[str], str | Sequence[str]]) -> None:
        self.function = function
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)

    def generate(self, passages: list[str], count: int) -> list[list[str]]:
        """Return what the function makes, ``count`` at most."""
        made = [self.function(text) for text in passages]
        return [[one] if isinstance(one, str) else list(one)[:count] for one in made]


def as_generator(generator: Any) -> QueryGenerator:
    """Return what makes queries: "rules", a model by name or folder, a ``QueryGenerator``, or a function of a passage.

    Raises:
        TypeError: anything else.
        ModelNotFoundError: no such model.
    """
    if isinstance(generator, str) and generator == "rules":
        return RuleGenerator()
    if isinstance(generator, (str, Path)):
        return Seq2SeqGenerator(generator)
    if callable(getattr(generator, "generate", None)):
        return generator  # type: ignore[no-any-return]
    if callable(generator):
        return _Function(generator)
    raise TypeError(
        f"generator is {type(generator).__name__}; expected 'rules', the name or folder of a sequence-to-sequence "
        "model, a function from a passage to its queries, or an object with generate(passages, count)."
    )


def generator_name(maker: QueryGenerator) -> str:
    """What the steps of a run know a generator by."""
    return str(getattr(maker, "name", "") or getattr(maker, "__qualname__", type(maker).__qualname__))


def generate_queries(
    passages: Any, generator: Any = "rules", per_passage: int = 3, *, output_path: str | Path | None = None
) -> Any:
    """Return a ``datasets.Dataset`` of (query, passage), each different pair once.

    Args:
        passages: the texts to find later.
        generator: see ``as_generator``.
        per_passage: queries of each passage, at most.
        output_path: where the queries are kept block by block, so that a killed run goes on; None: nowhere.

    Raises:
        ColumnsError: no passages, or no queries for any of them.
        TypeError: no generator, or one that gives something else than queries.
        DataFormatError: the folder holds queries of another run.
    """
    texts, maker = distinct_passages(passages), as_generator(generator)
    steps = Steps(output_path, passages=texts, generator=generator_name(maker), per_passage=per_passage)
    pairs = write_queries(steps, texts, maker, per_passage)
    return as_dataset({"query": [query for query, _ in pairs], "passage": [texts[row] for _, row in pairs]})


def distinct_passages(passages: Any) -> list[str]:
    """Return the different passages; raises ``ColumnsError`` where there are none."""
    texts = list(dict.fromkeys(text for text in as_texts(passages, name="passages")[0] if text.strip()))
    if not texts:
        raise ColumnsError("There are no passages to make queries from.")
    return texts


def write_queries(steps: Steps, texts: list[str], maker: QueryGenerator, per_passage: int) -> list[tuple[str, int]]:
    """Return the different (query, row of its passage), made in a step of blocks."""
    if per_passage < 1:
        raise ValueError(f"per_passage is {per_passage}; ask for one query or more.")

    def make(part: list[int]) -> list[dict[str, Any]]:
        found = maker.generate([texts[row] for row in part], per_passage)
        if len(found) != len(part) or not all(isinstance(query, str) for own in found for query in own):
            raise TypeError(f"The generator gave {len(found)} lists of queries for {len(part)} passages, or no texts.")
        return [{"query": query, "row": row} for row, own in zip(part, found, strict=True) for query in _clean(own)]

    made = steps.rows("queries", range(len(texts)), make, _BLOCK)
    if not made:
        raise ColumnsError("The generator made no query for any passage. Are the passages in a language that it knows?")
    return list(dict.fromkeys((row["query"], row["row"]) for row in made))


def _clean(queries: list[str]) -> list[str]:
    return [text for text in (" ".join(query.split()) for query in queries) if text]
