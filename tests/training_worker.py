"""A training run that is killed again and again: each life begins where the last whole checkpoint ends."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tests.tiny_training import arguments, pairs, static
from workbench.losses import MultipleNegativesRankingLoss
from workbench.training import SentenceTransformerTrainer

STEPS, EVERY, KILLS = 75, 3, 10  # EVERY: steps from a checkpoint to the next

NOT_REAPED = os.WEXITED | os.WNOHANG | os.WNOWAIT


def train(folder):
    """Train to the end, from the last whole checkpoint if there is one; returns the weights."""
    args = arguments(
        folder, max_steps=STEPS, save_strategy="steps", save_steps=EVERY, save_total_limit=2, logging_strategy="no"
    )
    trainer = SentenceTransformerTrainer(static(), args, pairs(), loss=MultipleNegativesRankingLoss)
    whole = any(Path(folder).glob("checkpoint-*/trainer_state.json"))
    trainer.train(resume_from_checkpoint=whole)
    return trainer.model[0].embedding.weight.detach()


def newest(folder):
    """The number of the last checkpoint that was begun."""
    return max((int(path.name.rpartition("-")[2]) for path in Path(folder).glob("checkpoint-*")), default=0)


def live(folder, begun=0, delay=None):
    """Train in a child process, killed ``delay`` seconds after it began so many checkpoints; whether it was killed."""
    before = newest(folder)
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.save(train(folder), Path(folder) / "weights")
            status = 0
        finally:
            os._exit(status)
    if delay is not None:
        while newest(folder) < before + EVERY * begun and not os.waitid(os.P_PID, child, NOT_REAPED):
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, draw = sys.argv[1], random.Random(0)
    killed = half = 0
    for number in range(KILLS):  # before the first checkpoint of a life, while it is written, and between two
        killed += live(folder, number % 3, draw.uniform(0, 0.05))
        half += any(not (path / "trainer_state.json").exists() for path in Path(folder).glob("checkpoint-*"))
    live(folder)
    print(f"killed {killed} times, {half} in a checkpoint; came to its end: {(Path(folder) / 'weights').exists()}")
