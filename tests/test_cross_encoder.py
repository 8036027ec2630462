import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from tests import tiny_pairs
from workbench import CrossEncoder, hub
from workbench.errors import (
    ChoiceError,
    ModelFormatError,
    ModelNotFoundError,
    TextTypeError,
    TruncationWarning,
    UnsafeModelError,
    WorkerError,
)
from workbench.progress import listen

PAIRS = tiny_pairs.pairs(60)
DOCUMENTS = ["a man is eating bread", "the girl plays guitar", "pasta food .", "a horse", "the dog on a horse ?"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Number of labels → folder of a tiny model."""
    root = tmp_path_factory.mktemp("cross")
    return {labels: tiny_pairs.write(root / str(labels), labels) for labels in (1, 3)}


@pytest.fixture(scope="module")
def model(folders):
    return CrossEncoder(folders[1], device="cpu")


@pytest.fixture(scope="module")
def classifier(folders):
    return CrossEncoder(folders[3], device="cpu")


def logits_of(folder, pairs):
    """Logits of one pair at a time, by transformers alone."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), tiny_pairs.tokenizer()
    with torch.no_grad():
        rows = [model(**tokenizer(*pair, truncation=True, return_tensors="pt")).logits[0] for pair in pairs]
    return torch.stack(rows)


def edit(folder, name="config.json", **changes):
    path = folder / name
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | changes))


# ── predict ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_scores_of_one_label_are_the_sigmoid_of_the_logits(model, folders):
    expected = logits_of(folders[1], PAIRS)[:, 0].sigmoid().numpy()
    scores = model.predict(PAIRS)
    assert scores.shape == (60,)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_scores_of_several_labels_are_the_logits_and_softmax_makes_them_sum_to_one(classifier, folders):
    expected = logits_of(folders[3], PAIRS)
    np.testing.assert_allclose(classifier.predict(PAIRS), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(classifier.predict(PAIRS, apply_softmax=True), expected.softmax(1).numpy(), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_scores_do_not_depend_on_the_batches(classifier, batch_size):
    np.testing.assert_allclose(classifier.predict(PAIRS, batch_size), classifier.predict(PAIRS), atol=1e-6)


def test_one_pair_gives_one_score(model, classifier):
    pair = PAIRS[0]
    for one in (pair, list(pair), np.array(pair)):
        assert isinstance(model.predict(one), np.float32)
    assert classifier.predict(pair).shape == (3,)
    assert model.predict(pair, convert_to_tensor=True).shape == ()
    assert model.predict([pair]).shape == (1,)


def test_no_pairs_give_no_scores(model, classifier):
    assert model.predict([]).shape == (0,)
    assert classifier.predict([], apply_softmax=True).shape == (0, 3)
    assert classifier.predict([], convert_to_tensor=True).shape == (0, 3)
    assert model.predict([], convert_to_numpy=False) == []


def test_scores_come_as_array_tensor_or_list(classifier):
    array = classifier.predict(PAIRS)
    tensor = classifier.predict(PAIRS, convert_to_tensor=True)
    rows = classifier.predict(PAIRS, convert_to_numpy=False)
    assert isinstance(rows, list)
    assert not tensor.is_inference()
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(array, torch.stack(rows).numpy())


@pytest.mark.parametrize(
    "shape",
    [tuple, iter, np.array, lambda rows: pd.DataFrame(rows, columns=["a", "b"]), lambda rows: pd.Series(rows)],
    ids=["tuple", "iterator", "array", "frame", "series"],
)
def test_every_kind_of_table_of_pairs_is_read(model, shape):
    np.testing.assert_array_equal(model.predict(shape(PAIRS)), model.predict(PAIRS))


def test_a_frame_of_two_rows_is_not_taken_for_one_pair(model):
    assert model.predict(pd.DataFrame({"query": ["a man", "a dog"], "text": ["a cat", "food"]})).shape == (2,)


def test_each_pair_is_scored_once_and_the_order_is_kept(model, monkeypatch):
    seen = []
    forward = CrossEncoder.forward
    monkeypatch.setattr(
        CrossEncoder, "forward", lambda self, batch: seen.append(len(batch["input_ids"])) or forward(self, batch)
    )
    rows = [0, 3, 3, 1, 0, 2, 3]
    scores = model.predict([PAIRS[row] for row in rows])
    assert sum(seen) == 4
    np.testing.assert_allclose(scores, model.predict(PAIRS)[rows], atol=1e-6)


def test_the_order_within_a_pair_matters(model):
    first, second = PAIRS[0]
    assert model.predict((first, second)) != model.predict((second, first))


@pytest.mark.parametrize("name", ["activation_fct", "activation_fn"])
def test_another_activation_can_be_given_under_both_names(model, name):
    found = model.predict(PAIRS, **{name: nn.Identity()})
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), model.predict(PAIRS), atol=1e-6)
    assert (model.predict(PAIRS, **{name: lambda logits: logits * 0}) == 0).all()


