"""Inputs of a panel, each declared once: what it takes, how it is called, and the control of the form that shows it."""

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import traitlets as tr

from widgets._data import same
from widgets._models import known_models, model_name
from widgets._theme import cut
from workbench.errors import WorkbenchError, choose
from workbench.texts import as_texts, clean

__all__ = ["Choice", "Column", "Model", "Texts", "controls", "signature"]

_WRITTEN = 2000  # lines that a text area shows


class Choice(tr.TraitType[str, str]):
    """A name out of a few, or of a mapping from each to what the form calls it; where ``none`` says so, "" too."""

    def __init__(self, default: str, known: Collection[str] = (), *, none: str = "") -> None:
        super().__init__(default)
        self._names, self._none, self._called = known, none, self.name

    def known(self, panel: Any) -> Collection[str]:
        """Return the names that can be chosen now."""
        return self._names

    def validate(self, obj: Any, value: Any) -> str:
        """Refuse an unknown name with a list of the known ones."""
        name = str(value)
        if name or not self._none:
            choose(self._called or str(self.name), name, dict.fromkeys(self.known(obj)))
        return name

    def options(self, panel: Any) -> list[tuple[str, str]]:
        """Return label and name of each choice."""
        known = self.known(panel)
        labels = known if isinstance(known, Mapping) else {name: cut(name) for name in known}
        return [(self._none, "")] * bool(self._none) + [(label, name) for name, label in labels.items()]


class Column(Choice):
    """A column of the panel's data, or "", which reads ``none``; ``text``: one that holds text."""

    def __init__(self, *, none: str = "none", text: bool = False) -> None:
        super().__init__("", none=none)
        self._text, self._called = text, "column"

    def known(self, panel: Any) -> Collection[str]:
        """Return the columns that there are."""
        return list(panel.known_columns(text=self._text))


class Texts(tr.TraitType[Any, Any]):
    """A list of texts; any iterable of texts becomes one."""

    def make_dynamic_default(self) -> list[str]:
        """Return no texts."""
        return []

    def validate(self, obj: Any, value: Any) -> list[str]:
        """Refuse what is not text."""
        return clean(as_texts(value, name=str(self.name))[0])


class Model(tr.Any):
    """A model: a name, a folder, or an object with the ``method`` that the panel calls.

    Args:
        default: a name.
        method: what the panel calls.
        kind: of the known models that the form offers.
        none: whether it offers to have none, which is "".
        everywhere: whether it offers those too that must be fetched.
    """

    def __init__(
        self,
        default: str,
        method: str = "encode",
        *,
        kind: str = "bi-encoder",
        none: bool = False,
        everywhere: bool = False,
    ) -> None:
        super().__init__(default)
        self._method, self._kind, self._none, self._everywhere = method, kind, none, everywhere

    def validate(self, obj: Any, value: Any) -> Any:
        """Refuse at once what cannot be a model."""
        if isinstance(value, (str, Path)):
            return str(value)
        if not hasattr(value, self._method):
            kind = type(value).__name__
            raise WorkbenchError(
                f"{self.name} is of type {kind}; expected a name, a folder or an object with {self._method}()."
            )
        return value

    def options(self, panel: Any) -> list[tuple[str, Any]]:
        """Return label and name of the models to choose from."""
        return [("none", "")] * self._none + known_models(self._kind, everywhere=self._everywhere)


_CONTROLS: dict[type, type[widgets.Widget]] = {  # the first that fits
    Model: widgets.Dropdown,
    Choice: widgets.Dropdown,
    tr.Bool: widgets.Dropdown,
    Texts: widgets.Textarea,
    tr.Int: widgets.BoundedIntText,
    tr.Float: widgets.BoundedFloatText,
    tr.Unicode: widgets.Text,
}


def controls(panel: Any) -> dict[str, widgets.Widget]:
    """Make the controls of a panel's inputs that have a label, by name; an input and its control follow each other.

    A trait says what it looks like by ``tag(label=…)``. Further tags are options of the widget; ``kind`` is its class.
    """
    made = {}
    for name in panel.inputs:
        trait = panel.traits()[name]
        if label := trait.metadata.get("label"):
            made[name] = _control(panel, trait)
            if isinstance(trait, Model):
                called = f"{label}: another name or folder"
                made[f"{name} by name"] = other = widgets.Text(description=called, continuous_update=False)
                other.observe(
                    lambda change, name=name: panel.pick(name, change["new"].strip() or getattr(panel, name)), "value"
                )
    return made


def signature(panel: Any) -> inspect.Signature:
    """Return the signature of a class of panels: the arguments of its constructor, and its other inputs by name."""
    first = list(inspect.signature(panel.__init__).parameters.values())[1:-1]
    names = dict.fromkeys([*getattr(panel, "inputs", ()), "report"])
    usual = {name: getattr(getattr(panel, name, None), "default_value", None) for name in names}
    rest = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=usual[name]) for name in names]
    return inspect.Signature([*first, *(one for one in rest if one.name not in [own.name for own in first])])


def _control(panel: Any, trait: Any) -> widgets.Widget:
    given = {"description": trait.metadata["label"], **trait.metadata}
    kind = given.pop("kind", None) or next(kind for base, kind in _CONTROLS.items() if isinstance(trait, base))
    del given["label"]
    if hasattr(trait, "options"):
        given["options"] = trait.options(panel)
    if "continuous_update" in kind.class_trait_names():
        given["continuous_update"] = False
    if "max" in kind.class_trait_names():
        given = {"min": trait.min, "max": trait.max} | given
    control = kind(**given)
    control.observe(lambda change: panel.pick(trait.name, _read(trait, change["new"])), "value")
    panel.observe(lambda change: _follow(panel, trait, control), trait.name)
    _follow(panel, trait, control)
    return control


def _follow(panel: Any, trait: Any, control: Any) -> None:
    """Show the value of an input, unless its control says the same already, if perhaps in other words."""
    value, options = getattr(panel, trait.name), None
    if not same(_read(trait, control.value), value):
        if isinstance(trait, Model) and value not in [known for _, known in control.options]:
            options = [*control.options, (model_name(value), value)]
        if isinstance(trait, Texts):
            value = "\n".join(" ".join(text.splitlines()) for text in value[:_WRITTEN])
        panel.fill(control, options, 0 if value is None else value)


def _read(trait: Any, value: Any) -> Any:
    """What the value of a control stands for."""
    if isinstance(trait, Texts):
        return [line.strip() for line in value.splitlines() if line.strip()]
    return value or None if isinstance(trait, tr.Int) and trait.allow_none else value
