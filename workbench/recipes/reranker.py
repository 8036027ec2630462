"""How the bundled ``starter-reranker`` is made: some layers of a transformer, taught to find answers."""

import logging
import random
import tempfile
import time
import warnings
from collections import Counter, deque
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench import hub
from workbench.cross_encoder import CrossEncoder
from workbench.devices import bfloat16_is_faster
from workbench.errors import TruncationWarning
from workbench.folders import load_state, save_state, write_atomically
from workbench.losses.cross_encoder import BinaryCrossEntropyLoss
from workbench.losses.listwise import ListNetLoss
from workbench.models.static import keep_tokens
from workbench.recipes.public_data import PublicData, beginning, windows
from workbench.search.topk import top_k
from workbench.sentence_transformer import SentenceTransformer

__all__ = ["make_reranker"]

_LOG = logging.getLogger(__name__)
_PLACES = 256  # positions that are kept
_SHARPNESS = 10.0  # what the teacher's cosine similarity counts in a grade
_RIGHT = 4.0  # what being the passage that answers the question adds to it
_LABELS = {"entailment": 1.0, "neutral": 0.5, "contradiction": 0.0}
_SHARE = 6  # one of so many articles is cut in each way: enough questions, and the teacher reads less
_KINDS = ((40, 0.3), (70, 0.3), (110, 0.2))  # words of a passage, share of the lists; the rest are short texts


class _Asked(NamedTuple):
    """A text, others to order by how well they answer it, and which of them is known to: its place, or none."""

    query: str
    texts: list[str]
    right: int | None


_Graded = tuple[_Asked, Tensor]


def make_reranker(
    teacher: Any,
    data: PublicData,
    output_path: str | Path,
    *,
    retriever: Any,
    layers: int = 2,
    tokens: int = 21_000,
    steps: int = 2_000,
    lists: int = 12,
    passages: int = 6,
    learning_rate: float = 4e-4,
    max_length: int = 192,
    seed: int = 0,
) -> CrossEncoder:
    """Train a small cross-encoder on questions and passages, and return it as it is read from its folder.

    Four of five steps take ``lists`` texts, each with ``passages`` others. In the first fifth of the run these are
    sentences, of which all but the right one are drawn at random: short, and soon learnt. After that they are passages
    that ``retriever`` mostly finds alike. Their grades are the teacher's similarities, and more for the passage known
    to answer (knowledge distillation as in Hofstätter et al. 2020, arXiv:2010.02666, with whole lists in place of
    margins). The fifth takes pairs of sentences with scores and with entailment labels, so that alike sentences score
    high too. The token vectors stay as the teacher has them, so that words never met in training keep their place among
    the others.

    Args:
        teacher: folder of a BERT model, of which ``layers`` at even distances are taken, with its most frequent
            ``tokens``; the whole of it grades.
        data: what to train on.
        output_path: where to write; ``sha256.json`` there lists the large files for ``hub.verify``.
        retriever: a SentenceTransformer that finds the wrong passages.
        layers: layers kept.
        tokens: tokens kept, those most frequent in the texts of ``data``.
        steps: steps of training.
        lists: queries of a step.
        passages: passages of a query.
        learning_rate: at the start; it falls to zero.
        max_length: pairs are cut to this many tokens.
        seed: of all that is drawn.
    """
    torch.manual_seed(seed)
    draw = random.Random(seed)  # noqa: S311 (no secret)
    easy = steps // 5
    asked = _asked(data, retriever, passages, (steps - easy) * lists, draw)
    folder = hub.resolve(teacher)
    model = _some_layers(folder, data.texts(), layers, tokens, max_length)
    ranking, scoring = ListNetLoss(model, mini_batch_size=0), BinaryCrossEntropyLoss(model)
    model.model.base_model.embeddings.word_embeddings.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.01)
    start = time.perf_counter()
    lost: deque[float] = deque(maxlen=50)
    half = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_faster())
    with half:
        graded = list(zip(asked, _grades(SentenceTransformer(folder, device="cpu"), asked), strict=True))
    hard = [graded[place : place + lists] for place in range(0, len(graded), lists)]
    draw.shuffle(hard)
    runs = _easy(data, passages, lists, easy, draw) + hard
    model.train()
    model.model.set_attn_implementation("eager")  # going back through the fused kernel is slow in bfloat16
    for step in range(steps):
        for part in optimizer.param_groups:
            part["lr"] = learning_rate * min(1, 20 * (step + 1) / steps) * (1 - step / steps)
        with half:  # for one step: within, the weights are cast once
            if step % 5 == 4:
                rows = draw.sample(data.sts, min(32, len(data.sts)))
                rows += [(a, b, _LABELS[c]) for a, b, c in draw.sample(data.snli, min(32, len(data.snli)))]
                first, second, scores = (list(column) for column in zip(*rows, strict=True))
                loss = 2 * scoring([first, second], torch.tensor(scores))
            else:
                some = runs[step % len(runs)]
                columns = [[row.query for row, _ in some], [row.texts for row, _ in some]]
                loss = ranking(columns, [grade for _, grade in some])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        lost.append(loss.item())
        if step % 50 == 49:
            seconds = time.perf_counter() - start
            _LOG.info("step %d of %d, loss %.3f, %.0f s", step + 1, steps, sum(lost) / len(lost), seconds)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half())
    model.eval()
    with write_atomically(output_path) as written:
        model.save_pretrained(written)
        save_state(written, {name: tensor.half() for name, tensor in load_state(written).items()})
        hub.seal(written)
    return CrossEncoder(output_path, device="cpu")