def test_threads_share_a_model(model):
    expected = model.predict(PAIRS)
    with ThreadPoolExecutor(10) as threads:
        for scores in threads.map(lambda _: model.predict(PAIRS), range(20)):
            np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("text", ["", " ", "\ud800", "😀 a man", "\0", "שלום a dog", "a man " * 50_000])
@pytest.mark.filterwarnings("ignore::workbench.errors.TruncationWarning")
def test_any_text_gives_a_finite_score(model, text):
    assert np.isfinite(model.predict([(text, "a dog"), ("a dog", text), (text, text)])).all()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "b"), ("a", None)], "Row 1.*second.*None"),
        ([("a", "b"), (math.nan, "b")], "Row 1.*first.*nan"),
        ([("a", "b"), ("a", 3)], "Row 1.*second.*int"),
        ([("a", "b"), ("a", "b", "c")], "Row 1 holds 3"),
        ([("a", "b"), ("a",)], "Row 1 holds 1"),
        ([("a", "b"), []], "Row 1 holds 0"),
        ([("a", "b"), ("a", ["b"])], "Row 1.*second.*list"),
        ([("a", "b"), ("a", b"b")], "Row 1.*second.*bytes"),
        ([("a", "b"), "ab"], "Row 1 is str"),
        ([("a", "b"), None], "Row 1 is None"),
        ([("a", "b"), {"query": "a"}], "Row 1 is dict"),
        (["a", "b", "c"], "Row 0 is str"),
        ("a man", "pair of strings.*not str"),
        (None, "not None"),
        (7, "not int"),
        ({"a": "b"}, "not dict"),
        ({("a", "b")}, "not set"),
        (pd.DataFrame({"a": ["x"], "b": ["y"], "c": ["z"]}), "Row 0 holds 3"),
        (pd.DataFrame({"a": ["x", "y"], "b": ["y", None]}), "Row 1.*second"),
    ],
)
def test_what_is_no_pair_is_named_by_row_and_type(model, monkeypatch, rows, words):
    monkeypatch.setattr(CrossEncoder, "forward", None)  # nothing is computed first
    with pytest.raises(TextTypeError, match=words):
        model.predict(rows)


def test_cut_pairs_are_told_once_and_the_longer_text_is_cut(model, folders):
    long = [("a man", "the dog " * 30), ("a man", "the dog " * 30), ("the cat", "food")]
    with pytest.warns(TruncationWarning, match="2 of 3 pairs.*40 tokens.*max_length") as caught:
        scores = model.predict(long)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_allclose(scores, logits_of(folders[1], long)[:, 0].sigmoid().numpy(), atol=1e-6)
    assert model.token_counts(long).tolist() == [65, 65, 6]
    assert model.token_counts([]).tolist() == []


def test_max_length_cuts_and_is_kept_in_the_folder(folders, tmp_path):
    short = CrossEncoder(folders[1], max_length=8, device="cpu")
    with pytest.warns(TruncationWarning, match="8 tokens"):
        short.predict([("a man is eating pasta", "a man is eating bread")])
    short.save(tmp_path / "short")
    again = CrossEncoder(tmp_path / "short", device="cpu")
    assert again.max_length == 8
    again.max_length = 40
    assert again.max_length == again.tokenizer.model_max_length == 40
    again.max_length = None
    assert again.max_length is None


