"""The check of columns against losses: what passes, and that every misfit is named with what to do."""

import itertools
import time

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from workbench import losses
from workbench.errors import ChoiceError, ColumnsError
from workbench.losses.base import LABELS, Inputs
from workbench.training.columns import check_columns, loss_table, suggest_losses, text_columns

TEXTS = {name: [f"{name} {row}" for row in range(4)] for name in "abcdef"}
KINDS = {  # labels of each kind, for rows of three texts where it matters
    "none": None,
    "score": [0.1, 0.9, 0.5, 0.2],
    "binary": [0, 1, 1, 0],
    "class": [0, 1, 2, 1],
    "margin": [1.5, -2.0, 0.3, 0.1],
    "scores": [[1.0, 0.5], [2.0, 0.1], [0.3, 0.2], [0.0, 0.4]],
    "embedding": [[0.0, 1.0, 2.0, 4.0, 5.0]] * 4,
}
LOSSES = {name: getattr(losses, name) for name in losses.__all__}
LOSSES = {
    name: one
    for name, one in LOSSES.items()
    if isinstance(one, type) and isinstance(getattr(one, "inputs", None), tuple) and one.inputs
}


def loss(name_or_inputs):
    """A loss without a model: the check looks at what it takes only."""
    if isinstance(name_or_inputs, str):
        return LOSSES[name_or_inputs].__new__(LOSSES[name_or_inputs])
    return type("OwnLoss", (), {"inputs": name_or_inputs})()


def table(texts, label=None, name="label"):
    names = texts if isinstance(texts, (list, tuple)) else "abcdef"[:texts]
    columns = {column: [f"{column} {row}" for row in range(4)] for column in names}
    return datasets.Dataset.from_dict(columns | ({name: label} if label is not None else {}))


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_loss_declares_passes_its_check_and_its_suggestion(name):
    for one in LOSSES[name].inputs:
        texts = [*one.columns, *([f"{one.more}_2"] if one.more and one.label not in ("margin", "scores") else [])]
        data = table(texts, KINDS[one.label])
        check_columns(data, loss(name))
        check_columns(data.to_iterable_dataset(), loss(name))
        check_columns(data.to_list(), loss(name))
        check_columns(data.with_format("torch"), loss(name))
        suggested = {one.loss: one for one in suggest_losses(data)}
        if name in suggested:
            assert suggested[name].code == ""


@pytest.mark.parametrize("name", LOSSES)
def test_a_wrong_number_of_columns_or_no_label_is_refused_for_every_loss(name):
    inputs = LOSSES[name].inputs
    fewest = min(len(one.columns) for one in inputs)
    label = KINDS[inputs[0].label]
    for count in [fewest - 1] * (fewest > 1) + [5] * (all(one.more is None for one in inputs)):
        with pytest.raises(ColumnsError, match=rf"train_dataset has texts .*; {name} needs \(") as found:
            check_columns(table(count, label), loss(name))
        assert "It lacks" in str(found.value) or "dataset = dataset." in str(found.value)
    if all(one.label != "none" for one in inputs):
        with pytest.raises(ColumnsError, match=r"and no label; .*(Add a column 'label'|holds the labels|It lacks)"):
            check_columns(table(fewest), loss(name))


