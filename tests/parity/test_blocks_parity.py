"""Every building block beside the reference: the same values, and folders that either side can read."""

import gzip
import json
import random
import shutil
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the reference's own imports warn
    import sentence_transformers.sentence_transformer.modules as reference
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import tokenizer as reference_tokenizers

from tests.test_blocks import pictures, tiny_clip
from workbench import SentenceTransformer as Workbench
from workbench import models
from workbench.models.types import MODULE_TYPES, module_class, type_name

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WORDS = ["PADDING_TOKEN", "hello", "world", "foo", "bar", "New", "the"]
TEXTS = ["Hello world, foo!", "foo", "", "bar bar (world) New the unknown", "HELLO hello foo bar foo bar"]


def table(dim=8):
    weights = np.random.default_rng(0).normal(size=(len(WORDS), dim))
    weights[0] = 0
    return weights


def word_embeddings(source, **options):
    kinds = models if source is models else reference_tokenizers
    return source.WordEmbeddings(kinds.WhitespaceTokenizer(WORDS, stop_words=["the"]), table(), **options)


def token_features():
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    tokens = torch.randn(3, 4, 8, generator=generator) * mask.unsqueeze(-1)
    layers = [torch.randn(3, 4, 8, generator=generator) for _ in range(5)]
    return {
        "input_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0], [3, 2, 1, 0]]),
        "token_embeddings": tokens,
        "attention_mask": mask,
        "sentence_lengths": mask.sum(1),
        "all_layer_embeddings": layers,
        "sentence_embedding": torch.randn(3, 8, generator=generator),
    }


BLOCKS = {
    "Dense": lambda source: source.Dense(8, 5),
    "Dense without bias": lambda source: source.Dense(8, 5, bias=False, activation_function=nn.GELU()),
    "Dense with first weights": lambda source: source.Dense(8, 2, True, nn.Identity(), torch.ones(2, 8), torch.ones(2)),
    "Dense with a learned activation": lambda source: source.Dense(8, 5, activation_function=nn.PReLU()),
    "Dense of tokens": lambda source: source.Dense(
        8, 5, module_input_name="token_embeddings", module_output_name="token_embeddings"
    ),
    "Dense with residual": lambda source: source.Dense(8, 8, use_residual=True),
    "Dense with mapped residual": lambda source: source.Dense(8, 5, use_residual=True),
    "Normalize": lambda source: source.Normalize(),
    "Normalize of tokens": lambda source: source.Normalize("token_embeddings"),
    "Dropout": lambda source: source.Dropout(0.3),
    "LayerNorm": lambda source: source.LayerNorm(8),
    "CNN": lambda source: source.CNN(8, 4),
    "CNN with strides": lambda source: source.CNN(8, 4, [1, 3], [2, 2]),
    "LSTM": lambda source: source.LSTM(8, 6),
    "LSTM of two layers, one way": lambda source: source.LSTM(8, 6, 2, 0.1, False),
    "WordWeights": lambda source: source.WordWeights(WORDS, {"hello": 2.5, "new": 0.5}, 0.3),
    "WeightedLayerPooling": lambda source: source.WeightedLayerPooling(8, 4, 2),
    "WeightedLayerPooling with weights": lambda source: source.WeightedLayerPooling(
        8, 4, 2, nn.Parameter(torch.tensor([0.2, 1.0, 3.0]))
    ),
}
CHANGED = ("sentence_embedding", "token_embeddings", "token_weights_sum")


def pair(name):
    """The same block twice: ours, and the reference's with the same random weights."""
    torch.manual_seed(0)
    theirs, ours = BLOCKS[name](reference).eval(), BLOCKS[name](models).eval()
    if "first weights" not in name and name != "WordWeights":  # the reference does not read its word weights back
        for parameter in theirs.parameters():
            nn.init.normal_(parameter) if parameter.ndim > 1 else nn.init.uniform_(parameter, 0.1, 1)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_same(ours, theirs, features=token_features):
    with torch.no_grad():
        got, wanted = ours(features()), theirs(features())
    keys = [key for key in CHANGED if key in wanted]
    for key in keys:
        torch.testing.assert_close(got[key], wanted[key], atol=1e-6, rtol=1e-6)
    assert [key for key in CHANGED if key in got] == keys


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_gives_the_reference_values(name):
    assert_same(*pair(name))


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_the_reference_reads_what_we_write(name, safe, tmp_path):
    ours, theirs = pair(name)
    ours.save(tmp_path, safe_serialization=safe)
    assert_same(ours, type(theirs).load(str(tmp_path)).eval())


