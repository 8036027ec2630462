"""Static embeddings: the mean of token vectors, the word table, the folders it reads, and the distillation."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.tiny import SENTENCES, tokenizer
from workbench import SentenceTransformer
from workbench.errors import ModelFormatError
from workbench.models import Normalize, StaticEmbedding
from workbench.models.static import keep_tokens
from workbench.tokens import pack


@pytest.fixture
def block():
    torch.manual_seed(0)
    return StaticEmbedding(tokenizer(), embedding_dim=8)


def ids(block, text):
    return block.tokenizer.encode(text, add_special_tokens=False).ids


def test_a_text_is_the_mean_of_its_token_vectors(block):
    vectors = SentenceTransformer(modules=[block], device="cpu").encode(SENTENCES)
    for text, vector in zip(SENTENCES, vectors, strict=True):
        tokens = block.embedding.weight.detach()[ids(block, text)]
        expected = tokens.mean(0) if len(tokens) else torch.zeros(8)
        assert np.abs(vector - expected.numpy()).max() < 1e-6


def test_texts_without_tokens_give_zero_vectors_also_when_normalised(block):
    model = SentenceTransformer(modules=[block, Normalize()], device="cpu")
    assert (model.encode(["", "   ", "\n", "\x00"]) == 0).all()
    assert model.encode([]).shape == (0, 8)


def test_nothing_is_cut_and_the_tokenizer_that_was_given_stays_as_it_was():
    given = tokenizer().backend_tokenizer
    given.enable_truncation(4)
    given.enable_padding()
    block = StaticEmbedding(given, embedding_dim=4)
    assert block.token_rows(["monkey " * 50]).lengths.tolist() == [50]
    assert block.max_seq_length == float("inf")
    assert given.truncation["max_length"] == 4
    assert given.padding is not None


def test_the_word_table_gives_what_the_tokenizer_gives_on_odd_texts(minilm):
    block = StaticEmbedding(Tokenizer.from_file(str(minilm / "tokenizer.json")), embedding_dim=1)
    odd = [" ", "  ", "\n", "\t", "\x1c", "\x85", "\u00a0", "\u2003", "\u200b", "\u0301", "\u0130", "\u03a3", "\u00df"]
    odd += [
        "[SEP]",
        "[unused1]",
        "##ing",
        "don't",
        "\u6f22\u5b57",
        "\U0001f600",
        "\ufffd",
        "x" * 120,
        "\u05d0\u05d1",
        "A",
    ]
    draw = random.Random(0)
    texts = ["".join(draw.choices([*odd, " ", " "], k=draw.randint(0, 9))) for _ in range(2_000)]
    expected = pack(block.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    for _ in range(2):  # first with new words, then with words met before
        rows = block.token_rows(texts)
        assert np.array_equal(rows.starts, expected.starts)
        assert np.array_equal(rows.columns["input_ids"], expected.columns["input_ids"])


def test_tokens_that_span_words_are_found():
    given = tokenizer().backend_tokenizer
    given.add_tokens(["eating food"])
    block = StaticEmbedding(given, embedding_dim=4)
    assert block.token_rows(["a man is eating food"]).lengths.tolist() == [4]
    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    assert StaticEmbedding(plain, embedding_dim=2).token_rows(["a b a"]).columns["input_ids"].tolist() == [1, 0, 1]


def test_the_word_table_is_emptied_before_it_grows_too_large(block, monkeypatch):
    monkeypatch.setattr("workbench.models.memory._REMEMBERED", 10)
    for text in [*SENTENCES, "x" * 2_000]:
        assert block.token_rows([text]).columns["input_ids"].tolist() == ids(block, text)
        assert len(block._memory) <= 10
    assert len(block._memory) == 0


def test_ten_threads_give_the_vectors_of_one(block):
    model = SentenceTransformer(modules=[block], device="cpu")
    texts = [f"{text} {number}" for number in range(100) for text in SENTENCES]
    expected = model.encode(texts)
    block.tokenizer = tokenizer()  # forgets the words
    with ThreadPoolExecutor(10) as pool:
        for vectors in pool.map(lambda _: model.encode(texts), range(10)):
            assert np.array_equal(vectors, expected)


def test_lone_surrogates_and_a_megabyte_without_a_space_are_texts(block):
    vectors = SentenceTransformer(modules=[block], device="cpu").encode(["\ud800", "a\udfff", "x" * 2**20])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("safe", [True, False])
def test_a_saved_block_gives_the_same_vectors(block, tmp_path, safe):
    block.save(tmp_path, safe_serialization=safe)
    if not safe:
        with pytest.warns(UserWarning, match="pickle"):
            again = StaticEmbedding.load(tmp_path)
    else:
        again = StaticEmbedding.load(tmp_path)
        assert list(load_file(tmp_path / "model.safetensors")) == ["embedding.weight"]
    assert torch.equal(again.embedding.weight, block.embedding.weight)
    assert again.get_sentence_embedding_dimension() == 8
    assert again.token_rows(SENTENCES).columns["input_ids"].tolist() == [
        i for text in SENTENCES for i in ids(block, text)
    ]


def test_half_precision_on_disk_is_single_precision_in_memory(block, tmp_path):
    block.save(tmp_path)
    save_file({"embedding.weight": block.embedding.weight.detach().half()}, tmp_path / "model.safetensors")
    again = StaticEmbedding.load(tmp_path)
    assert again.embedding.weight.dtype == torch.float32
    assert torch.equal(again.embedding.weight, block.embedding.weight.half().float())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"other": torch.zeros(2, 2)}, "embedding.weight"),
        ({"embedding.weight": torch.zeros(3, 2)}, "or more, dimension"),
        ({"embedding.weight": torch.zeros(500)}, "or more, dimension"),
        ({"embeddings": torch.zeros(3, 2), "mapping": torch.full((500,), 9)}, "out of range|out of bounds"),
    ],
)
def test_weights_that_do_not_fit_are_refused(block, tmp_path, state, message):
    block.save(tmp_path)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelFormatError, match=message):
        StaticEmbedding.load(tmp_path)


def test_a_damaged_or_missing_tokenizer_is_refused(block, tmp_path):
    block.save(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ', encoding="utf-8")
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json is missing or damaged"):
        StaticEmbedding.load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json is missing or damaged"):
        StaticEmbedding.load(tmp_path)


def test_a_block_needs_vectors_or_a_dimension_and_a_rust_tokenizer():
    with pytest.raises(ValueError, match="embedding_weights or embedding_dim"):
        StaticEmbedding(tokenizer())
    with pytest.raises(TypeError, match=r"tokenizer is str; expected a tokenizers\.Tokenizer"):
        StaticEmbedding("bert", embedding_dim=2)


def test_the_array_that_was_given_is_not_the_one_that_trains():
    weights = np.ones((200, 3))
    block = StaticEmbedding(tokenizer(), weights)
    block.embedding.weight.data.zero_()
    assert (weights == 1).all()
    assert block.embedding.weight.requires_grad


def test_distillation_gives_the_teachers_token_vectors_without_change_when_nothing_is_reduced(tiny):
    block = StaticEmbedding.from_distillation(tiny, pca_dims=None, apply_zipf=False)
    vocab = block.tokenizer.get_vocab()
    words = ["monkey", "horse", "violin"]
    teacher = np.stack([tokens[1].numpy() for tokens in tiny.encode(words, output_value="token_embeddings")])
    ours = block.embedding.weight.detach().numpy()[[vocab[word] for word in words]]
    distances = [np.linalg.norm(rows[:, None] - rows[None], axis=-1) for rows in (teacher, ours)]  # PCA only turns
    assert np.abs(distances[0] - distances[1]).max() < 1e-4


def test_distillation_takes_a_folder_drops_tokens_adds_phrases_and_weighs_by_rank(tiny, tiny_folder):
    options = {"pca_dims": 6, "token_remove_pattern": r"##.*"}
    plain = StaticEmbedding.from_distillation(tiny, apply_zipf=False, vocabulary=["red horse", "monkey"], **options)
    block = StaticEmbedding.from_distillation(tiny_folder, device="cpu", vocabulary=["red horse", "monkey"], **options)
    vocab = block.tokenizer.get_vocab()
    assert not [token for token in vocab if token.startswith("##")]
    assert block.embedding.weight.shape == (len(vocab), 6)
    assert ids(block, "a red horse") == [vocab["a"], vocab["red horse"]]
    share = 1 / np.arange(2, len(vocab) + 2)
    weight = 1e-4 / (1e-4 + share / share.sum())
    expected = plain.embedding.weight.detach().numpy() * weight[:, None]
    assert np.abs(block.embedding.weight.detach().numpy() - expected).max() < 1e-6
    assert (expected[vocab["[UNK]"]] == 0).all()


def test_kept_tokens_are_numbered_anew_and_special_tokens_stay():
    whole = tokenizer().backend_tokenizer
    small, old = keep_tokens(whole, lambda token: token.startswith("##") or token == "monkey")
    assert [whole.id_to_token(row) for row in old] == [small.id_to_token(row) for row in range(len(old))]
    assert small.encode("monkey horse").tokens == ["[CLS]", "monkey", "[UNK]", "[SEP]"]
    spec = json.loads(small.to_str())
    assert spec["post_processor"]["special_tokens"]["[SEP]"]["ids"] == [small.token_to_id("[SEP]")]
