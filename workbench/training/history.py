"""What a run has logged, as plain data, and a hand on its brake: pause, go on or stop it from another thread."""

import re
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History", "logged_rows"]

_POINTS = 100  # logged values of a run at least, where it has as many steps
_TIMES = re.compile(r"^train_|^total_flos$|_(runtime|per_second|compilation_time)$")  # of the run, or the clock


def logged_rows(log: Iterable[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return one row for each step that has logged: ``step``, ``epoch``, ``loss``, ``learning_rate``, metrics.

    Args:
        log: ``trainer.state.log_history``.
    """
    rows: dict[int, dict[str, float]] = {}
    for line in log:
        kept = {name: value for name, value in line.items() if not _TIMES.search(name)}
        if kept.keys() - {"step", "epoch"}:
            rows.setdefault(kept["step"], {"step": kept["step"]}).update(kept)
    return list(rows.values())


class History(TrainerCallback):
    """Follows a run: ``trainer.add_callback(history)``. A subclass shows it in ``changed``.

    Every method may be called from any thread, while the run goes on in another. A run that is paused or stopped ends
    the step that it is in first.

    Attributes:
        total: steps of the whole run, 0 before it begins.
        paused: whether the run waits.
        stopped: whether it was told to stop.
    """

    def __init__(self) -> None:
        self.total = 0
        self.stopped = False
        self._log: list[dict[str, Any]] = []
        self._free = threading.Event()
        self._free.set()

    @property
    def paused(self) -> bool:  # noqa: D102 - the class describes it
        return not self._free.is_set()

    @property
    def rows(self) -> list[dict[str, float]]:
        """What was logged, one row a step; a run that was resumed has what was logged before, too."""
        return logged_rows(self._log.copy())

    def to_frame(self) -> "pd.DataFrame":
        """Return ``rows`` as a table; a value that a step did not log is missing."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def pause(self) -> None:
        """Let the run wait after the step that it is in."""
        self._free.clear()

    def resume(self) -> None:
        """Let a paused run go on."""
        self._free.set()

    def stop(self) -> None:
        """End the run after the step that it is in, as if it were the last; the model keeps its weights."""
        self.stopped = True
        self._free.set()

    def changed(self, *, last: bool = False) -> None:
        """Take note of something new in ``rows``; ``last`` when the run has ended."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin anew, and have the run log often enough to be followed."""
        self.stopped, self.total, self._log = False, state.max_steps, state.log_history
        state.logging_steps = max(1, min(state.logging_steps, state.max_steps // _POINTS))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait or stop, if asked to."""
        self._free.wait()
        control.should_training_stop |= self.stopped

    on_substep_end = on_step_end

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell that there is something new; of several processes, the first."""
        if state.is_world_process_zero:
            self.changed()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell that the run has ended."""
        if state.is_world_process_zero:
            self.changed(last=True)
