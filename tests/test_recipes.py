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
from workbench.models import StaticEmbedding
from workbench.recipes.bundled import RECIPES, train_bundled
from workbench.recipes.public_data import PublicData, beginning, windows
from workbench.recipes.starter import fit_table, save_starter, start_table

TEXTS = made_texts(60, longest=12)
JUDGED = "the cheetah is running behind its prey"


def pack(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def table(path, *columns, rows):
    held = io.StringIO()
    writer = csv.writer(held, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerows([columns, *rows])
    pack(path, held.getvalue())


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
    table(root / "stsb/en/train.tsv.gz", *columns, rows=[*pairs, (JUDGED, "monkey", 2)])
    table(root / "stsb/en/dev.tsv.gz", *columns, rows=[(f"{a} monkey", f"{b} monkey", score) for a, b, score in pairs])
    labels = [(a, b, "entailment", "train") for a, b, _ in pairs]
    table(root / "nli/snli_subset.tsv.gz", "premise", "hypothesis", "label", "split", rows=labels)
    pack(root / "squad/train-v1.1.json.gz", squad(TEXTS))
    pack(root / "squad/dev-v1.1.json.gz", squad([JUDGED.upper() + "!"]))
    rows = [json.dumps({"question": f"what is {text[:20]}", "answer": text}) for text in TEXTS[:20]]
    pack(root / "medquad/medquad.jsonl.gz", "\n".join(rows))
    table(root / "raw_sentences/wikipedia_clinc.tsv.gz", "sentence", rows=[[text] for text in TEXTS])
    pack(root / "ntrex128/eng.txt.gz", f"{JUDGED}\n")
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
    if name == "starter":
        assert np.isfinite(SentenceTransformer(tmp_path / "made", device="cpu").encode(TEXTS)).all()
    else:
        assert np.isfinite(CrossEncoder(tmp_path / "made", device="cpu").predict([(TEXTS[0], TEXTS[1])])).all()


def test_an_unknown_model_lists_the_recipes(public, tmp_path):
    with pytest.raises(ChoiceError, match="starter-reranker"):
        train_bundled("finisher", public, tmp_path / "made")
