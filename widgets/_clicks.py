"""Clicks on the plain figures of a panel, told to Python by a widget that shows nothing."""

import anywidget
import traitlets as tr

__all__ = ["Clicks"]

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