@pytest.mark.parametrize("name", BLOCKS)
def test_we_read_what_the_reference_writes(name, tmp_path):
    ours, theirs = pair(name)
    theirs.save(str(tmp_path))
    loaded = module_class(f"{type(theirs).__module__}.{type(theirs).__qualname__}").load(tmp_path).eval()
    assert type(loaded) is type(ours)
    assert_same(loaded, theirs)


def test_every_type_of_the_reference_is_known():
    for name in reference.__all__:
        kind = getattr(reference, name)
        if name not in ("Module", "InputModule"):
            assert f"{kind.__module__}.{kind.__qualname__}" in MODULE_TYPES
            assert f"sentence_transformers.models.{name}" in MODULE_TYPES


@pytest.mark.parametrize("cumulative", [True, False])
def test_a_bag_of_words_gives_the_reference_values(cumulative, tmp_path):
    arguments = (WORDS, {"hello": 2.5, "new": 0.5}, 0.3, cumulative)
    ours, theirs = models.BoW(*arguments), reference.BoW(*arguments)
    wanted = theirs(theirs.preprocess(TEXTS))["sentence_embedding"]
    torch.testing.assert_close(ours(ours.tokenize(TEXTS))["sentence_embedding"], wanted)
    ours.save(tmp_path / "ours")
    theirs.save(str(tmp_path))
    again, back = models.BoW.load(tmp_path), reference.BoW.load(str(tmp_path / "ours"))
    torch.testing.assert_close(again(again.tokenize(TEXTS))["sentence_embedding"], wanted)
    torch.testing.assert_close(back(back.preprocess(TEXTS))["sentence_embedding"], wanted)


@pytest.mark.parametrize("options", [{}, {"max_seq_length": 2}, {"update_embeddings": True}])
def test_word_embeddings_give_the_reference_values(options, tmp_path):
    ours, theirs = word_embeddings(models, **options), word_embeddings(reference, **options)
    ours.save(tmp_path / "ours")
    theirs.save(str(tmp_path))
    again, back = models.WordEmbeddings.load(tmp_path), reference.WordEmbeddings.load(str(tmp_path / "ours"))
    wanted = theirs(theirs.preprocess(TEXTS))
    for block, tokenize in ((ours, ours.tokenize), (again, again.tokenize), (back, back.preprocess)):
        got = block(tokenize(TEXTS))
        for key in ("input_ids", "attention_mask", "sentence_lengths", "token_embeddings"):
            torch.testing.assert_close(got[key], wanted[key])
        assert block.emb_layer.weight.requires_grad == bool(options.get("update_embeddings"))
        assert block.max_seq_length == options.get("max_seq_length", 1000000)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_word_vectors_from_a_text_file_are_the_reference_ones(limit, packed, tmp_path):
    text = "4 3\nhello 1 2 3\nworld 0.5 -1 2e-3\nbroken 1 2\nfoo 3 3 3\n"
    path = tmp_path / ("vectors.txt.gz" if packed else "vectors.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    theirs = reference.WordEmbeddings.from_text_file(str(path), max_vocab_size=limit)
    ours = models.WordEmbeddings.from_text_file(path, max_vocab_size=limit)
    assert ours.tokenizer.get_vocab() == theirs.tokenizer.get_vocab()
    torch.testing.assert_close(ours.emb_layer.weight, theirs.emb_layer.weight)


def sentences(seed, count=200):
    rng = random.Random(seed)
    pieces = ["hello", "Hello", "NEW", "york", "new_york", "times", "the", "don't", "e.g.", "(foo)", "bar!", "...", "é"]
    return [" ".join(rng.choices(pieces, k=rng.randint(0, 9))) for _ in range(count)]


@pytest.mark.parametrize("lower", [True, False])
def test_the_whitespace_tokenizer_gives_the_reference_numbers(lower):
    vocab = ["hello", "new", "york", "foo", "bar", "Hello", "é", "don't", "the"]
    for stop_words in ({}, {"stop_words": ["york", "é"]}):
        ours = models.WhitespaceTokenizer(vocab, do_lower_case=lower, **stop_words)
        theirs = reference_tokenizers.WhitespaceTokenizer(vocab, do_lower_case=lower, **stop_words)
        assert ours.stop_words == theirs.stop_words
        for text in sentences(0):
            assert ours.tokenize(text) == theirs.tokenize(text)


@pytest.fixture
def split_as_we_do(monkeypatch):
    """The reference splits words with NLTK; give it our way of splitting, so that all else can be compared."""
    from sentence_transformers.sentence_transformer.modules.tokenizer import phrase

    nltk = types.ModuleType("nltk")
    nltk.word_tokenize = lambda text, preserve_line: models.PhraseTokenizer()._words(text)
    monkeypatch.setitem(sys.modules, "nltk", nltk)
    monkeypatch.setattr(phrase, "is_nltk_available", lambda: True, raising=False)


@pytest.mark.parametrize("lower", [True, False])
def test_the_phrase_tokenizer_finds_the_reference_phrases(split_as_we_do, lower, tmp_path):
    vocab = ["hello", "new", "york", "new_york", "new_york_times", "Hello_NEW", "_odd", "a_b_c_d_e_f", "foo"]
    ours = models.PhraseTokenizer(vocab, do_lower_case=lower)
    theirs = reference_tokenizers.PhraseTokenizer(vocab, do_lower_case=lower)
    assert ours.stop_words == theirs.stop_words
    ours.save(tmp_path)
    back = reference_tokenizers.PhraseTokenizer.load(str(tmp_path))
    theirs.save(str(tmp_path))
    again = models.PhraseTokenizer.load(tmp_path)
    for text in sentences(1):
        assert ours.tokenize(text) == theirs.tokenize(text) == back.tokenize(text) == again.tokenize(text)


def routes(source, shared=False):
    torch.manual_seed(0)
    words, pooling = word_embeddings(source), source.Pooling(8)
    other = [words, pooling] if shared else [word_embeddings(source, max_seq_length=2), source.Pooling(8)]
    return {"query": [words, pooling, source.Dense(8, 8)], "document": other}


def read_ours(block, rows):
    return block(block.tokenize(rows))["sentence_embedding"]


def read_theirs(block, rows):
    return block(block.preprocess(rows))["sentence_embedding"]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("settings", [{}, {"default_route": "document"}, {"allow_empty_key": False}])
def test_a_router_gives_the_reference_values(settings, shared, tmp_path):
    ours = models.Router(routes(models, shared), **settings)
    theirs = reference.Router(routes(reference, shared), **settings)
    theirs.load_state_dict(ours.state_dict())
    assert ours.default_route == theirs.default_route
    ours.save(tmp_path / "ours")
    theirs.save(str(tmp_path / "theirs"))
    again, back = models.Router.load(tmp_path / "theirs"), reference.Router.load(str(tmp_path / "ours"))
    kinds = [[{"query": text} for text in TEXTS], [{"document": text} for text in TEXTS]]
    if ours.default_route:
        kinds.append(TEXTS)
    for rows in kinds:
        wanted = read_theirs(theirs, rows)
        for got in (read_ours(ours, rows), read_ours(again, rows), read_theirs(back, rows)):
            torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)
    assert again.default_route == back.default_route == ours.default_route


