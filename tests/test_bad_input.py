"""What people pass by mistake, and what looks like a mistake and is none: one clear error, or the right vectors."""

import io
import math
from collections import UserList, deque

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from tests.tiny import DIM
from workbench import CrossEncoder, SentenceTransformer, models, quantize_embeddings
from workbench.errors import ChoiceError, ModelNotFoundError, TextTypeError, TruncationWarning

NAN = float("nan")


@pytest.fixture(scope="module")
def model(tiny_folder):
    return SentenceTransformer(tiny_folder, device="cpu", prompts={"query": "query: "})


@pytest.fixture
def untouched(model, monkeypatch):
    """The model, which fails the test as soon as it does any work."""

    def work(*args, **kwargs):
        raise AssertionError("work began before the input was checked")

    for name in ("forward", "token_rows", "tokenize", "collate"):
        monkeypatch.setattr(model[0], name, work)
    return model


# ── rows that are no texts ────────────────────────────────────────────────────────────────────────────────────────────

NO_TEXTS = {  # name → (rows, the row at fault, what the message calls it)
    "None": (["a", None], 1, r"None \(NoneType\)"),
    "None first": ([None, "a"], 0, "None"),
    "NaN": (["a", "b", NAN], 2, r"float \(nan\)"),
    "a whole number": (["a", 1], 1, r"int \(1\)"),
    "a float": ([0.5], 0, r"float \(0.5\)"),
    "a truth value": (["a", True], 1, r"bool \(True\)"),
    "bytes": (["a", b"b"], 1, "bytes"),
    "a bytearray": ([bytearray(b"b")], 0, "bytearray"),
    "a list in the list": (["a", ["b"]], 1, "list"),
    "an empty list in the list": ([[]], 0, "list"),
    "a tuple in the list": ([("a", "b")], 0, "tuple"),
    "a dict in the list": (["a", {"text": "b"}], 1, "dict"),
    "a set in the list": ([{"a"}], 0, "set"),
    "an array in the list": ([np.array(["a"])], 0, "ndarray"),
    "a tensor in the list": (["a", torch.tensor(1)], 1, "Tensor"),
    "a numpy number": ([np.float32(1)], 0, "float32"),
    "pandas' NA": (["a", pd.NA], 1, "NAType"),
    "pandas' NaT": (["a", pd.NaT], 1, "NaTType"),
    "a path": ([__import__("pathlib").Path("a")], 0, "PosixPath|WindowsPath"),
    "an object": (["a", object()], 1, "object"),
    "a class": ([str], 0, "type"),
    "a generator in the list": ([(x for x in "a")], 0, "generator"),
    "a complex number": ([1j], 0, "complex"),
    "a Series with a gap": (pd.Series(["a", None, "c"], index=[5, 6, 7], dtype=object), 1, "None"),
    "a Series with NaN": (pd.Series(["a", NAN], dtype=object), 1, r"float \(nan\)"),
    "a Series of numbers": (pd.Series([1, 2]), 0, "int"),
    "a column of strings with a gap": (pd.Series(["a", None], dtype="string"), 1, "NAType"),
    "an array of numbers": (np.arange(3), 0, "int64"),
    "an array with None": (np.array(["a", None], dtype=object), 1, "None"),
    "a memory view": (memoryview(b"a"), 0, r"int \(97\)"),
    "a tensor": (torch.zeros(2), 0, "Tensor"),
    "a data set's column with a gap": (datasets.Dataset.from_dict({"t": ["a", None]})["t"], 1, "None"),
    "a data set": (datasets.Dataset.from_dict({"t": ["a"]}), 0, "dict"),
    "a generator": ((x for x in ["a", None]), 1, "None"),
    "a range": (range(3), 0, r"int \(0\)"),
    "an open binary file": (io.BytesIO(b"a\nb"), 0, "bytes"),
    "pairs": ([("a", "b"), ("c", "d")], 0, "tuple"),
}


@pytest.mark.parametrize("case", NO_TEXTS)
def test_a_row_that_is_no_text_is_named_before_any_work(untouched, case):
    rows, index, kind = NO_TEXTS[case]
    with pytest.raises(TypeError, match=f"Row {index} is ({kind})") as raised:
        untouched.encode(rows)
    assert isinstance(raised.value, TextTypeError)
    assert len(str(raised.value)) < 200


