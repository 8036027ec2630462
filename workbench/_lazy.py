"""Public names of a package, imported on first use (PEP 562), so that importing the package itself costs nothing."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for ``package``, whose names live in the modules that ``homes`` names.

    A name whose home is the empty string is a submodule of the package.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 (PEP 562 asks for this name)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{homes[name] or name}")
        return getattr(module, name) if homes[name] else module

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(homes)

    return __getattr__, __dir__
