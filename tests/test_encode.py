"""The road from texts to vectors: the same result however it is batched, each text once, and what every option does."""

import copy
import io
import itertools
import math
import pickle
import threading
import warnings
from contextlib import redirect_stderr

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.tiny import DIM, SENTENCES, made_texts, model_folder, tokenizer
from workbench import SentenceTransformer, show_progress
from workbench.batching import plan
from workbench.errors import Cancelled, TruncationWarning, UnsafeModelError
from workbench.models import Dense, Pooling, Router
from workbench.models.base import InputModule
from workbench.progress import listen

TEXTS = made_texts(60)


@pytest.fixture
def seen(tiny, monkeypatch):
    """The shapes of the batches that reach the transformer."""
    shapes, run = [], tiny[0].forward
    monkeypatch.setattr(
        tiny[0], "forward", lambda features, **kw: (shapes.append(features["input_ids"].shape), run(features, **kw))[1]
    )
    return shapes


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("batch_size", [1, 7, 32, 1000])
def test_the_result_does_not_depend_on_the_batches(tiny, batch_size):
    close(tiny.encode(TEXTS, batch_size=batch_size), tiny.encode(TEXTS))


def test_the_result_does_not_depend_on_the_order_or_the_company_of_a_text(tiny):
    vectors = tiny.encode(TEXTS)
    close(tiny.encode(TEXTS[::-1])[::-1], vectors)
    close(np.stack([tiny.encode(text) for text in TEXTS]), vectors)


@pytest.mark.parametrize("slice_rows", [1, 7, 64])
def test_the_result_does_not_depend_on_how_many_texts_are_tokenised_at_a_time(tiny, monkeypatch, slice_rows):
    vectors = tiny.encode(TEXTS)
    monkeypatch.setattr("workbench.batching.SLICE", slice_rows)
    monkeypatch.setattr("workbench.encoding.SLICE", slice_rows)
    close(tiny.encode([*TEXTS, *TEXTS]), [*vectors, *vectors])


def test_batches_keep_to_the_token_budget_and_waste_little_padding(tiny, seen, monkeypatch):
    monkeypatch.setattr("workbench.sentence_transformer.token_budget", lambda device: 200)
    tiny.encode(TEXTS)
    counts = tiny.token_counts(list(set(TEXTS)))
    assert sum(rows for rows, _ in seen) == len(counts)
    assert max(rows * width for rows, width in seen) <= 200
    assert sum(rows * width for rows, width in seen) < 1.2 * counts.sum()


def test_a_plan_holds_every_row_once_and_a_row_over_the_budget_alone():
    lengths = np.array([3, 500, 7, 7, 1, 40])
    batches = plan(lengths, budget=50)
    assert sorted(np.concatenate(batches)) == list(range(6))
    assert [batch.tolist() for batch in batches] == [[1], [5], [2, 3, 0, 4]]
    assert [len(batch) for batch in plan(lengths, budget=50, rows=4)] == [4, 2]
    assert plan(lengths[:0], budget=50) == []


@pytest.mark.parametrize("convert", [{}, {"convert_to_tensor": True}, {"precision": "ubinary"}])
def test_each_distinct_text_is_encoded_once(tiny, seen, convert):
    rows = [TEXTS[number % 5] for number in range(40)]
    vectors = tiny.encode(rows, **convert)
    assert sum(rows for rows, _ in seen) == 5
    for number, row in enumerate(rows):
        assert (vectors[number] == vectors[rows.index(row)]).all()
    assert len({row.tobytes() for row in np.asarray(vectors)}) == 5


def test_repeated_texts_may_be_asked_for_their_tokens_too(tiny, seen):
    found = tiny.encode(["monkey", "A man is eating food.", "monkey"], output_value="token_embeddings")
    assert sum(rows for rows, _ in seen) == 2
    assert [len(tokens) for tokens in found] == tiny.token_counts(
        ["monkey", "A man is eating food.", "monkey"]
    ).tolist()
    assert found[0].equal(found[2])


def test_a_batch_that_does_not_fit_in_memory_is_halved_and_nothing_is_done_twice(tiny, monkeypatch):
    vectors, done, run = tiny.encode(TEXTS), [], tiny[0].auto_model.forward

    def small(input_ids, **inputs):
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.append(len(input_ids))
        return run(input_ids=input_ids, **inputs)

    monkeypatch.setattr(tiny[0].auto_model, "forward", small)
    close(tiny.encode(TEXTS, batch_size=20), vectors)
    assert sum(done) == len(set(TEXTS))