NO_ROWS = {  # name → (what is no list of rows, what the message calls it)
    "None": (None, "None"),
    "NaN": (NAN, "nan"),
    "a number": (3, r"int \(3\)"),
    "bytes": (b"text", "bytes"),
    "a bytearray": (bytearray(b"text"), "bytearray"),
    "a dict": ({"a": "b"}, "dict.*order"),
    "a set": ({"a", "b"}, "set.*order"),
    "a frozenset": (frozenset("ab"), "frozenset.*order"),
    "a function": (len, "builtin_function"),
    "a class": (str, "type"),
    "an object": (object(), "object"),
    "an array of no axes": (np.array(1.0), "ndarray"),
    "a tensor of no axes": (torch.tensor(1), "Tensor"),
    "an array of two axes": (np.array([["a", "b"]]), "ndarray.*column"),
    "a DataFrame": (pd.DataFrame({"text": ["a", "b"]}), "DataFrame.*column"),
    "a dictionary of data sets": (datasets.DatasetDict(), "DatasetDict"),
}


@pytest.mark.parametrize("call", ["encode", "encode_query", "encode_document", "token_counts"])
@pytest.mark.parametrize("case", NO_ROWS)
def test_what_is_no_list_of_texts_is_told_so(untouched, case, call):
    rows, kind = NO_ROWS[case]
    with pytest.raises(TextTypeError, match=f"must be a string or an iterable of strings, not .*{kind}"):
        getattr(untouched, call)(rows)


def test_rows_of_a_generator_are_checked_slice_by_slice(model, monkeypatch):
    monkeypatch.setattr("workbench.sentence_transformer.STREAM", 2)
    with pytest.raises(TextTypeError, match="Row 3 is None"):
        model.encode(iter(["a", "b", "c", None]))


def test_a_mapping_is_text_only_for_a_model_with_routes(tiny_folder, untouched):
    with pytest.raises(TextTypeError, match="not dict"):
        untouched.encode({"query": "a"})


# ── texts that look wrong and are not ─────────────────────────────────────────────────────────────────────────────────

ODD_TEXTS = {
    "empty": "",
    "blank": "   ",
    "only line ends": "\n\r\n\t",
    "NUL": "a\0b",
    "only NUL": "\0",
    "a lone high surrogate": "a \ud800 b",
    "a lone low surrogate": "\udfff",
    "surrogates the wrong way round": "\ude00\ud83d",
    "emoji": "a man 😀👩‍👩‍👧‍👦🏳️‍🌈 is eating",
    "only emoji": "😀",
    "right to left": "שלום עולם مرحبا بالعالم",
    "marks of direction": "\u202eabc\u202c\u200f",
    "combining marks": "e" + "\u0301" * 50,
    "no width": "\u200b\u200d\ufeff",
    "Chinese": "你好世界",
    "control characters": "".join(map(chr, range(32))),
    "private use": "\ue000\U0010ffff",
    "special tokens as text": "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "only padding": "[PAD] [PAD]",
    "mark-up": "<b>a</b><img src=x onerror=x>",
    "a format string": "%s {0} {text} $HOME `id`",
    "a path": "../../../etc/passwd",
    "Unicode's separators": "a\u2028b\u2029c\x85d",
    "a mathematical alphabet": "".join(map(chr, range(0x1D4D0, 0x1D4D8))),
}


@pytest.mark.parametrize("case", ODD_TEXTS)
def test_any_text_has_a_finite_vector_of_its_own(model, case):
    text = ODD_TEXTS[case]
    alone, among = model.encode(text), model.encode(["monkey", text, "a man is eating"])
    assert alone.shape == (DIM,)
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(among[1], alone, rtol=0, atol=2e-6)
    np.testing.assert_allclose(among[0], model.encode("monkey"), rtol=0, atol=2e-6)
    assert model.token_counts([text])[0] >= 2
    assert math.isfinite(float(model.similarity(alone, among)[0, 0]))


def test_texts_of_a_megabyte_are_cut_and_told(model):
    with pytest.warns(TruncationWarning, match="1 of 4"):  # the second is one word, too long to be known
        vectors = model.encode(["monkey", "a" * 1_000_000, "a man " * 170_000, " " * 1_000_000])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], model.encode("monkey"), rtol=0, atol=2e-6)


