"""Public names of a package, imported on first use (PEP 562), so that importing the package itself costs nothing."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["lazy"]


def lazy(
    package: str, homes: Mapping[str, str], methods: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for ``package``, whose names live in the modules that ``homes`` names.

    A name whose home is the empty string is a submodule of the package.

    Args:
        package: the package's name.
        homes: by name, the module of the package that it lives in.
        methods: by ``Class.method``, the function of the package that a class gets as its method when it is first asked
            for; it may live on a higher floor than the class, and is imported when it is called.
    """
    wanted = {name.partition(".")[0]: name.partition(".")[2] for name in methods or {}}

    def method(home: str) -> Callable[..., Any]:
        module, _, name = home.rpartition(".")

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(importlib.import_module(f"{package}.{module}"), name)(self, *args, **kwargs)

        call.__name__, call.__doc__ = name, f"See ``{package}.{home}``."
        return call

    def __getattr__(name: str) -> Any:  # noqa: N807 (PEP 562 asks for this name)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{homes[name] or name}")
        found = getattr(module, name) if homes[name] else module
        if name in wanted:
            setattr(found, wanted[name], method((methods or {})[f"{name}.{wanted[name]}"]))
        return found

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(homes)

    return __getattr__, __dir__
