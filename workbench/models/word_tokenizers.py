"""Tokenizers of whole words, for the blocks that have one vector or one weight per word."""

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

from workbench.errors import ModelFormatError
from workbench.folders import read_json, write_json

__all__ = ["TOKENIZERS", "PhraseTokenizer", "WhitespaceTokenizer", "WordTokenizer"]

_WORDS = re.compile(
    r"\w+(?=n't\b|'(?:s|m|d|ll|re|ve)\b)"  # the front of a contraction: do|n't, it|'s
    r"|n't\b|'(?:s|m|d|ll|re|ve)\b"  # … and its end
    r"|\w+(?:\.\w+)+\.?"  # U.S., 3.14
    r"|\w+(?:[-'/,]\w+)*"  # state-of-the-art, 1,000
    r"|[^\w\s]",
    re.IGNORECASE,
)


class WordTokenizer(ABC):
    """Turns a text into the numbers of its words; a subclass needs ``tokenize`` and a ``config_file``.

    Args:
        vocab: the words, in the order of their numbers.
        stop_words: words to leave out; None is scikit-learn's English list with contractions and punctuation.
        do_lower_case: put every text in lower case first.
    """

    config_file: ClassVar[str]
    config_keys: ClassVar[tuple[str, ...]] = ("vocab", "stop_words", "do_lower_case")

    def __init__(
        self, vocab: Iterable[str] = (), stop_words: Iterable[str] | None = None, do_lower_case: bool = False
    ) -> None:
        self.stop_words = set(_english_stop_words() if stop_words is None else stop_words)
        self.do_lower_case = do_lower_case
        self.set_vocab(vocab)

    @abstractmethod
    def tokenize(self, text: str, **kwargs: Any) -> list[int]:
        """The numbers of the known words of ``text``, in order; stop words and unknown words are left out."""

    def get_vocab(self) -> Iterable[str]:
        """The words, in the order of their numbers."""
        return self.vocab

    def set_vocab(self, vocab: Iterable[str]) -> None:
        """Replace the words."""
        self.vocab = list(vocab)
        self.word2idx = {word: index for index, word in enumerate(self.vocab)}

    def save(self, output_path: str | Path) -> None:
        """Write words and settings as JSON."""
        config = {key: getattr(self, key) for key in self.config_keys}
        write_json(Path(output_path) / self.config_file, config | {"stop_words": sorted(self.stop_words)})

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Read words and settings; raises ``ModelFormatError`` where they are damaged."""
        config = read_json(input_path, cls.config_file)
        for key in ("vocab", "stop_words"):
            if not isinstance(config.get(key), list) or not all(isinstance(word, str) for word in config[key]):
                raise ModelFormatError(f"{input_path}: {key!r} in {cls.config_file} must be a list of words.")
        return cls(**{key: config[key] for key in cls.config_keys if key in config})


class WhitespaceTokenizer(WordTokenizer):
    """Splits at white space; a word is looked up as it is, then in lower case, then without punctuation around it.

    Arguments are those of ``WordTokenizer``.
    """

    config_file = "whitespacetokenizer_config.json"

    def tokenize(self, text: str, **kwargs: Any) -> list[int]:
        """The numbers of the known words of ``text``, in order; stop words and unknown words are left out."""
        numbers = []
        for word in self._words(text):
            forms = (word, word.lower(), word.lower().strip(string.punctuation))
            found = next((form for form in forms if form in self.stop_words or form in self.word2idx), None)
            if found is not None and found not in self.stop_words:
                numbers.append(self.word2idx[found])
        return numbers

    def _words(self, text: str) -> list[str]:
        return (text.lower() if self.do_lower_case else text).split()


class PhraseTokenizer(WhitespaceTokenizer):
    """Also finds the phrases of several words that the vocabulary has, such as ``new_york``, longer ones first.

    Words are split at spaces and punctuation, and contractions in two (``do n't``), by one regular expression. That is
    close to NLTK's word tokenizer, which the published version uses, and needs no NLTK.

    Arguments are those of ``WordTokenizer`` (``do_lower_case`` has no effect, as published), and
    ``ngram_separator``, which joins the at most ``max_ngram_length`` words of a phrase in ``vocab``.
    """

    config_file = "phrasetokenizer_config.json"
    config_keys = (*WhitespaceTokenizer.config_keys, "ngram_separator", "max_ngram_length")

    def __init__(
        self,
        vocab: Iterable[str] = (),
        stop_words: Iterable[str] | None = None,
        do_lower_case: bool = False,
        ngram_separator: str = "_",
        max_ngram_length: int = 5,
    ) -> None:
        self.ngram_separator, self.max_ngram_length = ngram_separator, max_ngram_length
        super().__init__(vocab, stop_words, do_lower_case)

    def set_vocab(self, vocab: Iterable[str]) -> None:
        """Replace the words and phrases."""
        super().set_vocab(vocab)
        mark = self.ngram_separator
        lengths = {word.count(mark) + 1 for word in self.vocab if mark in word and not word.startswith(mark)}
        self._lengths = sorted((length for length in lengths if length <= self.max_ngram_length), reverse=True)

    def _words(self, text: str) -> list[str]:
        words = _WORDS.findall(text)
        for length in self._lengths:
            start = 0
            while start <= len(words) - length:
                phrase = self.ngram_separator.join(words[start : start + length])
                if phrase in self.word2idx or (phrase := phrase.lower()) in self.word2idx:
                    words[start : start + length] = [phrase]
                start += 1
        return words


TOKENIZERS: dict[str, type[WordTokenizer]] = {  # the type that a folder names → our class, legacy spellings first
    f"sentence_transformers.{place}.{kind.__name__}": kind
    for kind, file in ((WhitespaceTokenizer, "whitespace"), (PhraseTokenizer, "phrase"))
    for place in (f"models.tokenizer.{kind.__name__}", f"sentence_transformer.modules.tokenizer.{file}")
}


def _english_stop_words() -> set[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    more = "ain aren couldn d did didn does doesn doing don hadn hasn haven having isn just ll m ma mightn mustn needn"
    more += " o s shan shouldn t theirs ve wasn weren won wouldn y '' ``"
    return {*ENGLISH_STOP_WORDS, *more.split(), *string.punctuation}
