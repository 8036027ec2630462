"""CrossEncoder against the reference package on tiny random models: the same scores, each reads the other's folders."""

import pytest
import torch
from sentence_transformers import CrossEncoder as Reference
from torch import nn
from transformers import BertModel, RobertaConfig, RobertaForSequenceClassification

from tests import tiny_pairs
from workbench import CrossEncoder
from workbench.errors import TruncationWarning

PAIRS = tiny_pairs.pairs(80)
LONG = [*tiny_pairs.pairs(40, longest=60, seed=3), ("a man", "a dog " * 40), ("a dog " * 40, "a man"), ("", "")]
ACTIVATIONS = [nn.Sigmoid(), nn.Identity(), nn.Tanh(), nn.GELU()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("cross")
    return {labels: tiny_pairs.write(root / str(labels), labels) for labels in (1, 2, 3)}


@pytest.fixture(scope="module", params=[1, 2, 3], ids=lambda labels: f"{labels} labels")
def both(request, folders):
    folder = folders[request.param]
    return CrossEncoder(folder, device="cpu"), Reference(str(folder), device="cpu")


def same(found, expected):
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"apply_softmax": True}, {"convert_to_tensor": True}, {"batch_size": 3}], ids=str
)
def test_scores_equal_the_reference(both, options):
    model, reference = both
    same(model.predict(PAIRS, **options), reference.predict(PAIRS, **options))
    same(model.predict(PAIRS[0], **options), reference.predict(PAIRS[0], **options))


@pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda function: type(function).__name__)
@pytest.mark.parametrize("softmax", [False, True])
def test_other_activations_equal_the_reference(both, function, softmax):
    model, reference = both
    options = {"activation_fn": function, "apply_softmax": softmax}
    same(model.predict(PAIRS, **options), reference.predict(PAIRS, **options))


def test_a_list_of_tensors_is_the_same_list(both):
    found, expected = (one.predict(PAIRS, convert_to_numpy=False) for one in both)
    assert [row.shape for row in found] == [row.shape for row in expected]
    same(torch.stack(found), torch.stack(expected))


@pytest.mark.parametrize("max_length", [None, 8, 21])
@pytest.mark.parametrize("labels", [1, 3])
def test_long_pairs_are_cut_where_the_reference_cuts_them(folders, max_length, labels):
    model = CrossEncoder(folders[labels], max_length=max_length, device="cpu")
    reference = Reference(str(folders[labels]), max_length=max_length, device="cpu")
    with pytest.warns(TruncationWarning):
        same(model.predict(LONG), reference.predict(LONG))


@pytest.mark.parametrize("top_k", [None, 1, 4])
@pytest.mark.parametrize("return_documents", [False, True])
def test_ranks_equal_the_reference(folders, top_k, return_documents):
    documents = [second for _, second in PAIRS[:20]] + [PAIRS[0][1]]
    ranks = [
        kind(str(folders[1]), device="cpu").rank("a man is eating .", documents, top_k, return_documents)
        for kind in (CrossEncoder, Reference)
    ]
    assert [hit | {"score": 0} for hit in ranks[0]] == [hit | {"score": 0} for hit in ranks[1]]
    same([hit["score"] for hit in ranks[0]], [hit["score"] for hit in ranks[1]])


@pytest.mark.parametrize("prompt", ["the a ", "guitar: ", ""])
def test_prompts_equal_the_reference(both, prompt):
    model, reference = both
    same(model.predict(PAIRS, prompt=prompt), reference.predict(PAIRS, prompt=prompt))
    if prompt:
        assert not torch.equal(torch.tensor(model.predict(PAIRS, prompt=prompt)), torch.tensor(model.predict(PAIRS)))
    if model.num_labels == 1:
        query, documents = PAIRS[0][0], [text for _, text in PAIRS[:20]]
        found, expected = (one.rank(query, documents, prompt=prompt) for one in both)
        assert [hit["corpus_id"] for hit in found] == [hit["corpus_id"] for hit in expected]
        same([hit["score"] for hit in found], [hit["score"] for hit in expected])


@pytest.mark.parametrize("function", [None, *ACTIVATIONS], ids=lambda function: type(function).__name__)
def test_each_reads_what_the_other_saved(both, tmp_path, function):
    model, reference = both
    before = model.default_activation_function, reference.activation_fn
    try:
        if function is not None:
            model.activation_fn = reference.activation_fn = function
        expected = reference.predict(PAIRS)
        model.save_pretrained(tmp_path / "ours")
        reference.save_pretrained(str(tmp_path / "theirs"))
    finally:
        model.activation_fn, reference.activation_fn = before
    for name in ("ours", "theirs"):
        for kind in (CrossEncoder, Reference):
            again = kind(str(tmp_path / name), device="cpu")
            assert again.num_labels == model.num_labels
            same(again.predict(PAIRS), expected)


def test_saving_over_a_folder_of_the_reference_leaves_nothing_of_it_behind(folders, tmp_path):
    Reference(str(folders[1]), device="cpu", activation_fn=nn.Tanh()).save_pretrained(str(tmp_path / "model"))
    model = CrossEncoder(folders[3], device="cpu")
    model.save(tmp_path / "model")
    for kind in (CrossEncoder, Reference):
        same(kind(str(tmp_path / "model"), device="cpu").predict(PAIRS), model.predict(PAIRS))


def test_the_length_travels_both_ways(folders, tmp_path):
    CrossEncoder(folders[1], max_length=9, device="cpu").save(tmp_path / "ours")
    Reference(str(folders[1]), max_length=9, device="cpu").save_pretrained(str(tmp_path / "theirs"))
    assert Reference(str(tmp_path / "ours"), device="cpu").max_seq_length == 9
    assert CrossEncoder(tmp_path / "theirs", device="cpu").max_length == 9


def test_a_base_model_gets_as_many_labels_as_in_the_reference(tmp_path):
    folder = tiny_pairs.write(tmp_path / "base", labels=2, kind=BertModel)
    for options in ({}, {"num_labels": 4}):
        model, reference = (kind(str(folder), device="cpu", **options) for kind in (CrossEncoder, Reference))
        assert model.num_labels == reference.num_labels
        assert type(model.activation_fn) is type(reference.activation_fn)


def test_a_model_without_token_types_equals_the_reference(tmp_path):
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tiny_pairs.WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=tiny_pairs.POSITIONS + 1,
        num_labels=1,
        pad_token_id=0,
        type_vocab_size=1,
        initializer_range=0.2,
    )
    tokenizer = tiny_pairs.tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    for part in (RobertaForSequenceClassification(config), tokenizer):
        part.save_pretrained(tmp_path)
    model, reference = (kind(str(tmp_path), device="cpu") for kind in (CrossEncoder, Reference))
    same(model.predict(PAIRS), reference.predict(PAIRS))
