"""Building blocks alone: what they promise; a hostile or damaged folder gives one clear error and runs nothing."""

import contextlib
import json
import os
import pickle
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from workbench import SentenceTransformer, models
from workbench.errors import ChoiceError, ModelFormatError, ModelNotFoundError, TextTypeError, UnsafeModelError
from workbench.models.base import InputModule
from workbench.models.dense import ACTIVATIONS, activation, activation_name
from workbench.models.types import MODULE_TYPES, module_class, type_name

NAMES_OF_CODE = [
    *("os.system", "subprocess.Popen", "builtins.eval", "torch.hub.load", "torch.load", "torch.nn.Linear"),
    *(
        "payload.Payload",
        "sentence_transformers.models.Nothing",
        "workbench.models.dense.Dense",
        "Dense",
        "",
        None,
        3,
        [],
    ),
]
DENSE = {"in_features": 4, "out_features": 2, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}
LEGACY = "sentence_transformers.models."


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def write(folder: Path, name: str, value: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def dense_folder(folder: Path, **changes: object) -> Path:
    models.Dense(4, 2).save(folder)
    return write(folder, "config.json", DENSE | changes)


# ── closed tables ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES_OF_CODE)
def test_a_module_type_outside_the_table_is_refused_with_the_choices(name):
    with pytest.raises(UnsafeModelError, match=r"not imported; known: .*Dense.*Transformer"):
        module_class(name)


@pytest.mark.parametrize("name", NAMES_OF_CODE)
def test_an_activation_outside_the_table_is_refused_with_the_choices(name, tmp_path):
    with pytest.raises(UnsafeModelError, match=r"known: .*Tanh"):
        activation(name)
    if name is not None:  # no activation at all is the default one
        with pytest.raises(UnsafeModelError):
            models.Dense.load(dense_folder(tmp_path, activation_function=name))


def test_every_spelling_of_a_block_gives_that_block():
    for spelling, name in MODULE_TYPES.items():
        if name not in ("Pooling", "StaticEmbedding", "Transformer"):
            assert module_class(spelling) is getattr(models, name)
            assert spelling.rsplit(".", 1)[1] == name


def test_a_block_is_written_under_its_published_name_and_a_users_class_under_its_own():
    class Dense(models.Dense):
        pass

    assert type_name(models.Dense(1, 1)) == LEGACY + "Dense"
    assert type_name(models.LSTM(1, 1)) == LEGACY + "LSTM"
    assert type_name(Dense(1, 1)).startswith("test_blocks.") or "tests" in type_name(Dense(1, 1))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_comes_back_from_its_name(name):
    x = torch.linspace(-3, 3, 7)
    made = activation(name).eval()
    assert activation_name(made) == name
    assert type(activation(f"torch.nn.{type(made).__name__}")) is type(made)
    torch.testing.assert_close(activation(activation_name(made)).eval()(x), made(x))


@pytest.mark.parametrize("module", [nn.ELU(alpha=2.0), nn.Softmax(dim=1), nn.Sequential(nn.Tanh()), torch.relu])
def test_an_activation_that_its_name_would_not_bring_back_can_be_used_but_not_saved(module, tmp_path):
    block = models.Dense(4, 2, activation_function=module)
    assert block({"sentence_embedding": torch.ones(3, 4)})["sentence_embedding"].shape == (3, 2)
    with pytest.raises(ValueError, match="cannot be saved"):
        block.save(tmp_path)


# ── hostile and damaged folders ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        (models.Dense, "{"),
        (models.Dense, []),
        (models.Dense, {}),
        (models.Dense, DENSE | {"in_features": "4"}),
        (models.Dense, DENSE | {"in_features": -4}),
        (models.Dense, DENSE | {"in_features": 10**19}),
        (models.Dense, DENSE | {"out_features": None}),
        (models.Dropout, {"dropout": 3}),
        (models.Dropout, {"dropout": "much"}),
        (models.LayerNorm, {"dimension": "wide"}),
        (models.CNN, {"in_word_embedding_dimension": 4, "out_channels": 2, "kernel_sizes": 3}),
        (
            models.CNN,
            {"in_word_embedding_dimension": 4, "out_channels": 2, "kernel_sizes": [1, 3], "stride_sizes": [1]},
        ),
        (models.LSTM, {"word_embedding_dimension": 4, "hidden_dim": -1}),
        (models.LSTM, {"hidden_dim": 4}),
        (models.WeightedLayerPooling, {"word_embedding_dimension": 4, "num_hidden_layers": 2, "layer_start": 9}),
        (models.WordWeights, {"vocab": [1, 2], "word_weights": {}}),
        (models.WordWeights, {"vocab": ["a"], "word_weights": ["a"]}),
        (models.BoW, {"vocab": 7}),
        (models.BoW, {"vocab": ["a"], "word_weights": {"a": "heavy"}}),
    ],
)
def test_a_configuration_that_describes_no_block_is_a_format_error(cls, config, tmp_path):
    write(tmp_path, cls.config_file, config)
    with pytest.raises(ModelFormatError):
        cls.load(tmp_path)


