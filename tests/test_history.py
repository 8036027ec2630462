"""A run as plain data, and how it is paused, stopped and cancelled from elsewhere; what a table suggests to train."""

import threading
import time

import numpy as np
import pandas as pd
import pytest
from transformers import PrinterCallback, ProgressCallback

from tests.tiny_training import TEXTS, arguments, losses_of, pairs, static
from workbench.errors import Cancelled, ChoiceError, ColumnsError
from workbench.evaluation import (
    BinaryClassificationEvaluator,
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)
from workbench.losses import MultipleNegativesRankingLoss
from workbench.progress import listen
from workbench.training import (
    History,
    SentenceTransformerTrainer,
    hold_out,
    logged_rows,
    pick_columns,
    suggest_columns,
    suggest_evaluator,
    usual_learning_rate,
)

PATIENCE = 20  # seconds


def make(folder, *callbacks, evaluator=None, **options):
    model = static()
    options = {"max_steps": 20} | options
    return SentenceTransformerTrainer(
        model,
        arguments(folder, **options),
        pairs(),
        loss=MultipleNegativesRankingLoss(model),
        evaluator=evaluator,
        callbacks=list(callbacks),
    )


class Gate(History):
    """A run that says after each step how far it is."""

    def __init__(self):
        super().__init__()
        self.at = {step: threading.Event() for step in range(1, 100_001)}
        self.last = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.last = state.global_step
        self.at[self.last].set()
        super().on_step_end(args, state, control, **kwargs)


def test_rows_hold_what_each_step_logged_and_nothing_of_the_clock(tmp_path):
    history, seen = History(), []
    history.changed = lambda last=False: seen.append((len(history.rows), last))
    held_out = suggest_evaluator(pairs(8))
    trainer = make(tmp_path, history, evaluator=held_out, eval_strategy="steps", eval_steps=10, eval_on_start=True)
    trainer.train()
    rows = history.rows
    assert [row["step"] for row in rows] == list(range(21))
    assert [row["loss"] for row in rows[1:]] == losses_of(trainer)
    assert [row["step"] for row in rows if "eval_cosine_ndcg@10" in row] == [0, 10, 20]
    assert rows[20]["eval_cosine_ndcg@10"] == held_out(trainer.model)["cosine_ndcg@10"]
    assert not any("runtime" in name or "per_second" in name for row in rows for name in row)
    assert history.to_frame()["learning_rate"].iloc[1:].is_monotonic_decreasing
    assert seen[-1] == (21, True)
    assert [last for _, last in seen].count(True) == 1


def test_a_run_logs_a_hundred_times_whatever_was_asked_for_and_never_less_often(tmp_path):
    for asked, steps, expected in ((500, 20, 20), (500, 300, 100), (2, 300, 150)):
        history = History()
        make(tmp_path, history, logging_steps=asked, max_steps=steps).train()
        assert len(history.rows) == expected


def test_a_resumed_run_has_the_rows_from_before(tmp_path):
    make(tmp_path, max_steps=20, save_strategy="steps", save_steps=10).train()
    history = History()
    trainer = make(tmp_path, history, max_steps=20)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert [row["step"] for row in history.rows] == list(range(1, 21))
    assert logged_rows(trainer.state.log_history) == history.rows


def test_pause_resume_and_stop_act_between_steps_from_another_thread(tmp_path):
    gate = Gate()
    trainer = make(tmp_path, gate, max_steps=100_000)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    assert gate.at[3].wait(PATIENCE)
    gate.pause()
    assert gate.paused
    time.sleep(0.2)  # longer than a step
    there = gate.last
    time.sleep(0.2)
    assert gate.last == there, "a paused run stands still"
    gate.resume()
    assert gate.at[there + 2].wait(PATIENCE)
    gate.pause()
    begun = time.monotonic()
    gate.stop()
    thread.join(PATIENCE)
    assert time.monotonic() - begun < 2
    assert not thread.is_alive()
    assert gate.last < 100_000
    assert trainer.state.global_step == gate.last
    assert len(gate.rows) > 0


