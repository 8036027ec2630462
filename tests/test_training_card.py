"""The card of a trained model: what a run was, what it reached and whom to cite, safe with any text in the data."""

import importlib
import inspect
import pkgutil
import re
from typing import ClassVar

import mistune
import pytest
from datasets import Dataset, IterableDataset
from huggingface_hub import ModelCard
from transformers import TrainerCallback
from transformers.integrations import integration_utils

import workbench.losses
from tests import tiny_pairs
from tests.test_model_card import NASTY
from tests.tiny_training import TEXTS, arguments, losses_of, pairs, static
from workbench import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments, SentenceTransformerTrainer
from workbench.evaluation import CrossEncoderClassificationEvaluator, EmbeddingSimilarityEvaluator, TripletEvaluator
from workbench.losses import CoSENTLoss, MatryoshkaLoss, MultipleNegativesRankingLoss
from workbench.losses.base import Loss
from workbench.losses.citations import citations
from workbench.training import SentenceTransformerTrainingArguments
from workbench.training.card import training_part

EVIL = "<script>x</script> | ![i](http://t/x.png) [l](javascript:1) ``` \n# head\n---\n<!-- </details> -->"
HEADINGS = ["Model details", "Full architecture", "Usage", "Evaluation", "Training", "Framework versions", "Citation"]


def card_of(folder):
    return ModelCard.load(folder / "README.md", ignore_metadata_errors=False)


def rendered(card):
    return mistune.create_markdown(escape=False, plugins=["table"])(card.text)


def similar(name="dev"):
    return EmbeddingSimilarityEvaluator(TEXTS[:20], TEXTS[20:40], [row / 20 for row in range(20)], name=name)


def train(folder, model, data, loss, **options):
    given = {key: options.pop(key) for key in ("eval_dataset", "evaluator", "callbacks") if key in options}
    trainer = SentenceTransformerTrainer(model, arguments(folder, **options), data, loss=loss, **given)
    trainer.train()
    return trainer


