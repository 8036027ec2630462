"""The store: what encode gives, each text encoded once; keys, limits, damage, and several users at once."""

import copy
import multiprocessing
import pickle
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
import torch

from tests.store_worker import DIM, Logged, fill, fork, small_model
from tests.tiny import DIM as TINY
from tests.tiny import SENTENCES, made_texts, model_folder
from workbench import SentenceTransformer
from workbench.errors import Cancelled, ChoiceError, DataFormatError, TextTypeError, TruncationWarning, VectorError
from workbench.models import Normalize, Router
from workbench.models.bert import Bert
from workbench.progress import listen
from workbench.store import EmbeddingStore, model_fingerprint
from workbench.store.row_index import RowIndex

TEXTS = [*made_texts(60), "", "monkey", "monkey", "naïve 😀", "a \ud800 b"]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.store_worker"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "vectors.db"


@pytest.fixture
def store(path):
    with EmbeddingStore(path) as store:
        yield store


@pytest.fixture
def small():
    return small_model()


@pytest.fixture
def model(tiny):
    tiny.prompts["query"] = "query: "
    return tiny


def asked(model, monkeypatch):
    """The texts that the model's first block gets to see from now on."""
    texts, rows = [], model[0].token_rows
    monkeypatch.setattr(model[0], "token_rows", lambda part: (texts.extend(part), rows(part))[1])
    return texts


# ── the same as encode ────────────────────────────────────────────────────────────────────────────────────────────────

