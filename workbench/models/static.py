"""Static embeddings: a text is the mean of fixed vectors of its tokens, with no transformer (the idea of Model2Vec)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn

from workbench import hub
from workbench.devices import pick_device
from workbench.errors import ModelFormatError
from workbench.folders import inside, load_state, read_entries, save_state
from workbench.models.base import Features, InputModule
from workbench.models.memory import WordMemory, splitter
from workbench.models.transformer import Transformer
from workbench.texts import clean
from workbench.tokens import IntArray, TokenRows, pack

__all__ = ["StaticEmbedding", "keep_tokens"]


class StaticEmbedding(InputModule):
    """A table of token vectors; a text's embedding is the mean over its tokens, zero when it has none.

    Hundreds of times faster than a transformer on a CPU, and without a longest text; word order is lost. Choose it for
    very many texts, for a first stage of search, or where no transformer fits.

    Args:
        tokenizer: of the ``tokenizers`` package, or a fast one of transformers. It is used without truncation.
        embedding_weights: (vocabulary, dimension) vectors to start from; computed with in single precision.
        embedding_dim: the dimension of random vectors, where there are no ``embedding_weights``.

    Raises:
        ValueError: neither ``embedding_weights`` nor ``embedding_dim``, or fewer vectors than tokens.
    """

    max_seq_length = float("inf")  # type: ignore[assignment]
    padded = False

    def __init__(
        self, tokenizer: Any, embedding_weights: Any = None, embedding_dim: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        size = max(self.tokenizer.get_vocab().values(), default=-1) + 1
        if embedding_weights is None and embedding_dim is None:
            raise ValueError("StaticEmbedding needs embedding_weights or embedding_dim.")
        given = torch.randn(size, embedding_dim or 0) if embedding_weights is None else embedding_weights
        weights = torch.as_tensor(given).detach().to(torch.float32, copy=True)
        if weights.ndim != 2 or len(weights) < size:
            raise ValueError(f"embedding_weights are {tuple(weights.shape)}; expected ({size} or more, dimension).")
        self.embedding = nn.EmbeddingBag.from_pretrained(weights, freeze=False, mode="mean")

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, of the ``tokenizers`` package; a new one must fit the vectors."""
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = _plain(tokenizer)
        parts = splitter(self._tokenizer)
        self._memory = WordMemory(self._tokenizer, parts) if parts else None

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Add ``sentence_embedding``, (texts, dimension)."""
        ids, starts = features["input_ids"], features["offsets"]
        counts = torch.diff(starts, append=starts.new_tensor([len(ids)]))
        sums = _Sums.apply(self.embedding.weight, ids, starts, counts)  # type: ignore[no-untyped-call]
        features["sentence_embedding"] = sums / counts.clamp(min=1)[:, None]
        return features

    def get_sentence_embedding_dimension(self) -> int:
        """Length of the vectors."""
        return self.embedding.embedding_dim

    def token_rows(self, texts: list[str]) -> TokenRows:
        """Tokenise ``texts`` without special tokens; words met before are looked up, ten times faster than anew."""
        texts = clean(texts)
        if self._memory is None:
            return pack(self.tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        return self._memory.rows(texts)

    def collate(self, rows: TokenRows, index: IntArray) -> Features:
        """The ids of the given rows end to end, and where each row starts."""
        ids, offsets = rows.flat(index)
        return {"input_ids": ids.long(), "offsets": offsets}

    def save(self, output_path: str | Path, safe_serialization: bool = True) -> None:
        """Write ``tokenizer.json`` and the weights to the folder ``output_path``."""
        Path(output_path).mkdir(parents=True, exist_ok=True)
        save_state(output_path, self.state_dict(), safe_serialization)
        self.tokenizer.save(str(Path(output_path) / "tokenizer.json"), pretty=False)

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Read a folder written by ``save``, by any version of the reference package, or by model2vec.

        Raises:
            ModelFormatError: files are missing, damaged, or do not fit each other.
        """
        state, path = load_state(input_path), inside(input_path, "tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust package raises nothing narrower
            raise ModelFormatError(f"{path} is missing or damaged ({error}). Save or download it again.") from error
        try:
            return cls(tokenizer, state["embedding.weight"] if "embeddings" not in state else _join(state, tokenizer))
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ModelFormatError(f"{input_path}: the weights do not fit a StaticEmbedding: {error}") from error

    @classmethod
    def from_model2vec(cls, model_id_or_path: str | Path) -> Self:
        """Read a model2vec folder, or the model of that name; unknown tokens, which model2vec skips, get a zero vector.

        With a ``Normalize`` block after it, it gives model2vec's normalised vectors.
        """
        if Path(model_id_or_path).is_dir():
            return cls.load(model_id_or_path)
        return cls.load(_first_block(model_id_or_path))

    @classmethod
    def from_distillation(
        cls,
        model_name: Any,
        vocabulary: list[str] | None = None,
        device: str | None = None,
        pca_dims: int | None = 256,
        apply_zipf: bool = True,
        sif_coefficient: float | None = 1e-4,
        token_remove_pattern: str | None = r"\[unused\d+\]",  # noqa: S107  a token of text
        **kwargs: Any,
    ) -> Self:
        """Make static vectors from a model: each token of its vocabulary goes through it alone, then PCA and weights.

        Args:
            model_name: a SentenceTransformer that begins with a transformer, or the name or folder of one; or its
                Transformer block.
            vocabulary: words or phrases to have vectors of their own, besides the model's tokens.
            device: where the model runs when it is given by name.
            pca_dims: dimension of the vectors, or None for the model's own.
            apply_zipf: whether to make frequent tokens shorter, taking the vocabulary to be sorted by frequency.
            sif_coefficient: a in the weight a / (a + p) of Arora et al. (2017), "A Simple but Tough-to-Beat Baseline",
                where p is Zipf's guess of a token's frequency; None weighs by the logarithm of the rank.
            token_remove_pattern: tokens to leave out, as a regular expression for the whole token.
            kwargs: where the model is looked for by name: see ``hub.resolve``.
        """
        teacher = model_name
        if isinstance(model_name, (str, Path)):
            teacher = Transformer.load(_first_block(model_name, **kwargs)).to(pick_device(device))
        whole, unwanted = _plain(teacher.tokenizer), re.compile(token_remove_pattern or "(?!)")
        tokenizer, kept = keep_tokens(whole, lambda token: not unwanted.fullmatch(token))
        pieces = [[int(row)] for row in kept]  # what the teacher reads for each new row
        if vocabulary:
            words = [word for word in dict.fromkeys(vocabulary) if tokenizer.token_to_id(word) is None]
            tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in words])
            pieces += [whole.encode(word, add_special_tokens=False).ids for word in words]
        vectors = _principal(_last_layer(teacher, whole, pieces), pca_dims)  # (tokens, pca_dims)
        if apply_zipf:
            rank = torch.arange(2, len(vectors) + 2)
            share = 1 / rank / (1 / rank).sum()
            weight = rank.log() if sif_coefficient is None else sif_coefficient / (sif_coefficient + share)
            vectors *= weight[:, None]
        return cls(tokenizer, _join({"embeddings": vectors}, tokenizer))


