"""A model that does what its texts say, for tests of worker processes: small, so that workers start fast."""

import os
import threading
import time

import torch
from torch import nn


class Trap(nn.Module):
    """A first block whose vector is the length of a text; or it raises, sleeps, or ends its process."""

    def tokenize(self, texts):
        for text in texts:
            if text == "raise":
                raise ArithmeticError("the trap was sprung")
            if text == "exit":
                os._exit(3)
            if text == "sleep":
                time.sleep(60)
        return {"sizes": torch.tensor([[float(len(text))] for text in texts])}

    def forward(self, features):
        return features | {"sentence_embedding": features["sizes"]}


class Unpicklable(Trap):
    """The same with a lock, which no process can send to another."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
