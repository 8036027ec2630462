"""Public names of a package, imported on first use (PEP 562), so that importing the package itself costs nothing."""

import gc
import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

__all__ = ["lazy"]


def _load(module: str) -> ModuleType:
    """Import a module; if that brings torch into the process, without the collector walking torch's objects.

    torch makes half a million objects that live as long as the process. Collections during the import, after it and at
    exit walk them all: a fifth of a short process's time. So the collector rests meanwhile, and what there is after it
    becomes permanent (``gc.freeze``); garbage made before is collected first, so that none of it is kept.
    """
    if "torch" in sys.modules or not gc.isenabled():
        return importlib.import_module(module)
    gc.collect()
    gc.disable()
    try:
        loaded = importlib.import_module(module)
        if "torch" in sys.modules:
            gc.freeze()
        return loaded
    finally:
        gc.enable()


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
            return getattr(_load(f"{package}.{module}"), name)(self, *args, **kwargs)

        call.__name__, call.__doc__ = name, f"See ``{package}.{home}``."
        return call

    def __getattr__(name: str) -> Any:  # noqa: N807 (PEP 562 asks for this name)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = _load(f"{package}.{homes[name] or name}")
        found = getattr(module, name) if homes[name] else module
        if name in wanted:
            setattr(found, wanted[name], method((methods or {})[f"{name}.{wanted[name]}"]))
        return found

    def __dir__() -> list[str]:  # noqa: N807
        return sorted(homes)

    return __getattr__, __dir__
