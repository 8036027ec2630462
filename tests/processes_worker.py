"""What two processes train, encode and measure together; ``test_processes.py`` does the same in one and compares."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from tests import tiny_pairs
from tests.tiny import bert, tokenizer
from tests.tiny_training import TEXTS, arguments, losses_of, pairs, static
from workbench import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments, SentenceTransformer, losses
from workbench.evaluation import EmbeddingSimilarityEvaluator, InformationRetrievalEvaluator
from workbench.losses.cross_encoder import BinaryCrossEntropyLoss
from workbench.models import Pooling, Transformer
from workbench.processes import count, gather, rank, share, spread
from workbench.training import SentenceTransformerTrainer, checkpoints

BATCH = 8  # rows of all processes together
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ODD = 29  # rows whose last batch cannot be shared evenly
SCORES = [row % 7 / 7 for row in range(32)]


def first_writes(write, folder, *args):
    """A folder that the first process writes, and the others wait for."""
    if rank() == 0:
        write(folder, *args)
    if count() > 1:
        distributed.barrier()
    return str(folder)


def transformer(folder, **config):
    """A small transformer; without dropout, unless asked for."""

    def write(folder):
        bert(**STILL | config).save_pretrained(folder)
        tokenizer().save_pretrained(folder)

    block = Transformer(first_writes(write, folder), max_seq_length=32)
    return SentenceTransformer(modules=[block, Pooling(block.get_word_embedding_dimension())], device="cpu")


def cross_encoder(folder):
    """A small cross-encoder without dropout."""

    def write(folder):
        path = tiny_pairs.write(folder, 1) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | STILL))

    return CrossEncoder(first_writes(write, Path(folder) / "pairs"), device="cpu")


def gathered(name, **options):
    return lambda model: getattr(losses, name)(model, gather_across_devices=True, **options)


def softmax(model):
    torch.manual_seed(rank())  # a classifier that begins differently in each process
    return losses.SoftmaxLoss(model, 16, 3)


CLASSES = [row % 3 for row in range(32)]
RUNS = {  # each gives in two processes the losses and weights that it gives in one
    "MNR": {"loss": gathered("MultipleNegativesRankingLoss")},
    "MNR with a short last batch": {"loss": gathered("MultipleNegativesRankingLoss"), "data": pairs(ODD)},
    "symmetric MNR": {"loss": gathered("MultipleNegativesSymmetricRankingLoss")},
    "cached MNR by rows": {"loss": gathered("CachedMultipleNegativesRankingLoss", mini_batch_size=3)},
    "cached MNR by tokens": {"loss": gathered("CachedMultipleNegativesRankingLoss", mini_batch_num_tokens=40)},
    "GIST": {"loss": gathered("GISTEmbedLoss", guide=static(1))},
    "cached GIST": {"loss": gathered("CachedGISTEmbedLoss", guide=static(1), mini_batch_size=3)},
    "cosine": {"loss": losses.CosineSimilarityLoss, "data": pairs(label=SCORES)},
    "cosine with a short last batch": {"loss": losses.CosineSimilarityLoss, "data": pairs(ODD, label=SCORES[:ODD])},
    "one row left for two": {"loss": losses.CosineSimilarityLoss, "data": pairs(25, label=SCORES[:25])},
    "accumulated": {
        "loss": losses.CosineSimilarityLoss, "data": pairs(label=SCORES), "gradient_accumulation_steps": 2,
    },
    "a loss that learns": {"loss": softmax, "data": pairs(label=CLASSES)},
    "two data sets": {
        "loss": {"a": gathered("MultipleNegativesRankingLoss"), "b": losses.CosineSimilarityLoss},
        "data": {"a": pairs(ODD), "b": pairs(label=SCORES)},
    },
    "no duplicates": {
        "loss": gathered("MultipleNegativesRankingLoss"),
        "data": pairs(30).map(lambda row, place: {"positive": f"{TEXTS[place % 9]}"}, with_indices=True),
        "batch_sampler": "no_duplicates",
    },
}  # fmt: skip


def states(trainer):
    """What has been learned: of the model, and of the losses."""
    return [value.detach().clone() for value in trainer._replicated()]


def train(folder, loss, data=None, model=None, trainer=SentenceTransformerTrainer, more=None, **options):
    usual = {"per_device_train_batch_size": BATCH // count(), "num_train_epochs": 2, "max_grad_norm": 0.5}
    if "args" not in options:
        options = {"args": arguments(folder, **usual | options)}
    made = trainer(model or static(), options["args"], data or pairs(), loss=loss, **more or {})
    made.train()
    return made


def run(name, folder):
    made = train(Path(folder) / name.replace(" ", "_"), **RUNS[name])
    return {"losses": losses_of(made), "weights": states(made)}


def pair_run(folder):
    """A cross-encoder."""
    torch.manual_seed(0)
    model = cross_encoder(folder)
    args = arguments(
        Path(folder) / "ce", CrossEncoderTrainingArguments, max_steps=3, per_device_train_batch_size=BATCH // count(),
        optim="sgd",  # Adam turns the rounding of gradients that are 0, as of the keys' biases, into steps
    )  # fmt: skip
    words = tiny_pairs.WORDS[4:12]
    data = pairs(16, label=[row % 2 for row in range(16)])
    data = data.map(
        lambda row, place: {"anchor": words[place % 8], "positive": words[place * 3 % 8]}, with_indices=True
    )
    made = train(folder, BinaryCrossEntropyLoss, data, model, CrossEncoderTrainer, args=args)
    return {"losses": losses_of(made), "weights": states(made)}


def evaluated_run(folder):
    """A run that evaluates, saves, and loads the best model at its end."""
    folder = Path(folder) / "evaluated"
    evaluator = EmbeddingSimilarityEvaluator(TEXTS[:20], TEXTS[20:40], SCORES[:20], name="dev")
    made = train(
        folder, losses.CosineSimilarityLoss, pairs(label=SCORES), max_steps=4, eval_strategy="steps", eval_steps=2,
        save_strategy="steps", save_steps=2, load_best_model_at_end=True, metric_for_best_model="dev_spearman_cosine",
        per_device_eval_batch_size=BATCH // count(),
        more={"evaluator": evaluator, "eval_dataset": pairs(ODD, label=SCORES[:ODD])},
    )  # fmt: skip
    logged = [line for line in made.state.log_history if "eval_loss" in line]
    return {
        "logged": [{key: line[key] for key in ("eval_loss", "eval_dev_spearman_cosine")} for line in logged],
        "weights": states(made),
        "best": Path(made.state.best_model_checkpoint).name,
        "csv": len(next((folder / "eval").glob("*.csv")).read_text().splitlines()),
    }


def resumed_run(folder):
    """Whether a run with dropout that goes on from a checkpoint ends as the unbroken one does."""
    found = []
    for resume in (None, str(Path(folder) / "resumed" / "checkpoint-3")):
        torch.manual_seed(rank())
        model = transformer(Path(folder) / "dropping", hidden_dropout_prob=0.1)
        args = arguments(
            Path(folder) / "resumed", num_train_epochs=2, save_strategy="steps", save_steps=3, learning_rate=1e-3,
            per_device_train_batch_size=BATCH // count(), batch_sampler="no_duplicates",
        )  # fmt: skip
        made = SentenceTransformerTrainer(model, args, pairs(), loss=losses.MultipleNegativesRankingLoss)
        made.train(resume_from_checkpoint=resume)
        found.append((losses_of(made), states(made)))
    (whole, state), (rest, again) = found
    same = rest[-5:] == whole[-5:] and all(map(torch.equal, state, again))
    return {"same": same, "files": sorted(path.name for path in (Path(folder) / "resumed" / "checkpoint-6").iterdir())}


def in_step(folder):
    """Losses whose value depends on who shares a batch: the weights after some steps, in which processes must agree."""
    data = pairs(label=SCORES)
    classes = data.select_columns("anchor").add_column("label", [row % 4 for row in range(32)])
    texts = data.select_columns(["anchor", "positive"])
    small = transformer(Path(folder) / "small")
    cases = {
        "CoSENT": (losses.CoSENTLoss, data, static(), {}),
        "batch hard": (losses.BatchHardTripletLoss, classes, static(), {"batch_sampler": "group_by_label"}),
        "TSDAE": (losses.DenoisingAutoEncoderLoss, texts, small, {}),
        "contrastive tension": (losses.ContrastiveTensionLossInBatchNegatives, texts, static(), {}),
        "adaptive layers": (
            lambda model: losses.AdaptiveLayerLoss(model, losses.MultipleNegativesRankingLoss(model)),
            texts, transformer(Path(folder) / "small"), {},
        ),
        "a stream": (losses.MultipleNegativesRankingLoss, texts.to_iterable_dataset(), static(), {}),
    }  # fmt: skip
    found = {}
    for name, (loss, rows, model, options) in cases.items():
        made = train(Path(folder) / "in_step", loss, rows, model, max_steps=3, **options)
        found[name] = {"losses": losses_of(made), "weights": states(made)}
    return found


def encoded(folder):
    """Vectors, scores and metrics, made together."""
    small = transformer(Path(folder) / "small")
    pair_model = cross_encoder(folder)
    words = tiny_pairs.WORDS[4:12]
    queries, corpus = {str(row): TEXTS[row] for row in range(9)}, {str(row): TEXTS[row] for row in range(5, 60)}
    evaluator = InformationRetrievalEvaluator(queries, corpus, {str(row): {str(row + 5)} for row in range(9)})
    with spread():
        return {
            "vectors": small.encode([*TEXTS, *TEXTS[:5]]),
            "one": small.encode(TEXTS[0]),
            "none": small.encode([]).shape,
            "tensor": small.encode(TEXTS[:7], convert_to_tensor=True),
            "codes": small.encode(TEXTS, precision="binary", normalize_embeddings=True),
            "scores": pair_model.predict([(one, other) for one in words for other in words]),
            "metrics": evaluator(small),
        }


def gathered_gradient():
    """The gradient of a function of all processes' rows, 3 here and 2 there, for each process's own rows."""
    rows = torch.arange(15.0, dtype=torch.double).view(5, 3) / 7
    own = (rows[:3] if rank() == 0 else rows[3:]) if count() > 1 else rows
    own = own.clone().requires_grad_()
    (every,), first = gather([own])
    value = (own @ every.T).exp().sum()  # summed over processes, what one process has
    value.backward()
    parts = [None] * count()
    if count() > 1:
        distributed.all_gather_object(parts, (own.grad, first))
    else:
        parts = [(own.grad, first)]
    return {"gradient": torch.cat([part for part, _ in parts]), "starts": [start for _, start in parts]}


def sharded(folder):
    """The weights after a step of a model that is cut up among the processes (FSDP2), saved whole and loaded again."""
    model = transformer(Path(folder) / "small")
    layers = model[0].auto_model.encoder.layer
    if count() > 1:
        mesh = init_device_mesh("cpu", (count(),))
        for block in (*layers, model):
            fully_shard(block, mesh=mesh)
    loss, optimizer = losses.CosineSimilarityLoss(model), torch.optim.SGD(model.parameters(), lr=0.1)
    rows, _ = share(range(BATCH))
    columns = [model.tokenize([TEXTS[row + start] for row in rows]) for start in (0, 20)]
    loss(columns, torch.tensor([SCORES[row] for row in rows])).backward()
    optimizer.step()
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))

    def write(folder):
        with checkpoints.holding(model, state):
            model.save_pretrained(folder)

    saved = SentenceTransformer(first_writes(write, Path(folder) / "whole"), device="cpu")
    return {"weights": list(saved.state_dict().values()), "is_cut": isinstance(next(model.parameters()), DTensor)}


def everything(folder, parts=()):
    """What each part found; without names, all of them."""
    known = {name: partial(run, name) for name in RUNS}
    known |= {"cross-encoder": pair_run, "evaluated": evaluated_run, "resumed": resumed_run, "sharded": sharded}
    known |= {"in step": in_step, "encoded": encoded, "gathered": lambda _: gathered_gradient()}
    return {name: known[name](folder) for name in parts or known}


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    folder = Path(sys.argv[1])
    np.random.seed(0)
    torch.save(everything(folder / "shared", sys.argv[2:]), folder / f"found{os.environ['RANK']}")
