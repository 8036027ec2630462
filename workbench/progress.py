"""Progress of long work: one switch for every bar, and a way for panels to listen and to cancel."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["Bar", "LoggingHandler", "disable_logging", "listen", "show_progress", "track"]

_switch: bool | None = {"0": False, "1": True}.get(os.environ.get("WORKBENCH_PROGRESS", ""))
_listener: ContextVar[Callable[["Bar"], None] | None] = ContextVar("listener", default=None)


def show_progress(on: bool | None) -> None:
    """Switch all progress bars on (True), off (False), or on in interactive use only (None, the default).

    The environment variable ``WORKBENCH_PROGRESS`` (0 or 1) sets the switch at start-up.
    """
    global _switch
    _switch = on


@dataclass
class Bar:
    """Work done so far out of a total, which may grow or shrink while the work goes on."""

    desc: str
    unit: str
    total: float
    done: float = 0
    _drawn: Any = None
    _listener: Callable[["Bar"], None] | None = None

    def update(self, amount: float, *, total: float | None = None) -> None:
        """Add ``amount`` of work done; a listener may raise ``Cancelled`` here to stop the work."""
        self.done += amount
        if total is not None:
            self.total = total
        if self._drawn is not None:
            self._drawn.total = max(self.total, self.done)
            self._drawn.update(amount)
        if self._listener is not None:
            self._listener(self)


@contextmanager
def listen(listener: Callable[[Bar], None]) -> Iterator[None]:
    """Send all progress made in this context to ``listener`` in place of drawing bars."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def track(total: float, *, unit: str, desc: str, show: bool | None = None) -> Iterator[Bar]:
    """Give a ``Bar`` for a piece of work; ``show=None`` follows the switch of ``show_progress``."""
    listener = _listener.get()
    wanted = show if show is not None else _switch if _switch is not None else _is_interactive()
    bar = Bar(desc, unit, total, _listener=listener)
    if not wanted or listener is not None:
        yield bar
        return
    from tqdm.auto import tqdm

    # A bar that asked for itself is drawn at once; one nobody asked for only when the work turns out to be long.
    with tqdm(total=total, desc=desc, unit=f" {unit}", unit_scale=True, delay=0 if show else 0.5) as drawn:
        bar._drawn = drawn
        yield bar


class LoggingHandler(logging.Handler):
    """Prints what is logged between progress bars, not into them: ``logging.basicConfig(handlers=[LoggingHandler()])``.

    Args:
        level: what is below it is left out.
    """

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        from tqdm.auto import tqdm

        try:
            tqdm.write(self.format(record))
        except Exception:  # logging must not end what it tells of
            self.handleError(record)


@contextmanager
def disable_logging(highest_level: int = logging.CRITICAL) -> Iterator[None]:
    """Log nothing up to ``highest_level`` while this is open."""
    before = logging.root.manager.disable
    logging.disable(highest_level)
    try:
        yield
    finally:
        logging.disable(before)


def _is_interactive() -> bool:
    return hasattr(sys, "ps1") or ("IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None)
