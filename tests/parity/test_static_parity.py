"""Static embeddings beside the reference package and beside model2vec, on the same vectors."""

import numpy as np
import pytest
import torch
from model2vec import StaticModel
from sentence_transformers import CrossEncoder as ReferencePairs
from sentence_transformers import SentenceTransformer as Reference
from sentence_transformers.sentence_transformer.modules import StaticEmbedding as ReferenceBlock

from tests.tiny import SENTENCES, tokenizer
from workbench import CrossEncoder, SentenceTransformer, hub
from workbench.models import Normalize, StaticEmbedding

TEXTS = [*SENTENCES, "unknown words: zebra \u6f22", "a " * 700]


@pytest.fixture
def block():
    torch.manual_seed(0)
    return StaticEmbedding(tokenizer(), embedding_dim=8)


def test_the_features_and_vectors_are_the_references(block):
    reference = ReferenceBlock(tokenizer(), embedding_weights=block.embedding.weight.detach().clone())
    ours, theirs = block.tokenize(TEXTS), reference.preprocess(TEXTS)
    assert {key: value.tolist() for key, value in ours.items()} == {
        key: theirs[key].tolist() for key in ("input_ids", "offsets")
    }
    difference = block(ours)["sentence_embedding"] - reference(theirs)["sentence_embedding"]
    assert difference.abs().max() < 1e-6


@pytest.mark.parametrize("blocks", [1, 2])
def test_what_we_save_the_reference_reads(block, blocks, tmp_path):
    model = SentenceTransformer(modules=[block, Normalize()][:blocks], device="cpu")
    model.save_pretrained(tmp_path)
    assert np.abs(model.encode(TEXTS) - Reference(str(tmp_path), device="cpu").encode(TEXTS)).max() < 1e-6


def test_what_the_reference_saves_we_read(block, tmp_path):
    reference = Reference(modules=[ReferenceBlock(tokenizer(), embedding_dim=8)], device="cpu")
    reference.save_pretrained(str(tmp_path))
    assert np.abs(SentenceTransformer(tmp_path, device="cpu").encode(TEXTS) - reference.encode(TEXTS)).max() < 1e-6


@pytest.mark.parametrize("layout", ["plain", "weights", "mapping"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_a_model2vec_folder_gives_model2vecs_vectors(layout, normalize, listed, tmp_path):
    draw = np.random.default_rng(0)
    words = tokenizer().backend_tokenizer
    size = words.get_vocab_size()
    extra = {"weights": draw.random(size).astype(np.float32)} if layout != "plain" else {}
    if layout == "mapping":
        extra["token_mapping"] = draw.integers(0, 20, size)
    rows = 20 if layout == "mapping" else size
    extra |= {"config": {"model_type": "model2vec", "normalize": normalize}, "normalize": normalize}
    theirs = StaticModel(draw.random((rows, 8)).astype(np.float32), words, **extra)
    theirs.save_pretrained(tmp_path)
    if not listed:
        (tmp_path / "modules.json").unlink()
    known = [text for text in SENTENCES if "[UNK]" not in words.encode(text).tokens]
    if normalize:
        known.append("zebra \u6f22 monkey")  # unknown tokens change nothing but the length
    vectors = SentenceTransformer(tmp_path, device="cpu").encode(known)
    assert np.abs(vectors - theirs.encode(known)).max() < 1e-6
    by_block = SentenceTransformer(modules=[StaticEmbedding.from_model2vec(tmp_path), Normalize()], device="cpu")
    assert np.abs(by_block.encode(TEXTS) - theirs.encode(TEXTS, normalize=True, max_length=None)).max() < 1e-6
    assert StaticEmbedding.from_model2vec(str(tmp_path)).embedding.embedding_dim == 8


def test_a_name_is_resolved_as_for_any_model(block, tmp_path, monkeypatch):
    SentenceTransformer(modules=[block], device="cpu").save_pretrained(tmp_path)
    monkeypatch.setattr("workbench.hub.resolve", lambda name, **_: tmp_path)
    assert torch.equal(StaticEmbedding.from_model2vec("someone/words").embedding.weight, block.embedding.weight)


def test_the_reference_loads_the_bundled_models_as_ordinary_folders():
    known = [text for text in SENTENCES if text]
    for name in ("starter", "starter-multilingual"):
        theirs = Reference(str(hub.bundled()[name]), device="cpu").encode(known)
        assert np.abs(SentenceTransformer(name, device="cpu").encode(known) - theirs).max() < 1e-6
    pairs = [(known[0], text) for text in known]
    scores = ReferencePairs(str(hub.bundled()["starter-reranker"]), device="cpu").predict(pairs)
    assert np.abs(CrossEncoder("starter-reranker", device="cpu").predict(pairs) - scores).max() < 1e-6
