"""The tokenizer of a folder read by ``tokenizers`` alone, where it surely gives the tokens that transformers gives."""

import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from workbench.folders import inside, read_json

__all__ = ["PlainTokenizer", "read_tokenizer"]

_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")
_OTHERS = ("added_tokens.json", "chat_template.jinja", "chat_template.json", "additional_chat_templates")
_BERT = ("BertTokenizer", "BertTokenizerFast")  # of tokenizer.json transformers takes the words only, for these
_AS_SAVED = ("PreTrainedTokenizerFast", "TokenizersBackend")  # and the whole of it for these
_SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
_KNOWN = {  # settings that are followed here, or that change no token
    *_SPECIAL, "bos_token", "eos_token", "added_tokens_decoder", "do_lower_case", "strip_accents",
    "tokenize_chinese_chars", "do_basic_tokenize", "tokenizer_class", "name_or_path", "special_tokens_map_file",
    "tokenizer_file", "backend", "is_local", "local_files_only", "clean_up_tokenization_spaces", "model_max_length",
    "model_input_names", "padding_side", "truncation_side", "max_length", "stride", "truncation_strategy",
    "pad_to_multiple_of", "pad_token_type_id",
}  # fmt: skip
_FLAGS = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
_INPUTS = (["input_ids", "attention_mask"], ["input_ids", "token_type_ids", "attention_mask"])
_NO_LIMIT = int(1e30)  # what transformers says where there is none


class PlainTokenizer:
    """As much of a transformers tokenizer as encoding needs; ``as_transformers`` makes the whole of it."""

    pad_token_type_id = 0

    def __init__(self, rust: Tokenizer, config: dict[str, Any], special: dict[str, str], folder: Path) -> None:
        padding, truncation = rust.padding or {}, rust.truncation or {}
        pad = special.get("pad_token") or padding.get("pad_token")
        self.backend_tokenizer = rust
        self.padding_side: str = config.get("padding_side") or padding.get("direction") or "right"
        self.truncation_side: str = config.get("truncation_side") or truncation.get("direction") or "right"
        self.model_max_length: int = config.get("model_max_length") or _NO_LIMIT
        usual = _INPUTS[config["tokenizer_class"] in _BERT]
        self.model_input_names: list[str] = config.get("model_input_names") or usual
        self.all_special_ids = [rust.token_to_id(token) for token in special.values()]
        self.pad_token_id = rust.token_to_id(pad) if pad else None
        self._name = str(folder)
        self._files = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def as_transformers(self) -> Any:
        """Return the transformers tokenizer, made from what was read at first: the folder may have changed since."""
        import transformers

        with tempfile.TemporaryDirectory() as folder:
            for name, content in self._files.items():
                (Path(folder) / name).write_bytes(content)
            whole: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        whole.model_max_length = self.model_max_length
        whole.name_or_path = whole.init_kwargs["name_or_path"] = self._name
        return whole


def read_tokenizer(folder: Path) -> PlainTokenizer | None:
    """Return the tokenizer in a folder; None where anything is unusual or wrong, for transformers to do or to name."""
    if any((folder / name).exists() for name in _OTHERS) or not all((folder / name).is_file() for name in _FILES[:2]):
        return None
    try:
        rust = Tokenizer.from_file(str(inside(folder, _FILES[0])))
    except Exception:  # the Rust package raises nothing narrower; transformers says what is wrong
        return None
    config = read_json(folder, _FILES[1])
    kind, saved = config.get("tokenizer_class"), config.get("added_tokens_decoder")
    named = read_json(folder, _FILES[2]) if inside(folder, _FILES[2]).is_file() and saved is None else {}
    special = {name: _content(config[name]) for name in (*_SPECIAL, "bos_token", "eos_token") if config.get(name)}
    special = {**(_SPECIAL if kind in _BERT else {}), **special}
    added = {str(number): _flags(token) for number, token in rust.get_added_tokens_decoder().items()}
    limit = config.get("model_max_length")
    if (
        kind not in _BERT + _AS_SAVED
        or not all(isinstance(token, str) for token in special.values())
        or any(value and key not in _KNOWN for key, value in config.items())
        or any(_content(value) != special.get(name) for name, value in named.items())
        or not set(special.values()) <= {content for content, *_ in added.values()}
        or not (
            saved is None or (isinstance(saved, dict) and {key: _flags(token) for key, token in saved.items()} == added)
        )
        or not (limit is None or (type(limit) in (int, float) and limit > 0))
        or config.get("model_input_names") not in (None, *_INPUTS)
        or any(config.get(side) not in (None, "left", "right") for side in ("padding_side", "truncation_side"))
        or rust.post_processor is None
        or rust.get_vocab_size() > 100_000  # transformers looks for a fault of other tokenizers in such large ones
        or (kind in _BERT and not _made_as_bert(rust, config, special))
    ):
        return None
    return PlainTokenizer(rust, config, special, folder)


def _made_as_bert(rust: Tokenizer, config: dict[str, Any], special: dict[str, str]) -> bool:
    """Whether the model is BERT's; if so the steps around it are set as the configuration says."""
    words: Any = rust.model
    if (
        not isinstance(words, models.WordPiece)
        or (words.unk_token, words.continuing_subword_prefix, words.max_input_chars_per_word)
        != (special["unk_token"], "##", 100)
        or any(words.token_to_id(token.content) != number for number, token in rust.get_added_tokens_decoder().items())
    ):
        return False
    lower, chinese = config.get("do_lower_case", True), config.get("tokenize_chinese_chars", True)
    accents = config.get("strip_accents")
    if type(lower) is not bool or type(chinese) is not bool or not (accents is None or type(accents) is bool):
        return False
    first, last = special["cls_token"], special["sep_token"]
    rust.normalizer = normalizers.BertNormalizer(True, chinese, accents, lower)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0",
        pair=f"{first}:0 $A:0 {last}:0 $B:1 {last}:1",
        special_tokens=[(token, rust.token_to_id(token)) for token in (first, last)],
    )
    return True


def _content(token: Any) -> Any:
    """The text of a token, which older files wrap in a table."""
    return token.get("content") if isinstance(token, dict) else token


def _flags(token: Any) -> tuple[Any, ...]:
    return tuple(token.get(flag) if isinstance(token, dict) else getattr(token, flag, None) for flag in _FLAGS)