def test_a_folder_without_configuration_or_weights_says_which_file_is_missing(tmp_path):
    with pytest.raises(ModelFormatError, match=r"config\.json is missing"):
        models.Dense.load(tmp_path)
    write(tmp_path, "config.json", DENSE)
    with pytest.raises(ModelFormatError, match=r"neither model\.safetensors nor"):
        models.Dense.load(tmp_path)
    assert isinstance(models.Normalize.load(tmp_path / "absent"), models.Normalize)


WEIGHTS = {
    "wrong shape": {"linear.weight": torch.zeros(4, 2), "linear.bias": torch.zeros(2)},
    "missing tensor": {"linear.weight": torch.zeros(2, 4)},
    "unknown tensor": {"linear.weight": torch.zeros(2, 4), "linear.bias": torch.zeros(2), "more": torch.zeros(1)},
}


@pytest.mark.parametrize("damage", [*WEIGHTS, "cut short", "noise", "empty"])
def test_weights_that_do_not_fit_or_are_damaged_are_a_format_error(damage, tmp_path):
    path = dense_folder(tmp_path) / "model.safetensors"
    if damage in WEIGHTS:
        save_file(WEIGHTS[damage], path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut short": whole[:-7], "noise": b"\xff" * 200, "empty": b""}[damage])
    with pytest.raises(ModelFormatError, match=str(tmp_path)):
        models.Dense.load(tmp_path)


TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # with which the older of torch's formats begins
DAMAGED_PICKLES = {  # what torch's reader raises → bytes that lead it there
    "AssertionError": b"".join(pickle.dumps(part, 2) for part in (TORCH_MAGIC, 1001, {})) + b"\x80\x02K\x01Q.",
    "IndexError": b"\x80\x02.",
    "KeyError": b"\x80\x02h\x05.",
    "TypeError": b"\x80\x02}]K\x01s.",
    "struct.error": b"\x80\x02X.",
}


@pytest.mark.filterwarnings("ignore:.*is a pickle")
@pytest.mark.parametrize("content", ["payload", "payload beside tensors", "noise", "not a table", *DAMAGED_PICKLES])
def test_a_pickle_that_holds_more_than_tensors_runs_nothing(content, tmp_path):
    marker = tmp_path / "ran"
    path = dense_folder(tmp_path / "model") / "pytorch_model.bin"
    (tmp_path / "model" / "model.safetensors").unlink()
    if content == "payload":
        path.write_bytes(pickle.dumps(Payload(str(marker)), protocol=2))
    elif content == "payload beside tensors":
        torch.save({"linear.weight": torch.zeros(2, 4), "linear.bias": Payload(str(marker))}, path)
    elif content in DAMAGED_PICKLES:
        path.write_bytes(DAMAGED_PICKLES[content])
    elif content == "noise":
        path.write_bytes(b"\x00\x01" * 50)
    else:
        torch.save([torch.zeros(2)], path)
    with pytest.raises(ModelFormatError):
        models.Dense.load(tmp_path / "model")
    assert not marker.exists()


def test_a_pickle_of_tensors_loads_with_a_warning(tmp_path):
    block = models.Dense(4, 2)
    block.save(tmp_path, safe_serialization=False)
    with pytest.warns(UserWarning, match="is a pickle"):
        again = models.Dense.load(tmp_path)
    torch.testing.assert_close(again.linear.weight, block.linear.weight)


def router_folder(folder: Path, **changes: object) -> Path:
    models.Router({"query": [models.Dense(4, 2)], "document": [models.Dense(4, 2)]}).save(folder)
    config = json.loads((folder / "router_config.json").read_text())
    return write(folder, "router_config.json", config | changes)


def typed(name: str, kind: object = LEGACY + "Dense") -> dict[str, object]:
    return {"types": {name: kind}, "structure": {"query": [name]}}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (typed("query_0_Dense", "os.system"), UnsafeModelError),
        (typed("query_0_Dense", ["os.system"]), UnsafeModelError),
        (typed("query_0_Dense", "payload.Payload"), UnsafeModelError),
        (typed("../outside"), UnsafeModelError),
        (typed("query_0_Dense/../../outside"), UnsafeModelError),
        (typed("/etc"), UnsafeModelError),
        (typed("link"), UnsafeModelError),
        (typed(".", LEGACY + "Router"), UnsafeModelError),
        (typed("", LEGACY + "Router"), UnsafeModelError),
        (typed("absent"), ModelFormatError),
        ({"types": ["query_0_Dense"]}, ModelFormatError),
        ({"types": {}}, ModelFormatError),
        ({"structure": {"query": "query_0_Dense"}}, ModelFormatError),
        ({"structure": {"query": ["elsewhere"]}}, ModelFormatError),
        ({"structure": {"query": [["query_0_Dense"]]}}, ModelFormatError),
        ({"structure": {"a.b": ["query_0_Dense"]}}, ModelFormatError),
        ({"structure": {"query": []}}, ModelFormatError),
        ({"structure": {}}, ModelFormatError),
        ({"parameters": []}, ModelFormatError),
        ({"parameters": {"default_route": "nowhere"}}, ModelFormatError),
        ({"parameters": {"default_route": ["query"]}}, ModelFormatError),
        ({"parameters": {"route_mappings": {"('query', 'image')": "query"}}}, ModelFormatError),
    ],
)
def test_a_router_folder_that_is_hostile_or_damaged_is_refused(changes, error, tmp_path):
    dense_folder(tmp_path / "outside")
    write(tmp_path / "model", "payload.py", f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Payload: pass\n")
    folder = router_folder(tmp_path / "model", **changes)
    (folder / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(error):
        models.Router.load(folder)
    assert not (tmp_path / "ran").exists()


def words_folder(folder: Path, tokenizer: object = None, **changes: object) -> Path:
    models.WordEmbeddings(models.WhitespaceTokenizer(["a", "b"]), torch.ones(2, 3)).save(folder)
    if tokenizer is not None:
        write(folder, "whitespacetokenizer_config.json", tokenizer)
    config = json.loads((folder / "wordembedding_config.json").read_text())
    return write(folder, "wordembedding_config.json", config | changes)


@pytest.mark.parametrize("name", NAMES_OF_CODE)
def test_a_tokenizer_outside_the_table_is_refused(name, tmp_path):
    with pytest.raises(UnsafeModelError, match="WhitespaceTokenizer"):
        models.WordEmbeddings.load(words_folder(tmp_path, tokenizer_class=name))


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"vocab": ["a", "b", "c"], "stop_words": []},
        {"vocab": {"a": 0}, "stop_words": []},
        {"vocab": ["a", 2], "stop_words": []},
        {"vocab": ["a", "b"]},
        [],
        "{",
    ],
)
def test_a_vocabulary_that_does_not_fit_the_table_is_a_format_error(tokenizer, tmp_path):
    with pytest.raises(ModelFormatError):
        models.WordEmbeddings.load(words_folder(tmp_path, tokenizer))


