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

STEPS, KILLS = 75, 10

NOT_REAPED = os.WEXITED | os.WNOHANG | os.WNOWAIT


def train(folder):
    """Train to the end, from the last whole checkpoint if there is one; returns the weights."""
    args = arguments(
        folder, max_steps=STEPS, save_strategy="steps", save_steps=3, save_total_limit=2, logging_strategy="no"
    )
    trainer = SentenceTransformerTrainer(static(), args, pairs(), loss=MultipleNegativesRankingLoss)
    whole = any(Path(folder).glob("checkpoint-*/trainer_state.json"))
    trainer.train(resume_from_checkpoint=whole)
    return trainer.model[0].embedding.weight.detach()


def live(folder, delay=None):
    """Train in a child process, killed ``delay`` seconds after it began a checkpoint; returns whether it ended."""
    before = set(Path(folder).glob("checkpoint-*"))
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.save(train(folder), Path(folder) / "weights")
            status = 0
        finally:
            os._exit(status)
    if delay is not None:
        while set(Path(folder).glob("checkpoint-*")) <= before and not os.waitid(os.P_PID, child, NOT_REAPED):
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, draw = sys.argv[1], random.Random(0)
    ended, half = [], 0
    for _ in range(KILLS):
        ended.append(live(folder, draw.uniform(0, 0.03)))
        half += any(not (path / "trainer_state.json").exists() for path in Path(folder).glob("checkpoint-*"))
    print(f"killed {ended.count(False)} times, {half} in a checkpoint; came to its end: {live(folder)}")
