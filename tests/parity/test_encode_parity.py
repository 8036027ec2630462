"""Vectors and folders against the reference package, on tiny random models: every pooling, prompt and layout."""

import contextlib
import json
import warnings

import numpy as np
import pytest
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer as Reference
from sentence_transformers.sentence_transformer import modules as reference_models

from tests.tiny import DIM, SENTENCES, made_texts, model_folder, plain_folder, tokenizer, vocabulary, write_json
from workbench import SentenceTransformer, models

TEXTS = [*SENTENCES, *made_texts(20), "naïve Café", "  spaces around \n", "UNKNOWN ☃ sign", "word " * 60]
MODES = ["cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"]
KEYS = {
    "cls": "pooling_mode_cls_token",
    "lasttoken": "pooling_mode_lasttoken",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
}

pytestmark = pytest.mark.filterwarnings("ignore:.*were cut:UserWarning")  # one of the texts is too long, on purpose


def flags(*modes):
    return {key: mode in modes for mode, key in KEYS.items()}


def both(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what the reference says of its own layouts
        theirs = Reference(str(folder), device="cpu", **options)
    return SentenceTransformer(folder, device="cpu", **options), theirs


def assert_same(found, expected):
    """To 1e-6, in units of the largest number: vectors that are not normalized are larger than 1."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


# ── pooling and prompts ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("modes", [*([mode] for mode in MODES), ["cls", "max"], ["mean", "weightedmean"], MODES])
def test_every_pooling_gives_the_vectors_of_the_reference(tmp_path, modes, include_prompt):
    folder = model_folder(tmp_path / "m", pooling=flags(*modes) | {"include_prompt": include_prompt})
    ours, theirs = both(folder)
    assert ours.get_sentence_embedding_dimension() == DIM * len(modes)
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert_same(ours.encode(TEXTS, prompt="query: "), theirs.encode(TEXTS, prompt="query: "))


@pytest.mark.parametrize("modes", [["mean", "cls"], ["lasttoken", "max", "cls"]])
def test_the_order_of_poolings_is_kept_in_both_directions(tiny_folder, tmp_path, modes):
    transformer, pooling = models.Transformer(tiny_folder), models.Pooling(DIM, modes)
    assert pooling.get_pooling_mode_str() == "+".join(modes)
    ours = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    ours.save(tmp_path / "ours")
    theirs = Reference(str(tmp_path / "ours"), device="cpu")
    assert_same(theirs.encode(TEXTS), ours.encode(TEXTS))
    theirs.save(str(tmp_path / "theirs"), create_model_card=False)
    assert_same(SentenceTransformer(tmp_path / "theirs", device="cpu").encode(TEXTS), ours.encode(TEXTS))


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_padding_on_the_left_gives_the_vectors_of_the_reference(tmp_path, mode, include_prompt):
    pooling = flags(mode) | {"include_prompt": include_prompt}
    ours, theirs = both(model_folder(tmp_path / "m", pooling=pooling, padding_side="left"))
    # Padding on the left moves the positions that the reference gives BERT, so that its vectors depend on the
    # batch. Ours do not; the reference is asked for one text at a time.
    expected = np.stack([theirs.encode(text, prompt="query: ") for text in TEXTS])
    assert_same(ours.encode(TEXTS, prompt="query: "), expected)
    assert_same(ours.encode(TEXTS, prompt="query: ", batch_size=3), expected)


@pytest.mark.parametrize("prompt", ["query", "query: ", "query:", " ", "a man ", "☃", "[SEP]"])
def test_a_prompt_left_out_of_pooling_has_the_reference_s_length(tmp_path, prompt):
    ours, theirs = both(model_folder(tmp_path / "m", pooling={"include_prompt": False}))
    assert_same(ours.encode(TEXTS, prompt=prompt), theirs.encode(TEXTS, prompt=prompt))


def test_including_the_prompt_can_be_switched_as_in_the_reference(tiny_folder):
    ours, theirs = both(tiny_folder)
    before = ours.encode(TEXTS, prompt="query: ")
    for model in (ours, theirs):
        model.set_pooling_include_prompt(False)
    found = ours.encode(TEXTS, prompt="query: ")
    assert_same(found, theirs.encode(TEXTS, prompt="query: "))
    assert np.abs(found - before).max() > 0.1


PROMPTS = {"query": "query: ", "document": "passage: ", "": "x "}


@pytest.mark.parametrize("default", [None, "query", "document", "other"])
@pytest.mark.parametrize("prompts", [PROMPTS, {"query": "query: "}, {"document": "passage: "}, {}])
def test_prompts_of_a_folder_are_used_as_in_the_reference(tmp_path, default, prompts):
    prompts = prompts | {"other": "x "} | ({default: "d "} if default and default not in prompts else {})
    config = {"prompts": prompts, "default_prompt_name": default, "similarity_fn_name": "dot"}
    ours, theirs = both(model_folder(tmp_path / "m", config=config))
    for options in ({}, {"prompt_name": "other"}, {"prompt": "a "}, {"prompt_name": "other", "prompt": "a "}):
        assert_same(ours.encode(TEXTS, **options), theirs.encode(TEXTS, **options))
    assert_same(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))
    assert_same(ours.encode_document(TEXTS), theirs.encode_document(TEXTS))


# ── what cuts and changes texts ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [3, 10, 48, 64, None])
def test_the_maximum_length_of_a_folder_cuts_as_in_the_reference(tmp_path, length):
    ours, theirs = both(model_folder(tmp_path / "m", bert_config={"max_seq_length": length}))
    assert ours.max_seq_length == theirs.max_seq_length == (length or 64)
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))
    ours.max_seq_length = theirs.max_seq_length = 5
    assert ours.get_max_seq_length() == theirs.get_max_seq_length() == 5
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_lower_case_is_as_in_the_reference(tmp_path, do_lower_case):
    ours, theirs = both(model_folder(tmp_path / "m", bert_config={"do_lower_case": do_lower_case}, lower=False))
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert (ours.encode("MONKEY") == ours.encode("monkey")).all() == do_lower_case


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("options", [{}, {"truncate_dim": 8}, {"normalize_embeddings": True}])
def test_precisions_equal_the_reference(tiny_folder, precision, options):
    ours, theirs = both(tiny_folder)
    found, expected = (model.encode(TEXTS, precision=precision, **options) for model in (ours, theirs))
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if "binary" in precision:
        assert (found == expected).all()
    else:  # vectors apart by 1e-7 may fall on two sides of the edge between two steps
        steps = np.abs(found.astype(int) - expected.astype(int))
        assert steps.max() <= 1
        assert (steps > 0).mean() < 0.01


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity_functions_of_a_folder_equal_the_reference(tmp_path, name):
    ours, theirs = both(model_folder(tmp_path / "m", config={"similarity_fn_name": name}))
    assert ours.similarity_fn_name == theirs.similarity_fn_name == name
    a, b = ours.encode(TEXTS[:5]), ours.encode(TEXTS[5:10])
    assert_same(ours.similarity(a, b), theirs.similarity(a, b))
    assert_same(ours.similarity_pairwise(a, b), theirs.similarity_pairwise(a, b))


def test_token_vectors_equal_the_reference(tiny_folder):
    ours, theirs = both(tiny_folder)
    found, expected = (model.encode(TEXTS, output_value="token_embeddings") for model in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    one, other = (model.encode(TEXTS[0], output_value="token_embeddings") for model in (ours, theirs))
    assert_same(one, other)


def test_everything_that_the_reference_gives_for_a_text_is_given(tiny_folder):
    ours, theirs = both(tiny_folder)
    found, expected = (model.encode(TEXTS, output_value=None, batch_size=1) for model in (ours, theirs))
    for one, other in zip(found, expected, strict=True):
        for key in ("sentence_embedding", "token_embeddings", "input_ids", "attention_mask", "token_type_ids"):
            if key in other:
                assert_same(one[key], other[key])


# ── other transformers models ─────────────────────────────────────────────────────────────────────────────────────────

SIZES = {"vocab_size": len(vocabulary()), "pad_token_id": 0}
HIDDEN = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
KINDS = {
    "roberta": (HIDDEN | {"max_position_embeddings": 66}, {"side": "right"}),
    "roberta, left": (HIDDEN | {"max_position_embeddings": 66}, {"side": "left"}),
    "distilbert": ({"dim": DIM, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}, {"side": "right"}),
    "mpnet": (HIDDEN | {"max_position_embeddings": 66}, {"side": "right"}),
    "albert": (HIDDEN | {"embedding_size": 16}, {"side": "right"}),
    "electra": (HIDDEN | {"embedding_size": 16}, {"side": "right"}),
    "t5": ({"d_model": DIM, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}, {"side": "right"}),
    "qwen2": (HIDDEN | {"num_key_value_heads": 2}, {"side": "left", "mode": "lasttoken"}),
    "qwen2, right": (HIDDEN | {"num_key_value_heads": 2}, {"side": "right", "mode": "lasttoken"}),
    "gpt2": ({"n_embd": DIM, "n_layer": 2, "n_head": 4}, {"side": "left", "mode": "weightedmean"}),
    "modernbert": (HIDDEN | {"global_attn_every_n_layers": 2, "local_attention": 8}, {"side": "right"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_architectures_give_the_vectors_of_the_reference(tmp_path, kind):
    sizes, settings = KINDS[kind]
    torch.manual_seed(1)
    special = dict.fromkeys(
        ["bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "decoder_start_token_id"], 0
    )
    config = transformers.AutoConfig.for_model(kind.partition(",")[0], **SIZES, **special, **sizes)
    transformers.AutoModel.from_config(config).eval().save_pretrained(tmp_path)
    tokenizer(padding_side=settings["side"]).save_pretrained(tmp_path)
    transformer = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    pooling = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    write_json(tmp_path / "modules.json", [transformer, pooling])
    mode = flags(settings.get("mode", "mean"))
    write_json(tmp_path / "1_Pooling" / "config.json", {"word_embedding_dimension": DIM} | mode)
    ours, theirs = both(tmp_path)
    assert ours.max_seq_length == theirs.max_seq_length
    expected = np.stack([theirs.encode(text) for text in TEXTS])
    assert_same(ours.encode(TEXTS), expected)
    ours.save(tmp_path / "saved")
    assert_same(SentenceTransformer(tmp_path / "saved", device="cpu").encode(TEXTS), expected)


# ── folders, in both directions ───────────────────────────────────────────────────────────────────────────────────────


def blocks_of_ours(folder):
    torch.manual_seed(2)
    return [
        models.Transformer(folder, max_seq_length=20),
        models.Pooling(DIM, "mean+max", include_prompt=False),
        models.Dense(2 * DIM, 8),
        models.LayerNorm(8),
        models.Dropout(0.3),
        models.Normalize(),
    ]


def blocks_of_theirs(folder):
    torch.manual_seed(2)
    return [
        reference_models.Transformer(str(folder), max_seq_length=20),
        reference_models.Pooling(DIM, ("mean", "max"), include_prompt=False),
        reference_models.Dense(2 * DIM, 8),
        reference_models.LayerNorm(8),
        reference_models.Dropout(0.3),
        reference_models.Normalize(),
    ]


SETTINGS = {"prompts": PROMPTS, "default_prompt_name": "document", "similarity_fn_name": "euclidean"}


def test_what_is_saved_here_loads_in_the_reference(tiny_folder, tmp_path):
    ours = SentenceTransformer(modules=blocks_of_ours(tiny_folder), device="cpu", **SETTINGS)
    ours.save(tmp_path / "m")
    again, theirs = both(tmp_path / "m")
    for model in (again, theirs):
        assert model.prompts.items() >= PROMPTS.items()
        assert model.default_prompt_name == "document"
        assert model.similarity_fn_name == "euclidean"
        assert model.max_seq_length == 20
        assert_same(model.encode(TEXTS), ours.encode(TEXTS))
        assert_same(model.encode(TEXTS, prompt_name="query"), ours.encode(TEXTS, prompt_name="query"))
    assert [type(block).__name__ for block in theirs] == [type(block).__name__ for block in ours]


@pytest.mark.parametrize("safe", [True, False])
def test_what_the_reference_saved_loads_here(tiny_folder, tmp_path, safe):
    theirs = Reference(modules=blocks_of_theirs(tiny_folder), device="cpu", truncate_dim=6, **SETTINGS)
    theirs.save(str(tmp_path / "m"), create_model_card=False, safe_serialization=safe)
    layout = json.loads((tmp_path / "m" / "modules.json").read_text())
    assert sentence_transformers.__version__ < "6" or layout[0]["type"].startswith("sentence_transformers.base.modules")
    with contextlib.nullcontext() if safe else pytest.warns(UserWarning, match="pytorch_model.bin is a pickle"):
        ours = SentenceTransformer(tmp_path / "m", device="cpu")
    assert ours.prompts == theirs.prompts
    assert ours.default_prompt_name == "document"
    assert ours.similarity_fn_name == "euclidean"
    assert ours.max_seq_length == 20
    assert ours.truncate_dim == 6
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert_same(ours.encode(TEXTS, prompt_name="query"), theirs.encode(TEXTS, prompt_name="query"))


def test_a_model_goes_there_and_back_and_there_again_without_a_change(tiny_folder, tmp_path):
    first = Reference(modules=blocks_of_theirs(tiny_folder), device="cpu", **SETTINGS)
    first.save(str(tmp_path / "a"), create_model_card=False)
    SentenceTransformer(tmp_path / "a", device="cpu").save(tmp_path / "b")
    Reference(str(tmp_path / "b"), device="cpu").save(str(tmp_path / "c"), create_model_card=False)
    assert_same(SentenceTransformer(tmp_path / "c", device="cpu").encode(TEXTS), first.encode(TEXTS))


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
def test_the_old_names_of_the_configuration_file_are_read(tmp_path, kind):
    folder = model_folder(tmp_path / "m", bert_config={"max_seq_length": 7})
    (folder / "sentence_bert_config.json").rename(folder / f"sentence_{kind}_config.json")
    ours, theirs = both(folder)
    assert ours.max_seq_length == theirs.max_seq_length == 7
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_a_model_in_a_folder_of_its_own_is_read(tmp_path):
    """The layout of the first releases: every block in a folder, the transformer too."""
    folder = tmp_path / "m"
    plain_folder(folder / "0_Transformer")
    write_json(folder / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 9, "do_lower_case": False})
    lines = [("0_Transformer", "Transformer.Transformer"), ("1_Pooling", "Pooling.Pooling")]
    types = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind.split('.')[0]}"}
        for n, (path, kind) in enumerate(lines)
    ]
    write_json(folder / "modules.json", types)
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": DIM, "pooling_mode_mean_tokens": True}
    )
    ours, theirs = both(folder)
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_a_plain_transformers_folder_gets_mean_pooling_as_in_the_reference(tmp_path):
    folder = plain_folder(tmp_path / "bert")
    ours, theirs = both(folder)
    assert [type(block).__name__ for block in ours] == ["Transformer", "Pooling"]
    assert ours.max_seq_length == theirs.max_seq_length
    assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_pickled_weights_load_with_a_warning(tiny_folder, tmp_path):
    ours = SentenceTransformer(tiny_folder, device="cpu")
    ours.save(tmp_path / "m", safe_serialization=False)
    assert not list((tmp_path / "m").glob("*.safetensors"))
    with pytest.warns(UserWarning, match="pytorch_model.bin is a pickle; only tensors are read"):
        again = SentenceTransformer(tmp_path / "m", device="cpu")
    assert_same(again.encode(TEXTS), ours.encode(TEXTS))
    assert_same(Reference(str(tmp_path / "m"), device="cpu").encode(TEXTS), ours.encode(TEXTS))


def test_arguments_for_transformers_reach_it_as_in_the_reference(tiny_folder):
    options = {"model_kwargs": {"dtype": torch.float16}, "tokenizer_kwargs": {"padding_side": "left"}}
    ours, theirs = both(tiny_folder, **options)
    assert ours.dtype == theirs.dtype == torch.float16
    assert ours.tokenizer.padding_side == "left"
    ours, theirs = both(tiny_folder, config_kwargs={"output_hidden_states": True})
    found, expected = (model.encode(["monkey"], output_value=None)[0] for model in (ours, theirs))
    assert len(found["all_layer_embeddings"]) == len(expected["all_layer_embeddings"]) == 3
    for one, other in zip(found["all_layer_embeddings"], expected["all_layer_embeddings"], strict=True):
        assert_same(one, other[0])  # the reference gives the whole batch