@pytest.mark.parametrize("table", [torch.ones(6), torch.ones(2, 2, 2)])
def test_a_table_of_words_must_have_two_axes(table, tmp_path):
    folder = words_folder(tmp_path)
    save_file({"emb_layer.weight": table}, folder / "model.safetensors")
    with pytest.raises(ModelFormatError, match="expected"):
        models.WordEmbeddings.load(folder)


# ── what blocks promise ───────────────────────────────────────────────────────────────────────────────────────────────


def test_first_weights_of_the_wrong_shape_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        models.Dense(4, 2, init_weight=torch.zeros(4, 2))


@pytest.mark.parametrize("block", [models.CNN(3, 2), models.LSTM(3, 2)])
def test_a_text_gives_the_same_token_vectors_alone_and_in_a_batch(block):
    words = models.WordEmbeddings(models.WhitespaceTokenizer(list("abcd")), torch.randn(4, 3))
    texts = ["a b c d", "b", "c d b", ""]
    together = block(words(words.tokenize(texts)))["token_embeddings"]
    for row, text in enumerate(texts):
        alone = block(words(words.tokenize([text])))["token_embeddings"][0]
        count = len(text.split())
        torch.testing.assert_close(alone[:count], together[row, :count])


def test_counting_words_of_a_text_ignores_the_limit():
    block = models.WordEmbeddings(models.WhitespaceTokenizer(["a", "b"], stop_words=()), torch.ones(2, 3), False, 2)
    rows = block.token_rows(["a b a", "b", "?"])
    assert rows.lengths.tolist() == [2, 1, 0]
    assert list(rows.cut) == [True, False, False]
    assert block.token_counts(["a b a", "b", "?"]).tolist() == [3, 1, 0]