def test_one_text_that_does_not_fit_in_memory_is_an_error(tiny, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiny[0].auto_model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        tiny.encode(TEXTS)


def test_ten_threads_with_one_model_give_the_vectors_of_one(tiny):
    vectors, found, start = tiny.encode(TEXTS), {}, threading.Barrier(10)

    def work(number):
        start.wait()
        for turn in range(3):
            found[number, turn] = tiny.encode(TEXTS, batch_size=[None, 3, 8][number % 3])

    threads = [threading.Thread(target=work, args=[number]) for number in range(10)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert len(found) == 30
    for result in found.values():
        close(result, vectors)


# ── where the vectors go ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_generator_streams_into_a_memmap(tiny, tmp_path, monkeypatch):
    vectors, held, most = tiny.encode(TEXTS), 0, []
    monkeypatch.setattr("workbench.sentence_transformer.STREAM", 16)

    def texts():
        nonlocal held
        for text in TEXTS:
            held += 1
            yield text

    fill = SentenceTransformer._fill
    monkeypatch.setattr(SentenceTransformer, "_fill", lambda self, *rest: (most.append(held), fill(self, *rest))[1])
    out = np.memmap(tmp_path / "vectors.bin", np.float32, "w+", shape=(len(TEXTS), DIM))
    result = tiny.encode(texts(), out=out)
    assert np.shares_memory(result, out)
    assert most == [16, 32, 48, 60]  # each slice is encoded before the next one is read
    close(np.memmap(tmp_path / "vectors.bin", np.float32, "r", shape=out.shape), vectors)


def test_a_generator_without_out_gives_the_same_vectors(tiny, monkeypatch):
    monkeypatch.setattr("workbench.sentence_transformer.STREAM", 16)
    close(tiny.encode(text for text in TEXTS), tiny.encode(TEXTS))
    close(tiny.encode((text for text in TEXTS), convert_to_tensor=True), tiny.encode(TEXTS))
    codes = tiny.encode((text for text in TEXTS), precision="int8")
    assert (codes == tiny.encode(TEXTS, precision="int8")).mean() > 0.99


def test_out_may_be_of_another_float_type_and_longer_than_needed(tiny):
    out = np.full((len(TEXTS) + 5, DIM), 7, np.float64)
    result = tiny.encode(TEXTS, out=out)
    assert result.shape == (len(TEXTS), DIM)
    close(out[: len(TEXTS)], tiny.encode(TEXTS))
    assert (out[len(TEXTS) :] == 7).all()


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_out_takes_every_precision(tiny, precision):
    expected = tiny.encode(TEXTS, precision=precision)
    out = np.zeros((len(expected) + 2, expected.shape[1]), expected.dtype)
    result = tiny.encode(TEXTS, precision=precision, out=out)
    assert np.shares_memory(result, out)
    assert result.shape == expected.shape
    assert (out[:-2] == expected).all()
    with pytest.raises(ValueError, match=r"59, |more texts"):
        tiny.encode(iter(TEXTS), precision=precision, out=out[:59])


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        (np.empty((3, DIM), np.float32), {}, r"\(3, 32\).*\(60, 32\)"),
        (np.empty((60, 8), np.float32), {}, r"\(60, 8\).*\(60, 32\)"),
        (np.empty(60, np.float32), {}, r"\(60,\).*\(60, 32\)"),
        (np.empty((60, DIM), np.float32), {"truncate_dim": 8}, r"\(60, 32\).*\(60, 8\)"),
        (np.empty((60, DIM), np.int8), {}, "int8"),
        (np.empty((60, DIM), np.float32), {"precision": "ubinary"}, r"\(60, 32\).*\(60, 4\)"),
        (np.empty((60, DIM), np.int8), {"precision": "uint8"}, "int8.*uint8"),
        (np.empty((59, DIM), np.int8), {"precision": "int8"}, r"\(59, 32\).*\(60, 32\)"),
    ],
)
def test_an_out_that_does_not_fit_is_refused_with_both_shapes(tiny, out, options, message):
    with pytest.raises(ValueError, match=message):
        tiny.encode(TEXTS, out=out, **options)


