"""Pictures and texts in one space: a small CLIP trained from nothing, and classes that a model was never taught.

Contrastive Language-Image Pre-training (CLIP): Radford et al. 2021, arXiv:2103.00020. Search is ``semantic_search``
over the vectors, near duplicates are ``community_detection`` with a high threshold, and clusters are ``cluster``.
"""

import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from workbench.devices import one_thread
from workbench.folders import write_json
from workbench.images import naming_rows
from workbench.losses.ranking import MultipleNegativesSymmetricRankingLoss
from workbench.models import CLIPModel
from workbench.models.transformer import save_pretrained
from workbench.progress import track
from workbench.sentence_transformer import SentenceTransformer
from workbench.texts import as_texts

__all__ = ["train_clip", "zero_shot"]

_SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")
_LONGEST = 32  # tokens of a caption
_SCALE = 10.0  # the inverse temperature: softer than CLIP's 100, since a few pictures are soon known by heart


def train_clip(
    pictures: Sequence[Any],
    captions: Sequence[str],
    *,
    pixels: int = 32,
    patch: int = 8,
    width: int = 64,
    layers: int = 1,
    steps: int = 150,
    learning_rate: float = 1e-3,
    forget: float = 0.5,
    jitter: float = 0.15,
    seed: int = 0,
) -> SentenceTransformer:
    """Train a CLIP of some 100,000 random weights on some hundred pictures, in under a minute on two cores.

    Every step takes all pairs: each picture must pick its caption among all captions, and each caption its picture. So
    that it learns more than the pairs by heart, pictures are moved and zoomed and words are left out at random. It is
    for learning and for tests; for real pictures take ``SentenceTransformer("clip-ViT-B-32")``, trained on 400 million.

    Args:
        pictures: images as ``CLIPModel`` takes them, at most about a thousand.
        captions: one for each.
        pixels: what pictures are shrunk to, on both sides.
        patch: the side of the squares that a picture is read in.
        width: length of the vectors, and inside.
        layers: of both transformers.
        steps: how often all pairs are shown.
        learning_rate: of AdamW at its highest.
        forget: share of words left out in a step.
        jitter: share of a picture by which it is moved and zoomed at most.
        seed: of the weights and of what is drawn.

    Raises:
        ImageError: a picture cannot be used; names its row.
        ValueError: other numbers of pictures than of captions, or fewer than two.
    """
    captions, _ = as_texts(captions, name="captions")
    if len(pictures) != len(captions) or len(captions) < 2:
        raise ValueError(f"Got {len(pictures)} pictures and {len(captions)} captions; expected as many, two or more.")
    draw = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = _random_clip(captions, pixels, patch, width, layers)
    model = SentenceTransformer(modules=[block], device="cpu")
    loss_of = MultipleNegativesSymmetricRankingLoss(model, scale=_SCALE)
    with naming_rows(pictures):
        images = block.tokenize(list(pictures))["pixel_values"]  # (pairs, 3, pixels, pixels)
    words = block.tokenize(captions)
    words["image_text_info"] = [1] * len(captions)
    decayed = [[one for one in block.parameters() if (one.ndim > 1) == matrix] for matrix in (True, False)]
    groups: list[dict[str, Any]] = [
        {"params": one, "weight_decay": decay} for one, decay in zip(decayed, (0.1, 0.0), strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    # products as small as these gain nothing from more threads, and lose much where cores are shared
    with torch.enable_grad(), one_thread(), track(steps, unit="steps", desc="Training") as bar:
        for _ in range(steps):
            seen = block({"pixel_values": _moved(images, draw, jitter), "image_text_info": [0] * len(images)})
            read = block({**words, **_shortened(words["input_ids"], draw, forget)})
            loss = loss_of.compute([side["sentence_embedding"] for side in (seen, read)], None)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
            bar.update(1)
    return model.eval()


def zero_shot(
    model: Any, pictures: Any, labels: Sequence[str], *, template: str = "{}", scale: float | None = None
) -> npt.NDArray[np.float32]:
    """Return how well each label describes each picture, as shares of 1: (pictures, labels).

    Args:
        model: a model of pictures and texts.
        pictures: images, or texts, as the model takes them.
        labels: in words, such as "a red car".
        template: a text in which "{}" stands for the label, such as "a drawing of {}".
        scale: the inverse temperature; None: the one that the model was trained with, or else 100 as of CLIP.

    Raises:
        ValueError: no labels, or a template without "{}".
    """
    labels, _ = as_texts(labels, name="labels")
    if not labels or "{}" not in template:
        raise ValueError(f"Expected one label or more and a template with {{}}; got {len(labels)} and {template!r}.")
    clip = getattr(next(iter(model), None) if isinstance(model, SentenceTransformer) else None, "model", None)
    if scale is None:
        learned = getattr(clip, "logit_scale", None)
        scale = 100.0 if learned is None else float(learned.detach().exp())
    options: dict[str, Any] = {"normalize_embeddings": True, "convert_to_tensor": True}
    read = model.encode([template.replace("{}", label) for label in labels], **options)
    shares: Tensor = (scale * model.encode(list(pictures), **options) @ read.T).softmax(1)
    return shares.float().cpu().numpy()


def _moved(images: Tensor, draw: np.random.Generator, jitter: float) -> Tensor:
    """The images (n, 3, height, width), each moved and zoomed a little; what comes in at an edge is as the edge."""
    maps = torch.zeros(len(images), 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = torch.from_numpy(draw.uniform(1 - jitter, 1 + jitter, len(images)))
    maps[:, :, 2] = torch.from_numpy(draw.uniform(-jitter, jitter, (len(images), 2)))
    grid = affine_grid(maps, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def _shortened(ids: Tensor, draw: np.random.Generator, forget: float) -> dict[str, Tensor]:
    """The texts (n, tokens) without a share of their words, so that a label of one word is nothing new."""
    left_out = torch.from_numpy(draw.random(ids.shape) < forget) & (ids >= len(_SPECIAL))
    order = left_out.int().argsort(dim=1, stable=True)  # what stays moves up
    short = ids.masked_fill(left_out, _SPECIAL.index("<pad>")).gather(1, order)
    return {"input_ids": short, "attention_mask": (short != _SPECIAL.index("<pad>")).long()}


def _random_clip(captions: list[str], pixels: int, patch: int, width: int, layers: int) -> CLIPModel:
    """A CLIP with random weights that knows the words of ``captions``."""
    import transformers
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    hf: Any = transformers
    known = sorted({word for caption in captions for word in re.findall(r"\w+", caption.lower())})
    vocabulary = {word: place for place, word in enumerate([*_SPECIAL, *known])}
    pad, unk, start, end = _SPECIAL
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    tokens.normalizer = normalizers.Lowercase()
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex(r"\W+"), "removed")
    tokens.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(token, vocabulary[token]) for token in (start, end)]
    )
    names = {"pad_token": pad, "unk_token": unk, "bos_token": start, "eos_token": end}
    words = hf.PreTrainedTokenizerFast(tokenizer_object=tokens, model_max_length=_LONGEST, **names)
    ids = {name.replace("token", "token_id"): vocabulary[token] for name, token in names.items() if token != unk}
    size = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers, "projection_dim": width}
    both = {**size, "num_attention_heads": max(1, width // 16), "attention_dropout": 0.1}
    config = hf.CLIPConfig(
        text_config={**both, **ids, "vocab_size": len(vocabulary), "max_position_embeddings": _LONGEST},
        vision_config={**both, "image_size": pixels, "patch_size": patch},
        projection_dim=width,
        logit_scale_init_value=math.log(_SCALE),
    )
    with tempfile.TemporaryDirectory() as folder:  # by way of a folder, as any other model comes
        save_pretrained(hf.CLIPModel(config), words, folder, True)
        sides = {"size": {"shortest_edge": pixels}, "crop_size": {"height": pixels, "width": pixels}}
        write_json(Path(folder) / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor", **sides})
        return CLIPModel(folder)