def test_progress_counts_tokens(model):
    seen = []
    with listen(lambda bar: seen.append((bar.desc, bar.unit, bar.done, round(bar.total)))):
        model.predict(PAIRS)
    tokens = model.token_counts(PAIRS).sum()
    assert seen[-1] == ("Scoring", "tokens", tokens, tokens)


def test_a_decoder_with_padding_on_the_left_scores_the_same_in_any_batch(tmp_path):
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": tiny_pairs.POSITIONS, "initializer_range": 0.3}
    config = GPT2Config(vocab_size=len(tiny_pairs.WORDS), num_labels=1, pad_token_id=0, **sizes)
    tokenizer = tiny_pairs.tokenizer()
    tokenizer.padding_side = "left"
    for part in (GPT2ForSequenceClassification(config), tokenizer):
        part.save_pretrained(tmp_path)
    model = CrossEncoder(tmp_path, device="cpu")
    np.testing.assert_allclose(model.predict(PAIRS), model.predict(PAIRS, batch_size=1), atol=1e-6)


# ── rank ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_documents_are_ranked_best_first(model):
    scores = model.predict([("a man", text) for text in DOCUMENTS])
    hits = model.rank("a man", DOCUMENTS)
    assert [hit["corpus_id"] for hit in hits] == np.argsort(-scores).tolist()
    assert [hit["score"] for hit in hits] == sorted(scores.tolist(), reverse=True)
    assert all(type(hit["score"]) is float for hit in hits)
    assert hits[0].keys() == {"corpus_id", "score"}


def test_rank_keeps_the_best_few_and_shows_their_texts(model):
    hits = model.rank("a man", pd.Series(DOCUMENTS, index=range(5, 10)), top_k=2, return_documents=True)
    assert [hit["text"] for hit in hits] == [DOCUMENTS[hit["corpus_id"]] for hit in hits]
    assert len(hits) == 2
    assert model.rank("a man", []) == []


def test_equal_documents_stay_in_their_order(model):
    hits = model.rank("a man", ["food", "a dog", "food", "food"])
    assert [hit["corpus_id"] for hit in hits if hit["corpus_id"] != 1] == [0, 2, 3]


def test_rank_gives_tensors_when_asked(model):
    assert all(isinstance(hit["score"], torch.Tensor) for hit in model.rank("a", DOCUMENTS, convert_to_tensor=True))


def test_rank_needs_one_label_and_texts(model, classifier):
    with pytest.raises(ValueError, match="one label; this one has 3"):
        classifier.rank("a man", DOCUMENTS)
    with pytest.raises(TextTypeError, match="Row 1 is None"):
        model.rank("a man", ["a dog", None])
    with pytest.raises(TextTypeError, match="first value is None"):
        model.rank(None, DOCUMENTS)


# ── load and save ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_model_scores_the_same_and_transformers_reads_it(classifier, tmp_path):
    for safe in (True, False):
        classifier.save_pretrained(tmp_path / "model", safe_serialization=safe)
        assert (tmp_path / "model" / "model.safetensors").exists() == safe
        with pytest.warns(UserWarning, match="pickle") if not safe else nullcontext():
            again = CrossEncoder(tmp_path / "model", device="cpu")
        np.testing.assert_allclose(again.predict(PAIRS), classifier.predict(PAIRS), atol=1e-6)
    np.testing.assert_allclose(logits_of(tmp_path / "model", PAIRS).numpy(), classifier.predict(PAIRS), atol=1e-6)


def test_a_pickled_model_scores_the_same(model):
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(PAIRS), model.predict(PAIRS))


def test_the_default_activation_is_kept_by_saving(folders, tmp_path):
    model = CrossEncoder(folders[1], device="cpu", activation_fn=nn.Tanh())
    model.save(tmp_path / "tanh")
    config = json.loads((tmp_path / "tanh" / "config.json").read_text())
    assert config["sbert_ce_default_activation_function"] == "torch.nn.modules.activation.Tanh"
    assert config["sentence_transformers"]["activation_fn"] == "torch.nn.modules.activation.Tanh"
    again = CrossEncoder(tmp_path / "tanh", device="cpu")
    assert isinstance(again.default_activation_function, nn.Tanh)
    again.activation_fn = nn.ReLU()
    assert again.activation_fn is again.default_activation_function
    again.save(tmp_path / "tanh")
    assert isinstance(CrossEncoder(tmp_path / "tanh", device="cpu").activation_fn, nn.ReLU)