def test_a_history_can_follow_a_second_run_after_it_was_stopped(tmp_path):
    history = History()
    history.stop()
    make(tmp_path, history, max_steps=4).train()
    assert [row["step"] for row in history.rows] == [1, 2, 3, 4]


def test_who_listens_hears_of_every_step_and_cancels_between_them(tmp_path):
    heard = []

    def listener(bar):
        heard.append((bar.done, bar.total, bar.unit))
        if bar.done == 5:
            raise Cancelled("enough")

    trainer = make(tmp_path, max_steps=9)
    with listen(listener), pytest.raises(Cancelled):
        trainer.train()
    assert heard == [(step, 9, "steps") for step in range(6)]
    assert trainer.state.global_step == 5


@pytest.mark.parametrize("disable", [True, False])
def test_a_callback_that_shows_progress_takes_the_place_of_the_usual_display(tmp_path, disable, capsys):
    history = History()
    history.shows_progress = True
    for trainer in (make(tmp_path, history, max_steps=2, disable_tqdm=disable), make(tmp_path, disable_tqdm=disable)):
        trainer.add_callback(history)
        kinds = {type(one) for one in trainer.callback_handler.callbacks}
        assert not kinds & {PrinterCallback, ProgressCallback}
    trainer.train()
    assert capsys.readouterr() == ("", "")


# What a table suggests.

TABLES = {
    "questions and answers": (
        {"id": ["a-1", "a-2"], "answer": ["it is so", "it is not"], "question": ["is it so", "is it not"]},
        (["question", "answer"], ""),
    ),
    "scored pairs": (
        {"sentence1": ["a cat", "a dog"], "sentence2": ["the cat", "a car"], "score": [0.9, 0.1]},
        (["sentence1", "sentence2"], "score"),
    ),
    "texts with classes": (
        {"subject": ["a", "b"] * 10, "text": [f"text {place}" for place in range(20)]},
        (["text"], "subject"),
    ),
    "texts with numbered classes": ({"text": ["x y", "y z", "z a"], "meaning": [0, 1, 0]}, (["text"], "meaning")),
    "triplets": (
        {"negative": ["a b", "c d"], "anchor": ["a c", "b d"], "positive": ["x y", "y z"]},
        (["anchor", "positive", "negative"], ""),
    ),
    "one text in three languages": (
        {"en": ["a cat", "a dog"], "de": ["die Katze", "der Hund"], "fr": ["le chat", "le chien"]},
        (["en", "de"], ""),
    ),
    "words only": ({"word": ["cat", "dog"]}, (["word"], "")),
}


@pytest.mark.parametrize("name", TABLES)
def test_columns_are_suggested_by_their_names_and_by_what_they_hold(name):
    table, expected = TABLES[name]
    assert suggest_columns(pd.DataFrame(table)) == expected


def test_a_table_without_text_suggests_no_texts():
    assert suggest_columns(pd.DataFrame({"number": [1, 2]}))[0] == []


def test_picked_columns_are_complete_in_order_and_their_classes_are_numbered():
    frame = pd.DataFrame(
        {"kind": ["b", "a", "b", None, "a"], "x": ["1 2", "3", " ", "5", "6"], "y": ["a", None, "c", "d", "e"]}
    )
    picked = pick_columns(frame, ["y", "x"], "kind")
    assert picked.to_dict() == {"y": ["a", "e"], "x": ["1 2", "6"], "label": [1, 0]}
    assert pick_columns(frame, ["x"]).to_dict() == {"x": ["1 2", "3", "5", "6"]}
    flags = pd.DataFrame({"a": ["x", "y"], "b": ["z", "w"], "same": [True, False]})
    assert list(pick_columns(flags, ["a", "b"], "same")["label"]) == [1, 0]


