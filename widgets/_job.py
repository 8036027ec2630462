"""One run of a panel: its inputs, its progress, its end, and how a failure reads."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from widgets._theme import in_html
from workbench.errors import Cancelled, WorkbenchError
from workbench.progress import Bar

__all__ = ["Job", "error_line"]


@dataclass(eq=False)
class Job:
    """One run: the inputs it began with, and its way to report progress and to stop."""

    inputs: dict[str, Any]
    show: Callable[["Job", Bar], None]
    begun: float = field(default_factory=time.monotonic)
    worked: float | None = None  # when the first progress came: loading a model says nothing of the speed
    reported: float = 0.0
    cancelled: bool = False

    def heard(self, bar: Bar) -> None:
        """Pass progress on, at most ten times a second and whenever work begins, or stop the work."""
        self.check()
        now = time.monotonic()
        self.worked = self.worked or now
        if now - self.reported > 0.1 or not bar.done:
            self.reported = now
            self.show(self, bar)

    def check(self) -> None:
        """Raise ``Cancelled`` if the user has asked for it."""
        if self.cancelled:
            raise Cancelled("The run was cancelled.")

    def seconds(self) -> float:
        """Return how long the run has taken so far."""
        return time.monotonic() - self.begun


def error_line(error: BaseException) -> str:
    """Return an error as HTML: one line in plain words; what else there is to know is folded."""
    own = isinstance(error, WorkbenchError)
    said = str(error).strip() or type(error).__name__
    first = said.splitlines()[0] if own else f"{type(error).__name__}: {said.splitlines()[0]}"
    whole = said if own else "".join(traceback.format_exception(error))
    details = f"<details><summary>Details</summary><pre>{in_html(whole)}</pre></details>" if whole != first else ""
    return f"<div class='wb-error' role='alert'>{in_html(first)}{details}</div>"