def _easy(data: PublicData, passages: int, lists: int, steps: int, draw: random.Random) -> list[list[_Graded]]:
    """Questions with the sentence that answers them and others drawn from all, so many lists for each of the steps."""
    paragraphs = [(windows(row.text, 1), row.questions) for row in data.squad if row.questions]
    grade = torch.tensor([2 * _RIGHT] + [0.0] * (passages - 1))

    def asked() -> _Graded:
        (sentences, questions), *others = draw.choices(paragraphs, k=passages)
        question, place = draw.choice(questions)
        right = max(number for number, (start, _) in enumerate(sentences) if start <= place)
        texts = [sentences[right][1], *(draw.choice(other)[1] for other, _ in others)]
        return _Asked(question, [beginning(text, 40) for text in texts], 0), grade

    return [[asked() for _ in range(lists)] for _ in range(steps)]


def _grades(teacher: Any, asked: list[_Asked]) -> list[Tensor]:
    """How much each text of each list should score: by the teacher, and more where it is known to answer."""
    texts = list(dict.fromkeys(chain.from_iterable((row.query, *row.texts) for row in asked)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        vectors = teacher.encode(texts, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=True)
    place = {text: number for number, text in enumerate(texts)}
    found = []
    for row in asked:
        grade = _SHARPNESS * (vectors[[place[text] for text in row.texts]] @ vectors[place[row.query]])
        if row.right is not None:
            grade[row.right] += _RIGHT
        found.append(grade)
    return found


def _asked(data: PublicData, retriever: Any, passages: int, count: int, draw: random.Random) -> list[_Asked]:
    """About ``count`` lists: questions with passages, sentences with the passages around them, and short texts.

    Passages are windows of 40 to 110 words, the same length for a run of lists, so that little is padded. Each article
    is cut in one way, so that the teacher reads it once.
    """
    rows: list[_Asked] = []
    for turn, (words, share) in enumerate(_KINDS):
        texts: list[str] = []
        owner: list[int] = []  # of each passage, the number of its text: no passage of the same text is a wrong one
        questions: list[tuple[str, int]] = []
        for number, paragraph in enumerate(data.squad):
            if paragraph.article % _SHARE == turn:
                parts, first = windows(paragraph.text, words), len(texts)
                for question, place in paragraph.questions:
                    questions.append((question, first + max(n for n, (start, _) in enumerate(parts) if start <= place)))
                texts += [text for _, text in parts]
                owner += [number] * len(parts)
        for number, (question, answer) in enumerate(data.medquad[turn::_SHARE], len(data.squad)):
            questions.append((question, len(texts)))
            texts.append(beginning(answer, words))
            owner.append(number)
        asked = draw.sample(questions, min(len(questions), int(count * share * 0.75)))
        known = len(asked)
        asked += [(_sentence(texts[place], draw), place) for place in draw.choices(range(len(texts)), k=known // 3)]
        found = _alike(retriever, [query for query, _ in asked], texts)
        for number, ((query, right), row) in enumerate(zip(asked, found, strict=True)):
            wrong = [place for place in row if owner[place] != owner[right] and texts[place] != texts[right]]
            others = _some(wrong, passages - 1, len(texts), draw)
            # A sentence is cut out of its own passage, which else would be found by its letters.
            own = texts[right].replace(query, " ").strip() or texts[right]
            rows.append(_Asked(query, [own, *(texts[place] for place in others)], 0 if number < known else None))
    short = [text for text in data.texts() if len(text.split()) <= 20]
    queries = draw.sample(short, min(len(short), count - len(rows)))
    for query, row in zip(queries, _alike(retriever, queries, short), strict=True):
        others = _some([place for place in row if short[place] != query], passages, len(short), draw)
        rows.append(_Asked(query, [short[place] for place in others], None))
    return rows


def _alike(retriever: Any, queries: list[str], texts: list[str]) -> list[list[int]]:
    """For each query, the places of the texts that ``retriever`` finds nearest, best first."""
    vectors = [retriever.encode(side, convert_to_tensor=True) for side in (queries, texts)]
    return top_k(vectors[0], vectors[1], min(50, len(texts)))[1].tolist()


def _some(found: list[int], count: int, rows: int, draw: random.Random) -> list[int]:
    """``count`` places: half from the first ten of ``found``, one of all ``rows``, and the others from the rest."""
    near, far = found[:10], found[10:]
    chosen = draw.sample(near, min((count + 1) // 2, len(near)))
    chosen += draw.sample(far, min(count - 1 - len(chosen), len(far)))
    return chosen + [draw.randrange(rows) for _ in range(count - len(chosen))]


def _sentence(text: str, draw: random.Random) -> str:
    """One of the sentences of a passage."""
    return draw.choice([part for _, part in windows(text, 1)])


def _some_layers(teacher: str | Path, texts: list[str], layers: int, tokens: int, max_length: int) -> CrossEncoder:
    """Layers at even distances and the most frequent tokens of a BERT folder, with a new classifier."""
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
    every = source.encoder.layer
    chosen = [every[(2 * number + 1) * len(every) // (2 * layers)] for number in range(layers)]
    source.encoder.layer = torch.nn.ModuleList(chosen)
    state = {f"bert.{name}": tensor for name, tensor in source.state_dict().items()}
    state["bert.embeddings.word_embeddings.weight"] = state["bert.embeddings.word_embeddings.weight"][kept.tolist()]
    state["bert.embeddings.position_embeddings.weight"] = state["bert.embeddings.position_embeddings.weight"][:places]
    model.load_state_dict({name: tensor for name, tensor in state.items() if name in model.state_dict()}, strict=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return CrossEncoder(folder, device="cpu")