def test_a_generator_with_more_texts_than_out_has_rows_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("workbench.sentence_transformer.STREAM", 16)
    with pytest.raises(ValueError, match="or more rows"):
        tiny.encode(iter(TEXTS), out=np.empty((40, DIM), np.float32))


def test_a_tensor_result_can_be_trained_on(tiny):
    for vectors in (tiny.encode(TEXTS[:4], convert_to_tensor=True), tiny.encode(TEXTS[0], convert_to_tensor=True)):
        layer = nn.Linear(DIM, 1)
        layer(vectors).sum().backward()
        assert layer.weight.grad.abs().sum() > 0


def test_lists_of_tensors_can_be_trained_on(tiny):
    for vectors in (
        tiny.encode(TEXTS[:4], convert_to_numpy=False),
        tiny.encode(TEXTS[:4], output_value="token_embeddings"),
    ):
        assert isinstance(vectors, list)
        layer = nn.Linear(DIM, 1)
        layer(vectors[1]).sum().backward()


def test_repeated_texts_do_not_share_memory(tiny):
    for options in ({}, {"convert_to_tensor": True}, {"convert_to_numpy": False}, {"output_value": "token_embeddings"}):
        first, second = tiny.encode(["monkey", "monkey"], **options)
        first += 1
        assert not (first == second).any()


def test_the_shape_of_nothing_is_no_rows_of_the_models_dimension(tiny):
    assert tiny.encode([]).shape == (0, DIM)
    assert tiny.encode(iter([])).shape == (0, DIM)
    assert tiny.encode([], truncate_dim=8).shape == (0, 8)
    assert tiny.encode([], truncate_dim=500).shape == (0, DIM)
    assert tiny.encode([], convert_to_tensor=True).shape == (0, DIM)
    assert tiny.encode([], precision="ubinary").shape == (0, DIM // 8)
    assert tiny.encode([], precision="int8").dtype == np.int8
    assert tiny.encode([], convert_to_numpy=False) == []
    assert tiny.encode([], output_value="token_embeddings") == []
    assert tiny.encode([], out=np.empty((0, DIM), np.float32)).shape == (0, DIM)


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_truncating_and_normalizing_happen_in_this_order(tiny):
    whole = tiny.encode(TEXTS)
    part = tiny.encode(TEXTS, truncate_dim=8, normalize_embeddings=True)
    close(part, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True))
    tiny.truncate_dim = 8
    assert tiny.get_sentence_embedding_dimension() == 8
    close(tiny.encode(TEXTS, normalize_embeddings=True), part)
    with tiny.truncate_sentence_embeddings(4):
        assert tiny.encode(TEXTS).shape == (60, 4)
    assert tiny.encode(TEXTS).shape == (60, 8)
    assert tiny.encode(TEXTS, truncate_dim=500).shape == (60, 32)


def test_a_truncated_models_answers_are_truncated_in_every_form(tiny):
    found = tiny.encode(["monkey"], output_value=None, truncate_dim=8)
    close(found[0]["sentence_embedding"], tiny.encode("monkey", truncate_dim=8))


def test_everything_the_model_gives_comes_row_by_row(tiny):
    found = tiny.encode(SENTENCES, output_value=None)
    vectors = tiny.encode(SENTENCES)
    for row, vector, tokens in zip(found, vectors, tiny.token_counts(SENTENCES), strict=True):
        assert set(row) >= {"input_ids", "attention_mask", "token_embeddings", "sentence_embedding"}
        assert row["attention_mask"].sum() == tokens
        close(row["sentence_embedding"], vector)
    assert isinstance(tiny.encode("monkey", output_value=None), dict)


def test_questions_and_documents_get_the_prompts_named_for_them(tiny):
    tiny.prompts = {"query": "query: ", "passage": "passage: "}
    close(tiny.encode_query(TEXTS), tiny.encode(["query: " + text for text in TEXTS]))
    close(tiny.encode_document(TEXTS), tiny.encode(["passage: " + text for text in TEXTS]))
    close(tiny.encode_query("monkey", prompt="x "), tiny.encode("x monkey"))
    close(tiny.encode_query("monkey", prompt_name="passage"), tiny.encode("passage: monkey"))
    tiny.prompts = {"corpus": "c ", "document": "d "}
    close(tiny.encode_document("monkey"), tiny.encode("d monkey"))
    tiny.default_prompt_name = "corpus"  # for plain encode; a question is no document
    close(tiny.encode_query("monkey"), tiny.encode("monkey", prompt=""))


