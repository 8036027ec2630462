"""The recipes of the bundled models, end to end on a folder of tiny sets, and the sets' reader."""

import csv
import gzip
import io
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.tiny import made_texts
from workbench import CrossEncoder, SentenceTransformer, cli, hub
from workbench.errors import ChoiceError, DataFormatError
from workbench.models import Normalize, StaticEmbedding
from workbench.recipes.bundled import RECIPES, train_bundled
from workbench.recipes.multilingual import fit_words, read_words, with_pieces
from workbench.recipes.public_data import LANGUAGES, PublicData, beginning, windows
from workbench.recipes.reranker import make_reranker
from workbench.recipes.starter import fit_table, principal, save_starter, start_table

TEXTS = made_texts(60, longest=12)
JUDGED = "the cheetah is running behind its prey"
JUDGED_IN_GERMAN = "the monkey plays the violin"


def pack(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def table(path, *columns, rows):
    held = io.StringIO()
    writer = csv.writer(held, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerows([columns, *rows])
    pack(path, held.getvalue())


def translated(text, language):
    """The words read from behind, with an ending: they share no letters with English ones."""
    return text if language == "en" else " ".join(f"{word[::-1]}{language}" for word in text.split())


def squad(texts):
    asked = [{"question": text, "answers": [{"answer_start": 0}]} for text in texts]
    parts = [{"context": f"{text}. {text.capitalize()}.", "qas": [ask]} for text, ask in zip(texts, asked, strict=True)]
    return json.dumps({"data": [{"paragraphs": parts}]})


@pytest.fixture(scope="session")
def public(tmp_path_factory):
    """A data folder with a few rows of every set."""
    root = tmp_path_factory.mktemp("public")
    pairs = [(a, b, number % 6) for number, (a, b) in enumerate(zip(TEXTS, TEXTS[::-1], strict=True))]
    columns = ("sentence1", "sentence2", "score")
    train = [*pairs, (JUDGED, "monkey", 2), (JUDGED_IN_GERMAN, "monkey", 2)]
    dev = [(f"{a} monkey", f"{b} monkey", score) for a, b, score in pairs]
    for language, code in LANGUAGES.items():
        also = [(JUDGED_IN_GERMAN if language == "de" else "the girl is eating", "the horse", 1)]
        for split, rows in {"train": train, "dev": dev + also}.items():
            rows = [(translated(a, language), translated(b, language), score) for a, b, score in rows]
            table(root / f"stsb/{language}/{split}.tsv.gz", *columns, rows=rows)
        pack(root / f"ntrex128/{code}.txt.gz", f"{JUDGED}\n{translated('the woods are red', language)}\n")
    labels = [(a, b, "entailment", "train") for a, b, _ in pairs]
    table(root / "nli/snli_subset.tsv.gz", "premise", "hypothesis", "label", "split", rows=labels)
    pack(root / "squad/train-v1.1.json.gz", squad(TEXTS))
    pack(root / "squad/dev-v1.1.json.gz", squad([JUDGED.upper() + "!"]))
    rows = [json.dumps({"question": f"what is {text[:20]}", "answer": text}) for text in TEXTS[:20]]
    pack(root / "medquad/medquad.jsonl.gz", "\n".join(rows))
    table(root / "raw_sentences/wikipedia_clinc.tsv.gz", "sentence", rows=[[text] for text in TEXTS])
    table(root / "banking77/train.tsv.gz", "text", rows=[["the horse is eating"]])
    clinc = [("the baby is eating", "train"), ("the baby is running", "test")]
    table(root / "clinc150/clinc150_full.tsv.gz", "text", "split", rows=clinc)
    return root


def test_no_text_of_a_judged_set_is_trained_on(public):
    data = PublicData(public)
    texts = data.texts()
    assert len(texts) == len(set(texts)) > 60
    assert "the baby is eating" in texts
    assert not {JUDGED, "the baby is running"} & set(texts)
    assert JUDGED not in {text for row in data.sts for text in row[:2]}
    assert texts == PublicData(public).texts() != PublicData(public, seed=1).texts()


def test_parallel_rows_hold_a_sentence_in_each_language_that_none_of_them_is_judged_by(public):
    rows = PublicData(public).parallel
    assert rows[0] == tuple(translated("the woods are red", language) for language in LANGUAGES)
    english = {row[0] for row in rows}
    assert english == {"the woods are red", "monkey", *TEXTS}
    assert len(rows) == len(english)


def test_a_missing_set_is_named(tmp_path):
    with pytest.raises(DataFormatError, match=r"train-v1\.1\.json\.gz cannot be read"):
        PublicData(tmp_path).texts()


def test_windows_cut_between_sentences_and_say_where_they_start():
    text = "One two three. Four five. Six seven eight nine. Ten."
    parts = windows(text, 5)
    assert [part for _, part in parts] == ["One two three. Four five.", "Six seven eight nine. Ten."]
    assert all(text[start:].startswith(part) for start, part in parts)
    assert windows("Alone", 5) == [(0, "Alone")]
    assert beginning("a b  c", 2) == "a b"


def test_fitting_brings_texts_to_the_teachers_vectors(public, tiny):
    data = PublicData(public)
    texts = data.texts()
    vectors = torch.nn.functional.normalize(tiny.encode(texts, convert_to_tensor=True), dim=1)
    block = start_table(tiny, texts, vectors, 16)
    before = block.embedding.weight.detach().clone()
    fitted = fit_table(block, texts, vectors, data, epochs=150, seed=0, pairs=0, scored=0)
    assert torch.equal(block.embedding.weight, before)
    own = torch.triu_indices(len(texts), len(texts), 1).unbind()
    known = (vectors @ vectors.T)[own]

    def agreement(table):
        made = torch.from_numpy(SentenceTransformer(modules=[StaticEmbedding(block.tokenizer, table)]).encode(texts))
        made = torch.nn.functional.normalize(made, dim=1)
        return torch.corrcoef(torch.stack([known, (made @ made.T)[own]]))[0, 1]

    assert agreement(fitted) > agreement(before) + 0.05
    assert torch.equal(fitted, fit_table(block, texts, vectors, data, epochs=150, seed=0, pairs=0, scored=0))


def test_words_are_fitted_to_the_teachers_vectors_and_to_their_translations(public):
    rows = [row for row in PublicData(public).parallel if len(row[0].split()) > 2]
    tokenizer, texts = read_words(rows)
    drawn = torch.from_numpy(np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 16)))
    teacher = SentenceTransformer(modules=[StaticEmbedding(tokenizer, drawn)], device="cpu")
    targets = principal(teacher.encode([row[0] for row in rows], convert_to_tensor=True), 16)
    counts = np.bincount(np.concatenate([side.columns["input_ids"] for side in texts]))
    table = fit_words(tokenizer, texts, targets, counts, epochs=300, seed=0)
    assert torch.equal(table, fit_words(tokenizer, texts, targets, counts, epochs=300, seed=0))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, table), Normalize()], device="cpu")
    sides = [model.encode(list(side)) for side in zip(*rows, strict=True)]
    for side in sides[1:]:
        found = (sides[0] @ side.T).argmax(1)
        assert (found == np.arange(len(rows))).mean() > 0.9
        assert (side * targets.numpy()).sum(1).mean() > 0.7