def test_a_bag_of_words_weighs_and_counts():
    block = models.BoW(["Cat", "dog"], {"cat": 2.0}, unknown_word_weight=0.5)
    vectors = block(block.tokenize(["Cat dog DOG. cat", "", "dog"]))["sentence_embedding"]
    assert vectors.tolist() == [[2.0, 1.0], [0.0, 0.0], [0.0, 0.5]]
    assert block.collate(block.token_rows(["dog", "Cat", "x"]), np.array([1, 0]))["sentence_embedding"].tolist() == [
        [2.0, 0.0],
        [0.0, 0.5],
    ]


def test_phrases_are_found_and_contractions_split():
    tokenizer = models.PhraseTokenizer(["new_york", "new", "york", "do", "n't", "like", "state-of-the-art"], [])
    assert tokenizer.tokenize("I don't like New York. York is state-of-the-art!") == [3, 4, 5, 0, 2, 6]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "no line"), ("a\nb\n", "no line"), ("a 1 2\nb 1 x\n", "after 'a'"), (b"\xff\xfe", "PADDING_TOKEN")],
)
def test_a_file_without_word_vectors_is_a_format_error(content, message, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelFormatError, match=message):
        models.WordEmbeddings.from_text_file(path)
    with pytest.raises(ModelNotFoundError, match="Download"):
        models.WordEmbeddings.from_text_file(tmp_path / "absent.txt")


def test_layers_are_asked_for_when_the_transformer_does_not_give_them():
    with pytest.raises(ValueError, match="output_hidden_states"):
        models.WeightedLayerPooling(4, 2, 1)({"token_embeddings": torch.ones(1, 1, 4)})


class Letters(nn.Module):
    """A user's first block: it only has ``tokenize``."""

    def tokenize(self, texts):
        return {"sentence_embedding": torch.tensor([[float(len(text)), 1.0] for text in texts])}

    def forward(self, features):
        return features

    def save(self, output_path):
        write(Path(output_path), "letters.json", {})


