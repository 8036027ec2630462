"""BERT of our own: the same numbers and tokens as transformers, which is imported only when it is wanted."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertTokenizer

from tests import tiny_pairs
from tests.tiny import SENTENCES, bert, made_texts, model_folder, tokenizer, vocabulary, write_json
from workbench import CrossEncoder, SentenceTransformer
from workbench.models import Transformer
from workbench.models.bert import Bert, read_bert
from workbench.models.plain_tokenizer import PlainTokenizer, read_tokenizer
from workbench.tokens import Tokens

ROOT = Path(__file__).parents[1]
ODD = [
    *SENTENCES,
    "Ünïcödé ÀÉ naïve",
    "漢字 kana かな",
    "[MASK] [SEP] [CLS] x[PAD]",
    "a\x00b\u200b\ufeff",
    "monk" * 60,
    "\t",
]


def stand_in(model):
    """What holds the place of the transformers model, or that model itself."""
    return model[0]._modules["auto_model"] if isinstance(model, SentenceTransformer) else model._modules["model"]


def edit(path, **changes):
    value = json.loads(path.read_text())
    write_json(path, {key: item for key, item in (value | changes).items() if item is not ...})


# ── the same numbers ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_vectors_are_those_of_transformers(tmp_path, side, batch_size):
    folder = model_folder(tmp_path, padding_side=side)
    ours, theirs = (SentenceTransformer(folder, device="cpu") for _ in range(2))
    assert isinstance(theirs[0].auto_model, type(AutoModel.from_pretrained(folder)))
    texts = made_texts(60)
    np.testing.assert_allclose(ours.encode(texts, batch_size=batch_size), theirs.encode(texts), rtol=1e-6, atol=2e-6)
    assert isinstance(stand_in(ours), Bert)


@pytest.mark.parametrize("packing", [{"cpu"}, set()], ids=["as on the cpu", "as on a gpu"])
def test_the_encoder_equals_transformers_on_any_mask_types_and_places(tmp_path, packing, monkeypatch):
    monkeypatch.setattr("workbench.models.bert._PACKING", packing)
    bert().save_pretrained(tmp_path)
    ours, theirs = read_bert(tmp_path, classifier=False), AutoModel.from_pretrained(tmp_path)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 60, (9, 20), generator=draw)
    mask = torch.rand(9, 20, generator=draw) < 0.6
    mask[:, 0] = mask[4] = True
    batch = {"input_ids": ids, "attention_mask": mask.long(), "token_type_ids": ids % 2}
    batch["position_ids"] = torch.randint(0, 64, (9, 20), generator=draw)
    for names in (["attention_mask"], ["token_type_ids"], ["position_ids", "attention_mask"], list(batch)):
        some = {name: batch[name] for name in {"input_ids", *names}}
        with torch.inference_mode():
            a, b = ours(**some)[0], theirs(**some)[0]
        real = mask if "attention_mask" in some else torch.ones_like(mask)
        torch.testing.assert_close(a[real], b[real], rtol=1e-6, atol=3e-6)


def test_weights_stored_in_half_are_read_as_the_configuration_says(tmp_path):
    folder, pairs = tiny_pairs.write(tmp_path), tiny_pairs.pairs(20, 18)
    _state(folder, lambda state: state.update({key: value.half() for key, value in state.items()}))
    ours, theirs = (CrossEncoder(folder, device="cpu") for _ in range(2))
    assert theirs.model.dtype == stand_in(ours).dtype == torch.float32
    np.testing.assert_allclose(ours.predict(pairs), theirs.predict(pairs), atol=1e-6)
    edit(folder / "config.json", dtype=...)
    assert read_bert(folder, classifier=True) is None


@pytest.mark.parametrize("labels", [1, 3])
def test_pairs_score_as_with_transformers(tmp_path, labels):
    folder, pairs = tiny_pairs.write(tmp_path, labels), tiny_pairs.pairs(60, 18)
    ours, theirs = (CrossEncoder(folder, device="cpu") for _ in range(2))
    assert isinstance(theirs.model, type(AutoModelForSequenceClassification.from_pretrained(folder)))
    np.testing.assert_allclose(ours.predict(pairs), theirs.predict(pairs), atol=1e-6)
    assert not isinstance(stand_in(ours), type(theirs.model))
    assert ours.max_length == theirs.max_length == tiny_pairs.POSITIONS


def test_a_checkpoint_with_the_weights_of_other_heads_is_read(tmp_path):
    bert().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    more = {"cls.predictions.bias": torch.zeros(3), "bert.embeddings.position_ids": torch.arange(64)[None]}
    save_file({f"bert.{key}": value for key, value in state.items()} | more, tmp_path / "model.safetensors")
    read = read_bert(tmp_path, classifier=False)
    assert all(torch.equal(value, state[key]) for key, value in read.state_dict().items())


def test_a_row_of_padding_alone_gives_zeros_and_changes_no_other_row(tiny):
    one, two = tiny.tokenize(["monkey"]), tiny.tokenize(["monkey", "horse and violin"])
    two["attention_mask"][1] = 0
    with torch.no_grad():
        vectors = [tiny[0](dict(batch))["token_embeddings"] for batch in (one, two)]
    torch.testing.assert_close(vectors[1][0, :3], vectors[0][0], rtol=1e-6, atol=2e-6)
    assert (vectors[1][1] == 0).all()


# ── without transformers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_vectors_and_scores_need_no_import_of_transformers(tmp_path):
    model_folder(tmp_path / "model", config={"prompts": {"query": "query: "}})
    tiny_pairs.write(tmp_path / "pairs", dtype=torch.float32)
    code = f"""
