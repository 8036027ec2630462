"""A tiny random cross-encoder with a tokenizer built on the spot, written as a plain transformers folder."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "man", "is", "eating", "pasta", "food", "the", "girl", "plays"]
WORDS += ["guitar", "cat", "dog", "bread", "on", "horse", ".", "?"]
POSITIONS = 40


def tokenizer():
    """One token per word; pairs as BERT joins them."""
    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def write(folder, labels=1, kind=BertForSequenceClassification, dtype=torch.float32):
    """Write the folder and return its path."""
    torch.manual_seed(labels)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        num_labels=labels,
        initializer_range=0.2,
    )
    kind(config).to(dtype).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def pairs(rows, longest=12, seed=0):
    """Pairs of random words, no two alike, of 1 to ``longest`` words a side."""
    generator = torch.Generator().manual_seed(seed)

    def text():
        count = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return " ".join(WORDS[4 + int(word)] for word in torch.randint(len(WORDS) - 4, (count,), generator=generator))

    made = {}
    while len(made) < rows:
        made[text(), text()] = None
    return list(made)