def test_an_activation_without_a_name_is_refused_before_anything_is_written(folders, tmp_path):
    model = CrossEncoder(folders[1], device="cpu", default_activation_function=torch.tanh)
    with pytest.raises(ValueError, match="cannot be saved"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


TANH, RELU = "torch.nn.modules.activation.Tanh", "torch.nn.modules.activation.ReLU"
LAYOUTS = {
    "3": lambda folder, name: edit(folder, sbert_ce_default_activation_function=name),
    "4": lambda folder, name: edit(
        folder,
        sbert_ce_default_activation_function=RELU,
        sentence_transformers={"activation_fn": name, "version": "4.0.1"},
    ),
    "6": lambda folder, name: newest(folder, activation_fn=name),
}


def newest(folder, module="base.modules.transformer.Transformer", **config):
    edit(folder, sentence_transformers={"activation_fn": RELU, "version": "5.0.0"})
    edit(folder, "config_sentence_transformers.json", model_type="CrossEncoder", prompts={}, **config)
    line = {"idx": 0, "name": "0", "path": "", "type": f"sentence_transformers.{module}"}
    (folder / "modules.json").write_text(json.dumps([line]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_activation_of_every_layout_is_read(tmp_path, layout):
    LAYOUTS[layout](tiny_pairs.write(tmp_path / "model"), TANH)
    assert isinstance(CrossEncoder(tmp_path / "model", device="cpu").activation_fn, nn.Tanh)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name",
    ["os.system", "subprocess.Popen", "torch.load", "torch.hub.load", "builtins.eval", "evil.Act", "torch.nn.Linear"],
)
def test_an_activation_outside_the_table_is_refused(tmp_path, monkeypatch, layout, name):
    folder = tiny_pairs.write(tmp_path / "model")
    (folder / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(folder)
    LAYOUTS[layout](folder, name)
    with pytest.raises(UnsafeModelError, match="activation function"):
        CrossEncoder(folder, device="cpu")


@pytest.mark.parametrize("value", [{"a": 1}, ["torch.nn.modules.activation.Tanh"], 7])
def test_an_activation_that_is_no_name_is_refused(tmp_path, value):
    LAYOUTS["3"](tiny_pairs.write(tmp_path / "model"), value)
    with pytest.raises(UnsafeModelError):
        CrossEncoder(tmp_path / "model", device="cpu")


def test_a_folder_may_keep_its_transformer_in_a_subfolder_but_not_outside(tmp_path):
    folder = tmp_path / "model"
    inner = tiny_pairs.write(folder / "0_Transformer")
    newest(folder, activation_fn=TANH)
    lines = json.loads((folder / "modules.json").read_text())
    for path in ("0_Transformer", "../model/0_Transformer", str(inner)):
        (folder / "modules.json").write_text(json.dumps([lines[0] | {"path": path}]))
        if path == "0_Transformer":
            assert isinstance(CrossEncoder(folder, device="cpu").activation_fn, nn.Tanh)
        else:
            with pytest.raises(UnsafeModelError, match="leaves the model folder"):
                CrossEncoder(folder, device="cpu")


def test_a_cross_encoder_of_more_than_a_classifier_is_refused(tmp_path):
    folder = tiny_pairs.write(tmp_path / "model")
    newest(folder)
    lines = json.loads((folder / "modules.json").read_text())
    score = {"idx": 1, "name": "1", "path": "1_LogitScore", "type": "some.LogitScore"}
    (folder / "modules.json").write_text(json.dumps([*lines, score]))
    with pytest.raises(ModelFormatError, match="LogitScore"):
        CrossEncoder(folder, device="cpu")


def test_a_model_without_a_classifier_gets_a_new_one(tmp_path):
    folder = tiny_pairs.write(tmp_path / "base", labels=2, kind=BertModel)
    assert CrossEncoder(folder, device="cpu").num_labels == 1
    model = CrossEncoder(folder, num_labels=5, classifier_dropout=0.3, device="cpu")
    assert model.predict(PAIRS).shape == (60, 5)
    assert model.config.classifier_dropout == 0.3


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        (BertForSequenceClassification, "classifier.weight"),
        (BertForSequenceClassification, "bert.pooler.dense.weight"),
        (BertModel, "encoder.layer.1.output.dense.weight"),
    ],
)
def test_lost_weights_are_named(tmp_path, kind, lost):
    from safetensors.torch import load_file, save_file

    weights = tiny_pairs.write(tmp_path / "model", kind=kind) / "model.safetensors"
    state = load_file(weights)
    del state[lost]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ModelFormatError, match=f"lack 1 tensors .*{lost}"):
        CrossEncoder(tmp_path / "model", device="cpu")


