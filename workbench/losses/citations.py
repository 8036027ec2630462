"""What to cite for a loss: the papers behind it and behind the losses that it is built on, from ``citations.bib``."""

import re
from functools import cache
from pathlib import Path

from torch import nn

__all__ = ["citations"]


def citations(loss: nn.Module) -> list[str]:
    """Return BibTeX entries: of the class of ``loss`` and its base classes; a loss of one's own adds ``citation``."""
    kinds = [kind.__module__.rpartition(".")[2] + "." + kind.__name__ for kind in type(loss).__mro__]
    own = getattr(loss, "citation", "")
    return [*([own] if own else []), *(entry for kind in kinds for names, entry in _entries() if kind in names)]


@cache
def _entries() -> list[tuple[list[str], str]]:
    text = Path(__file__).with_suffix(".bib").read_text(encoding="utf-8")
    return [(names.split(), entry) for names, entry in re.findall(r"^% ([\w. ]+)\n(@.*?^\})$", text, re.M | re.S)]