def router(**settings):
    words = models.WordEmbeddings(models.WhitespaceTokenizer(["a", "b"], ()), torch.eye(2))
    first = nn.Linear(2, 2)
    return models.Router({"words": [words, models.Pooling(2)], "letters": [Letters()], "odd": [first]}, **settings)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([{"words": "a"}, {"letters": "b"}, {"words": "a"}], ValueError, "2 for 'words', 1 for 'letters'"),
        ([{"words": "a"}, "a"], ValueError, "1 for 'words', 1 for none"),
        ([{}], ValueError, "Row 0 has 0 keys"),
        (["a", {"words": "a", "letters": "b"}], ValueError, "Row 1 has 2 keys"),
        ([{"query": "a"}], ChoiceError, "Unknown route 'query'. Choose one of: 'words', 'letters', 'odd'"),
        ([{"odd": "a"}], ValueError, "Linear.*does not take texts"),
        ([{"words": "a"}, {"words": None}], TextTypeError, "Row 1 is None"),
        ([{"words": ["a"]}], TextTypeError, "Row 0 is list"),
    ],
)
def test_rows_that_name_no_single_route_are_refused(rows, error, message):
    with pytest.raises(error, match=message):
        router().tokenize(rows)


def test_a_router_takes_the_route_of_its_rows_of_the_call_and_by_default():
    block = router()
    counted, spelled = torch.tensor([[0.5, 0.5]]), torch.tensor([[3.0, 1.0]])
    for rows, wanted in ((["a b"], counted), ([{"words": "a b"}], counted), ([{"letters": "a b"}], spelled)):
        torch.testing.assert_close(block(block.tokenize(rows))["sentence_embedding"], wanted)
    later = models.Router({"query": [models.Dense(2, 3)], "doc": [models.Dense(2, 4)]}, default_route="doc")
    x = {"sentence_embedding": torch.ones(1, 2)}
    assert later(dict(x))["sentence_embedding"].shape == (1, 4)
    assert later(x | {"task": "query"})["sentence_embedding"].shape == (1, 3)
    assert later(dict(x), task="query")["sentence_embedding"].shape == (1, 3)
    assert later.get_sentence_embedding_dimension() == 3


def test_a_router_batches_by_tokens_where_its_block_can_and_by_letters_where_not():
    block = router()
    assert type(block).token_rows is not InputModule.token_rows
    texts = ["a b a", "b", "a b"]
    for route, lengths in (("words", [3, 1, 2]), ("letters", [5, 1, 3])):
        rows = block.token_rows([{route: text} for text in texts])
        assert rows.lengths.tolist() == lengths
        whole = block(block.tokenize([{route: text} for text in texts]))["sentence_embedding"]
        part = block(block.collate(rows, np.array([2, 0])))["sentence_embedding"]
        torch.testing.assert_close(part, whole[[2, 0]])
    assert block.token_counts([{"words": "a b a"}]).tolist() == [3]


def test_a_router_without_default_asks_for_a_route():
    block = router(allow_empty_key=False)
    with pytest.raises(ValueError, match=r"no default_route: name one of \['words', 'letters', 'odd'\]"):
        block.tokenize(["a"])
    with pytest.raises(ValueError, match="sub_modules"):
        models.Router({})
    with pytest.raises(ChoiceError, match="'a'"):
        models.Router({"a": [models.Dense(1, 1)]}, default_route="b")


def test_a_router_sets_one_limit_on_all_routes_and_writes_a_shared_block_once(tmp_path):
    words = models.WordEmbeddings(models.WhitespaceTokenizer(["a", "b"], ()), torch.eye(2))
    block = models.Router({"query": [words, models.Pooling(2)], "document": [words, models.Dense(2, 2)]})
    block.max_seq_length = 1
    assert words.max_seq_length == block.max_seq_length == 1
    assert block.tokenizer is words.tokenizer
    block.save(tmp_path)
    folders = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert folders == ["document_1_Dense", "query_0_WordEmbeddings", "query_1_Pooling"]
    again = models.Router.load(tmp_path)
    assert again.sub_modules["query"][0] is again.sub_modules["document"][0]
    with pytest.raises(UnsafeModelError, match="leaves the model folder"):
        models.Router({"/up": [models.Dense(1, 1)]}).save(tmp_path)