def test_a_prompt_wins_over_its_name_and_the_default_over_nothing(tiny_folder):
    model = SentenceTransformer(tiny_folder, device="cpu", prompts={"a": "A ", "b": "B "}, default_prompt_name="a")
    close(model.encode("monkey"), model.encode("monkey", prompt_name="a"))
    close(model.encode("monkey", prompt_name="b", prompt="C "), model.encode("C monkey", prompt=""))
    close(model.encode("monkey", prompt_name="b"), model.encode("B monkey", prompt=""))


def test_the_model_is_in_evaluation_mode_whenever_it_encodes(tmp_path):
    model = SentenceTransformer(model_folder(tmp_path / "m"), device="cpu")
    vectors = model.encode(TEXTS)
    model.train()
    close(model.encode(TEXTS), vectors)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_models_give_numbers_that_numpy_knows(tiny, kind):
    vectors = tiny.encode(TEXTS)
    tiny.to(kind)
    found = tiny.encode(TEXTS)
    assert found.dtype == (np.float16 if kind == torch.float16 else np.float32)
    assert np.abs(found - vectors).max() < 0.2
    assert tiny.encode([]).dtype == found.dtype
    assert tiny.encode(TEXTS, convert_to_tensor=True).dtype == kind


# ── truncation ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("output_value", ["sentence_embedding", "token_embeddings", None])
@pytest.mark.parametrize("kind", [list, iter])
def test_one_warning_says_how_many_texts_were_cut(tiny, output_value, kind):
    long = "a man is eating " * 30
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny.encode(kind([*TEXTS, long, long + "food", long]), output_value=output_value, batch_size=4)
    assert [w.category for w in caught] == [TruncationWarning]
    assert str(caught[0].message).startswith("3 of 63 texts were longer than 48 tokens and were cut.")
    assert caught[0].filename == __file__


def test_a_text_of_exactly_the_maximum_is_not_cut(tiny):
    words = " ".join(["man"] * 46)
    assert tiny.token_counts([words]) == [48]
    tiny.encode(words)
    with pytest.warns(TruncationWarning, match="1 of 1 "):
        tiny.encode(words + " man")


def test_token_counts_are_those_before_anything_is_cut(tiny):
    assert tiny.token_counts(["monkey", "", "man " * 100]).tolist() == [3, 2, 102]
    assert tiny.token_counts("monkey").tolist() == [3]
    assert tiny.token_counts([]).tolist() == []
    tiny.max_seq_length = 2
    assert tiny.token_counts(pd.Series(["monkey"], index=[9])).tolist() == [3]


# ── blocks of one's own ───────────────────────────────────────────────────────────────────────────────────────────────


