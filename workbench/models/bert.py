"""BERT for inference in plain PyTorch (Devlin et al. 2018, arXiv:1810.04805), read from a folder without transformers.

Importing transformers takes longer than all the rest of a first vector. So the usual folder is read here, and what is
in any way unusual is left to transformers. The layers bear the names that transformers gives them, and the transformers
model is made around these same layers when somebody wants it (``workbench.models.transformer.Pretrained``).
"""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from workbench.errors import ModelFormatError
from workbench.folders import WEIGHTS, inside, load_state, read_json

__all__ = ["Bert", "BertClassifier", "read_bert", "usual_settings"]

_SIZES = {  # what a configuration says, and what it means where it says nothing
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3_072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
_USUAL: dict[str, tuple[Any, ...]] = {  # the values with which this module computes the same as transformers
    "model_type": ("bert",),
    "hidden_act": (None, "gelu"),
    "position_embedding_type": (None, "absolute"),
    "dtype": (None, "float32"),
    "torch_dtype": (None, "float32"),
}
_KNOWN = {  # settings that are followed here, or that change no vector; any other one that is set is unusual
    *_SIZES, *_USUAL, "_name_or_path", "architectures", "attention_probs_dropout_prob", "bos_token_id",
    "classifier_dropout", "directionality", "eos_token_id", "finetuning_task", "gradient_checkpointing",
    "hidden_dropout_prob", "id2label", "initializer_range", "label2id", "layer_norm_eps", "num_labels", "pad_token_id",
    "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
    "problem_type", "return_dict", "sbert_ce_default_activation_function", "sentence_transformers",
    "tie_word_embeddings", "transformers_version", "use_cache",
}  # fmt: skip
_PACKING = {"cpu"}  # where leaving out padding pays; other devices would be waited for, to know the lengths
_UNUSED = ("cls.", "embeddings.position_ids")  # weights of other heads, and a constant that old folders hold


class Bert(nn.Module):
    """The encoder: token ids to a vector per token, and one of the first token through the pooler."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        super().__init__()
        self.saved, self.folder = config, folder
        sizes = SimpleNamespace(**{key: config.get(key, usual) for key, usual in _SIZES.items()})
        self.config, width = sizes, sizes.hidden_size

        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(width, config.get("layer_norm_eps", 1e-12), device="meta")

        def linear(inputs: int, outputs: int) -> nn.Linear:
            return nn.Linear(inputs, outputs, device="meta")

        def block(**layers: nn.Module) -> nn.ModuleDict:
            return nn.ModuleDict(layers)

        def table(rows: int, pad: int | None = None) -> nn.Embedding:
            empty = torch.empty(rows, width, device="meta")  # left to make it, nn.Embedding imports torch's compiler
            return nn.Embedding(rows, width, padding_idx=pad, _weight=empty)

        self.embeddings = block(
            word_embeddings=table(sizes.vocab_size, config.get("pad_token_id", 0)),
            position_embeddings=table(sizes.max_position_embeddings),
            token_type_embeddings=table(sizes.type_vocab_size),
            LayerNorm=norm(),
        )
        layers = [
            block(
                attention=nn.ModuleDict(
                    {
                        "self": block(**{name: linear(width, width) for name in ("query", "key", "value")}),
                        "output": block(dense=linear(width, width), LayerNorm=norm()),
                    }
                ),
                intermediate=block(dense=linear(width, sizes.intermediate_size)),
                output=block(dense=linear(sizes.intermediate_size, width), LayerNorm=norm()),
            )
            for _ in range(sizes.num_hidden_layers)
        ]
        self.encoder = block(layer=nn.ModuleList(layers))
        self.pooler = block(dense=linear(width, width))

    @property
    def base_model(self) -> "Bert":
        """The encoder itself, as a transformers model has it."""
        return self

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_dict: bool = True,
    ) -> tuple[Tensor]:
        """Return the vectors of the tokens, (rows, tokens, width); on the cpu those of padding are zero.

        On the cpu padding is left out: the layers see the real tokens end to end, and attention runs over neighbouring
        rows of the same length, which need no mask.
        """
        rows, longest = input_ids.shape
        if position_ids is None:
            position_ids = torch.arange(longest, device=input_ids.device).expand(rows, longest)
        ids = [input_ids, torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids, position_ids]
        real = mask = None
        groups = [(rows, longest)]  # neighbouring rows, and the tokens of each
        if attention_mask is not None and input_ids.device.type in _PACKING:
            real = attention_mask.bool()
            lengths, counts = torch.unique_consecutive(real.sum(1), return_counts=True)
            groups = [group for group in zip(counts.tolist(), lengths.tolist(), strict=True) if group[1]]
        elif attention_mask is not None:
            mask = attention_mask.bool()[:, None, None, :]
        words, types, places = (part.flatten() if real is None else part[real] for part in ids)
        part: Any = self.embeddings
        x = part["word_embeddings"](words) + part["token_type_embeddings"](types) + part["position_embeddings"](places)
        x = part["LayerNorm"](x)  # (tokens, width)
        layers: Any = self.encoder["layer"]
        for layer in layers:
            x = self._layer(layer, x, groups, mask)
        if real is None:
            return (x.view(rows, longest, -1),)
        out = x.new_zeros(rows, longest, x.shape[1])
        out[real] = x
        return (out,)

    def _layer(self, layer: Any, x: Tensor, groups: list[tuple[int, int]], mask: Tensor | None) -> Tensor:
        project, heads = layer["attention"]["self"], self.config.num_attention_heads
        qkv = [project[name](x) for name in ("query", "key", "value")]  # each (tokens, width)
        mixed, start = torch.empty_like(qkv[0]), 0
        for rows, length in groups:
            part = slice(start, start := start + rows * length)
            q, k, v = (t[part].view(rows, length, heads, -1).transpose(1, 2) for t in qkv)  # (rows, heads, length, …)
            seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            mixed[part].view(rows, length, heads, -1).copy_(seen.transpose(1, 2))
        after = layer["attention"]["output"]
        x = after["LayerNorm"](after["dense"](mixed) + x)
        inner = nn.functional.gelu(layer["intermediate"]["dense"](x))
        return layer["output"]["LayerNorm"](layer["output"]["dense"](inner) + x)  # type: ignore[no-any-return]


class BertClassifier(nn.Module):
    """The encoder with a classifier of the first token: token ids to ``logits``."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        super().__init__()
        self.saved, self.folder = config, folder
        self.bert = Bert(config, folder)
        self.config = self.bert.config
        self.config.num_labels = len(config.get("id2label") or (0, 1))
        self.classifier = nn.Linear(self.config.hidden_size, self.config.num_labels, device="meta")

    @property
    def base_model(self) -> Bert:
        """The encoder."""
        return self.bert

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.classifier.weight.dtype

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> SimpleNamespace:
        """Return ``logits``, (rows, labels)."""
        first = self.bert(input_ids, attention_mask, token_type_ids, position_ids)[0][:, 0]
        return SimpleNamespace(logits=self.classifier(self.bert.pooler["dense"](first).tanh()))


def usual_settings(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what of a BERT's configuration its vectors depend on; None where this module does not compute them."""
    settings = {name: config.get(name, usual) for name, usual in _SIZES.items()}
    settings["layer_norm_eps"] = config.get("layer_norm_eps", 1e-12)
    if (
        any(type(settings[size]) is not int or not 0 < settings[size] < 2**24 for size in _SIZES)
        or any(config.get(name) not in choices for name, choices in _USUAL.items())
        or any(value and name not in _KNOWN for name, value in config.items())
        or type(settings["layer_norm_eps"]) is not float
        or settings["hidden_size"] % settings["num_attention_heads"]
    ):
        return None
    return settings


def read_bert(folder: Path, *, classifier: bool) -> Bert | BertClassifier | None:
    """Return the model in a folder; None where anything is unusual or wrong, for transformers to do or to name."""
    config = read_json(folder, "config.json")
    settings = usual_settings(config)
    pad, labels = config.get("pad_token_id", 0), config.get("id2label") or (0, 1)
    if (
        settings is None
        or not (pad is None or (type(pad) is int and 0 <= pad < settings["vocab_size"]))
        or not (isinstance(labels, (dict, tuple)) and config.get("num_labels", len(labels)) == len(labels))
        or (classifier and config.get("architectures") != ["BertForSequenceClassification"])
        or inside(folder, "adapter_config.json").exists()
        or not inside(folder, WEIGHTS[0]).is_file()
    ):
        return None
    try:
        state = load_state(folder)
    except ModelFormatError:
        return None
    if not classifier:
        state = {key.removeprefix("bert."): tensor for key, tensor in state.items()}
    state = {key: tensor for key, tensor in state.items() if not key.removeprefix("bert.").startswith(_UNUSED)}
    expected = 7 + 16 * settings["num_hidden_layers"] + (2 if classifier else 0)
    says = config.get("dtype") or config.get("torch_dtype")  # wins over how the weights are stored
    if len(state) != expected or not all(
        t.is_floating_point() if says else t.dtype == torch.float32 for t in state.values()
    ):
        return None
    state = {key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()}  # not tied to the file
    model = (BertClassifier if classifier else Bert)(config, folder)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError:
        return None
    return model.eval()
