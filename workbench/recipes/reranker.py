"""How the bundled ``starter-reranker`` is made: the first layers of a transformer, taught to find answers."""

import logging
import random
import tempfile
import time
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from workbench import hub
from workbench.cross_encoder import CrossEncoder
from workbench.folders import load_state, save_state, write_atomically
from workbench.losses.cross_encoder import BinaryCrossEntropyLoss
from workbench.losses.listwise import ListNetLoss
from workbench.models.static import keep_tokens
from workbench.recipes.public_data import PublicData, beginning, windows
from workbench.search.topk import top_k

__all__ = ["make_reranker"]

_LOG = logging.getLogger(__name__)
_PLACES = 256  # positions that are kept
_SURE = 8.0  # grade of the right passage: the softmax over six gives it 99.8 %
_Group = tuple[str, list[str]]  # a question, and passages of which the first answers it


def make_reranker(
    teacher: Any,
    data: PublicData,
    output_path: str | Path,
    *,
    retriever: Any,
    layers: int = 2,
    tokens: int = 21_000,
    steps: int = 1_500,
    lists: int = 12,
    passages: int = 6,
    learning_rate: float = 4e-4,
    max_length: int = 192,
    seed: int = 0,
) -> CrossEncoder:
    """Train a small cross-encoder on questions and passages, and return it as it is read from its folder.

    Four of five steps take ``lists`` questions, each with its passage and ``passages`` - 1 others that ``retriever``
    finds alike; the fifth takes 64 pairs of sentences with scores, so that alike sentences score high too. The token
    vectors stay as the teacher has them, so that words never met in training keep their place among the others.

    Args:
        teacher: folder of a BERT model, whose first ``layers`` are taken, with its most frequent ``tokens``.
        data: what to train on.
        output_path: where to write; ``sha256.json`` there lists the large files for ``hub.verify``.
        retriever: a SentenceTransformer that finds the wrong passages.
        layers: layers kept.
        tokens: tokens kept, those most frequent in the texts of ``data``.
        steps: steps of training.
        lists: questions of a step.
        passages: passages of a question.
        learning_rate: at the start; it falls to zero.
        max_length: pairs are cut to this many tokens.
        seed: of all that is drawn.
    """
    torch.manual_seed(seed)
    draw = random.Random(seed)  # noqa: S311 (no secret)
    groups = _question_groups(data, retriever, passages, steps * lists, draw)
    runs = [groups[place : place + lists] for place in range(0, len(groups), lists)]
    draw.shuffle(runs)
    model = _first_layers(hub.resolve(teacher), data.texts(), layers, tokens, max_length)
    ranking, scoring = ListNetLoss(model, mini_batch_size=0), BinaryCrossEntropyLoss(model)
    model.model.base_model.embeddings.word_embeddings.requires_grad_(False)
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.01)
    start, lost = time.perf_counter(), 0.0
    for step in range(steps):
        for part in optimizer.param_groups:
            part["lr"] = learning_rate * min(1, 20 * (step + 1) / steps) * (1 - step / steps)
        if step % 5 == 4:
            rows = draw.sample(data.sts, min(64, len(data.sts)))
            loss = 2 * scoring([[row[0] for row in rows], [row[1] for row in rows]], torch.tensor([r[2] for r in rows]))
        else:
            some = runs[step % len(runs)]
            grades = [torch.tensor([_SURE] + [0.0] * (len(texts) - 1)) for _, texts in some]
            loss = ranking([[question for question, _ in some], [texts for _, texts in some]], grades)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        lost = 0.98 * lost + 0.02 * loss.item()
        if step % 50 == 49:
            _LOG.info("step %d of %d, loss %.3f, %.0f s", step + 1, steps, lost, time.perf_counter() - start)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half())
    model.eval()
    with write_atomically(output_path) as folder:
        model.save_pretrained(folder)
        save_state(folder, {name: tensor.half() for name, tensor in load_state(folder).items()})
        hub.seal(folder)
    return CrossEncoder(output_path, device="cpu")


def _question_groups(data: PublicData, retriever: Any, passages: int, count: int, draw: random.Random) -> list[_Group]:
    """Up to ``count`` questions, each with the passage that answers it and those that ``retriever`` takes for it.

    Passages are windows of 30 to 110 words, the same length for a run of questions, so that little is padded.
    """
    groups: list[_Group] = []
    for words, share in ((40, 0.4), (60, 0.3), (110, 0.3)):
        asked: list[tuple[str, int]] = []
        texts: list[str] = []
        owner: list[int] = []  # of each passage, the number of its text: no passage of the same text is a wrong one
        for number, paragraph in enumerate(data.squad):
            parts, first = windows(paragraph.text, words), len(texts)
            for question, place in paragraph.questions:
                asked.append((question, first + max(n for n, (start, _) in enumerate(parts) if start <= place)))
            texts += [text for _, text in parts]
            owner += [number] * len(parts)
        for number, (question, answer) in enumerate(data.medquad, len(data.squad)):
            asked.append((question, len(texts)))
            texts.append(beginning(answer, words))
            owner.append(number)
        some = draw.sample(asked, min(len(asked), int(count * share)))
        vectors = retriever.encode(texts, convert_to_tensor=True)
        _, found = top_k(retriever.encode([question for question, _ in some], convert_to_tensor=True), vectors, 24)
        for (question, right), row in zip(some, found.tolist(), strict=True):
            wrong = [place for place in row if owner[place] != owner[right] and texts[place] != texts[right]]
            hard = draw.sample(wrong[:16], min(passages - 2, len(wrong)))
            others = hard + draw.sample(range(len(texts)), passages - 1 - len(hard))
            groups.append((question, [texts[place] for place in (right, *others)]))
    return groups


def _first_layers(teacher: str | Path, texts: list[str], layers: int, tokens: int, max_length: int) -> CrossEncoder:
    """The first layers and the most frequent tokens of a BERT folder, with a new classifier."""
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        PreTrainedTokenizerFast,
    )

    whole = AutoTokenizer.from_pretrained(teacher, local_files_only=True)
    rust = whole.backend_tokenizer
    counts = Counter(chain.from_iterable(row.ids for row in rust.encode_batch_fast(texts, add_special_tokens=False)))
    names = {rust.id_to_token(number) for number, _ in counts.most_common(tokens)}
    plain = set(map(chr, range(33, 127)))
    rust, kept = keep_tokens(rust, lambda token: token in names or token.removeprefix("##") in plain)
    rust.no_padding()
    special = {
        name: getattr(whole, name) for name in ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    }
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=rust,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **special,
    )
    source = BertModel.from_pretrained(teacher, local_files_only=True)
    places = min(_PLACES, source.config.max_position_embeddings)
    config = BertConfig.from_pretrained(
        teacher,
        num_labels=1,
        num_hidden_layers=layers,
        vocab_size=len(kept),
        max_position_embeddings=places,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config)
    state = {f"bert.{name}": tensor for name, tensor in source.state_dict().items()}
    state["bert.embeddings.word_embeddings.weight"] = state["bert.embeddings.word_embeddings.weight"][kept.tolist()]
    state["bert.embeddings.position_embeddings.weight"] = state["bert.embeddings.position_embeddings.weight"][:places]
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in model.state_dict()}, strict=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return CrossEncoder(folder, device="cpu")
