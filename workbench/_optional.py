"""Optional packages, imported at the door of the feature that needs them."""

import importlib
import importlib.util
from typing import Any

from workbench.errors import DependencyError

__all__ = ["is_training_available", "require"]


def require(module: str, *, extra: str) -> Any:
    """Import ``module``, or say which extra of this package brings it.

    Raises:
        DependencyError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"This needs {module.partition('.')[0]!r}, which is not installed. "
            f"Install it with: pip install 'sentence-workbench[{extra}]'"
        ) from error


def is_training_available() -> bool:
    """Whether the packages that training needs, accelerate and datasets, are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("accelerate", "datasets"))