OPTIONS = {
    "none": {},
    "length one": {"normalize_embeddings": True},
    "few dimensions": {"truncate_dim": 5},
    "a prompt": {"prompt": "say: "},
    "a named prompt": {"prompt_name": "query"},
    "int8": {"precision": "int8"},
    "uint8": {"precision": "uint8", "normalize_embeddings": True},
    "binary": {"precision": "binary"},
    "ubinary": {"precision": "ubinary"},
    "rows in a batch": {"batch_size": 7},
    "a device": {"device": "cpu"},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_vectors_are_those_of_encode_made_or_read(store, model, case):
    options = OPTIONS[case]
    expected = model.encode(TEXTS, **options)
    for _ in range(2):
        vectors = store.encode(model, TEXTS, **options)
        assert (vectors.dtype, vectors.shape) == (expected.dtype, expected.shape)
        if "precision" in options:
            assert (np.abs(vectors.astype(int) - expected) <= ("8" in options["precision"])).mean() > 0.99
        else:
            np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
    assert len(store) == len(set(TEXTS))


def test_a_text_is_encoded_once(store, small, monkeypatch):
    texts = asked(small, monkeypatch)
    store.encode(small, TEXTS[:20])
    assert sorted(texts) == sorted(set(TEXTS[:20]))
    expected = small.encode(TEXTS)
    texts.clear()
    assert (store.encode(small, TEXTS[::-1]) == expected[::-1]).all()
    assert sorted(texts) == sorted(set(TEXTS) - set(TEXTS[:20]))
    texts.clear()
    assert (store.encode(small, TEXTS) == expected).all()
    assert texts == []
    assert store.stats()["hits"] == 20 + len(TEXTS)


def test_one_text_gives_one_vector_and_none_no_rows(store, model):
    for _ in range(2):
        np.testing.assert_allclose(store.encode(model, "monkey"), model.encode("monkey"), rtol=0, atol=1e-6)
        assert store.encode(model, []).shape == (0, TINY)
        assert store.encode(model, iter([]), precision="ubinary").shape == (0, TINY // 8)


def test_a_generator_is_read_as_it_is_encoded(store, small, monkeypatch):
    monkeypatch.setattr("workbench.store.embedding_store.STREAM", 10)
    ahead = []

    def read():
        for number, text in enumerate(TEXTS):
            ahead.append(number - sum(store.stats()[name] for name in ("hits", "misses")))
            yield text

    expected = small.encode(TEXTS)
    assert (store.encode(small, read()) == expected).all()
    assert max(ahead) <= 11  # one part, and a repeat in it
    for precision in ("float32", "int8"):
        assert (store.encode(small, iter(TEXTS), precision=precision) == small.encode(TEXTS, precision=precision)).all()


@pytest.mark.parametrize("precision", ["float32", "uint8", "binary"])
@pytest.mark.parametrize("form", [list, iter])
def test_vectors_go_into_a_memory_mapped_file(store, small, tmp_path, monkeypatch, precision, form):
    monkeypatch.setattr("workbench.store.embedding_store.STREAM", 10)
    expected = small.encode(TEXTS, precision=precision)
    shape = (len(TEXTS) + 3, expected.shape[1])
    for name in "ab":
        out = np.lib.format.open_memmap(tmp_path / name, "w+", expected.dtype, shape)
        given = store.encode(small, form(TEXTS), precision=precision, out=out)
        assert np.shares_memory(given, out)
        assert (given == expected).all()
    with pytest.raises(ValueError, match="out has 3 rows; these vectors need"):
        store.encode(small, form(TEXTS), precision=precision, out=out[:3])


def test_half_precision_stays_half_precision(store, model):
    model.half()
    for _ in range(2):
        assert store.encode(model, ["monkey"]).dtype == np.float16


def test_worker_processes_fill_the_store(store, small):
    vectors = store.encode(small, TEXTS, device=["cpu"])
    assert (vectors == small.encode(TEXTS)).all()
    assert len(store) == len(set(TEXTS))


def test_routes_are_part_of_the_key(store):
    blocks = small_model(1)[0], small_model(2)[0]
    model = SentenceTransformer(modules=[Router.for_query_document([blocks[0]], [blocks[1]])], device="cpu")
    for _ in range(2):
        for task in ("query", "document"):
            assert (store.encode(model, TEXTS, task=task) == model.encode(TEXTS, task=task)).all()
        rows = [{"query": "monkey"}, {"query": "violin"}]
        assert (store.encode(model, rows) == model.encode(rows)).all()
        assert (store.encode(model, {"document": "monkey"}) == model.encode({"document": "monkey"})).all()
    with pytest.raises(TextTypeError, match="texts only"):
        store.encode(model, [{"query": 3}])


def test_texts_that_were_cut_are_told_once(store, model):
    with pytest.warns(TruncationWarning, match="2 of 3 texts were longer than 48") as told:
        store.encode(model, ["monkey " * 60, "violin " * 60, "monkey"])
    assert len(told) == 1
    assert told[0].filename == __file__


def test_progress_counts_texts_and_cancelling_keeps_what_was_done(store, small, monkeypatch):
    monkeypatch.setattr("workbench.store.embedding_store._MOST", 16)
    seen = []

    def stop(bar):
        seen.append((bar.unit, bar.total))
        if bar.done >= 32:
            raise Cancelled

    with listen(stop), pytest.raises(Cancelled):
        store.encode(small, TEXTS)
    assert set(seen) == {("texts", len(TEXTS))}
    kept = len(store)
    assert kept >= 32
    assert (store.encode(small, TEXTS) == small.encode(TEXTS)).all()
    assert store.stats()["hits"] >= kept


def test_any_model_has_a_place_under_a_fingerprint_of_its_own(store, small):
    class Doubled:
        calls = 0

        def encode(self, texts, factor=2):
            self.calls += 1
            return torch.from_numpy(small.encode(texts) * factor)

    model, expected = Doubled(), small.encode(TEXTS)
    for _ in range(2):
        assert (store.encode(model, TEXTS, fingerprint="doubled") == 2 * expected).all()
        assert (store.encode(model, TEXTS, fingerprint="doubled", factor=3) == 3 * expected).all()
        assert (store.encode(small, TEXTS, fingerprint="doubled") == expected).all()
    assert model.calls == 2
    with pytest.raises(ValueError, match=r"Doubled depend on is not known here. Pass fingerprint"):
        store.encode(model, TEXTS)
    model.encode = lambda texts, factor: np.ones((len(texts), 3), np.float64)
    with pytest.raises(VectorError, match=r"3 dimensions of float64; .* keeps 8 of float32"):
        store.encode(model, ["new"], fingerprint="doubled", factor=3)
    model.encode = lambda texts: np.ones((1, 8))
    with pytest.raises(VectorError, match="gave 1 vectors for 2 texts"):
        store.encode(model, ["new", "newer"], fingerprint="doubled")


def test_a_subclass_with_its_own_encode_is_called_by_it_under_a_fingerprint(store, small):
    class Reversed(SentenceTransformer):
        def encode(self, sentences):
            return super().encode(sentences)[:, ::-1]

    model = Reversed(modules=list(small), device="cpu")
    with pytest.raises(ValueError, match="Reversed"):
        store.encode(model, TEXTS)
    assert (store.encode(model, TEXTS, fingerprint="reversed") == small.encode(TEXTS)[:, ::-1]).all()


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_options_that_change_vectors_are_part_of_the_key_and_others_are_not(store, model):
    same = [{}, {"precision": "int8"}, {"precision": "binary"}, {"batch_size": 3}, {"device": "cpu"}, {"prompt": ""}]
    for options in same:
        store.encode(model, TEXTS, **options)
    assert len(store.stats()["models"]) == 1
    others = [{"prompt": "a"}, {"prompt_name": "query"}, {"normalize_embeddings": True}, {"truncate_dim": 3}]
    for options in others:
        store.encode(model, TEXTS, **options)
    model.default_prompt_name = "query"
    store.encode(model, TEXTS)
    with model.truncate_sentence_embeddings(3):
        store.encode(model, TEXTS, prompt="")
    assert len(store.stats()["models"]) == 1 + len(others)


def step(optimizer):
    def train(model):
        model.train()
        made = optimizer(model.parameters())
        model(model.tokenize(["monkey"]))["sentence_embedding"].sum().backward()
        made.step()

    return train


def write_one_number(model):
    next(model.parameters()).data[-1, -1] += 1e-3


def limit(model):
    model.max_seq_length = 7


CHANGES = {
    "a training step": step(lambda weights: torch.optim.SGD(weights, lr=1e-3)),
    "a step of a fused optimizer": step(lambda weights: torch.optim.AdamW(weights, lr=1e-3, fused=True)),
    "one number written past torch's eyes": write_one_number,
    "weights loaded": lambda model: model.load_state_dict({k: v * 1.01 for k, v in model.state_dict().items()}),
    "half precision": lambda model: model.half(),
    "a block more": lambda model: model.append(Normalize()),
}
CHANGES_OF_TINY = {
    "another limit": limit,
    "another pooling": lambda model: (
        setattr(model[1], "pooling_mode_mean_tokens", False) or setattr(model[1], "pooling_mode_cls_token", True)
    ),
    "a token more": lambda model: model.tokenizer.add_tokens(["violinist"]),
    "lower case": lambda model: setattr(model[0], "do_lower_case", True),
}


@pytest.mark.filterwarnings("ignore:.*were cut")
@pytest.mark.parametrize("case", [*CHANGES, *CHANGES_OF_TINY])
def test_a_changed_model_has_another_fingerprint_and_new_vectors(store, small, model, case):
    model = model if case in CHANGES_OF_TINY else small
    store.encode(model, TEXTS)
    before = model_fingerprint(model)
    assert model_fingerprint(model) == before
    (CHANGES | CHANGES_OF_TINY)[case](model)
    after = model_fingerprint(model)
    assert after != before
    assert model_fingerprint(copy.deepcopy(model)) == after
    np.testing.assert_allclose(store.encode(model, TEXTS), model.encode(TEXTS), rtol=0, atol=1e-6)


def test_a_fused_step_on_a_transformer_is_seen(model):
    before = model_fingerprint(model)
    CHANGES["a step of a fused optimizer"](model)
    assert model_fingerprint(model) != before


def test_the_fingerprint_is_that_of_the_content_wherever_it_lies(tmp_path, tiny_folder, model):
    model.save(tmp_path / "a copy")
    moved = SentenceTransformer(tmp_path / "a copy", device="cpu")
    again = SentenceTransformer(model_folder(tmp_path / "made again"), device="cpu")
    model.tokenizer(["monkey", "a man"], padding=True, truncation=True, max_length=5)  # leaves its marks
    model.encode("monkey")
    prints = [model_fingerprint(one) for one in (model, moved, again, SentenceTransformer(tiny_folder, device="cpu"))]
    assert prints == [prints[0]] * 4
    assert len(prints[0]) == 32


def test_a_fingerprint_needs_no_transformers_and_is_the_same_with_them(tiny_folder):
    model = SentenceTransformer(tiny_folder, device="cpu")
    before = model_fingerprint(model)
    assert isinstance(model[0]._held, Bert)
    assert type(model[0].auto_model).__name__ == "BertModel"
    assert hasattr(model.tokenizer, "apply_chat_template")  # the whole of it
    assert model_fingerprint(model) == before
    model[0].auto_model.config.hidden_act = "relu"
    assert model_fingerprint(model) != before


def test_the_weights_are_hashed_once_for_each_model(small, monkeypatch):
    model_fingerprint(small)
    monkeypatch.setattr("workbench.store.fingerprint._weights", None)
    small.encode(TEXTS)
    small.train()
    model_fingerprint(small)
    with pytest.raises(TypeError):
        model_fingerprint(small_model())


def test_every_block_of_words_has_a_fingerprint(store):
    from workbench.models import BoW, Pooling, WordEmbeddings
    from workbench.models.word_tokenizers import WhitespaceTokenizer

    words = WordEmbeddings(WhitespaceTokenizer(["monkey", "violin"]), np.eye(2))
    bags = BoW(["monkey", "violin"]), BoW(["violin", "monkey"]), BoW(["monkey", "violin"], {"monkey": 2.0})
    models = [SentenceTransformer(modules=[words, Pooling(2)]), *(SentenceTransformer(modules=[bag]) for bag in bags)]
    assert len({model_fingerprint(model) for model in models}) == 4
    for model in models:
        for _ in range(2):
            assert (store.encode(model, ["monkey violin violin"]) == model.encode(["monkey violin violin"])).all()


def test_rows_whose_digests_begin_alike_are_told_apart():
    index = RowIndex()
    index.add(np.array([[7, 1], [7, 2], [3, 1]], np.uint64), np.array([10, 11, 12]))
    assert index.find(np.array([[7, 1], [7, 3], [3, 1], [9, 9], [0, 0]], np.uint64)).tolist() == [10, -1, 12, -1, -1]


# ── size ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def little(path, monkeypatch):
    """A store that has room for twenty rows, in blocks of two."""
    monkeypatch.setattr("workbench.store.vector_file._BLOCK", 2 * 4 * DIM)
    with EmbeddingStore(path, max_bytes=20 * (4 * DIM + 16)) as store:
        yield store


def test_the_least_recently_used_go_first(little, small):
    texts = made_texts(24)
    old, used, new = texts[:8], texts[8:16], texts[16:]
    for part in (old, used):
        little.encode(small, part)
    little.encode(small, used[::-1])
    little.encode(small, old[:2])  # a block of two and one of its neighbours, or two of them
    little.encode(small, used)
    little.encode(small, new)
    assert len(little) <= 20
    before = little.stats()["misses"]
    assert (little.encode(small, [*used, *new]) == small.encode([*used, *new])).all()
    assert little.stats()["misses"] == before


def test_a_call_keeps_all_that_it_needs_and_the_next_makes_room(little, small):
    texts = made_texts(60)
    vectors = little.encode(small, texts)
    assert (vectors == small.encode(texts)).all()
    assert len(little) == 60
    assert (little.encode(small, iter(texts)) == vectors).all()
    assert little.stats()["misses"] == 60
    little.encode(small, ["monkey"])
    assert len(little) <= 20
    assert (little.encode(small, texts) == vectors).all()


def test_a_smaller_limit_holds_from_the_opening_and_the_file_shrinks(path, small, monkeypatch):
    monkeypatch.setattr("workbench.store.vector_file._BLOCK", 10 * 4 * DIM)
    with EmbeddingStore(path) as store:
        store.encode(small, [f"monkey {number}" for number in range(5000)])
    before = path.stat().st_size
    with EmbeddingStore(path, max_bytes=10_000) as store:
        assert store.stats()["bytes"] <= 10_000
        assert len(store) > 0
    assert path.stat().st_size < before / 2


def test_rows_that_another_store_evicted_are_encoded_again(path, store, small):
    store.encode(small, TEXTS)
    with EmbeddingStore(path) as other:
        other.clear()
        assert len(other) == 0
    assert (store.encode(small, TEXTS) == small.encode(TEXTS)).all()
    with EmbeddingStore(path, max_bytes=1):
        pass
    assert (store.encode(small, TEXTS) == small.encode(TEXTS)).all()
    assert len(store) == len(set(TEXTS))


def test_clear_empties_the_store_and_its_file(path, store, small):
    store.encode(small, [f"monkey {number}" for number in range(5000)])
    store.clear()
    assert len(store) == 0
    assert store.stats()["models"] == []
    assert path.stat().st_size < 200_000
    assert (store.encode(small, TEXTS) == small.encode(TEXTS)).all()


def test_stats_say_what_is_kept(path, store, small):
    store.encode(small, TEXTS, truncate_dim=4)
    store.encode(small, TEXTS[:3])
    stats = store.stats()
    assert stats["path"] == str(path)
    assert stats["rows"] == len(store) == len(set(TEXTS)) + 3
    assert stats["bytes"] == len(set(TEXTS)) * (16 + 16) + 3 * (32 + 16)
    assert [(one["dim"], one["rows"], one["truncate_dim"]) for one in stats["models"]] == [
        (4, len(set(TEXTS)), 4),
        (8, 3, None),
    ]
    assert {one["fingerprint"] for one in stats["models"]} == {model_fingerprint(small)}


def test_a_store_stays_on_disk_and_is_told_when_closed(path, small):
    with EmbeddingStore(path) as store:
        vectors = store.encode(small, TEXTS)
    store.close()
    with pytest.raises(ValueError, match=r"vectors\.db is closed"):
        store.encode(small, TEXTS)
    with EmbeddingStore(str(path)) as again:
        assert (again.encode(small, TEXTS) == vectors).all()
        assert again.stats()["misses"] == 0
        with pickle.loads(pickle.dumps(again)) as sent:
            assert len(sent) == len(again)


# ── damage and refusals ───────────────────────────────────────────────────────────────────────────────────────────────


def filled(path):
    with EmbeddingStore(path) as store:
        store.encode(small_model(), [f"monkey {number}" for number in range(3000)])
    return path.read_bytes()


def foreign(path, application=0, version=0):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes(text)")
        db.execute(f"PRAGMA application_id = {application}")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


def newer(path):
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


DAMAGED = {
    "a text": (lambda path: path.write_text("my notes\n" * 100), "damaged or no store"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "damaged or no store"),
    "another program's database": (foreign, "of another program"),
    "another program's database with marks": (lambda path: foreign(path, 77, 3), "of another program"),
    "a newer format": (newer, "format 99; this version reads 1"),
    "half of a header": (lambda path: path.write_bytes(filled(path)[:60]), "damaged or no store"),
    "half of a store": (lambda path: path.write_bytes((whole := filled(path))[: len(whole) // 2]), "its header says"),
    "a store without its last byte": (lambda path: path.write_bytes(filled(path)[:-1]), "its header says"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_foreign_file_is_refused_and_left_as_it_is(tmp_path, case):
    path = tmp_path / "file.db"
    make, message = DAMAGED[case]
    make(path)
    before = path.is_file() and path.read_bytes()
    with pytest.raises(DataFormatError, match=message):
        EmbeddingStore(path)
    assert (path.is_file() and path.read_bytes()) == before
    assert [one.name for one in tmp_path.iterdir()] == ["file.db"]


def test_another_programs_database_that_was_killed_in_the_middle_is_not_built_upon(tmp_path):
    path = tmp_path / "file.db"
    foreign(path)
    path.with_name("file.db-journal").write_bytes(b"not a journal that SQLite would follow")
    before = path.read_bytes()
    with pytest.raises(DataFormatError, match="of another program"):
        EmbeddingStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vectors SET content = substr(content, 1, 7)",
        "UPDATE digests SET content = substr(content, 1, 7)",
        "UPDATE space SET dtype = '|O'",
        "UPDATE space SET dtype = 'object'",
        "UPDATE space SET dim = 0",
        "DROP TABLE vectors",
    ],
)
def test_tables_that_were_changed_by_hand_give_one_clear_error(path, small, change):
    with EmbeddingStore(path) as store:
        store.encode(small, TEXTS)
    with closing(sqlite3.connect(path)) as db:
        db.execute(change)
        db.commit()
    with EmbeddingStore(path) as store, pytest.raises(DataFormatError, match=r"vectors\.db is damaged"):
        store.encode(small, TEXTS)


def test_an_empty_file_becomes_a_store(tmp_path, small):
    (tmp_path / "empty.db").touch()
    with EmbeddingStore(tmp_path / "empty.db") as store:
        assert len(store.encode(small, TEXTS)) == len(TEXTS)


@pytest.mark.parametrize(("pragma", "why"), [("max_page_count = 8", "full"), ("query_only = 1", "readonly")])
def test_vectors_that_cannot_be_kept_are_still_returned(store, small, pragma, why):
    store.encode(small, TEXTS)
    kept = len(store)
    store._file._connection.execute(f"PRAGMA {pragma}")
    texts = [*TEXTS, *(f"{a} {b}" for a in SENTENCES for b in made_texts(60))]
    with pytest.warns(RuntimeWarning, match=rf"vectors\.db cannot be written \(.*{why}.*returned, but not all") as told:
        vectors = store.encode(small, texts)
    assert len(told) == 1
    assert told[0].filename == __file__
    assert (vectors == small.encode(texts)).all()
    assert len(store) >= kept
    assert (store.encode(small, TEXTS) == small.encode(TEXTS)).all()  # reading goes on, without a word


def test_a_folder_that_cannot_be_made_is_an_oserror(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        EmbeddingStore(tmp_path / "file" / "vectors.db")


BAD = {  # name → (arguments of encode, error, what it says)
    "no model": ({"model": None}, TypeError, "NoneType; expected something with encode"),
    "a number": ({"sentences": 3}, TextTypeError, "must be a string or an iterable"),
    "None among texts": ({"sentences": ["a", None]}, TextTypeError, "Row 1 is None"),
    "None in a generator": ({"sentences": iter(["a", None])}, TextTypeError, "Row 1 is None"),
    "a table": ({"sentences": {"a": "b"}}, TextTypeError, "dict"),
    "an unknown prompt": ({"prompt_name": "qeury"}, ChoiceError, "qeury"),
    "an unknown precision": ({"precision": "int4"}, ChoiceError, "'ubinary'"),
    "an unknown option": ({"normalise": True}, TypeError, "normalise"),
    "an unknown device": ({"device": "gpu"}, ChoiceError, "cpu"),
    "tokens": ({"output_value": "token_embeddings"}, ValueError, "numpy arrays of sentence embeddings"),
    "tensors": ({"convert_to_tensor": True}, ValueError, "numpy arrays"),
    "no dimensions": ({"truncate_dim": 0}, ValueError, "truncate_dim"),
    "an empty fingerprint": ({"model": object(), "fingerprint": ""}, TypeError, "encode"),
    "out that is too narrow": ({"out": np.zeros((1, 3), np.float32)}, ValueError, r"shape \(1, 3\)"),
    "out that is a list": ({"out": [[0.0]]}, TypeError, "numpy array"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(store, small, case):
    arguments, error, message = BAD[case]
    with pytest.raises(error, match=message):
        store.encode(**{"model": small, "sentences": ["monkey"], **arguments})


def test_options_of_other_models_must_be_plain(store):
    class Any:
        def encode(self, texts, **options):
            return np.ones((len(texts), 2))

    with pytest.raises(TypeError, match=r"must be plain values.*object"):
        store.encode(Any(), ["a"], fingerprint="any", option=object())


@pytest.mark.parametrize("limit", [0, -1, 1.5, "1 GB"])
def test_a_limit_is_a_number_of_bytes(path, limit):
    with pytest.raises(ValueError, match="max_bytes must be a whole number above 0"):
        EmbeddingStore(path, max_bytes=limit)
    assert not path.exists()


# ── several at once ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_threads_share_a_store(store, small, monkeypatch):
    monkeypatch.setattr("workbench.store.embedding_store._MOST", 16)
    texts = [f"{a} {b}" for a in SENTENCES for b in made_texts(20)]
    expected = small.encode(texts)
    orders = [random.Random(seed).sample(range(len(texts)), len(texts)) for seed in range(6)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda order: store.encode(small, [texts[row] for row in order]), orders))
    for order, vectors in zip(orders, found, strict=True):
        assert (vectors == expected[order]).all()
    assert len(store) == len(set(texts))


def start(target, *arguments):
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    return process


def sound(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0]


def test_processes_that_fill_one_store_agree(path, tmp_path, small):
    texts = [f"{a} {b}" for a in SENTENCES for b in made_texts(60)]
    logs = [str(tmp_path / f"log{number}") for number in range(4)]
    processes = [start(fill, path, texts if number % 2 else texts[::-1], log) for number, log in enumerate(logs)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    expected = small.encode(texts)
    for number, log in enumerate(logs):
        assert (np.load(f"{log}.npy") == (expected if number % 2 else expected[::-1])).all()
    assert sound(path) == "ok"
    with EmbeddingStore(path) as store:
        assert len(store) == len(set(texts))


def test_a_forked_process_gets_a_connection_of_its_own(path):
    texts = [f"{a} {b}" for a in SENTENCES for b in made_texts(20)]
    process = start(fork, path, texts)
    process.join(60)
    assert process.exitcode == 0
    assert sound(path) == "ok"


def test_a_kill_at_any_moment_loses_one_batch_at_most(path, tmp_path, small):
    draw, kept, killed, midway = random.Random(0), 0, 0, 0
    start(fill, tmp_path / "first.db", ["monkey"], str(tmp_path / "first")).join(60)  # the imports, once for all
    for turn in range(20):
        texts = [f"{turn} {a} {b}" for a in SENTENCES for b in made_texts(300)]
        expected = small.encode(texts)
        log = tmp_path / f"log{turn}"
        process = start(fill, path, texts, str(log))
        while not log.exists() and turn % 5:  # every fifth is killed at its start, while the file is made or opened
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        process.join(60)
        killed += process.exitcode == -9
        done = [int(line) for line in log.read_text().splitlines()] if log.exists() else []
        if not path.exists():
            continue
        with EmbeddingStore(path) as store:
            assert sound(path) == "ok"
            new = len(store) - kept
            assert sum(done[:-1]) <= new <= sum(done)
            model = Logged(tmp_path / "check")
            assert (store.encode(model, texts, fingerprint="small") == expected).all()
            assert store.stats()["hits"] == new
            midway += 0 < new < len(texts)
            kept = len(store)
    assert killed == 20
    assert midway >= 5