def test_query_and_document_routes_have_the_reference_default():
    ours = models.Router.for_query_document(*routes(models).values())
    theirs = reference.Router.for_query_document(*routes(reference).values())
    assert ours.default_route == theirs.default_route == "document"
    assert ours.get_sentence_embedding_dimension() == theirs.get_embedding_dimension()
    assert ours.max_seq_length == 2


def test_the_reference_reads_an_asym_folder_of_ours(tmp_path):
    ours = models.Asym(routes(models))
    ours.save(tmp_path)
    assert (tmp_path / "config.json").is_file()
    assert not (tmp_path / "router_config.json").exists()
    back = reference.Asym.load(str(tmp_path))
    again = models.Asym.load(tmp_path)
    for rows in (TEXTS, [{"query": text} for text in TEXTS], [{"document": text} for text in TEXTS]):
        torch.testing.assert_close(read_theirs(back, rows), read_ours(ours, rows), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(read_ours(again, rows), read_ours(ours, rows))


def legacy_folder(folder: Path):
    """Write by hand what version 3.4 wrote for an asymmetric model over word vectors; return the expected vectors."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(3)
    words = torch.tensor(table(), dtype=torch.float32)
    maps = {name: torch.randn(3, 8, generator=generator) for name in ("query", "doc")}
    paths = ["0_WordEmbeddings", "1_WordWeights", "2_Pooling", "3_Asym/11_Dense", "3_Asym/22_Dense", "4_Normalize"]
    for path in paths[:-1]:
        (folder / path).mkdir(parents=True)
    files = {
        "0_WordEmbeddings/wordembedding_config.json": {
            "tokenizer_class": "sentence_transformers.models.tokenizer.WhitespaceTokenizer.WhitespaceTokenizer",
            "update_embeddings": False,
            "max_seq_length": 1000000,
        },
        "0_WordEmbeddings/whitespacetokenizer_config.json": {
            "vocab": WORDS,
            "stop_words": ["the"],
            "do_lower_case": False,
        },
        "1_WordWeights/config.json": {"vocab": WORDS, "word_weights": {"hello": 2.0}, "unknown_word_weight": 1},
        "2_Pooling/config.json": {
            "word_embedding_dimension": 8,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
        "3_Asym/config.json": {
            "types": {
                "11_Dense": "sentence_transformers.models.Dense",
                "22_Dense": "sentence_transformers.models.Dense",
            },
            "structure": {"query": ["11_Dense"], "doc": ["22_Dense"]},
            "parameters": {"allow_empty_key": True},
        },
        "modules.json": [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{path[2:]}"}
            for place, path in enumerate([*paths[:3], "3_Asym", "4_Normalize"])
        ],
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "3.4.1"}},
    }
    for number, name in (("11", "query"), ("22", "doc")):
        files[f"3_Asym/{number}_Dense/config.json"] = {
            "in_features": 8,
            "out_features": 3,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
        save_file({"linear.weight": maps[name]}, folder / f"3_Asym/{number}_Dense/model.safetensors")
    save_file({"emb_layer.weight": words}, folder / "0_WordEmbeddings/model.safetensors")
    for path, value in files.items():
        (folder / path).write_text(json.dumps(value))
    mean = (2 * words[1] + words[2]) / 3  # "hello world", where hello weighs 2
    return {name: nn.functional.normalize(maps[name] @ mean, dim=0) for name in maps}


def test_a_legacy_folder_gives_the_same_vectors_here_and_there(tmp_path):
    expected = legacy_folder(tmp_path)
    lines = json.loads((tmp_path / "modules.json").read_text())
    blocks = [module_class(line["type"]).load(tmp_path / line["path"]) for line in lines]
    assert [type_name(block) for block in blocks] == [line["type"] for line in lines]
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    for route in ("query", "doc"):
        features = blocks[0].tokenize(["hello world"]) | {"task": route}
        for block in blocks:
            features = block(features)
        torch.testing.assert_close(features["sentence_embedding"][0], expected[route], atol=1e-6, rtol=1e-6)
        there = theirs.encode("hello world", task=route, convert_to_tensor=True)
        torch.testing.assert_close(there, expected[route], atol=1e-6, rtol=1e-6)


def test_clip_gives_the_vectors_of_transformers_and_of_the_reference(tmp_path):
    clip, processor = tiny_clip(tmp_path / "plain")
    images, texts = pictures(), ["a dog", "two cats on a mat, seen from far away"]
    with torch.no_grad():
        seen = clip.get_image_features(**processor(images=images, return_tensors="pt"))
        read = clip.get_text_features(**processor(text=texts, padding=True, truncation=True, return_tensors="pt"))
    seen, read = (out if isinstance(out, torch.Tensor) else out.pooler_output for out in (seen, read))
    ours = models.CLIPModel(str(tmp_path / "plain")).eval()
    theirs = reference.CLIPModel(str(tmp_path / "plain")).eval()
    ours.save(tmp_path / "ours")
    theirs.save(str(tmp_path / "theirs"))
    back = reference.CLIPModel.load(str(tmp_path / "ours")).eval()
    again, relay = models.CLIPModel.load(tmp_path / "theirs").eval(), models.CLIPModel.load(tmp_path / "ours").eval()
    with torch.no_grad():
        for rows, wanted in ((images, seen), (texts, read)):
            for got in (
                *(read_ours(clip, rows) for clip in (ours, again, relay)),
                *(read_theirs(clip, rows) for clip in (theirs, back)),
            ):
                torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)
        mixed = read_ours(ours, [texts[1], images[2], images[0], texts[0]])
        torch.testing.assert_close(mixed, torch.stack([read[1], seen[2], seen[0], read[0]]), atol=1e-6, rtol=1e-6)
    assert ours.get_sentence_embedding_dimension() == seen.shape[1]
    assert ours.tokenize(["x" * 99])["input_ids"].shape == (1, 12)


def hub_layout(folder):
    """Write a tiny CLIP as ``clip-ViT-B-32`` lies on the hub: an old list of modules, old files, old weights."""
    clip, processor = tiny_clip(folder / "plain")
    block, words = folder / "model" / "0_CLIPModel", processor.tokenizer
    block.mkdir(parents=True)
    vocab = words.get_vocab()
    order = {token: vocab[token] for token in sorted(vocab, key=vocab.__getitem__)}
    sides = {"size": 8, "crop_size": 8, "do_resize": True, "do_center_crop": True, "resample": 3, "do_normalize": True}
    means = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    files = {
        "0_CLIPModel/vocab.json": order,
        "0_CLIPModel/tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": 12},
        "0_CLIPModel/special_tokens_map.json": words.special_tokens_map,
        "0_CLIPModel/preprocessor_config.json": {"feature_extractor_type": "CLIPFeatureExtractor", **sides, **means},
        "0_CLIPModel/config.json": clip.config.to_dict(),
        "modules.json": [
            {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
        ],
        "config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.0.0"}},
    }
    for name, value in files.items():
        (folder / "model" / name).write_text(json.dumps(value))
    (block / "merges.txt").write_text("#version: 0.2\n")
    torch.save(clip.state_dict(), block / "pytorch_model.bin")
    return folder / "model"


@pytest.mark.filterwarnings("ignore:.*pickle")
def test_the_folder_of_the_hubs_clip_is_read_by_name_and_encodes_like_the_reference(tmp_path, monkeypatch):
    folder = hub_layout(tmp_path)
    repo = tmp_path / "cache" / "models--sentence-transformers--clip-ViT-B-32"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40)
    (repo / "snapshots").mkdir()
    shutil.copytree(folder, repo / "snapshots" / ("a" * 40))
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))
    ours = Workbench("clip-ViT-B-32", device="cpu", local_files_only=True)
    theirs = SentenceTransformer(str(folder), device="cpu")
    texts, images = ["a dog", "two cats on a mat, seen from far away", "a dog"], pictures()
    wide = Image.fromarray(np.random.default_rng(1).integers(0, 255, (20, 70, 4), dtype=np.uint8))
    rows = [images[0], wide, images[2].convert("L"), images[0]]
    wanted = theirs.encode(texts), theirs.encode(rows)
    for model in (ours, Workbench(str(folder), device="cpu")):
        np.testing.assert_allclose(model.encode(texts), wanted[0], atol=1e-5)
        np.testing.assert_allclose(model.encode(rows), wanted[1], atol=1e-5)
        mixed = model.encode([rows[1], texts[1], rows[0], texts[0]])
        np.testing.assert_allclose(mixed[[0, 2]], wanted[1][[1, 0]], atol=1e-5)
        np.testing.assert_allclose(mixed[[1, 3]], wanted[0][[1, 0]], atol=1e-5)
    ours.save(str(tmp_path / "again"))
    lines = json.loads((tmp_path / "again" / "modules.json").read_text())
    assert [(line["path"], line["type"]) for line in lines] == [
        ("0_CLIPModel", "sentence_transformers.models.CLIPModel")
    ]
    np.testing.assert_allclose(SentenceTransformer(str(tmp_path / "again")).encode(rows), wanted[1], atol=1e-5)


def test_a_chain_of_blocks_encodes_like_the_reference_and_loads_on_both_sides(tmp_path):
    torch.manual_seed(0)
    blocks = [word_embeddings(models), models.WordWeights(WORDS, {"hello": 2}), models.LSTM(8, 4), models.CNN(8, 4)]
    blocks += [models.Pooling(12), models.Dense(12, 4), models.LayerNorm(4), models.Dropout(), models.Normalize()]
    ours = Workbench(modules=blocks, device="cpu")
    ours.save(str(tmp_path / "ours"))
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    theirs.save(str(tmp_path / "theirs"))
    vectors = ours.encode(TEXTS)
    np.testing.assert_allclose(vectors, theirs.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(Workbench(tmp_path / "theirs", device="cpu").encode(TEXTS), vectors, atol=1e-6)


@pytest.mark.filterwarnings("ignore::workbench.errors.TruncationWarning")
def test_queries_and_documents_take_their_routes_like_in_the_reference(tmp_path):
    ours = Workbench(modules=[models.Router.for_query_document(*routes(models).values())], device="cpu")
    ours.save(str(tmp_path))
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    again = Workbench(tmp_path, device="cpu")
    for texts in (TEXTS, "hello"):
        for model in (ours, again):
            np.testing.assert_allclose(model.encode_query(texts), theirs.encode_query(texts), atol=1e-6)
            np.testing.assert_allclose(model.encode_document(texts), theirs.encode_document(texts), atol=1e-6)
            np.testing.assert_allclose(model.encode(texts), theirs.encode(texts), atol=1e-6)
