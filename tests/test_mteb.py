"""The form that MTEB asks for, called as its versions 1 and 2 call it; ``mteb`` itself is not run."""

import sys
from enum import StrEnum
from types import ModuleType, SimpleNamespace
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.tiny import SENTENCES
from workbench import SentenceTransformer
from workbench.errors import DependencyError, TextTypeError
from workbench.evaluation import MtebModel

TEXTS = SENTENCES[:5]
TASK = SimpleNamespace(name="SciFact", type="Retrieval")


class PromptType(StrEnum):
    """As in version 1; version 2 says "document" in the place of "passage"."""

    query = "query"
    passage = "passage"
    document = "document"


@runtime_checkable
class EncoderProtocol(Protocol):
    """The methods by which version 2 knows a model that encodes."""

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **kwargs): ...

    def similarity(self, embeddings1, embeddings2): ...

    def similarity_pairwise(self, embeddings1, embeddings2): ...

    @property
    def mteb_model_meta(self): ...


@pytest.fixture
def installed(monkeypatch):
    """A stand-in for ``mteb`` whose ModelMeta wants every field, as the real one does."""

    wanted = """name revision release_date languages n_parameters memory_usage_mb max_tokens embed_dim license
    similarity_fn_name framework training_datasets"""

    class ModelMeta:
        model_fields: ClassVar = {name: SimpleNamespace(is_required=lambda: True) for name in wanted.split()}

        def __init__(self, **values):
            assert set(values) == set(self.model_fields)
            vars(self).update(values)

    def install(*path):
        for depth in range(1, len(path) + 1):
            module = ModuleType(".".join(path[:depth]))
            module.__path__ = []
            monkeypatch.setitem(sys.modules, module.__name__, module)
        module.ModelMeta = ModelMeta

    return install


def loader(texts, **columns):
    rows = [{"text": text, **{key: values[at] for key, values in columns.items()}} for at, text in enumerate(texts)]
    return DataLoader(rows, batch_size=2)


def test_version_2_gives_batches_of_a_loader_with_the_task(tiny, installed):
    installed("mteb", "models", "model_meta")
    model = MtebModel(tiny)
    assert isinstance(model, EncoderProtocol)
    found = model.encode(
        loader(TEXTS), task_metadata=TASK, hf_split="test", hf_subset="default", prompt_type=None, batch_size=3,
        show_progress_bar=False, num_proc=2,
    )  # fmt: skip
    np.testing.assert_allclose(found, tiny.encode(TEXTS), atol=1e-6)
    tensor = model.encode(loader(TEXTS), task_metadata=TASK, hf_split="t", hf_subset="d", convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)


def test_version_1_gives_lists_with_the_names_of_task_and_prompt(tiny):
    model = MtebModel(tiny)
    expected = tiny.encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS, task_name="STS12", batch_size=4), expected, atol=1e-6)
    np.testing.assert_allclose(
        model.encode(TEXTS, task_name="SciFact", prompt_type=PromptType.query, request_qid=None), expected, atol=1e-6
    )
    np.testing.assert_allclose(model.encode(TEXTS, prompt_name="STS12"), expected, atol=1e-6)  # its first versions
    np.testing.assert_allclose(model.encode_queries(TEXTS, batch_size=4), expected, atol=1e-6)
    documents = [{"title": "A title", "text": text, "_id": "1"} for text in TEXTS] + [{"text": TEXTS[0]}]
    whole = tiny.encode([*(f"A title {text}" for text in TEXTS), TEXTS[0]])
    np.testing.assert_allclose(model.encode_corpus(documents, request_qid="q"), whole, atol=1e-6)
    table = {"title": ["A title", "", None], "text": TEXTS[:3]}
    np.testing.assert_allclose(model.encode_corpus(table), tiny.encode([f"A title {TEXTS[0]}", *TEXTS[1:3]]), atol=1e-6)


def test_a_batch_whose_text_holds_its_title_is_not_given_it_twice(tiny):
    whole = [f"Title {text}" for text in TEXTS]
    batches = loader(whole, title=["Title"] * 5, body=TEXTS)
    found = MtebModel(tiny).encode(batches, task_metadata=TASK, hf_split="t", hf_subset="d")
    np.testing.assert_allclose(found, tiny.encode(whole), atol=1e-6)


@pytest.mark.parametrize(
    ("names", "kind", "taken"),
    [
        (["SciFact-query", "SciFact", "Retrieval-query", "Retrieval", "query"], "query", "SciFact-query"),
        (["SciFact", "Retrieval-query", "Retrieval", "query"], "query", "SciFact"),
        (["Retrieval-query", "Retrieval", "query"], "query", "Retrieval-query"),
        (["Retrieval", "query"], "query", "Retrieval"),
        (["query"], "query", "query"),
        (["query", "passage"], "document", "passage"),
        (["query", "document"], "passage", "document"),
        (["query"], "document", None),
        (["Retrieval", "query"], None, "Retrieval"),
        (["query"], None, None),
    ],
)
def test_the_prompt_with_the_most_special_name_is_taken(tiny_folder, names, kind, taken):
    prompts = {name: f"prompt {number} of many: " for number, name in enumerate(names)}
    model = SentenceTransformer(tiny_folder, device="cpu", prompts=prompts)
    prompt_type = PromptType(kind) if kind else None
    found = MtebModel(model).encode(loader(TEXTS), task_metadata=TASK, hf_split="t", hf_subset="d",
                                    prompt_type=prompt_type)  # fmt: skip
    np.testing.assert_allclose(found, model.encode(TEXTS, prompt=prompts.get(taken, "")), atol=1e-6)


def test_similarities_are_those_of_the_model(tiny_folder):
    model = SentenceTransformer(tiny_folder, device="cpu", similarity_fn_name="dot")
    vectors, wrapped = model.encode(TEXTS), MtebModel(model)
    np.testing.assert_allclose(wrapped.similarity(vectors, vectors), vectors @ vectors.T, atol=1e-5)
    np.testing.assert_allclose(wrapped.similarity_pairwise(vectors, vectors), (vectors**2).sum(1), atol=1e-5)


@pytest.mark.parametrize("home", [("mteb", "models", "model_meta"), ("mteb", "model_meta")], ids=["2", "1"])
def test_results_are_filed_under_what_the_model_tells_of_itself(tiny_folder, tiny, installed, home):
    installed(*home)
    meta = MtebModel(tiny_folder).mteb_model_meta
    assert meta.name == str(tiny_folder)
    assert MtebModel("starter").mteb_model_meta.name == "sentence-workbench/starter"  # MTEB wants an owner
    assert meta.n_parameters == sum(weight.numel() for weight in tiny.parameters())
    assert (meta.embed_dim, meta.max_tokens, meta.similarity_fn_name) == (32, 48, "cosine")
    assert meta.training_datasets is None


def test_without_mteb_its_record_says_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(DependencyError, match="pip install mteb"):
        _ = MtebModel(tiny).mteb_model_meta


def test_a_task_of_pictures_is_refused(tiny):
    with pytest.raises(TextTypeError, match="has image and no text"):
        MtebModel(tiny).encode([{"image": [1, 2]}], task_metadata=TASK, hf_split="t", hf_subset="d")
