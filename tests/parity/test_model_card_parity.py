"""The card of a trained model has the header that the reference writes: the same keys, tags, tasks and metrics."""

import pytest
import sentence_transformers
import yaml
from datasets import Dataset
from sentence_transformers.cross_encoder import evaluation as their_pairs
from sentence_transformers.cross_encoder import losses as their_pair_losses
from sentence_transformers.sentence_transformer import evaluation as theirs
from sentence_transformers.sentence_transformer import losses as their_losses

import workbench
from tests import tiny_pairs
from tests.tiny_training import TEXTS, pairs, static
from workbench import evaluation, losses
from workbench.losses import cross_encoder as pair_losses

ONES = [row % 2 for row in range(24)]
SHARES = [row / 24 for row in range(24)]
FIRST, SECOND, THIRD = TEXTS[:24], TEXTS[24:48], TEXTS[48:72]
QUERIES, CORPUS = ({str(key): text for key, text in enumerate(column)} for column in (FIRST, SECOND))
RELEVANT = {key: {key} for key in QUERIES}
RERANK = [{"query": FIRST[row], "positive": [SECOND[row]], "negative": THIRD[row : row + 3]} for row in range(8)]
PAIRS = list(zip(FIRST, SECOND, strict=True))
RUN = {
    "per_device_train_batch_size": 8, "max_steps": 2, "eval_strategy": "steps", "eval_steps": 1, "use_cpu": True,
    "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "dataloader_pin_memory": False,
}  # fmt: skip


def evaluators(package):
    return [
        package.EmbeddingSimilarityEvaluator(FIRST, SECOND, SHARES, name="sts dev"),
        package.BinaryClassificationEvaluator(FIRST, SECOND, ONES),
        package.TripletEvaluator(FIRST, SECOND, THIRD, name="Mixed Case"),
        package.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT, name="ir"),
        package.RerankingEvaluator(RERANK, name="rerank"),
        package.TranslationEvaluator(FIRST, SECOND, name="en-de"),
        package.ParaphraseMiningEvaluator(QUERIES, duplicates_list=[("0", "1"), ("2", "3")], name="mine"),
    ]


def pair_evaluators(package):
    return [
        package.CrossEncoderClassificationEvaluator(PAIRS, ONES, name="dev"),
        package.CrossEncoderCorrelationEvaluator(PAIRS, SHARES),
        package.CrossEncoderRerankingEvaluator(RERANK, name="rerank"),
    ]


def header(folder):
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def sentence_header(package, model, loss, judges, folder):
    data = {"one": pairs(16), "two": Dataset.from_dict({"s": FIRST, "t": SECOND, "score": SHARES})}
    args = package.SentenceTransformerTrainingArguments(str(folder), **RUN)
    given = {
        "one": loss.MultipleNegativesRankingLoss(model),
        "two": loss.MatryoshkaLoss(model, loss.CoSENTLoss(model), [16, 8]),
    }
    package.SentenceTransformerTrainer(model, args, data, loss=given, evaluator=judges).train()
    model.save_pretrained(str(folder / "m"))
    return header(folder / "m")


def pair_header(package, model, loss, judges, folder):
    data = Dataset.from_dict({"a": FIRST, "b": SECOND, "label": [float(one) for one in ONES]})
    args = package.CrossEncoderTrainingArguments(str(folder), **RUN)
    trainer = package.CrossEncoderTrainer(model, args, data, loss=loss.BinaryCrossEntropyLoss(model), evaluator=judges)
    trainer.train()
    model.save_pretrained(str(folder / "m"))
    return header(folder / "m")


def shape(card):
    """What does not depend on numbers: task, data set and names of the metrics of each result."""
    (index,) = card["model-index"]
    return [
        (result["task"], result["dataset"], [(one["type"], one["name"]) for one in result["metrics"]])
        for result in index["results"]
    ]


def same_headers(ours, reference):
    assert ours.keys() == reference.keys() - {"widget"}  # rows of the data as a demonstration
    assert [tag for tag in reference["tags"] if tag != "dense"] == ours["tags"]
    for key in ("pipeline_tag", "library_name", "metrics"):
        assert ours[key] == reference[key]
    assert shape(ours) == shape(reference)
    assert ours["model-index"][0]["name"] == reference["model-index"][0]["name"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_header_of_a_sentence_transformer_is_the_reference_s(tmp_path):
    static().save(tmp_path / "start", create_model_card=False)
    reference = sentence_transformers.SentenceTransformer(str(tmp_path / "start"), device="cpu")
    model = workbench.SentenceTransformer(tmp_path / "start", device="cpu")
    same_headers(
        sentence_header(workbench, model, losses, evaluators(evaluation), tmp_path / "ours"),
        sentence_header(sentence_transformers, reference, their_losses, evaluators(theirs), tmp_path / "theirs"),
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::workbench.errors.TruncationWarning")
def test_the_header_of_a_cross_encoder_is_the_reference_s(tmp_path):
    folder = tiny_pairs.write(tmp_path / "start")
    reference = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    model = workbench.CrossEncoder(folder, device="cpu")
    same_headers(
        pair_header(workbench, model, pair_losses, pair_evaluators(evaluation), tmp_path / "ours"),
        pair_header(sentence_transformers, reference, their_pair_losses, pair_evaluators(their_pairs), tmp_path / "th"),
    )