MNR, COSENT, SOFTMAX = "MultipleNegativesRankingLoss", "CoSENTLoss", "SoftmaxLoss"
PAIR = {"anchor": ["a", "b"], "positive": ["c", "d"]}
WRONG = {
    "no rows": (MNR, {"anchor": [], "positive": []}, "train_dataset is empty"),
    "swapped": (
        MNR,
        {"positive": ["c"], "anchor": ["a"]},
        r"in an order that MultipleNegativesRankingLoss would read wrongly.*select_columns\(\['anchor', 'positive'\]\)",
    ),
    "answer first": (MNR, {"answer": ["c"], "question": ["a"]}, r"select_columns\(\['question', 'answer'\]\)"),
    "negatives first": (
        MNR,
        {"query": ["a"], "negative_1": ["c"], "negative_2": ["d"], "positive": ["e"]},
        r"select_columns\(\['query', 'positive', 'negative_1', 'negative_2'\]\)",
    ),
    "swapped triplet": (
        "TripletLoss",
        {"negative": ["c"], "anchor": ["a"], "positive": ["b"]},
        r"select_columns\(\['anchor', 'positive', 'negative'\]\)",
    ),
    "another column first": (
        MNR,
        {"title": ["c"], "anchor": ["a"], "positive": ["b"]},
        r"select_columns\(\['anchor', 'positive', 'title'\]\)",
    ),
    "swapped, with labels": (
        "MarginMSELoss",
        {"passage1": ["a"], "passage2": ["b"], "query": ["c"], "score": [0.5]},
        r"select_columns\(\['query', 'passage1', 'passage2', 'score'\]\)",
    ),
    "None in a text": (
        MNR,
        {"anchor": ["a", None], "positive": ["c", "d"]},
        r"row 1 has no text \(None\) in column 'anc",
    ),
    "only None": (MNR, {"anchor": [None, None], "positive": ["c", "d"]}, "row 0 has no text"),
    "empty text": (MNR, {"anchor": ["a", "b"], "positive": ["c", ""]}, "row 1 has an empty text in column 'positive'"),
    "blank text": (
        MNR,
        {"anchor": ["a", "b"], "positive": [" \n\u3000", "d"]},
        "row 0 has an empty text in column 'pos",
    ),
    "numbers in a text": (MNR, {"anchor": ["a"], "positive": [5]}, r"rename_column\('positive', 'label'\)"),
    "an id": (MNR, {"id": [1, 2], **PAIR}, r"Columns 'id' hold no text; remove them: .*remove_columns\(\['id'\]\)"),
    "an id and labels": (COSENT, {"n": [1, 2], **PAIR, "label": [0.1, 0.3]}, r"remove_columns\(\['n'\]\)"),
    "labels by another name": (
        COSENT,
        {**PAIR, "similarity": [0.1, 0.5]},
        r"If these are the labels, name it so: dataset = dataset.rename_column\('similarity', 'label'\)",
    ),
    "labels that are ignored": (MNR, {**PAIR, "label": [0, 1]}, r"would be ignored: .*remove_columns\('label'\)"),
    "two label columns": (
        COSENT,
        {**PAIR, "label": [0, 1], "score": [0, 1]},
        "label columns 'label', 'score'; keep one",
    ),
    "labels as strings": (
        SOFTMAX,
        {**PAIR, "label": ["x", "y"]},
        r"number the classes: .*class_encode_column\('label'\)",
    ),
    "labels as floats": (SOFTMAX, {**PAIR, "label": [0.0, 2.0]}, r"as classes: .*cast_column\('label', datasets.Value"),
    "classes that are scores": (SOFTMAX, {**PAIR, "label": [0.1, 0.2]}, "'label' must hold a whole number from 0"),
    "negative classes": (SOFTMAX, {**PAIR, "label": [-1, 1]}, "'label' must hold a whole number from 0"),
    "booleans as classes": (SOFTMAX, {**PAIR, "label": [True, False]}, "holds bool; as classes"),
    "one class": (SOFTMAX, {**PAIR, "label": [1, 1]}, "all rows have one label in 'label'; SoftmaxLoss needs two"),
    "not binary": ("ContrastiveLoss", {**PAIR, "label": [0, 2]}, "'label' must hold 1 or 0"),
    "a share for binary": ("ContrastiveLoss", {**PAIR, "label": [0.5, 1.0]}, "'label' must hold 1 or 0"),
    "None in labels": (COSENT, {**PAIR, "label": [0.5, None]}, "'label' has no value in row 1: drop such rows"),
    "NaN in labels": (COSENT, {**PAIR, "label": [float("nan"), 0.5]}, "'label' is not a number in row 0"),
    "infinite labels": (COSENT, {**PAIR, "label": [0.5, float("inf")]}, "'label' is not a number in row 1"),
    "dates as labels": (
        COSENT,
        {**PAIR, "label": [np.datetime64("2020", "s")] * 2},
        r"'label' holds timestamp.*no numbers",
    ),
    "a list for a number": (COSENT, {**PAIR, "label": [[1.0], [2.0]]}, "'label' must hold a number, higher"),
    "too few scores": (
        "DistillKLDivLoss",
        {"query": ["a"], "positive": ["b"], "negative": ["c"], "label": [[1.0, 2.0, 3.0]]},
        "'label' must hold the teacher's scores, one for each text after the first",
    ),
    "ragged scores": (
        "MarginMSELoss",
        {"query": ["a", "b"], "positive": ["b", "c"], "negative": ["c", "d"], "label": [[1.0, 2.0], [1.0]]},
        "'label' must hold the teacher's score of the positive minus .* or the teacher's scores",
    ),
    "one margin for two negatives": (
        "MarginMSELoss",
        {"query": ["a"], "positive": ["b"], "negative_1": ["c"], "negative_2": ["d"], "label": [0.5]},
        "'label' must hold the teacher's score",
    ),
    "a number for a vector": (
        "MSELoss",
        {"sentence": ["a", "b"], "label": [0.5, 0.1]},
        "must hold the teacher's vector",
    ),
    "ragged vectors": (
        "MSELoss",
        {"sentence": ["a", "b"], "label": [[0.5], [0.1, 0.2]]},
        "must hold the teacher's vector",
    ),
    "one text for pairs": (COSENT, {"text": ["a", "b"], "label": [0.1, 0.2]}, "It lacks sentence2"),
    "an anchor alone": (MNR, {"anchor": ["a", "b"]}, "It lacks positive"),
    "labels as last text": (COSENT, {**PAIR, "grade": ["1", "2"]}, r"If 'grade' holds the labels: .*rename_columns"),
    "a text too many": (
        COSENT,
        {**PAIR, "title": ["e", "f"], "label": [0.1, 0.5]},
        r"select_columns\(\['anchor', 'positive', 'label'\]\)",
    ),
    "lists for texts": (MNR, {"query": ["a"], "documents": [["b", "c"]]}, "Column 'documents' holds lists; write each"),
    "no text at all": (MNR, {"label": [0.1, 0.5]}, "texts none and the label 'label'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_misfit_is_named_with_what_to_do(case):
    name, columns, message = WRONG[case]
    with pytest.raises(ColumnsError, match=message):
        check_columns(datasets.Dataset.from_dict(columns), loss(name))
    if columns.get("anchor") != []:
        rows = pd.DataFrame({name: pd.Series(column, dtype=object) for name, column in columns.items()})
        with pytest.raises(ColumnsError, match=message):
            check_columns(rows.to_dict("records"), loss(name))


def test_the_losses_that_would_fit_are_named():
    with pytest.raises(ColumnsError, match="that take these columns: CoSENTLoss, AnglELoss, CosineSimilarityLoss"):
        check_columns(table(2, KINDS["score"]), loss(MNR))
    with pytest.raises(ColumnsError, match="Losses that take these columns: MultipleNegativesRankingLoss, "):
        check_columns(table(2), loss(COSENT))


@pytest.mark.parametrize("label", ["label", "labels", "score", "scores"])
def test_labels_may_have_four_names_and_stand_anywhere(label):
    check_columns(table(2, KINDS["score"], label).select_columns([label, "b", "a"]), loss(COSENT))


def test_columns_that_the_trainer_adds_are_no_texts():
    assert text_columns(["a", "dataset_name", "label", "a_prompt_length", "b"]) == ["a", "b"]
    check_columns(table(2).add_column("a_prompt_length", [3] * 4), loss(MNR))


@pytest.mark.parametrize("columns", ["sentence1 sentence2", "text positive", "sentence question", "q1 q2"])
def test_names_that_leave_doubt_are_taken_as_they_stand(columns):
    check_columns(table(columns.split()), loss(MNR))


def test_one_and_the_same_label_is_no_label():
    check_columns(table(2, [1] * 4), loss(MNR))


def test_data_sets_by_name_are_checked_against_the_loss_of_their_name():
    data = datasets.DatasetDict(nli=table(2, KINDS["class"]), sts=table(2, KINDS["score"]))
    check_columns(data, {"nli": loss(SOFTMAX), "sts": loss(COSENT)})
    with pytest.raises(ColumnsError, match=r"train_dataset\['sts'\] has"):
        check_columns(data, loss(SOFTMAX))
    with pytest.raises(ChoiceError, match=r"Unknown data set of a loss 'sts'\. Choose one of: 'nli'"):
        check_columns(data, {"nli": loss(SOFTMAX)})


def test_a_batch_larger_than_the_data_is_refused_where_it_would_be_left_out():
    check_columns(table(2), loss(MNR), batch_size=4)
    with pytest.raises(ColumnsError, match="eval_dataset has 4 rows, and a batch takes 5: no batch would be full"):
        check_columns(table(2), loss(MNR), name="eval_dataset", batch_size=5)


def test_classes_and_vectors_beyond_what_the_loss_was_made_for_are_named():
    softmax = loss(SOFTMAX)
    torch.nn.Module.__init__(softmax)
    softmax.num_labels = 2
    with pytest.raises(ColumnsError, match=r"the class 2, but SoftmaxLoss was made for 2: 0 to 1\. Set num_labels=3"):
        check_columns(table(2, KINDS["class"]), softmax)
    mse = loss((Inputs(("sentence",), "embedding"),))
    mse.model = type("Model", (), {"get_sentence_embedding_dimension": lambda self: 4})()
    with pytest.raises(ColumnsError, match="have 5 dimensions, the model's have 4"):
        check_columns(table(1, KINDS["embedding"]), mse)


def test_grades_belong_to_a_list_of_documents():
    listwise = loss((Inputs(("query", "documents"), "grades"),))
    rows = {"query": ["a", "b"], "documents": [["c", "d"], ["e"]], "labels": [[1, 0], [1]]}
    check_columns(datasets.Dataset.from_dict(rows), listwise)
    for documents, labels, message in [
        ([["c"], ["e"]], rows["labels"], "'labels' in row 0 has more or fewer numbers than 'documents' texts"),
        ([["c", "d"], [" "]], rows["labels"], "row 1 has an empty text in column 'documents'"),
        ([["c", None], ["e"]], rows["labels"], "row 0 has an empty text in column 'documents'"),
        ([["c", "d"], []], [[1, 0], []], "row 1 has an empty text in column 'documents'"),
        ([["c", "d"], None], rows["labels"], "'labels' in row 1 has more or fewer|row 1 has no text"),
    ]:
        data = datasets.Dataset.from_dict(rows | {"documents": documents, "labels": labels})
        with pytest.raises(ColumnsError, match=message):
            check_columns(data, listwise)


def test_a_loss_that_declares_nothing_and_rows_that_are_no_columns():
    check_columns(table(2), object())
    with pytest.raises(ColumnsError, match="a row is str; it must be a dict of columns"):
        check_columns(["a", "b"], loss(MNR))
    with pytest.raises(ColumnsError, match="values of several types"):
        check_columns([{"anchor": "a", "positive": "b"}, {"anchor": 5, "positive": "b"}], loss(MNR))


def test_a_stream_is_read_no_further_than_its_first_rows():
    def rows():
        for row in range(100):
            yield {"anchor": f"a{row}", "positive": f"b{row}"}
        raise AssertionError("read too far")

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return rows()

    check_columns(Stream(), loss(MNR))


def test_a_late_row_of_a_large_data_set_is_found_in_seconds():
    rows = 1_000_000
    texts = pd.Series(np.arange(rows)).astype(str)
    frame = pd.DataFrame({"anchor": texts, "positive": texts, "label": np.arange(rows) % 7})
    data = datasets.Dataset.from_pandas(frame)
    start = time.perf_counter()
    check_columns(data, loss(SOFTMAX))
    assert time.perf_counter() - start < 30, "an idle machine takes about two seconds"
    frame.loc[rows - 1, "anchor"] = "  "
    late = datasets.Dataset.from_pandas(frame[["anchor", "positive"]].tail(60_000), preserve_index=False)
    with pytest.raises(ColumnsError, match="row 59999 has an empty text in column 'anchor'"):
        check_columns(late, loss(MNR))
    with pytest.raises(ColumnsError, match="row 0 has an empty text"):
        check_columns(late.select([59_999, 0]), loss(MNR))


@pytest.mark.parametrize(
    ("texts", "label", "first"),
    [
        (2, "none", MNR),
        (3, "none", MNR),
        (2, "score", COSENT),
        (2, "binary", COSENT),
        (2, "class", COSENT),
        (1, "class", "BatchAllTripletLoss"),
        (3, "margin", "MarginMSELoss"),
        (3, "scores", "MarginMSELoss"),
        (1, "embedding", "MSELoss"),
        (1, "none", "ContrastiveTensionLossInBatchNegatives"),
        (4, "class", None),
    ],
)
def test_losses_are_suggested_by_columns_and_labels(texts, label, first):
    found = suggest_losses(table(texts, KINDS[label]))
    assert next((one.loss for one in found), None) == first
    for one in found:
        check_columns(table(texts, KINDS[label]), loss(one.loss))
        assert one.reason
        assert one.label in LABELS.values()


def test_a_suggestion_says_which_line_comes_first():
    swapped = suggest_losses(table(["positive", "anchor"]))
    assert swapped[0].code == "dataset = dataset.select_columns(['anchor', 'positive'])"
    renamed = {one.loss: one for one in suggest_losses(table(2, KINDS["score"], "similarity"))}
    assert renamed[COSENT].code == "dataset = dataset.rename_column('similarity', 'label')"
    named = {one.loss: one for one in suggest_losses(table(2, list("xyzx")))}
    assert named[SOFTMAX].code == "dataset = dataset.class_encode_column('label')"
    for one, data in [
        (swapped[0], table(["positive", "anchor"])),
        (renamed[COSENT], table(2, KINDS["score"], "similarity")),
    ]:
        names = {"dataset": data}
        exec(one.code, names)
        check_columns(names["dataset"], loss(one.loss))
    with pytest.raises(ChoiceError, match=r"Unknown kind of model 'image'\. Choose one of: 'sentence', 'pair'"):
        suggest_losses(table(2), "image")


def test_the_table_names_every_loss_with_its_columns_and_labels():
    lines = loss_table().splitlines()
    assert lines[:2] == ["| loss | text columns | label |", "|---|---|---|"]
    assert "| `MultipleNegativesRankingLoss` | anchor, positive, negative … | none |" in lines
    shown = {line.split("`")[1] for line in lines[2:]}
    assert shown == set(LOSSES) - {"Loss"}
    assert loss_table(["CoSENTLoss"]).count("\n") == 2
    assert len(list(itertools.chain.from_iterable(one.inputs for one in LOSSES.values()))) == len(lines) - 2
