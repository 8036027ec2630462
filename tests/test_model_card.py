"""The generated model card: readable by the hub, honest about the model, and safe with any text put into it."""

import re
import socket
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from workbench.model_card import SentenceTransformerModelCardData as CardData
from workbench.model_card import generate_model_card

NASTY = [
    "x\n---\n# heading",
    "<script>alert(1)</script>",
    "![img](https://tracker.example/x.png)",
    "a: b # c",
    "`` ``` ~~~",
    "| cell |",
    "{{ jinja }} {% raw %}",
    "שלום 🎉 \u2028 \u0085 end",
    "nul \0 tab \t cr \r",
    "'\"\\",
]


@dataclass
class Model:
    """What the generator may ask of a model."""

    model_card_data: CardData = field(default_factory=CardData)
    max_seq_length: int | None = 256
    similarity_fn_name: str = "cosine"
    prompts: dict[str, str] = field(default_factory=lambda: {"query": "", "document": ""})
    width: int | None = 384
    architecture: str = "SentenceTransformer(\n  (0): Transformer\n)"

    def get_sentence_embedding_dimension(self) -> int | None:
        return self.width

    def __str__(self) -> str:
        return self.architecture


def parts(card: str) -> tuple[Any, str]:
    """Front matter and body, split as the hub splits them."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))", card)
    assert found is not None
    return yaml.safe_load(found[2]), card[found.end() :]


def without_code(body: str) -> str:
    return re.sub(r"^(`{3,}).*?^\1$", "", body, flags=re.MULTILINE | re.DOTALL)


def test_a_card_says_what_the_model_is() -> None:
    data = CardData("en", "apache-2.0", "My model", "me/mine", [{"name": "AllNLI", "id": "me/all-nli"}], tags=["tiny"])
    front, body = parts(generate_model_card(Model(data)))
    assert front == {
        "language": ["en"],
        "license": "apache-2.0",
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "tiny"],
        "datasets": ["me/all-nli"],
    }
    for line in (
        "# My model",
        "- **Maximum sequence length:** 256 tokens",
        "- **Output dimensionality:** 384 dimensions",
        "- **Similarity function:** cosine",
        "- **Languages:** en",
        "- **License:** apache-2.0",
        "- **Training data:** AllNLI",
        'model = SentenceTransformer("me/mine")',
        "  (0): Transformer",
    ):
        assert line in body.splitlines()


def test_a_card_of_a_model_nobody_described_leaves_out_what_it_does_not_know() -> None:
    front, body = parts(generate_model_card(Model(max_seq_length=None, width=None)))
    assert set(front) == {"library_name", "pipeline_tag", "tags"}
    assert "# SentenceTransformer" in body.splitlines()
    assert "- **Maximum sequence length:** not limited" in body
    assert "None" not in body
    assert "License" not in body


def test_the_usage_runs_as_python_and_fits_the_model() -> None:
    (plain,) = re.findall(r"```python\n(.*?)```", generate_model_card(Model()), re.DOTALL)
    (asymmetric,) = re.findall(r"```python\n(.*?)```", generate_model_card(Model(prompts={"query": "q: "})), re.DOTALL)
    compile(plain, "card", "exec")
    compile(asymmetric, "card", "exec")
    assert "encode_query" not in plain
    assert "encode_query" in asymmetric


def test_prompts_are_shown_when_there_are_any() -> None:
    assert '"query": "q: "' in generate_model_card(Model(prompts={"query": "q: "}))
    assert "name of the prompt" not in generate_model_card(Model())


def test_the_versions_it_was_made_with_are_listed() -> None:
    card = generate_model_card(Model())
    for name in ("Python", "Sentence Workbench", "Transformers", "PyTorch", "Tokenizers"):
        assert re.search(rf"^- {name}: \d+\.\d+", card, re.MULTILINE)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_ends_the_front_matter_or_becomes_markup(text: str) -> None:
    data = CardData([text], text, text, text, [{"name": text}], [{"name": text}], text, [text], base_model=text)
    model = Model(data, similarity_fn_name=text, prompts={text: text}, architecture=text)
    front, body = parts(generate_model_card(model))
    assert (front["language"], front["license"], front["tags"][-1], front["base_model"]) == ([text], text, text, text)
    assert "datasets" not in front
    prose = without_code(body)
    assert "<script" not in prose
    assert not re.search(r"(?<!\\)[!\[`|]", prose.replace("`sentence_transformers.SentenceTransformer`", ""))
    headings = re.findall(r"^#+ .*", prose, re.MULTILINE)
    assert headings[1:] == ["## Model details", "### Full architecture", "## Usage", "## Framework versions"]
    assert '\nmodel = SentenceTransformer("' in body


def test_a_lone_surrogate_does_not_stop_a_card_from_being_written() -> None:
    card = generate_model_card(Model(CardData(model_name="bad \ud800 name")))
    assert "# bad ? name" in card.splitlines()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"license": 3}, "license"),
        ({"tags": "one"}, "tags"),
        ({"language": [1]}, "language"),
        ({"model_id": b"x"}, "id"),
    ],
)
def test_card_data_of_the_wrong_type_is_refused_at_once(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        CardData(**arguments)


def test_two_models_do_not_share_their_card_data() -> None:
    first, second = CardData(), CardData()
    first.tags.append("mine")
    first.train_datasets.append({"name": "mine"})
    assert (second.tags, second.train_datasets) == ([], [])


def test_a_card_is_written_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    data = CardData(model_id="me/mine", base_model="them/base", train_datasets=[{"id": "them/data"}])
    front, _ = parts(generate_model_card(Model(data)))
    assert (front["base_model"], front["datasets"]) == ("them/base", ["them/data"])