@pytest.mark.parametrize(
    ("texts", "label", "error", "said"),
    [
        (["nothing"], "", ChoiceError, "Unknown column 'nothing'. Choose one of: 'x', 'y'."),
        (["x"], "kind", ChoiceError, "'kind'"),
        ([], "", ColumnsError, "take one or more"),
        (["x", "x"], "", ColumnsError, "each once"),
        (["x"], "x", ColumnsError, "each once"),
        (["x", "y"], "", ColumnsError, "No row has a value"),
    ],
)
def test_columns_that_cannot_be_picked_are_named(texts, label, error, said):
    frame = pd.DataFrame({"x": ["a", ""], "y": [None, "b"]})
    with pytest.raises(error, match=said):
        pick_columns(frame, texts, label)


def test_held_out_rows_share_no_first_text_with_those_trained_on():
    frame = pd.DataFrame({"anchor": [f"a {place // 3}" for place in range(60)], "positive": TEXTS[:60]})
    rows = pick_columns(frame, ["anchor", "positive"])
    train, held_out = hold_out(rows, 0.25, seed=1)
    assert not {*train["anchor"]} & {*held_out["anchor"]}
    assert (len(train), len(held_out)) == (45, 15)
    assert sorted([*train["positive"], *held_out["positive"]]) == sorted(TEXTS[:60])
    assert hold_out(rows, 0.25, seed=1)[1].to_dict() == held_out.to_dict()
    assert hold_out(rows, 0.25, seed=2)[1].to_dict() != held_out.to_dict()
    assert len(hold_out(rows, 0.25, most=4)[1]) <= 4
    for share in (0, 1, -0.1, 2):
        with pytest.raises(ValueError, match="between 0 and 1"):
            hold_out(rows, share)
    with pytest.raises(ColumnsError, match="it holds 1"):
        hold_out(pick_columns(frame[:3], ["anchor", "positive"]))


def test_pairs_are_measured_by_retrieval_among_all_answers():
    frame = pd.DataFrame({"anchor": TEXTS[:12], "positive": TEXTS[12:24]})
    train, held_out = hold_out(pick_columns(frame, ["anchor", "positive"]))
    evaluator = suggest_evaluator(held_out, train)
    assert isinstance(evaluator, InformationRetrievalEvaluator)
    model = static()
    queries, answers = (model.encode(list(rows)) for rows in (held_out["anchor"], frame["positive"]))
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, answers)]
    scores = unit[0] @ unit[1].T
    own = [frame["positive"].tolist().index(text) for text in held_out["positive"]]
    ranks = np.array([(row > row[place]).sum() for row, place in zip(scores, own, strict=True)])
    expected = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean()
    assert evaluator(model)["cosine_ndcg@10"] == pytest.approx(expected, abs=1e-6)


def test_labels_decide_what_is_measured():
    scored = pick_columns(pd.DataFrame({"a": TEXTS[:4], "b": TEXTS[4:8], "s": [0.1, 0.5, 1.0, 0.7]}), ["a", "b"], "s")
    assert isinstance(suggest_evaluator(scored), EmbeddingSimilarityEvaluator)
    alike = pick_columns(pd.DataFrame({"a": TEXTS[:4], "b": TEXTS[4:8], "s": [0, 1, 1, 0]}), ["a", "b"], "s")
    assert isinstance(suggest_evaluator(alike), BinaryClassificationEvaluator)
    classes = pick_columns(pd.DataFrame({"a": ["x", "x y", "z", "z a"], "c": ["p", "p", "q", "q"]}), ["a"], "c")
    found = suggest_evaluator(classes.select([0, 2]), classes.select([1, 3]))(static())
    assert {"cosine_accuracy@1", "cosine_ndcg@10"} <= {*found}
    with pytest.raises(ColumnsError, match="give nothing to measure"):
        suggest_evaluator(pick_columns(pd.DataFrame({"a": TEXTS[:4]}), ["a"]))


def test_static_vectors_learn_with_larger_steps_than_a_transformer(tiny):
    assert usual_learning_rate(static()) > 50 * usual_learning_rate(tiny)
