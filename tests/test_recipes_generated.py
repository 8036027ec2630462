"""Queries generated from passages, GenQ and GPL, end to end on the bundled help pages and on a tiny T5."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.tiny import SENTENCES, made_texts, tokenizer, vocabulary
from tests.tiny_training import static
from workbench import SentenceTransformer
from workbench.errors import ColumnsError, DataFormatError, ModelNotFoundError
from workbench.evaluation import InformationRetrievalEvaluator
from workbench.models import StaticEmbedding
from workbench.recipes import RuleGenerator, Seq2SeqGenerator, generate_queries, genq, gpl
from workbench.search import BM25Index

DATA = Path(__file__).parents[1] / "notebooks" / "data"
TEXTS = made_texts(40, longest=12)


@pytest.fixture(scope="module")
def pages():
    faq = pd.read_csv(DATA / "faq.csv")
    return [f"{question} {answer}" for question, answer in zip(faq["question"], faq["answer"], strict=True)]


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A random T5 of one layer with the tokenizer of the tiny models."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": len(vocabulary())}
    ends = {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    T5ForConditionalGeneration(T5Config(**sizes, **ends)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


class Overlap:
    """Scores without a model: how many words of the query the passage has."""

    def __init__(self):
        self.asked = []

    def predict(self, pairs):
        self.asked += pairs
        return [float(len(set(query.split()) & set(text.split()))) for query, text in pairs]


def weights(model):
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def rows_of(step):
    return [json.loads(line) for line in (step / "000000" / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def middle(text):
    return " ".join(text.split()[1:4])


def test_rules_make_queries_that_find_their_passage(pages):
    made = generate_queries(pages, per_passage=3)
    assert made.to_dict() == generate_queries(pages, RuleGenerator(), per_passage=3).to_dict()
    queries, passages = list(made["query"]), list(made["passage"])
    assert len(queries) > 2 * len(pages)
    assert all(query and query != passage for query, passage in zip(queries, passages, strict=True))
    index = BM25Index()
    index.add(None, pages)
    best = index.search(queries, 3).ids.tolist()
    found = [passage in {pages[row] for row in rows} for passage, rows in zip(passages, best, strict=True)]
    assert sum(found) > 0.9 * len(found)


def test_a_passage_without_words_gets_no_query_and_neither_does_one_more_than_asked():
    assert RuleGenerator().generate(["", "…", "of the", "A violin. A stadium. A cheetah."], 2) == [
        [],
        [],
        [],
        ["what about violin?", "violin"],
    ]


def test_a_sequence_to_sequence_model_asks_the_same_each_time_and_leaves_the_draw_of_others_alone(t5):
    texts = [text for text in SENTENCES if text]
    generator = Seq2SeqGenerator(t5, max_query_length=8, batch_size=4, device="cpu")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    made = generator.generate(texts, 3)
    assert torch.equal(torch.rand(1), expected)
    assert [len(own) for own in made] == [3] * len(texts)
    assert made == Seq2SeqGenerator(t5, max_query_length=8, batch_size=4, device="cpu").generate(texts, 3)
    assert made != Seq2SeqGenerator(t5, max_query_length=8, batch_size=4, device="cpu", seed=1).generate(texts, 3)
    assert len(generate_queries(texts, generator)) > len(texts)


def test_a_function_makes_queries_too():
    made = generate_queries(TEXTS, middle)
    assert list(made["query"])[:2] == [middle(TEXTS[0]), middle(TEXTS[1])]
    assert list(generate_queries(["a b"], lambda text: [text, "", "c", "d"], 3)["query"]) == ["a b", "c"]


def test_killed_generation_goes_on_with_the_block_that_was_not_done(tmp_path):
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS * 16)]  # three blocks
    seen = []

    def dying(text):
        seen.append(text)
        if len(seen) == 600:
            raise KeyboardInterrupt
        return middle(text)

    with pytest.raises(KeyboardInterrupt):
        generate_queries(texts, dying, output_path=tmp_path / "run")
    made = generate_queries(texts, dying, output_path=tmp_path / "run")
    assert len(seen) == 600 + 640 - 512
    assert made.to_dict() == generate_queries(texts, middle).to_dict()
    first = tmp_path / "run" / "queries" / "000000" / "rows.jsonl"
    first.write_text(first.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"000000 is damaged .* Delete it"):
        generate_queries(texts, dying, output_path=tmp_path / "run")
    with pytest.raises(DataFormatError, match="another per_passage"):
        generate_queries(texts, dying, 1, output_path=tmp_path / "run")


@pytest.mark.parametrize("recipe", ["GenQ", "GPL"])
def test_a_model_that_knows_nothing_learns_to_search_the_help_pages_without_a_label(recipe, pages):
    queries, ids = pd.read_csv(DATA / "faq_queries.csv"), pd.read_csv(DATA / "faq.csv")["id"]
    relevant = {query: set(part["id"]) for query, part in queries.groupby("query")}
    corpus = dict(zip(ids, pages, strict=True))
    judge = InformationRetrievalEvaluator({query: query for query in relevant}, corpus, relevant)
    starter = SentenceTransformer("starter", device="cpu")
    torch.manual_seed(0)
    student = SentenceTransformer(modules=[StaticEmbedding(starter.tokenizer, embedding_dim=64)], device="cpu")
    how = {"num_train_epochs": 3, "learning_rate": 1e-2}
    trained = genq(student, pages, **how) if recipe == "GenQ" else gpl(student, pages, starter, **how)
    start, end = (judge(model)["cosine_ndcg@10"] for model in (student, trained))
    assert end > start + 0.02


def test_gpl_teaches_the_margins_of_the_cross_encoder_and_goes_on_after_a_kill(tmp_path):
    teacher, student = Overlap(), static()
    how = {"negatives": 3, "depth": 10, "num_train_epochs": 6, "learning_rate": 3e-2}
    whole = gpl(student, TEXTS, teacher, middle, **how)
    asked = teacher.asked
    assert len({query for query, _ in asked}) > 30

    class Dying(Overlap):
        def predict(self, pairs):
            raise KeyboardInterrupt

    Dying.__qualname__ = Overlap.__qualname__
    with pytest.raises(KeyboardInterrupt):
        gpl(student, TEXTS, Dying(), middle, output_path=tmp_path / "run", **how)
    rows = rows_of(tmp_path / "run" / "negatives")
    assert all(len(set(row["rows"])) == 3 for row in rows)

    def unused(text):
        raise AssertionError("queries are made already")

    unused.__qualname__ = middle.__qualname__
    resumed = gpl(student, TEXTS, teacher, unused, output_path=tmp_path / "run", **how)
    torch.testing.assert_close(weights(resumed), weights(whole), atol=1e-6, rtol=0)

    wanted = torch.tensor(Overlap().predict(asked))

    def agreement(model):
        sides = (model.encode([pair[side] for pair in asked], convert_to_tensor=True) for side in (0, 1))
        return torch.corrcoef(torch.stack([model.similarity_pairwise(*sides), wanted]))[0, 1]

    assert agreement(whole) > agreement(student) + 0.1


def test_no_negative_is_a_passage_of_the_same_query(tmp_path):
    texts = [*TEXTS[:10], *(f"{text} monkey" for text in TEXTS[:10])]
    gpl(static(), texts, Overlap(), middle, output_path=tmp_path / "run", negatives=50)
    pairs = rows_of(tmp_path / "run" / "queries")
    own = {}
    for row in pairs:
        own.setdefault(row["query"], set()).add(row["row"])
    assert max(map(len, own.values())) == 2
    lines = rows_of(tmp_path / "run" / "negatives")
    for row, line in zip(pairs, lines, strict=True):
        assert not set(line["rows"]) & own[row["query"]]


def test_what_is_missing_is_told_at_once():
    student = static()
    with pytest.raises(TypeError, match="student is NoneType; expected a model with encode"):
        genq(None, TEXTS)
    with pytest.raises(TypeError, match="cross_encoder is NoneType; expected a model with predict"):
        gpl(student, TEXTS, None)
    with pytest.raises(TypeError, match="generator is NoneType; expected 'rules'"):
        genq(student, TEXTS, None)
    with pytest.raises(ModelNotFoundError, match="no-such/t5"):
        genq(student, TEXTS, "no-such/t5")
    with pytest.raises(ColumnsError, match="no passages"):
        genq(student, ["", " "])
    with pytest.raises(ColumnsError, match="made no query for any passage"):
        gpl(student, TEXTS, Overlap(), lambda text: [])
    with pytest.raises(ColumnsError, match="No other passage was found"):
        gpl(student, TEXTS[:1], Overlap(), middle)
    with pytest.raises(TypeError, match="gave 1 lists of queries for 1 passages, or no texts"):
        generate_queries(["a man"], lambda text: [3])
    with pytest.raises(ValueError, match="per_passage is 0"):
        generate_queries(["a man"], per_passage=0)
