"""Tiny random models in folders, the size of a few kB, written by transformers and by hand: what the tests load."""

import importlib
import inspect
import json
import random
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

DIM = 32
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCES = [
    "The weather is lovely today.",
    "It is so sunny outside!",
    "He drove to the stadium.",
    "A man is eating food.",
    "A man is eating a piece of bread while the girl is carrying a baby and a horse runs over the field.",
    "query: who plays the violin",
    "monkey",
    "UPPER and lower Case",
    "A woman is playing violin. Two men pushed carts through the woods. A cheetah is running behind its prey.",
    "",
]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?:'\"()-é"


def vocabulary():
    """Every word of the sentences, and every letter alone and inside a word, so that nothing is unknown."""
    words = {word for text in SENTENCES for word in re.findall(r"\w+", text.lower())}
    pieces = dict.fromkeys([*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *sorted(words)])
    return {piece: number for number, piece in enumerate(pieces)}


def made_texts(count=60, longest=30):
    """Distinct rows of known words, one token each, of 1 to ``longest`` words."""
    words = sorted(set(re.findall(r"[a-z]+", " ".join(SENTENCES).lower())))
    draw = random.Random(0)
    return [
        " ".join(draw.choices(words, k=3 + number * (longest - 3) // count))
        for number in draw.sample(range(count), count)
    ]


def tokenizer(padding_side="right", max_length=64, lower=True):
    """A WordPiece tokenizer like BERT's."""
    vocab = vocabulary()
    rust = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=False)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(piece, vocab[piece]) for piece in ("[CLS]", "[SEP]")]
    rust.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=rust, **names, padding_side=padding_side, model_max_length=max_length
    )


def bert(seed=0, **config):
    """A BERT of two layers, with weights large enough that its vectors differ."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    settings = {"vocab_size": len(vocabulary()), "max_position_embeddings": 64, "initializer_range": 0.2, **sizes}
    return BertModel(BertConfig(**settings | config)).eval()


def plain_folder(folder, **tokenizer_options):
    """A transformers model and its tokenizer, and nothing that says how to pool."""
    bert().save_pretrained(folder)
    tokenizer(**tokenizer_options).save_pretrained(folder)
    return Path(folder)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def model_folder(folder, *, pooling=None, bert_config=None, config=None, normalize=False, **tokenizer_options):
    """A SentenceTransformer folder in the oldest layout, written by hand as published models have it."""
    folder = plain_folder(folder, **tokenizer_options)
    types = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    lines = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(types)
    ]
    write_json(folder / "modules.json", lines)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False} | (bert_config or {})
    )
    modes = {
        "word_embedding_dimension": DIM,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    write_json(folder / "1_Pooling" / "config.json", modes | (pooling or {}))
    if normalize:
        (folder / "2_Normalize").mkdir()
    if config is not None:
        versions = {"sentence_transformers": "2.2.2", "transformers": "4.30.0", "pytorch": "2.0.0"}
        write_json(folder / "config_sentence_transformers.json", {"__version__": versions, **config})
    return folder


ROOMS = """argparse asyncio calendar collections configparser csv ctypes dataclasses datetime decimal difflib email
functools heapq http.client imaplib inspect ipaddress itertools logging mailbox os pathlib random shutil smtplib socket
ssl statistics string subprocess tarfile tempfile textwrap threading unittest urllib.request uuid zipfile"""


def real_texts(count=500):
    """Docstrings of the standard library: prose, code and lists in real use, from 3 tokens to more than 256."""
    found = {}
    for room in map(importlib.import_module, ROOMS.split()):
        for thing in vars(room).values():
            members = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
            docs = [getattr(member, "__doc__", None) for member in members]
            found |= dict.fromkeys(inspect.cleandoc(doc) for doc in docs if isinstance(doc, str) and doc.strip())
    texts = sorted(found)
    return texts[:: len(texts) // count][:count]