class Letters(nn.Module):
    """A first block with nothing but ``tokenize`` and ``forward``: counts letters."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def tokenize(self, texts):
        self.batches.append(len(texts))
        return {
            "counts": torch.tensor([[text.count(letter) for letter in "aeiou"] for text in texts], dtype=torch.float32)
        }

    def forward(self, features):
        return features | {"sentence_embedding": features["counts"]}

    def save(self, path):
        pass

    @staticmethod
    def load(path):
        return Letters()


class Scale(nn.Module):
    """A block for the middle, with a number of its own."""

    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, features):
        features["sentence_embedding"] = features["sentence_embedding"] * self.factor
        return features

    def save(self, path):
        torch.save(self.state_dict(), f"{path}/scale.pt")

    @staticmethod
    def load(path):
        block = Scale()
        block.load_state_dict(torch.load(f"{path}/scale.pt", weights_only=True))
        return block


def test_a_first_block_with_only_tokenize_works():
    model = SentenceTransformer(modules=[Letters()], device="cpu")
    found = model.encode([*TEXTS, "aaa"])
    assert found.tolist() == [[text.count(letter) for letter in "aeiou"] for text in [*TEXTS, "aaa"]]
    assert sum(model[0].batches) == len({*TEXTS, "aaa"})
    assert max(model[0].batches) == 32
    assert model.encode("eel").tolist() == [0, 2, 0, 0, 0]
    assert len(model.encode([])) == 0
    assert model.max_seq_length is None
    with pytest.raises(ValueError, match="Letters does not count tokens"):
        model.token_counts(["a"])


def test_a_block_on_the_projects_contract_with_only_tokenize_works():
    class Vowels(InputModule):
        tokenize = Letters.tokenize
        forward = Letters.forward
        batches = []  # noqa: RUF012

    model = SentenceTransformer(modules=[Vowels()], device="cpu")
    assert model.encode(["eel", "aa"]).tolist() == [[0, 2, 0, 0, 0], [2, 0, 0, 0, 0]]


def test_a_block_in_the_middle_survives_save_and_load_when_its_code_is_trusted(tiny, tmp_path):
    model = SentenceTransformer(modules=[*tiny, Scale(3.0)], device="cpu")
    vectors = model.encode(TEXTS)
    close(vectors, 3 * tiny.encode(TEXTS), 1e-5)
    model.save(tmp_path / "scaled")
    with pytest.raises(UnsafeModelError, match="Scale"):
        SentenceTransformer(tmp_path / "scaled")
    again = SentenceTransformer(tmp_path / "scaled", trust_remote_code=True, device="cpu")
    close(again.encode(TEXTS), vectors)


def test_arguments_of_encode_that_a_block_asked_for_reach_it(tiny):
    class Asks(nn.Module):
        def forward(self, features, **kwargs):
            features["sentence_embedding"] = features["sentence_embedding"] * kwargs.get("factor", 1)
            return features

    model = SentenceTransformer(modules=[*tiny, Asks()], device="cpu")
    features = model.tokenize(["monkey"])
    plain = model(dict(features))["sentence_embedding"]
    model.module_kwargs = {"2": ["factor"]}
    close(model(dict(features), factor=2)["sentence_embedding"].detach(), 2 * plain.detach())


def test_more_blocks_may_follow(tiny):
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[*tiny, Dense(DIM, 5)], device="cpu")
    assert model.get_sentence_embedding_dimension() == 5
    assert model.encode(TEXTS).shape == (60, 5)


def test_model_name_and_modules_together_are_refused(tiny_folder):
    with pytest.raises(ValueError, match="not both"):
        SentenceTransformer(tiny_folder, modules=[Pooling(3)])


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(model, **options):
    with redirect_stderr(io.StringIO()) as screen:
        model.encode(TEXTS, **options)
    return screen.getvalue()


def test_progress_is_silent_outside_interactive_use_and_has_one_switch(tiny, monkeypatch):
    assert drawn(tiny) == ""
    assert "tokens" in drawn(tiny, show_progress_bar=True)
    try:
        show_progress(True)
        seconds = itertools.count()
        monkeypatch.setattr("tqdm.std.time", lambda: float(next(seconds)))  # a bar nobody asked for waits half a second
        assert "Encoding" in drawn(tiny)
        assert drawn(tiny, show_progress_bar=False) == ""
        show_progress(False)
        assert drawn(tiny) == ""
    finally:
        show_progress(None)


def test_a_listener_hears_of_tokens_up_to_the_total(tiny):
    heard = []
    with listen(lambda bar: heard.append((bar.done, bar.total, bar.unit))):
        assert drawn(tiny, show_progress_bar=True, batch_size=8) == ""  # in place of drawing
    tokens = tiny.token_counts(list(dict.fromkeys(TEXTS))).sum()
    assert heard[-1] == (tokens, tokens, "tokens")
    assert [done for done, _, _ in heard] == sorted(done for done, _, _ in heard)
    assert heard[0][0] == 0


def test_a_listener_that_cancels_stops_the_work(tiny, seen):
    def stop(bar):
        if bar.done:
            raise Cancelled("enough")

    with listen(stop), pytest.raises(Cancelled):
        tiny.encode(TEXTS, batch_size=4)
    assert len(seen) == 1


def test_a_total_that_is_a_guess_at_first_becomes_the_truth(tiny, monkeypatch):
    monkeypatch.setattr("workbench.batching.SLICE", 16)
    totals = []
    with listen(lambda bar: totals.append(bar.total)):
        tiny.encode(TEXTS)
    assert totals[-1] == pytest.approx(tiny.token_counts(list(set(TEXTS))).sum())


def test_a_later_block_with_routes_takes_the_route_of_the_task(tiny):
    routes = Router({"query": [Scale(2.0)], "document": [Scale(3.0)]}, default_route="document")
    model = SentenceTransformer(modules=[*tiny, routes], device="cpu")
    plain = tiny.encode(TEXTS)
    close(model.encode_query(TEXTS), 2 * plain)
    close(model.encode_document(iter(TEXTS)), 3 * plain)
    close(model.encode([{"query": text} for text in TEXTS]), 2 * plain)
    with pytest.raises(ValueError, match="same route"):
        model.encode([{"query": "a"}, {"document": "b"}])


# ── a model without a transformer ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def static():
    return SentenceTransformer("starter", device="cpu")


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_a_static_model_does_not_depend_on_the_batches(static, batch_size):
    rows = [*TEXTS, "", *TEXTS, "一 💡 word"]
    close(static.encode(rows, batch_size=batch_size), static.encode(rows))
    close(np.stack([static.encode(text) for text in rows]), static.encode(rows))


def test_a_static_model_streams_counts_and_reports(static, monkeypatch):
    monkeypatch.setattr("workbench.sentence_transformer.STREAM", 16)
    out, heard = np.zeros((60, static.get_sentence_embedding_dimension()), np.float32), []
    with listen(lambda bar: heard.append((bar.done, bar.total))):
        static.encode(iter(TEXTS), out=out)
    close(out, static.encode(TEXTS))
    assert heard[-1][0] == heard[-1][1] > 0
    assert len(static.token_counts(TEXTS)) == 60
    assert static.max_seq_length == math.inf
    assert static.encode([]).shape == (0, out.shape[1])


def test_a_static_model_has_no_vectors_of_tokens_and_says_what_it_has(static):
    with pytest.raises(ValueError, match=r"no token_embeddings; it gives .*sentence_embedding"):
        static.encode("monkey", output_value="token_embeddings")
    close(static.encode(["monkey"], output_value=None)[0]["sentence_embedding"], static.encode("monkey"))
    with pytest.raises(ValueError, match="no transformer"):
        static.gradient_checkpointing_enable()


# ── the model as an object ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_a_model_of_its_own(tiny, how):
    twin, vectors = how(tiny), tiny.encode(TEXTS)
    close(twin.encode(TEXTS), vectors)
    with torch.no_grad():
        next(twin.parameters()).neg_()
    close(tiny.encode(TEXTS), vectors)
    assert np.abs(twin.encode(TEXTS) - vectors).max() > 0.01


def test_a_model_can_be_trained_step_by_step(tiny):
    before = tiny.encode(TEXTS)
    tiny.train()
    tiny.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.SGD(tiny.parameters(), 0.1)
    features = tiny.get_sentence_features("a man is eating", "monkey")
    tiny(features)["sentence_embedding"].square().mean().backward()
    optimizer.step()
    assert np.abs(tiny.encode(TEXTS) - before).max() > 0.001


def test_an_evaluator_is_called_with_the_model_and_a_folder_that_exists(tiny, tmp_path):
    assert tiny.evaluate(lambda model, path: (model is tiny, path)) == (True, None)
    path = str(tmp_path / "a" / "b")
    assert tiny.evaluate(lambda model, path: path, tmp_path / "a" / "b") == path
    assert (tmp_path / "a" / "b").is_dir()


def test_the_parts_of_a_model_are_at_hand(tiny):
    assert tiny.device == torch.device("cpu")
    assert tiny.dtype == torch.float32
    assert tiny.get_backend() == "torch"
    assert tiny.transformers_model is tiny[0].auto_model
    assert tiny.tokenizer is tiny[0].tokenizer
    assert tiny.tokenize(["monkey"])["input_ids"].shape == (1, 3)
    tiny.tokenizer = tokenizer(padding_side="left")
    assert tiny[0].tokenizer.padding_side == "left"
    assert "Transformer" in repr(tiny)
    assert "Pooling" in repr(tiny)


def test_a_tokenizer_exchanged_between_two_calls_is_used(tiny):
    vectors = tiny.encode(["Monkey"])
    tiny.tokenizer = tokenizer(lower=False)
    assert np.abs(tiny.encode(["Monkey"]) - vectors).max() > 0.01
