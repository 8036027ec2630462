"""Every error and warning the workbench raises, and the one way to look a name up in a table of choices.

WorkbenchError
├── TextTypeError        (TypeError)    an input that is not text: names its index and type
├── ChoiceError          (ValueError)   an unknown name: lists the names there are
├── DependencyError      (ImportError)  an optional package is missing: says what to install
├── ModelNotFoundError   (OSError)      no such model: says where it was looked for
├── ModelFormatError     (ValueError)   a model folder that is damaged or not one we know
│   └── UnsafeModelError                ... that asks to run code or to read outside itself
├── VectorError          (ValueError)   vectors that cannot be used: names their rows, or both numbers of dimensions
├── DataFormatError      (ValueError)   a saved index, store or table that is damaged or not one of ours
├── ImageError           (ValueError)   a picture that cannot be used: names its row, and its file
├── ColumnsError         (ValueError)   a data set does not fit a loss or an evaluator: says which columns would
├── TrainingError        (RuntimeError) training had to stop: says at which step, on which rows, and what to do
├── ServiceError         (RuntimeError) a search server does not answer or refuses: says what was done until then
├── WorkerError          (RuntimeError) a worker process raised or died: names it
└── Cancelled                           the user stopped the work
"""

from collections.abc import Mapping
from typing import TypeVar

__all__ = [
    "Cancelled", "ChoiceError", "ColumnsError", "DataFormatError", "DependencyError", "ImageError", "ModelFormatError",
    "ModelNotFoundError", "ServiceError", "TextTypeError", "TrainingError", "TruncationWarning", "UnsafeModelError",
    "VectorError", "WorkbenchError", "WorkerError", "choose",
]  # fmt: skip

_T = TypeVar("_T")


class WorkbenchError(Exception):
    """Base of every error that the workbench raises on purpose."""


class TextTypeError(WorkbenchError, TypeError):
    """An input is not text; the message names its index and its type."""


class ChoiceError(WorkbenchError, ValueError):
    """A name is not among the known ones; the message lists them."""


class DependencyError(WorkbenchError, ImportError):
    """A feature needs a package that is not installed; the message says which extra brings it."""


class ModelNotFoundError(WorkbenchError, OSError):
    """A model was not found; the message lists the places that were tried."""


class ModelFormatError(WorkbenchError, ValueError):
    """A model folder is damaged, incomplete, or in no known format."""


class UnsafeModelError(ModelFormatError):
    """A model folder asks for code to be run or for a file outside the folder."""


class VectorError(WorkbenchError, ValueError):
    """Vectors cannot be used; the message names their rows, or the dimensions found and expected."""


class DataFormatError(WorkbenchError, ValueError):
    """A saved index, store or table is damaged, incomplete, or in no known format."""


class ImageError(WorkbenchError, ValueError):
    """A picture cannot be used: it is unreadable, too large, or none; the message names its file or its row.

    Attributes:
        source: what was given as the picture.
        row: its place among the rows, where there are rows.
    """

    def __init__(self, message: str, source: object = None, row: int | None = None) -> None:
        super().__init__(message)
        self.source, self.row = source, row

    def at(self, row: int) -> "ImageError":
        """Return the same error with the picture's place in it."""
        return ImageError(f"Row {row}: {self}", self.source, row)


class ColumnsError(WorkbenchError, ValueError):
    """The columns or rows of a data set do not fit a loss or an evaluator; the message says what would."""


class TrainingError(WorkbenchError, RuntimeError):
    """Training had to stop; the message names the step and what to do."""


class ServiceError(WorkbenchError, RuntimeError):
    """A server does not answer, or refuses; the message says what was done until then."""


class WorkerError(WorkbenchError, RuntimeError):
    """A worker process of a pool raised an exception or died."""


class Cancelled(WorkbenchError):  # noqa: N818 (not a fault)
    """The user cancelled the work."""


class TruncationWarning(UserWarning):
    """Some texts were longer than the model's maximum and were cut."""


def choose(what: str, name: object, choices: Mapping[str, _T]) -> _T:
    """Return ``choices[name]``.

    Raises:
        ChoiceError: ``name`` is not a key; the message says what came and lists the keys.
    """
    if isinstance(name, str) and name in choices:
        return choices[name]
    known = ", ".join(repr(choice) for choice in choices) or "none"
    raise ChoiceError(f"Unknown {what} {name!r}. Choose one of: {known}.")
