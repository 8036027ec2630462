"""Widgets that show nothing: one tells Python of clicks on plain figures, one answers when the page has caught up."""

from collections.abc import Callable, Iterable
from typing import Any

import anywidget
import traitlets as tr
from ipywidgets import Widget

__all__ = ["Clicks", "Echo"]

# A figure may be drawn anew at any time, which drops its listeners, so one is put on as the mouse or finger goes down.
_SCRIPT = """
function render({ model, el }) {
  const listen = ({ target }) => {
    const figure = target.closest?.('.js-plotly-plot');
    if (!figure?.on || !el.closest('.wb-panel')?.contains(figure)) return;
    figure.removeAllListeners('plotly_click');
    figure.on('plotly_click', ({ points: [point] }) => {
      model.set('point', [point.pointNumber].flat());
      model.save_changes();
    });
  };
  document.addEventListener('pointerdown', listen, true);
  return () => document.removeEventListener('pointerdown', listen, true);
}
export default { render };
"""


class Clicks(anywidget.AnyWidget):
    """Where the user has clicked last in a figure of the panel that this widget is in.

    Attributes:
        point: the number of the point, or row and column of the cell; empty before the first click.
    """

    _esm = _SCRIPT

    point = tr.List(tr.Int()).tag(sync=True)


class Echo(anywidget.AnyWidget):
    """Does something when all that other controls have sent before has been taken.

    A press of a button may overtake what was written before it: a page holds back the second change of a control until
    the kernel has taken the first, and the changes of two controls may come by different threads of the kernel.
    """

    _esm = """
    export default { initialize({ model }) {
        model.on("msg:custom", async (names) => {
            const models = await Promise.all(names.map((name) => model.widget_manager.get_model(name)));
            const until = Date.now() + 5000;
            while (models.some((one) => one._pending_msgs > 0) && Date.now() < until)
                await new Promise((done) => setTimeout(done, 5));
            model.send({});
        });
        model.set("here", true);
        model.save_changes();
    } };
    """

    here = tr.Bool(False).tag(sync=True)  # whether there is a page

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act, self._asked = act, False
        self.on_msg(self._answered)

    def act(self, controls: Iterable[Widget]) -> None:
        """Do it: at once where there is no page."""
        self._asked = True
        if self.here:
            self.send([control.model_id for control in controls])
        else:
            self._answered()

    def _answered(self, *message: Any) -> None:
        if self._asked:  # of two pages the first
            self._asked = False
            self._act()