def test_a_users_block_is_saved_in_a_router_and_its_code_not_run_on_loading(tmp_path):
    models.Router({"letters": [Letters()]}).save(tmp_path)
    assert (tmp_path / "letters_0_Letters" / "letters.json").is_file()
    with pytest.raises(UnsafeModelError, match="Letters"):
        models.Router.load(tmp_path)


# ── CLIP ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tiny_clip(folder: Path):
    """Write a random CLIP of a few kB with a tokenizer of single letters, as transformers does."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPProcessor, CLIPTokenizerFast
    from transformers import CLIPModel as Clip

    letters = [letter + end for end in ("", "</w>") for letter in string.ascii_lowercase]
    vocab = {token: place for place, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    text = {**size, **special, "vocab_size": 54, "max_position_embeddings": 12, "projection_dim": 8}
    vision = {**size, "image_size": 8, "patch_size": 4, "projection_dim": 8}
    torch.manual_seed(0)
    pixels = CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    model = Clip(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    processor = CLIPProcessor(pixels, CLIPTokenizerFast(vocab=vocab, merges=[], model_max_length=12))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def pictures():
    from PIL import Image

    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (9, 8 + side, 3), dtype=np.uint8)) for side in range(3)]


def test_texts_and_images_are_encoded_together_and_apart(tmp_path):
    tiny_clip(tmp_path)
    model = SentenceTransformer(modules=[models.CLIPModel(str(tmp_path))], device="cpu")
    image, other, _ = pictures()
    mixed = model.encode([image, "a dog", other, "a dog", image])
    np.testing.assert_allclose(mixed[[0, 2, 4]], model.encode([image, other, image]), atol=1e-6)
    np.testing.assert_allclose(mixed[1], model.encode("a dog"), atol=1e-6)
    np.testing.assert_array_equal(mixed[1], mixed[3])
    np.testing.assert_allclose(model.encode(image), mixed[0], atol=1e-6)
    assert model.encode([]).shape == (0, 8)
    with pytest.raises(TextTypeError, match="Row 1 is bytes"):
        model.encode([image, b"pixels"])


def test_a_route_of_images_is_encoded_and_an_image_twice_given_gives_one_vector_twice(tmp_path):
    tiny_clip(tmp_path)
    model = SentenceTransformer(modules=[models.Router({"image": [models.CLIPModel(str(tmp_path))]})], device="cpu")
    image, other, _ = pictures()
    vectors = model.encode([{"image": image}, {"image": other}, {"image": image}, {"image": "a dog"}])
    plain = models.CLIPModel(str(tmp_path)).eval()
    with torch.no_grad():
        expected = plain(plain.tokenize([image, other, image, "a dog"]))["sentence_embedding"].numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def damaged(folder: Path, name: str, **changes: object) -> None:
    config = json.loads((folder / name).read_text())
    write(folder, name, config | changes)


@pytest.mark.parametrize("damage", ["cut short", "another model", "no image settings", "wrong shapes"])
def test_a_damaged_clip_folder_is_a_format_error(damage, tmp_path, tiny_folder):
    tiny_clip(tmp_path)
    weights = tmp_path / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "no image settings":
        (tmp_path / "processor_config.json").unlink()
    elif damage == "wrong shapes":
        damaged(tmp_path, "config.json", projection_dim=5)
    with pytest.raises(ModelFormatError):
        models.CLIPModel.load(tiny_folder if damage == "another model" else tmp_path)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_in_a_clip_folder_is_not_run(name, tmp_path):
    folder, ran = tmp_path / "clip", tmp_path / "ran"
    tiny_clip(folder)
    write(folder, "payload.py", f"import os\nos.mkdir({str(ran)!r})\n")
    payload = "payload.Payload"
    targets = ("AutoConfig", "AutoModel", "AutoProcessor", "AutoImageProcessor")
    damaged(folder, name, auto_map=dict.fromkeys(targets, payload) | {"AutoTokenizer": [payload, payload]})
    with contextlib.suppress(ModelFormatError):  # ignored where the class is known, refused where not
        models.CLIPModel.load(folder)
    assert not ran.exists()