def two_data_sets(model, name="b"):
    data = {
        "a": Dataset.from_dict({EVIL: [*NASTY, *TEXTS[:6]], "positive": [EVIL, *TEXTS[6:21]]}),
        name: pairs(16, score=[row / 16 for row in range(16)]),
    }
    loss = MatryoshkaLoss(model, CoSENTLoss(model), [16, 8])
    return data, {"a": MultipleNegativesRankingLoss(model), name: loss}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run on hostile texts: its folder, the trainer, and the saved card."""
    folder, model = tmp_path_factory.mktemp("run"), static()
    data, losses = two_data_sets(model, EVIL)
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    prompts = {"prompts": {"a": EVIL}}
    given = {"eval_dataset": data, "evaluator": similar(EVIL)}
    trainer = train(folder, model, data, losses, num_train_epochs=1, **given, **options, **prompts)
    model.save(folder / "kept")
    return folder, trainer, card_of(folder / "kept")


def test_a_trained_model_says_what_it_was_trained_on_and_how(hostile):
    _, trainer, card = hostile
    assert card.data.tags[3:] == [
        "generated_from_trainer", "dataset_size:32", "loss:MultipleNegativesRankingLoss", "loss:MatryoshkaLoss",
        "loss:CoSENTLoss",
    ]  # fmt: skip
    for line in ("- **Size:** 16 rows", "- learning\\_rate: 0.01", '  "scale": 20.0,', '    "loss": "CoSENTLoss",'[2:]):
        assert line in card.text.splitlines()
    usual, every = card.text.split("<details>")
    assert "weight\\_decay" not in usual
    assert "- weight\\_decay: 0.0" in every
    steps = re.findall(r"^\| \d\.\d\d \| (\d+) \| ([\d.]+) ", card.text, re.MULTILINE)
    assert [value for _, value in steps] == [f"{value:.4f}" for value in losses_of(trainer)]
    for paper in ("1807.03748", "2205.13147", "10531646", "1908.10084"):
        assert paper in card.text


def test_the_card_tells_nothing_of_the_machine(hostile):
    folder, _, card = hostile
    assert str(folder) not in card.content
    assert " at 0x" not in card.content


def test_the_results_are_those_of_the_evaluator(hostile):
    _, trainer, card = hostile
    metrics = trainer.evaluators[0](trainer.model)
    found = {result.metric_type: result for result in card.data.eval_results}
    assert {f"{EVIL}_{name}": result.metric_value for name, result in found.items()} == metrics
    assert {(one.task_type, one.dataset_name) for one in found.values()} == {("semantic-similarity", EVIL)}
    assert f"**{found['spearman_cosine'].metric_value:.4f}**" in card.text


def test_no_text_of_the_data_becomes_markup(hostile):
    html = rendered(hostile[2])
    assert re.findall(r"<h2>(.*?)</h2>", html) == HEADINGS[:1] + HEADINGS[2:]
    assert not re.search(r"<(script|img|a|hr|h1[^>]*>head|!--)", html)
    assert (html.count("<details>"), html.count("</details>")) == (1, 1)
    assert html.count("<table>") == 6  # four of rows, the results, the course
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    assert {len(re.findall(r"<t[hd]", row)) for row in rows} <= {2, 3, 6}


def test_a_checkpoint_has_the_card_of_its_step(hostile):
    folder, _, card = hostile
    last = card_of(folder / "checkpoint-4")
    first = card_of(folder / "checkpoint-2")
    assert last.text == card.text
    assert len(first.text) < len(last.text)
    assert first.data.eval_results[0].metric_value != last.data.eval_results[0].metric_value


def test_rows_are_left_out_when_they_may_not_be_shown(tmp_path):
    model = static()
    model.model_card_data.generate_widget_examples = False
    train(tmp_path, model, pairs(), MultipleNegativesRankingLoss(model), max_steps=1)
    model.save(tmp_path / "m")
    text = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "- **Size:** 32 rows" in text
    assert not any(row in text for row in TEXTS if len(row) > 20)


def test_results_are_those_of_the_best_model_when_that_is_loaded(tmp_path):
    model = static()
    options = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 5}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_dev_spearman_cosine"}
    kind = {"evaluator": similar(), "greater_is_better": False}  # the worst, so that it is not the last
    trainer = train(tmp_path, model, pairs(), MultipleNegativesRankingLoss(model), **options, **best, **kind)
    model.save(tmp_path / "m")
    shown = {one.metric_type: one.metric_value for one in card_of(tmp_path / "m").data.eval_results}
    assert shown["spearman_cosine"] == pytest.approx(trainer.state.best_metric)
    assert shown["spearman_cosine"] == pytest.approx(similar()(model)["dev_spearman_cosine"])


def test_a_model_keeps_its_card_until_it_is_trained(tmp_path):
    from workbench import SentenceTransformer

    static().save(tmp_path / "first")
    (tmp_path / "first" / "README.md").write_text("# By hand\n", encoding="utf-8")
    model = SentenceTransformer(tmp_path / "first", device="cpu")
    similar()(model)
    model.save(tmp_path / "second")
    assert (tmp_path / "second" / "README.md").read_text(encoding="utf-8") == "# By hand\n"
    train(tmp_path / "run", model, pairs(), MultipleNegativesRankingLoss(model), max_steps=1)
    model.save(tmp_path / "third")
    assert "generated_from_trainer" in card_of(tmp_path / "third").data.tags


def test_the_name_of_a_model_from_the_hub_is_its_base(tmp_path):
    from workbench import SentenceTransformer

    folder = tmp_path / "models--me--mine" / "snapshots" / "0"
    static().save(folder, create_model_card=False)
    assert SentenceTransformer(folder, device="cpu").model_card_data.base_model == "me/mine"
    static().save(tmp_path / "private", create_model_card=False)
    assert SentenceTransformer(tmp_path / "private", device="cpu").model_card_data.base_model is None


def test_a_stream_is_described_by_its_first_rows(tmp_path):
    model = static()
    rows = [{"anchor": TEXTS[row], "positive": TEXTS[row + 40]} for row in range(40)]
    stream = IterableDataset.from_generator(lambda: iter(rows))
    train(tmp_path, model, stream, MultipleNegativesRankingLoss(model), max_steps=2)
    model.save(tmp_path / "m")
    card = card_of(tmp_path / "m")
    assert "- **Size:** a stream" in card.text
    assert not [tag for tag in card.data.tags if tag.startswith("dataset_size")]


def test_a_data_set_of_the_hub_is_named_as_there():
    data = pairs()
    data.info.download_checksums = {"hf://datasets/me/all-nli@0123/train.parquet": {}, "https://elsewhere/x": {}}
    args = SentenceTransformerTrainingArguments("unused", report_to="none", use_cpu=True)
    part = training_part({"Training": {None: (data, [data[0]])}}, {}, args, [], [])
    assert part.datasets == ["me/all-nli"]
    assert "### Training data: me/all-nli" in part.details


def test_a_long_run_is_shown_in_at_most_a_hundred_lines():
    args = SentenceTransformerTrainingArguments("unused", report_to="none", use_cpu=True)
    log = [{"loss": 1.0, "step": step, "epoch": step / 1000} for step in range(1, 1051)]
    details = training_part({}, {}, args, log, []).details
    rows = re.findall(r"^\| \d\.\d\d \| (\d+)", details, re.MULTILINE)
    assert (rows[0], rows[-1]) == ("1", "1050")
    assert 90 <= len(rows) <= 100
    log += [{"eval_loss": 2.0, "step": step, "epoch": step / 1000} for step in (500, 1000)]
    details = training_part({}, {}, args, log, []).details
    assert re.findall(r"^\| \d\.\d\d \| (\d+) \| 1.0000 \| 2.0000 \|", details, re.MULTILINE) == ["500", "1000"]


def test_settings_at_their_usual_values_are_not_called_unusual():
    args = SentenceTransformerTrainingArguments("unused")
    usual = training_part({}, {}, args, [], []).details.split("<details>")[0]
    assert re.findall(r"^- .*", usual, re.MULTILINE) == []


def test_a_cross_encoder_gets_a_card_too(tmp_path):
    model = CrossEncoder(tiny_pairs.write(tmp_path / "base"), device="cpu")
    rows = tiny_pairs.pairs(16)
    data = Dataset.from_dict({"a": [a for a, _ in rows], "b": [b for _, b in rows], "label": [0.0, 1.0] * 8})
    evaluator = CrossEncoderClassificationEvaluator(rows, [0, 1] * 8)
    args = arguments(tmp_path / "run", CrossEncoderTrainingArguments, eval_strategy="epoch", num_train_epochs=1)
    CrossEncoderTrainer(model, args, data, evaluator=evaluator).train()
    model.save_pretrained(tmp_path / "m")
    card = card_of(tmp_path / "m")
    assert card.data.pipeline_tag == "text-ranking"
    assert card.data.tags[1:] == [
        "cross-encoder", "reranker", "generated_from_trainer", "dataset_size:16", "loss:BinaryCrossEntropyLoss",
    ]  # fmt: skip
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == evaluator(model)
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    exec(code.replace("path/to/this/folder", str(tmp_path / "m")), {"print": lambda *_: None})
    again = CrossEncoder(tmp_path / "m", device="cpu")
    again.save_pretrained(tmp_path / "n")
    assert (tmp_path / "n" / "README.md").read_bytes() == (tmp_path / "m" / "README.md").read_bytes()
    again.save_pretrained(tmp_path / "o", create_model_card=False)
    assert not (tmp_path / "o" / "README.md").exists()


def every_loss():
    homes = [
        importlib.import_module(one.name)
        for one in pkgutil.iter_modules(workbench.losses.__path__, "workbench.losses.")
    ]
    found = {kind for home in homes for kind in vars(home).values() if inspect.isclass(kind) and issubclass(kind, Loss)}
    return sorted((kind for kind in found if not kind.__name__.startswith("_")), key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", every_loss(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_paper_that_a_loss_names_can_be_cited(kind):
    entries = "".join(citations(kind.__new__(kind)))
    assert "1908.10084" in entries
    assert set(re.findall(r"arXiv:([\d.]+\d)", kind.__doc__ or "")) <= set(re.findall(r"abs/([\d.]+)", entries))


def test_every_citation_belongs_to_a_loss_and_is_whole():
    text = (importlib.resources.files("workbench.losses") / "citations.bib").read_text(encoding="utf-8")
    known = {f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}" for kind in every_loss()}
    named = re.findall(r"^% ([\w. ]+)$", text, re.MULTILINE)
    assert {name for line in named for name in line.split()} <= known
    assert text.count("{") == text.count("}")
    reached = {entry for kind in every_loss() for entry in citations(kind.__new__(kind))}
    assert len(reached) == len(re.findall("^@", text, re.MULTILINE)) == len(named)
    assert all(re.match(r"@\w+\{[\w-]+,\n    title = ", entry) for entry in reached)


def test_a_loss_of_ones_own_brings_its_citation():
    class Mine(MultipleNegativesRankingLoss):
        citation = "@misc{mine}"

    assert citations(Mine.__new__(Mine))[0] == "@misc{mine}"
    assert len(citations(Mine.__new__(Mine))) == 4


class _Listener(TrainerCallback):
    """A stand-in for an experiment tracker."""

    heard: ClassVar[list] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.heard.append(dict(logs))


def test_trackers_hear_losses_and_what_evaluators_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(_Listener, "heard", [])
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "standin", _Listener)
    model = static()
    given = {"evaluator": [similar(), TripletEvaluator(TEXTS[:9], TEXTS[9:18], TEXTS[18:27])], "max_steps": 2}
    loss = MultipleNegativesRankingLoss(model)
    trainer = train(tmp_path, model, pairs(), loss, report_to=["standin"], eval_strategy="steps", eval_steps=2, **given)
    assert [line["loss"] for line in _Listener.heard if "loss" in line] == losses_of(trainer)
    (measured,) = [line for line in _Listener.heard if "eval_dev_spearman_cosine" in line]
    assert measured["eval_dev_spearman_cosine"] == similar()(model)["dev_spearman_cosine"]
    assert "eval_cosine_accuracy" in measured


@pytest.mark.parametrize(
    ("name", "words"), [("tensorboard", "requires tensorboard"), ("nowhere", "nowhere is not supported")]
)
def test_a_tracker_that_is_not_installed_or_unknown_is_one_clear_error(tmp_path, monkeypatch, name, words):
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    model = static()
    with pytest.raises((RuntimeError, ValueError), match=words):
        train(tmp_path, model, pairs(), MultipleNegativesRankingLoss(model), report_to=[name])