import copy, pickle, sys
from workbench import CrossEncoder, SentenceTransformer
model = SentenceTransformer({str(tmp_path / "model")!r}, device="cpu")
model = pickle.loads(pickle.dumps(copy.deepcopy(model)))
assert model.encode(["monkey", "horse"], prompt_name="query", normalize_embeddings=True).shape == (2, 32)
model.token_counts(["monkey"]), repr(model), model.get_sentence_embedding_dimension(), model.max_seq_length
CrossEncoder({str(tmp_path / "pairs")!r}, device="cpu").rank("a man", ["a dog", "pasta"])
heavy = "torch._dynamo sympy transformers scipy sklearn pandas datasets huggingface_hub".split()
print(sorted(set(heavy) & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# ── the transformers model around the same layers ─────────────────────────────────────────────────────────────────────


def test_the_transformers_model_has_the_very_same_layers_names_and_parameters(tiny):
    before, names = dict(tiny.named_parameters()), list(tiny.state_dict())
    model = tiny[0].auto_model
    after = dict(tiny.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)
    assert list(tiny.state_dict()) == names == [f"0.auto_model.{name}" for name in bert().state_dict()]
    assert tiny[0].auto_model is model is tiny.transformers_model
    assert model.config.model_type == "bert"
    assert not model.training
    assert model.embeddings.position_ids.tolist() == [list(range(64))]
    assert {str(buffer.device) for buffer in model.buffers()} == {"cpu"}


def test_changes_made_before_are_there_after(tiny):
    seen = []
    layers = dict(tiny.named_modules())
    layers["0.auto_model.encoder.layer.1.output.dense"].register_forward_hook(lambda *_: seen.append(1))
    layers["0.auto_model.pooler.dense"].weight.requires_grad_(False)
    tiny.half()
    with torch.no_grad():
        layers["0.auto_model.embeddings.LayerNorm"].bias.fill_(0.5)
    tiny.float().encode("monkey")
    vector, count = tiny.encode("monkey"), len(seen)
    assert count == 2
    model = tiny[0].auto_model
    assert (model.embeddings.LayerNorm.bias == 0.5).all()
    assert not model.pooler.dense.weight.requires_grad
    np.testing.assert_allclose(tiny.encode("monkey"), vector, rtol=1e-6, atol=2e-6)
    assert len(seen) == 3


def test_many_threads_that_ask_get_one_model_and_encoding_goes_on(tiny):
    expected = tiny.encode(SENTENCES)
    with ThreadPoolExecutor(8) as threads:
        vectors = [threads.submit(tiny.encode, SENTENCES) for _ in range(4)]
        models = {id(future.result()) for future in [threads.submit(lambda: tiny[0].auto_model) for _ in range(8)]}
        tokenizers = {id(future.result()) for future in [threads.submit(lambda: tiny.tokenizer) for _ in range(8)]}
        for future in vectors:
            np.testing.assert_allclose(future.result(), expected, rtol=1e-6, atol=2e-6)
    assert len(models) == len(tokenizers) == 1


def test_copies_are_models_of_their_own(tiny):
    for twin in (copy.deepcopy(tiny), pickle.loads(pickle.dumps(tiny))):
        with torch.no_grad():
            next(twin.parameters()).zero_()
        assert isinstance(stand_in(twin), Bert)
        assert next(twin[0].auto_model.parameters()).sum() == 0
    assert next(tiny.parameters()).abs().sum() > 0
    assert isinstance(stand_in(tiny), Bert)


def test_training_runs_transformers_with_dropout_and_gradients(tiny):
    batch = tiny.tokenize(SENTENCES[:3])
    parameters = list(tiny.parameters())
    tiny.train()
    first, second = (tiny(dict(batch))["sentence_embedding"] for _ in range(2))
    assert not torch.equal(first, second)
    first.sum().backward()
    assert parameters[0].grad is not None
    assert type(stand_in(tiny)).__name__ == "BertModel"


def test_a_gradient_wanted_in_evaluation_is_there(tiny):
    tiny(tiny.tokenize(["monkey"]))["sentence_embedding"].sum().backward()
    assert next(tiny.parameters()).grad is not None


def test_saving_keeps_the_model_as_it_is_and_needs_no_folder(tmp_path):
    folder = model_folder(tmp_path / "m")
    direct, texts = AutoTokenizer.from_pretrained(folder), made_texts(20)
    direct.save_pretrained(tmp_path / "direct")
    model = SentenceTransformer(folder, device="cpu")
    vectors = model.encode(texts)
    shutil.rmtree(folder)
    model.save(tmp_path / "saved")
    assert isinstance(stand_in(model), Bert)
    np.testing.assert_array_equal(model.encode(texts), vectors)
    np.testing.assert_array_equal(SentenceTransformer(tmp_path / "saved", device="cpu").encode(texts), vectors)
    assert model.tokenizer.name_or_path == str(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        ours, theirs = (json.loads((tmp_path / side / name).read_text()) for side in ("saved", "direct"))
        assert ours == theirs


def test_hidden_states_and_attention_by_hand_go_through_transformers(tiny_folder):
    model = SentenceTransformer(tiny_folder, device="cpu", config_kwargs={"output_hidden_states": True})
    assert len(model.encode("monkey", output_value=None)["all_layer_embeddings"]) == 3
    model = SentenceTransformer(tiny_folder, device="cpu", model_kwargs={"attn_implementation": "eager"})
    assert stand_in(model).config._attn_implementation == "eager"


# ── what is left to transformers ──────────────────────────────────────────────────────────────────────────────────────

UNUSUAL = [
    *({"hidden_act": "relu"}, {"is_decoder": True}, {"output_hidden_states": True}, {"layer_norm_eps": "1e-12"}),
    *({"model_type": "roberta"}, {"model_type": ...}, {"dtype": "float16"}, {"torch_dtype": "bfloat16"}),
    *({"num_hidden_layers": 3}, {"num_hidden_layers": 10**12}, {"num_hidden_layers": "2"}, {"hidden_size": 0}),
    *({"hidden_size": 2**40}, {"intermediate_size": 2**23}, {"num_attention_heads": 5}, {"vocab_size": 7}),
    *({"pad_token_id": 10**6}, {"pad_token_id": "0"}, {"type_vocab_size": True}, {"add_cross_attention": True}),
    *({"position_embedding_type": "relative_key"}, {"quantization_config": {"quant_method": "x"}}),
    *({"transformers_weights": "x.safetensors"}, {"a_setting_of_tomorrow": 1}),
    *({"auto_map": {"AutoModel": "x.Y"}}, {"attn_implementation": "eager"}, {"chunk_size_feed_forward": 4}),
]


@pytest.mark.parametrize("changes", UNUSUAL, ids=str)
def test_an_unusual_configuration_is_left_to_transformers(tiny_folder, tmp_path, changes):
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    assert read_bert(folder, classifier=False) is not None
    edit(folder / "config.json", **changes)
    assert read_bert(folder, classifier=False) is None


def _state(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


WEIGHTS = {
    "numbers": lambda f: _state(f, lambda s: s.update({key: value.int() for key, value in s.items()})),
    "one missing": lambda f: _state(f, lambda s: s.pop("embeddings.LayerNorm.bias")),
    "no pooler": lambda f: _state(f, lambda s: [s.pop(f"pooler.dense.{name}") for name in ("weight", "bias")]),
    "one more": lambda f: _state(f, lambda s: s.update(extra=torch.zeros(1))),
    "another name": lambda f: _state(f, lambda s: s.update(x=s.pop("pooler.dense.bias"))),
    "another shape": lambda f: _state(f, lambda s: s.update({"pooler.dense.bias": torch.zeros(3)})),
    "damaged": lambda f: (f / "model.safetensors").write_bytes(b"12345678"),
    "elsewhere": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
    "an adapter": lambda f: (f / "adapter_config.json").write_text("{}"),
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_unusual_weights_are_left_to_transformers(tiny_folder, tmp_path, what):
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    WEIGHTS[what](folder)
    assert read_bert(folder, classifier=False) is None


@pytest.mark.parametrize(
    "changes", [{"architectures": ["BertModel"]}, {"num_labels": 2}, {"id2label": {"0": "a", "1": "b"}}], ids=str
)
def test_a_classifier_that_is_not_as_its_configuration_says_is_left_to_transformers(tmp_path, changes):
    tiny_pairs.write(tmp_path, 3)
    assert read_bert(tmp_path, classifier=True) is not None
    edit(tmp_path / "config.json", **changes)
    assert read_bert(tmp_path, classifier=True) is None


def test_wishes_of_the_caller_are_left_to_transformers(tiny_folder):
    for options in ({"model_args": {"add_pooling_layer": False}}, {"tokenizer_args": {"padding_side": "left"}}):
        assert type(Transformer(tiny_folder, **options)._modules["auto_model"]).__name__ == "BertModel"
    assert type(Transformer(tiny_folder, tokenizer_name_or_path=str(tiny_folder))._held).__name__ == "BertModel"
    assert isinstance(Transformer(tiny_folder)._held, Bert)


# ── the same tokens ───────────────────────────────────────────────────────────────────────────────────────────────────


def write_words(folder, **options):
    """A tokenizer of the class that BERT's folders name."""
    BertTokenizer(vocab=vocabulary(), **options).save_pretrained(folder)
    write_json(folder / "config.json", {"model_type": "bert"})
    return folder


def same_tokens(folder):
    ours, theirs = read_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    pairs = list(zip(ODD, reversed(ODD), strict=True))
    for rows in (ODD, pairs):
        for length in (None, 12, 5):
            a, b = (Tokens(each).rows(rows, length) for each in (ours, theirs))
            assert a.columns.keys() == b.columns.keys()
            assert all((a.columns[name] == b.columns[name]).all() for name in a.columns)
            assert (a.starts == b.starts).all()
    for name in ("padding_side", "truncation_side", "pad_token_id", "pad_token_type_id", "model_max_length"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)
    assert list(ours.model_input_names) == list(theirs.model_input_names)
    assert set(ours.all_special_ids) == set(theirs.all_special_ids)
    whole = ours.as_transformers()
    assert type(whole) is type(theirs)
    assert whole.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    paths = {"tokenizer_file", "vocab_file"}
    assert {key: value for key, value in whole.init_kwargs.items() if key not in paths} == {
        key: value for key, value in theirs.init_kwargs.items() if key not in paths | {"name_or_path"}
    } | {"name_or_path": str(folder)}


@pytest.mark.parametrize(
    "options",
    [
        *({}, {"do_lower_case": False}, {"strip_accents": False}, {"strip_accents": True, "do_lower_case": False}),
        *({"tokenize_chinese_chars": False}, {"padding_side": "left", "truncation_side": "left"}),
        *({"model_max_length": 20}, {"cls_token": "[MASK]", "mask_token": "[CLS]"}),
    ],
    ids=str,
)
def test_the_words_of_bert_become_the_tokens_of_transformers(tmp_path, options):
    same_tokens(write_words(tmp_path, **options))


def test_the_settings_of_the_folder_win_over_those_in_tokenizer_json(tmp_path):
    write_words(tmp_path, do_lower_case=True)
    edit(tmp_path / "tokenizer_config.json", do_lower_case=False, tokenizer_class="BertTokenizerFast")
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    padding = {"strategy": {"Fixed": 16}, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    spec["padding"] = padding | {"pad_to_multiple_of": None}
    spec["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}
    write_json(tmp_path / "tokenizer.json", spec)
    same_tokens(tmp_path)


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_a_tokenizer_saved_whole_gives_the_tokens_of_transformers(tmp_path, kind):
    tokenizer(lower=False, max_length=30).save_pretrained(tmp_path)
    edit(tmp_path / "tokenizer_config.json", tokenizer_class=kind)
    write_json(tmp_path / "config.json", {"model_type": "bert"})
    same_tokens(tmp_path)


def test_the_tokens_of_minilm_are_those_of_transformers(minilm):
    same_tokens(minilm)


def _spec(folder, **changes):
    edit(folder / "tokenizer.json", **changes)


def _model(folder, **changes):
    _spec(folder, model=json.loads((folder / "tokenizer.json").read_text())["model"] | changes)


def _setting(**changes):
    return lambda folder: edit(folder / "tokenizer_config.json", **changes)


LEFT = {
    "another class": _setting(tokenizer_class="XLMRobertaTokenizer"),
    "no class": _setting(tokenizer_class=...),
    "an unknown setting": _setting(split_special_tokens=True),
    "more special tokens": _setting(additional_special_tokens=["<x>"]),
    "a special token that is no token": _setting(cls_token="<cls>"),
    "a special token that is a list": _setting(cls_token=["[CLS]"]),
    "a length that is a word": _setting(model_max_length="long"),
    "a side that is none": _setting(padding_side="top"),
    "a case that is a word": _setting(do_lower_case="yes"),
    "other added tokens": _setting(added_tokens_decoder={"7": {"content": "x", "special": True}}),
    "added tokens that are a word": _setting(added_tokens_decoder="[CLS]"),
    "its own code": _setting(auto_map={"AutoTokenizer": ["x.Y", None]}),
    "another prefix": lambda f: _model(f, continuing_subword_prefix="@@"),
    "shorter words": lambda f: _model(f, max_input_chars_per_word=5),
    "no template": lambda f: (_setting(tokenizer_class="TokenizersBackend")(f), _spec(f, post_processor=None)),
    "a damaged file": lambda f: (f / "tokenizer.json").write_text("{"),
    "no file": lambda f: (f / "tokenizer.json").unlink(),
    "no settings": lambda f: (f / "tokenizer_config.json").unlink(),
    "tokens in a file of their own": lambda f: (f / "added_tokens.json").write_text("{}"),
    "other names in the map": lambda f: (
        _setting(added_tokens_decoder=...)(f),
        write_json(f / "special_tokens_map.json", {"cls_token": "[MASK]"}),
    ),
}


@pytest.mark.parametrize("what", LEFT)
def test_an_unusual_tokenizer_is_left_to_transformers(tmp_path, what):
    write_words(tmp_path)
    assert isinstance(read_tokenizer(tmp_path), PlainTokenizer)
    LEFT[what](tmp_path)
    assert read_tokenizer(tmp_path) is None