def test_pieces_stand_for_the_words_that_are_not_kept():
    rows = [(f"{start}{end}",) for start in ("haus", "garten", "stadt") for end in ("tor", "plan", "rand", "weg")]
    tokenizer, _ = read_words([*rows, ("plan",)])
    names = sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id)
    parts = dict(zip(("haus", "garten", "stadt", "tor", "plan", "rand", "weg"), torch.eye(7), strict=True))
    table = torch.stack([sum((v for part, v in parts.items() if part in name), torch.zeros(7)) for name in names])
    block = with_pieces(tokenizer, table, np.array([name in ("plan", "stadtweg") for name in names]), 200)
    model = SentenceTransformer(modules=[block], device="cpu")
    assert np.allclose(model.encode(["Plan", "stadtweg"]), table[[names.index("plan"), names.index("stadtweg")]])
    summed = model.encode("gartentor") * len(block.token_rows(["gartentor"]).columns["input_ids"])
    assert np.argsort(summed)[-2:].tolist() in ([1, 3], [3, 1])
    assert (model.encode("\u6f22\u5b57") == 0).all()


def test_eight_bits_keep_the_vectors(tiny, tmp_path):
    block = StaticEmbedding.from_distillation(tiny, pca_dims=32)
    made = save_starter(block, block.embedding.weight.detach(), tmp_path / "made")
    given = torch.nn.functional.normalize(torch.from_numpy(SentenceTransformer(modules=[block]).encode(TEXTS)), dim=1)
    assert np.abs((made.encode(TEXTS) * given.numpy()).sum(1) - 1).max() < 1e-3
    hub.verify(tmp_path / "made")


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_makes_a_model_with_its_card(name, public, tiny_folder, tmp_path):
    arguments = ["--data", str(public), "--out", str(tmp_path / "made"), "--teacher", str(tiny_folder), "--quick"]
    result = CliRunner().invoke(cli.app, ["train-starter", "--model", name, *arguments])
    assert result.exit_code == 0, result.output
    hub.verify(tmp_path / "made")
    card = (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
    for word in ("license: ", "## How it was made", "CC BY-SA 4.0", "seed", "## Scores", "Spearman", "## Limits"):
        assert word in card
    if name != "starter-reranker":
        assert np.isfinite(SentenceTransformer(tmp_path / "made", device="cpu").encode(TEXTS)).all()
    else:
        assert np.isfinite(CrossEncoder(tmp_path / "made", device="cpu").predict([(TEXTS[0], TEXTS[1])])).all()


@pytest.mark.parametrize("half", [False, True])
def test_the_reranker_learns_in_float32_and_in_bfloat16(half, public, tiny_folder, tiny, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("workbench.recipes.reranker.bfloat16_is_faster", lambda: half)
    settings = {"steps": 150, "lists": 6, "passages": 3, "tokens": 2_000, "learning_rate": 3e-3}
    with caplog.at_level("INFO", "workbench.recipes.reranker"):
        make_reranker(tiny_folder, PublicData(public), tmp_path / "made", retriever=tiny, **settings)
    first, *_, last = (record.args[2] for record in caplog.records if "loss" in record.msg)
    assert last < 0.9 * first


def test_an_unknown_model_lists_the_recipes(public, tmp_path):
    with pytest.raises(ChoiceError, match="starter-reranker"):
        train_bundled("finisher", public, tmp_path / "made")