def test_a_surrogate_among_texts_leaves_the_others_as_they_are(model):
    texts = ["emoji 😀", "a man", "\ud83d", "naïve"]
    np.testing.assert_allclose(model.encode(texts)[:2], model.encode(texts[:2]), rtol=0, atol=2e-6)


# ── every kind of list ────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = ["monkey", "a man is eating", "violin"]


class Lines:
    """Nothing but an order of rows: the oldest way to be iterable."""

    def __iter__(self):
        return iter(TEXTS)


LISTS = {
    "a tuple": tuple(TEXTS),
    "a deque": deque(TEXTS),
    "a list of one's own": UserList(TEXTS),
    "an iterable of one's own": Lines(),
    "a Series whose index has gaps": pd.Series(TEXTS, index=[3, 99, -1]),
    "a Series with names": pd.Series(TEXTS, index=list("xyz")),
    "a Series of pandas strings": pd.Series(TEXTS, dtype="string"),
    "a categorical Series": pd.Series(TEXTS, dtype="category"),
    "a column of a DataFrame": pd.DataFrame({"t": TEXTS})["t"],
    "an Index": pd.Index(TEXTS),
    "an array of objects": np.array(TEXTS, dtype=object),
    "an array of strings": np.array(TEXTS),
    "a data set's column": datasets.Dataset.from_dict({"t": TEXTS})["t"],
    "a slice of a data set": datasets.Dataset.from_dict({"t": TEXTS})[:]["t"],
    "the keys of a dict": dict.fromkeys(TEXTS).keys(),
    "the values of a dict": dict(enumerate(TEXTS)).values(),
    "strings of numpy": [np.str_(text) for text in TEXTS],
    "a generator": None,
    "a map": None,
    "an open file": None,
    "a streamed data set's column": None,
}
ONCE = {  # these can be read only once, so each test makes its own
    "a generator": lambda: (text for text in TEXTS),
    "a map": lambda: map(str, TEXTS),
    "an open file": lambda: io.StringIO("\n".join(TEXTS)),
    "a streamed data set's column": lambda: datasets.IterableDataset.from_generator(
        lambda: ({"t": text} for text in TEXTS)
    )["t"],
}


@pytest.mark.parametrize("case", LISTS)
def test_every_kind_of_list_works(model, case):
    rows = ONCE[case]() if case in ONCE else LISTS[case]
    vectors = model.encode(rows)
    np.testing.assert_allclose(vectors, model.encode(TEXTS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        (),
        np.array([], dtype=object),
        pd.Series([], dtype=object),
        iter([]),
        datasets.Dataset.from_dict({"t": []})["t"],
    ],
)
def test_no_texts_give_no_rows_of_the_models_dimension(model, rows):
    assert model.encode(rows).shape == (0, DIM)


@pytest.mark.parametrize("text", ["monkey", np.str_("monkey"), np.array("monkey")])
def test_one_text_gives_one_vector(model, text):
    np.testing.assert_allclose(model.encode(text), model.encode(["monkey"])[0], rtol=0, atol=1e-6)


# ── names that do not exist ───────────────────────────────────────────────────────────────────────────────────────────

