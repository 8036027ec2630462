"""BM25: weights by the formula, words by the language, and an index that changes, saves and refuses like the others."""

import logging
import math
from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from workbench.errors import ChoiceError, DataFormatError, TextTypeError
from workbench.protocols import Index
from workbench.search.bm25 import LANGUAGES, METHODS, BM25Index
from workbench.search.saved import read_folder, write_folder

TEXTS = [
    "The cat sat on the mat.",
    "A dog and a cat fight; the cat wins.",
    "Error E04 on the router",
    "Routers need power, and routers need cables.",
]


def filled(**options):
    index = BM25Index(**options)
    index.add(None, TEXTS)
    return index


def by_hand(texts, query, method="lucene", k1=1.5, b=0.75, delta=0.5):
    """The formula, word by word, over texts that are split at spaces."""
    rows = [Counter(text.split()) for text in texts]
    mean = sum(sum(row.values()) for row in rows) / len(rows)
    scores = np.zeros(len(rows))
    for word in query.split():
        df = sum(word in row for row in rows)
        if not df:
            continue
        n = len(rows)
        idf = {
            "lucene": math.log(1 + (n - df + 0.5) / (df + 0.5)),
            "robertson": math.log(max(1, (n - df + 0.5) / (df + 0.5))),
            "atire": math.log(n / df),
            "bm25l": math.log((n + 1) / (df + 0.5)),
            "bm25+": math.log((n + 1) / df),
        }[method]
        for place, row in enumerate(rows):
            tf, norm = row[word], 1 - b + b * sum(row.values()) / mean
            scores[place] += (
                idf
                * {
                    "lucene": tf / (tf + k1 * norm),
                    "robertson": tf / (tf + k1 * norm),
                    "atire": tf * (k1 + 1) / (tf + k1 * norm),
                    "bm25l": (k1 + 1) * (tf / norm + delta) / (k1 + tf / norm + delta),
                    "bm25+": tf * (k1 + 1) / (tf + k1 * norm) + delta,
                }[method]
            )
    return scores


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_formula(method):
    rng = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(30)])
    texts = [" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(40)]
    index = BM25Index(None, method=method, k1=1.2, b=0.6, delta=0.7)
    index.add(None, texts)
    for query in ("w1 w2 w3", "w4 w4 unknown", "w29"):
        expected = by_hand(texts, query, method, 1.2, 0.6, 0.7)
        shares = np.array([bool(set(query.split()) & set(text.split())) for text in texts])
        if method == "robertson":
            shares &= expected > 0  # a word in half of the texts tells nothing apart
        [hits] = index.search(query, k=len(texts))
        assert {name for name, _ in hits} == set(np.flatnonzero(shares).tolist())
        np.testing.assert_allclose([score for _, score in hits], -np.sort(-expected[shares]), rtol=1e-5)
        np.testing.assert_allclose([expected[name] for name, _ in hits], [score for _, score in hits], rtol=1e-5)


def test_it_is_an_index():
    assert isinstance(BM25Index(), Index)


def test_stems_meet_and_stop_words_do_not():
    hits = filled().search(["power for the router", "the on a"], k=3)
    assert [name for name, _ in next(iter(hits))] == [3, 2]
    assert list(hits)[1] == []
    assert hits.ids[1].tolist() == [-1, -1, -1]


def test_a_code_finds_its_text_first():
    assert filled().search("what does E04 mean", k=1).ids.tolist() == [[2]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_its_stop_words_and_stems(language):
    index = BM25Index(language)
    index.add(["a", "b"], ["Internationale Stationen", "xyzzy"])
    assert index.search("xyzzy", 5).ids[0, 0] == "b"


def test_german_words_are_cut_to_german_stems():
    index = BM25Index("german")
    index.add(None, ["Die Häuser der Nachbarn", "Ein Baum"])
    assert index.search(["Haus", "die"], k=1).ids.tolist() == [[0], [-1]]


def test_without_a_language_every_word_counts_as_it_is():
    index = BM25Index(None)
    index.add(None, ["the routers", "a cat"])
    assert index.search(["the", "router"], k=1).ids.tolist() == [[0], [-1]]


def test_adding_in_two_parts_is_adding_at_once():
    index = BM25Index()
    index.add(None, TEXTS[:1])
    assert index.search("cat", k=4).found.tolist() == [1]
    index.add(None, TEXTS[1:])
    expected = filled().search(["cat", "routers", "E04 power"], k=4)
    found = index.search(["cat", "routers", "E04 power"], k=4)
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_deleted_text_leaves_no_trace_in_the_scores():
    index = filled()
    index.delete([1])
    other = BM25Index()
    other.add([0, 2, 3], [TEXTS[place] for place in (0, 2, 3)])
    found, expected = (each.search(["cat", "router"], k=3) for each in (index, other))
    assert len(index) == 3
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_ids_may_be_strings():
    index = BM25Index()
    index.add(["x", "y", "z", "w"], TEXTS)
    hits = index.search("cat", k=3)
    assert hits.ids.tolist() == [["y", "x", None]]
    assert hits.scores[0, 2] == -np.inf


def test_equal_texts_are_found_in_their_order():
    index = BM25Index()
    index.add(None, ["same words"] * 5)
    assert index.search("words", k=9).ids.tolist() == [[0, 1, 2, 3, 4, -1, -1, -1, -1]]
    assert index.search("words", k=2).ids.tolist() == [[0, 1]]


def test_an_empty_index_finds_nothing_and_texts_without_words_are_never_found():
    index = BM25Index()
    assert index.search(["cat"], k=2).ids.tolist() == [[-1, -1]]
    index.add(None, ["", "...", "cat"])
    assert index.search(["cat", "", "..."], k=2).ids.tolist() == [[2, -1], [-1, -1], [-1, -1]]
    assert BM25Index().search([], k=2).ids.shape == (0, 2)


def test_texts_of_every_kind_are_indexed():
    index = BM25Index()
    index.add(None, (text for text in ["naïve café", "\ud800 broken", "日本 語", "a\nb c\td " * 3]))
    assert index.search(["CAFÉ", "broken", "日本"], k=1).ids.tolist() == [[0], [1], [2]]


def test_it_says_nothing(capfd, caplog):
    with caplog.at_level(logging.INFO):
        filled().search(["cat", ""], k=2)
    assert (capfd.readouterr().out, capfd.readouterr().err) == ("", "")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (lambda: BM25Index("klingon"), ChoiceError, "'english'"),
        (lambda: BM25Index(method="tfidf"), ChoiceError, "'lucene'"),
        (lambda: BM25Index(b=2), ValueError, "b from 0 to 1"),
        (lambda: BM25Index(k1=float("nan")), ValueError, "k1 = nan"),
        (lambda: BM25Index().add(None, ["a", None]), TextTypeError, "Row 1 is None"),
        (lambda: BM25Index().add([1, 1], ["a", "b"]), ValueError, "1"),
        (lambda: BM25Index().add([1], ["a", "b"]), ValueError, "2"),
        (lambda: filled().add([0], ["again"]), ValueError, "0"),
        (lambda: filled().add(["x"], ["a string among numbers"]), TypeError, "strings"),
        (lambda: filled().search("cat", k=0), ValueError, "k is 0"),
        (lambda: filled().search([3]), TextTypeError, "Row 0 is int"),
        (lambda: BM25Index().add(["a", 1], ["a", "b"]), TypeError, "1"),
        (lambda: filled().delete([0, 99]), KeyError, "99"),
        (lambda: BM25Index.open("nowhere"), DataFormatError, "nowhere"),
    ],
)
def test_bad_input_gets_one_clear_error(bad, error, words):
    with pytest.raises(error, match=words):
        bad()