class _Sums(torch.autograd.Function):
    """Sums of rows of a table; its gradient adds up the rows of each token at once, twice as fast as torch's own."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, starts: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(ids, counts)
        ctx.size = len(table)
        return nn.functional.embedding_bag(ids, table, starts, mode="sum")  # twice as fast as "mean"

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        ids, counts = ctx.saved_tensors
        order = _order(ids, ctx.size)
        tokens = ids[order]
        texts = torch.repeat_interleave(torch.arange(len(counts), device=ids.device), counts)[order]
        met, times = torch.unique_consecutive(tokens, return_counts=True)
        sums = nn.functional.embedding_bag(texts, gradient.contiguous(), times.cumsum(0) - times, mode="sum")
        whole = gradient.new_zeros(ctx.size, gradient.shape[1])
        whole[met] = sums
        return whole, None, None, None


def _order(ids: Tensor, size: int) -> Tensor:
    """The places of token ids below ``size``, by id; on the cpu with NumPy, whose sort is many times as fast there."""
    if ids.device.type != "cpu":
        return torch.sort(ids, stable=True)[1]
    numbers = ids.numpy()
    return torch.from_numpy(np.argsort(numbers.astype(np.uint16) if size <= 2**16 else numbers, kind="stable"))


def keep_tokens(tokenizer: Tokenizer, keep: Callable[[str], bool]) -> tuple[Tokenizer, IntArray]:
    """Return a copy of ``tokenizer`` without the tokens that ``keep`` refuses, and the old id of each token left.

    Special and added tokens always stay, and so does a vocabulary that is no plain list of words and word pieces.
    """
    spec = json.loads(tokenizer.to_str())
    if spec["model"]["type"] not in ("WordPiece", "WordLevel"):
        return Tokenizer.from_str(tokenizer.to_str()), np.arange(tokenizer.get_vocab_size())
    added = {token["content"]: token for token in spec["added_tokens"]}
    names = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    old = {token: row for token, row in names if token in added or keep(token)}
    new = spec["model"]["vocab"] = {token: row for row, token in enumerate(old)}
    for name, token in added.items():
        token["id"] = new[name]
    processor = spec["post_processor"] or {}
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [new[name] for name in token["tokens"]]
    for side in processor.keys() & {"cls", "sep"}:
        processor[side][1] = new[processor[side][0]]
    return Tokenizer.from_str(json.dumps(spec)), np.fromiter(old.values(), np.int64)


def _first_block(name: str | Path, **where: Any) -> Path:
    """The folder of the first block of the model ``name``."""
    folder = hub.resolve(name, **where)
    return inside(folder, read_entries(folder)[0].path) if inside(folder, "modules.json").is_file() else folder


def _last_layer(teacher: Any, tokenizer: Tokenizer, pieces: list[list[int]]) -> Tensor:
    """The teacher's mean token vector of each piece, read alone between its special tokens: (pieces, dimension)."""
    frame = tokenizer.encode("a")
    start, tail = frame.special_tokens_mask.index(0), frame.special_tokens_mask[::-1].index(0)
    vectors: dict[int, Tensor] = {}
    teacher.eval()
    device = next(teacher.parameters()).device
    for length in {len(piece) for piece in pieces}:
        rows = [row for row, piece in enumerate(pieces) if len(piece) == length]
        for part in (rows[at : at + 512] for at in range(0, len(rows), 512)):
            ids = [[*frame.ids[:start], *pieces[row], *frame.ids[len(frame) - tail :]] for row in part]
            inputs = torch.tensor(ids, device=device)
            with torch.inference_mode():  # (rows, start + length + tail, dimension)
                tokens = teacher({"input_ids": inputs, "attention_mask": torch.ones_like(inputs)})["token_embeddings"]
            vectors.update(zip(part, tokens[:, start : start + length].mean(1).float().cpu(), strict=True))
    return torch.stack([vectors[row] for row in range(len(pieces))])


def _principal(vectors: Tensor, dims: int | None) -> Tensor:
    """The centred vectors along their first ``dims`` principal axes, whose largest coefficient is made positive."""
    centred = (vectors - vectors.mean(0)).double()
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :dims]
    return torch.matmul(centred, axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()).float()


def _join(state: dict[str, Tensor], tokenizer: Tokenizer) -> Tensor:
    """One vector per token out of a model2vec folder's tensors; the unknown token, which says nothing, gets zero."""
    vectors = state["embeddings"].float()[state["mapping"].long() if "mapping" in state else slice(None)]
    vectors = vectors * state["weights"].float()[:, None] if "weights" in state else vectors
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    vectors[[] if unknown is None else unknown] = 0
    return vectors


def _plain(tokenizer: Any) -> Tokenizer:
    """The Rust tokenizer inside, without truncation and padding, which are changed on a copy only."""
    rust = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(rust, Tokenizer):
        raise TypeError(f"tokenizer is {type(tokenizer).__name__}; expected a tokenizers.Tokenizer or a fast one.")
    if rust.truncation or rust.padding:
        rust = Tokenizer.from_str(rust.to_str())
        rust.no_truncation()
        rust.no_padding()
    return rust