UNKNOWN = {  # name → (the call, the choices that its error lists)
    "prompt name": (lambda m: m.encode("a", prompt_name="qeury"), "'qeury'.*'query'"),
    "precision": (lambda m: m.encode("a", precision="int4"), "'int4'.*'float32', 'int8', 'uint8', 'binary', 'ubinary'"),
    "precision of no texts": (lambda m: m.encode([], precision="f32"), "'f32'.*'float32'"),
    "precision that is no name": (lambda m: m.encode("a", precision=None), "None.*'float32'"),
    "precision of quantize": (lambda m: quantize_embeddings(np.ones((2, 8)), "bits"), "'bits'.*'binary'"),
    "output value": (
        lambda m: m.encode("a", output_value="tokens"),
        "'tokens'.*'sentence_embedding', 'token_embeddings', None",
    ),
    "output value that is no name": (lambda m: m.encode("a", output_value=["x"]), "'sentence_embedding'"),
    "similarity": (lambda m: setattr(m, "similarity_fn_name", "cos"), "'cos'.*'cosine'"),
    "similarity at loading": (
        lambda m: SentenceTransformer(modules=list(m), similarity_fn_name="l2"),
        "'l2'.*'euclidean'",
    ),
    "device": (lambda m: m.encode("a", device="gpu"), "'gpu'.*'cpu'"),
    "device that is no name": (lambda m: m.encode("a", device=3.5), "3.5.*'cpu'"),
    "device that is not here": (lambda m: m.encode("a", device="hpu:7"), "'hpu:7'.*'cpu'"),
    "device of a new model": (lambda m: SentenceTransformer(modules=list(m), device="tpu"), "'tpu'.*'cpu'"),
    "devices": (lambda m: m.encode("a", device=["cpu", "gpu"]), "'gpu'.*'cpu'"),
    "default prompt": (
        lambda m: SentenceTransformer(modules=list(m), prompts={"x": ""}, default_prompt_name="y"),
        "'y'.*'x'",
    ),
    "backend": (lambda m: SentenceTransformer(modules=list(m), backend="tensorflow"), "'tensorflow'.*'torch'"),
    "pooling mode": (lambda m: models.Pooling(8, "average"), "'average'.*'mean'"),
    "pooling mode among others": (lambda m: models.Pooling(8, ["mean", "sum"]), "'sum'.*'mean'"),
    "pooling mode in a sum": (lambda m: models.Pooling(8, "mean+min"), "'min'.*'mean'"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_name_is_a_value_error_that_lists_the_choices(model, case):
    call, message = UNKNOWN[case]
    with pytest.raises(ValueError, match=f"(?s){message}") as raised:
        call(model)
    assert isinstance(raised.value, ChoiceError)


def test_unknown_names_are_found_before_any_work(untouched):
    for options in ({"prompt_name": "x"}, {"precision": "x"}, {"output_value": "x"}, {"device": "x"}):
        with pytest.raises(ChoiceError):
            untouched.encode("a", **options)


WRONG = {  # name → (the call, the error, its message)
    "prompt that is no text": (lambda m: m.encode("a", prompt=3), TypeError, "prompt.*int"),
    "prompts that are no table": (
        lambda m: SentenceTransformer(modules=list(m), prompts=["a"]),
        TypeError,
        "list",
    ),
    "prompts that are no texts": (
        lambda m: SentenceTransformer(modules=list(m), prompts={"a": 1}),
        TypeError,
        "prompts.*1",
    ),
    "batch size 0": (lambda m: m.encode(["a"], batch_size=0), ValueError, "batch_size.*0"),
    "batch size below 0": (lambda m: m.encode(["a"], batch_size=-4), ValueError, "batch_size.*-4"),
    "batch size of half a row": (lambda m: m.encode(["a"], batch_size=2.5), (TypeError, ValueError), "batch_size.*2.5"),
    "dimension 0": (lambda m: m.encode(["a"], truncate_dim=0), ValueError, "truncate_dim.*0"),
    "dimension below 0": (lambda m: m.encode(["a"], truncate_dim=-1), ValueError, "truncate_dim.*-1"),
    "out that is a list": (lambda m: m.encode(["a"], out=[[0.0] * DIM]), TypeError, "out.*list"),
    "token vectors of workers": (
        lambda m: m.encode(["a"], device=["cpu"], output_value=None),
        ValueError,
        "output_value",
    ),
    "a folder that is not there": (lambda m: SentenceTransformer("./not/there"), ModelNotFoundError, "not there"),
    "a model of no blocks": (lambda m: SentenceTransformer(modules=[]).encode("a"), ValueError, "no blocks|no modules"),
    "no model at all": (lambda m: SentenceTransformer().encode("a"), ValueError, "no blocks|no modules"),
    "a file": (lambda m: SentenceTransformer(__file__), ModelNotFoundError, "."),
    "blocks that are none": (lambda m: SentenceTransformer(modules=["Pooling"]), TypeError, "."),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_value_that_cannot_be_meant_is_told_so(model, case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call(model)


def test_a_folder_of_another_kind_of_model_is_told_apart(tmp_path):
    from tests import tiny_pairs

    tiny_pairs.write(tmp_path / "pairs")
    assert CrossEncoder(tmp_path / "pairs", device="cpu").predict(("a man", "a dog")).shape == ()