def test_a_refused_addition_changes_nothing():
    index = filled()
    with pytest.raises(TextTypeError):
        index.add(None, ["fine", 7])
    assert len(index) == 4
    assert index.search("fine", k=1).ids.tolist() == [[-1]]


def test_numbering_goes_on_after_a_deletion():
    index = filled()
    index.delete([1])
    index.add(None, ["one more cat"])
    assert sorted(name for name, _ in next(iter(index.search("cat", k=9)))) == [0, 4]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("names", [None, ["x", "y", "z\n", "ä"]])
def test_an_opened_index_answers_and_grows_like_the_saved_one(method, names, tmp_path):
    index = BM25Index("german", method=method, k1=1.1, b=0.4)
    index.add(names, TEXTS)
    index.save(tmp_path / "index")
    opened = BM25Index.open(tmp_path / "index")
    assert len(opened) == 4
    for _ in range(2):
        found, expected = (one.search(["cat mat", "routers"], k=3) for one in (opened, index))
        assert found.ids.tolist() == expected.ids.tolist()
        np.testing.assert_array_equal(found.scores, expected.scores)
        for one in (index, opened):
            one.add([f"n{len(one)}"] if names else None, ["a new cat"])


def test_options_of_a_saved_index_cannot_change(tmp_path):
    filled(k1=2).save(tmp_path / "index")
    assert len(BM25Index.open(tmp_path / "index", language="english", k1=2)) == 4
    with pytest.raises(ChoiceError, match="made with language='english', not 'german'"):
        BM25Index.open(tmp_path / "index", language="german")


def test_an_empty_index_is_saved_and_opened(tmp_path):
    BM25Index("french").save(tmp_path / "index")
    opened = BM25Index.open(tmp_path / "index")
    assert (len(opened), opened.language) == (0, "french")
    opened.add(None, ["le chat"])
    assert opened.search("chats", k=1).ids.tolist() == [[0]]


def engine(folder):
    return folder / "engine.bin"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "index.json").write_text("{}"),
        lambda folder: engine(folder).unlink(),
        lambda folder: engine(folder).write_bytes(b"\x80\x04."),
        lambda folder: engine(folder).write_bytes(engine(folder).read_bytes()[:-5]),
    ],
)
def test_a_damaged_folder_gets_one_clear_error(damage, tmp_path):
    filled().save(tmp_path / "index")
    damage(tmp_path / "index")
    with pytest.raises(DataFormatError, match="index"):
        BM25Index.open(tmp_path / "index")


def _forged(folder, settings=None, **changes):
    """Change what was saved, and the fingerprints with it."""
    values, ids = read_folder(folder, "bm25")
    arrays = load_file(engine(folder))
    for name, (place, value) in changes.items():
        arrays[name][place] = value
    with write_folder(folder, {**values, "settings": values["settings"] | (settings or {})}, ids) as fresh:
        save_file(arrays, engine(fresh))


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": (1, 99)},
        {"indices": (1, -1)},
        {"indptr": (1, -3)},
        {"indptr": (-1, 2**40)},
        {"words": (0, 77)},
        {"words": (0, -1)},
        {"counts": (0, 9)},
        {"counts": (0, -1)},
        {"vocabulary": (0, 10)},
        {"settings": {"method": "evil"}},
        {"settings": {"k1": "1"}},
        {"settings": {"more": 1}},
    ],
)
def test_a_forged_folder_gets_one_clear_error(changes, tmp_path):
    filled().save(tmp_path / "index")
    _forged(tmp_path / "index", **changes)
    with pytest.raises(DataFormatError, match="damaged"):
        BM25Index.open(tmp_path / "index")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataFormatError, match="left as it is"):
        filled().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
