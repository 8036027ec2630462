"""The models that come with the package: complete, undamaged, small, and as good as their cards say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import v_measure_score

from workbench import CrossEncoder, SentenceTransformer, hub
from workbench.clustering import cluster
from workbench.errors import ModelFormatError
from workbench.models import Normalize, StaticEmbedding
from workbench.search import DenseIndex, ExactIndex, RetrieveRerank
from workbench.similarity import cos_sim

LARGEST = {"starter": 8e6, "starter-multilingual": 12e6, "starter-reranker": 25e6}  # bytes
QUERY = "A man is eating pasta."
PASSAGES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing violin.",
    "Two men pushed carts through the woods.",
    "A man is riding a white horse on an enclosed ground.",
    "A monkey is playing drums.",
    "A cheetah is running behind its prey.",
]
ALIKE = [  # a text, one that means alike, one that does not
    ("How do I reset my password?", "I forgot my password and cannot log in.", "What is the weather like in Rome?"),
    ("The stock market fell sharply today.", "Shares dropped a lot this morning.", "She bakes bread every Sunday."),
    ("A dog runs through the snow.", "A puppy is playing in the winter.", "The committee approved the budget."),
    ("The doctor examined the patient.", "A physician checked a sick man.", "The guitar needs new strings."),
    ("He bought a new car.", "He purchased an automobile.", "Plants need light to grow."),
]


def read(name):
    return pd.read_csv(Path(__file__).parents[1] / "notebooks" / "data" / f"{name}.csv").dropna()


@pytest.fixture(scope="module")
def starter():
    return SentenceTransformer("starter", device="cpu")


@pytest.mark.parametrize("name", sorted(hub.bundled()))
def test_a_bundled_model_is_small_has_a_card_and_is_checked(name):
    folder = hub.bundled()[name]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST[name]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(heading in card for heading in ("license: ", "## How it was made", "## Scores", "## Limits"))
    large = {path.relative_to(folder).as_posix() for path in files if path.stat().st_size > 100_000}
    assert large <= json.loads((folder / "sha256.json").read_text(encoding="utf-8")).keys()


@pytest.mark.parametrize("name", sorted(hub.bundled()))
def test_a_damaged_file_is_named_with_the_remedy(name, tmp_path):
    folder = shutil.copytree(hub.bundled()[name], tmp_path / name)
    hub.verify(folder)
    file = next(folder.rglob("model.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"model\.safetensors.*is damaged.*--force-reinstall"):
        hub.verify(folder)


def test_starter_is_static_vectors_of_length_one(starter):
    assert [type(block) for block in starter] == [StaticEmbedding, Normalize]
    vectors = starter.encode(PASSAGES)
    assert vectors.shape == (9, 256)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_starter_puts_like_meanings_closer(starter):
    for text, like, unlike in ALIKE:
        near, far = starter.similarity(starter.encode(text), starter.encode([like, unlike]))[0].tolist()
        assert near > far + 0.1, text


def test_starter_skips_what_it_cannot_read(starter):
    assert (starter.encode("\u6f22\u5b57") == 0).all()
    assert np.allclose(starter.encode("pasta \u6f22"), starter.encode("pasta"), atol=1e-6)


def test_starter_is_stored_in_eight_bits_and_computed_with_in_single_precision(starter):
    stored = load_file(hub.bundled()["starter"] / "0_StaticEmbedding" / "model.safetensors")
    assert stored["embeddings"].dtype == torch.int8
    weight = starter[0].embedding.weight
    assert weight.dtype == torch.float32
    read = stored["embeddings"].float() * stored["weights"][:, None]
    read[starter[0].tokenizer.token_to_id("[UNK]")] = 0
    assert torch.equal(weight, read)


def test_starter_finds_answers_and_groups_questions(starter):
    faq, judged = read("faq"), {}
    for row in read("faq_queries").itertuples():
        judged.setdefault(row.query, {})[row.id] = row.gain
    documents = dict(zip(faq["id"], faq["question"] + " " + faq["answer"], strict=True))
    index = DenseIndex(starter, ExactIndex())
    index.add(list(documents), list(documents.values()))
    found = RetrieveRerank(index, documents).run(list(judged), 10, judgements=list(judged.values())).metrics(10)
    assert found["retrieved"]["nDCG@10"] > 0.61
    questions = read("questions")
    groups = cluster(starter.encode(questions["text"].tolist()), n_clusters=questions["subject"].nunique())
    assert v_measure_score(questions["subject"], groups.labels) > 0.78


@pytest.mark.parametrize(("dimensions", "share"), [(256, 0.9), (128, 0.88), (64, 0.8)])
def test_starter_pairs_registers_also_with_its_first_dimensions(starter, dimensions, share):
    pairs = read("registers")
    plain, formal = (starter.encode(pairs[side].tolist())[:, :dimensions] for side in ("plain", "formal"))
    right = cos_sim(plain, formal).argmax(1).numpy() == np.arange(len(pairs))
    assert right.mean() > share


@pytest.fixture(scope="module")
def multilingual():
    return SentenceTransformer("starter-multilingual", device="cpu")


def test_the_multilingual_starter_is_static_vectors_of_length_one(multilingual):
    assert [type(block) for block in multilingual] == [StaticEmbedding, Normalize]
    vectors = multilingual.encode(["Guten Morgen!", "Où est la gare ?"])
    assert vectors.shape == (2, 128)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_the_multilingual_starter_finds_translations_both_ways(multilingual, starter, language):
    pairs = read("parallel")

    def share(model):
        english, other = (model.encode(pairs[side].tolist()) for side in ("en", language))
        cosine = cos_sim(english, other)
        return np.mean([(side.argmax(1).numpy() == np.arange(len(pairs))).mean() for side in (cosine, cosine.T)])

    assert share(multilingual) > 0.8 > 0.5 > share(starter)


@pytest.fixture(scope="module")
def reranker():
    return CrossEncoder("starter-reranker", device="cpu")


def test_the_reranker_puts_the_two_sentences_about_eating_first(reranker):
    ranks = reranker.rank(QUERY, PASSAGES)
    assert [row["corpus_id"] for row in ranks[:2]] == [0, 1]
    assert ranks[1]["score"] > 0.4 > 0.2 > ranks[2]["score"] > 0


def test_the_reranker_prefers_the_like_meaning(reranker):
    scores = reranker.predict([(text, other) for text, like, unlike in ALIKE for other in (like, unlike)])
    assert (scores[::2] > scores[1::2]).all()


def test_the_reranker_computes_in_single_precision(reranker):
    assert {parameter.dtype for parameter in reranker.model.parameters()} == {torch.float32}
    assert reranker.max_length == 192