def test_half_precision_runs_in_single_on_the_cpu_unless_told_otherwise(tmp_path):
    folder = tiny_pairs.write(tmp_path / "half", dtype=torch.float16)
    model = CrossEncoder(folder, device="cpu")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    half = CrossEncoder(folder, device="cpu", automodel_args={"torch_dtype": torch.float16})
    assert {weight.dtype for weight in half.parameters()} == {torch.float16}
    assert half.predict(PAIRS).dtype == np.float32
    np.testing.assert_allclose(half.predict(PAIRS), model.predict(PAIRS), atol=1e-2)


def test_old_and_new_names_of_arguments_both_reach_transformers(folders):
    old = CrossEncoder(
        folders[1], device="cpu", tokenizer_args={"padding_side": "left"}, config_args={"hidden_dropout_prob": 0.4}
    )
    new = CrossEncoder(
        folders[1], device="cpu", tokenizer_kwargs={"padding_side": "left"}, config_kwargs={"hidden_dropout_prob": 0.4}
    )
    for model in (old, new):
        assert model.tokenizer.padding_side == "left"
        assert model.config.hidden_dropout_prob == 0.4


def test_wrong_names_are_told(tmp_path, folders):
    with pytest.raises(ModelNotFoundError, match="cross-encoder/no-such-model"):
        CrossEncoder("no-such-model", local_files_only=True, cache_dir=tmp_path)
    with pytest.raises(ChoiceError, match="'cpu'"):
        CrossEncoder(folders[1], device="abacus")
    with pytest.raises(ModelFormatError, match=r"config\.json"):
        CrossEncoder(tmp_path)


def test_push_to_hub_uploads_the_saved_folder(model, monkeypatch):
    def push(folder, repo_id, **options):
        assert (folder / "model.safetensors").is_file()
        return f"{repo_id} {options}"

    monkeypatch.setattr(hub, "push", push)
    assert model.push_to_hub("me/reranker", private=True) == "me/reranker {'private': True}"


# ── worker processes ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_worker_processes_give_the_same_scores_and_a_failing_one_is_an_error(classifier):
    expected = classifier.predict(PAIRS, apply_softmax=True)
    pool = classifier.start_multi_process_pool(["cpu"])
    try:
        found = classifier.predict(PAIRS, pool=pool, chunk_size=17, apply_softmax=True)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        with pytest.warns(TruncationWarning, match="1 of 1"):
            classifier.predict([("a man", "a dog " * 50)], pool=pool)
        with pytest.raises(WorkerError, match="worker 0 on cpu"):
            list(pool.map([PAIRS], None))  # without options, which raises there
        pool._workers[0].process.kill()
        with pytest.raises(WorkerError, match="died"):
            classifier.predict(PAIRS, pool=pool)
    finally:
        classifier.stop_multi_process_pool(pool)


def test_a_prompt_goes_before_the_first_text_of_every_pair(tmp_path):
    model = CrossEncoder(tiny_pairs.write(tmp_path), device="cpu")
    assert model.predict([("cat", "dog")], prompt="the a ") == model.predict([("the a cat", "dog")])
    assert model.rank("cat", ["dog"], prompt="the a ") == model.rank("the a cat", ["dog"])
    with pytest.raises(ChoiceError, match="prompt name 'query'"):
        model.predict([("cat", "dog")], prompt_name="query")
