"""Different blocks for different kinds of text, such as queries and documents (asymmetric search)."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import nn

from workbench.errors import ModelFormatError, UnsafeModelError, choose
from workbench.folders import inside, read_json, write_json
from workbench.models.base import Features, InputModule, Module
from workbench.models.types import module_class, type_name
from workbench.texts import check_text
from workbench.tokens import IntArray, TokenRows

__all__ = ["Asym", "Router", "split_route"]


@dataclass(frozen=True)
class _RoutedRows(TokenRows):
    """What the first block of a route made of some texts (or the texts, if it can only make whole batches)."""

    route: str = ""
    inner: Any = None


class Router(InputModule):
    """Send every batch down one of several routes of blocks.

    As the first block, it reads the route from the rows: ``{"query": text}``, or ``default_route`` for a plain text;
    all rows of one call take the same. As a later block, it reads the route from ``features["task"]``.

    Args:
        sub_modules: the blocks of each route, in order.
        default_route: the route of plain texts; None is the first route if ``allow_empty_key``, else an error.
        allow_empty_key: see ``default_route``.
    """

    accepts = (dict,)
    config_file = "router_config.json"
    config_keys: ClassVar[tuple[str, ...]] = ("default_route", "allow_empty_key")

    def __init__(
        self, sub_modules: dict[str, list[nn.Module]], default_route: str | None = None, allow_empty_key: bool = True
    ) -> None:
        super().__init__()
        if not sub_modules or not all(sub_modules.values()):
            raise ValueError('sub_modules must name routes and blocks: {"query": [block, …], "document": [block]}.')
        self.default_route = next(iter(sub_modules)) if default_route is None and allow_empty_key else default_route
        if self.default_route is not None:
            choose("default_route", self.default_route, sub_modules)
        self.allow_empty_key = allow_empty_key
        self.sub_modules = nn.ModuleDict({route: nn.Sequential(*blocks) for route, blocks in sub_modules.items()})

    @classmethod
    def for_query_document(
        cls,
        query_modules: list[nn.Module],
        document_modules: list[nn.Module],
        default_route: str | None = "document",
        allow_empty_key: bool = True,
    ) -> "Router":
        """Make the two routes that ``encode_query`` and ``encode_document`` take."""
        return Router({"query": query_modules, "document": document_modules}, default_route, allow_empty_key)

    def _blocks(self, route: str | None) -> Any:
        if route is None and self.default_route is None:
            raise ValueError(f"This router has no default_route: name one of {[*self.sub_modules]} as {{route: text}}.")
        return choose("route", route or self.default_route, dict(self.sub_modules.items()))

    def _split(self, rows: list[Any]) -> tuple[str, Any, list[Any]]:
        """Return the one route of the rows (the default for plain texts), its first block, and what the rows hold."""
        named, texts = split_route(rows)
        first = self._blocks(named)[0]
        if not hasattr(first, "tokenize"):
            raise ValueError(f"{type(first).__name__}, the first block of route {named!r}, does not take texts.")
        for index, text in enumerate(texts):
            check_text(text, index, tuple(getattr(first, "accepts", ())))
        return str(named or self.default_route), first, texts

    def token_rows(self, texts: list[Any]) -> TokenRows:
        """Tokenise with the first block of the texts' route."""
        route, first, texts = self._split(texts)
        if isinstance(first, InputModule) and type(first).token_rows is not InputModule.token_rows:
            rows = first.token_rows(texts)
            return _RoutedRows({}, rows.starts, rows.cut, route, rows)
        sizes = (len(text) if isinstance(text, str) else 1 for text in texts)
        return _RoutedRows({}, np.cumsum([0, *sizes]), route=route, inner=texts)

    def token_counts(self, texts: list[Any]) -> IntArray:
        """Tokens per text before anything is cut."""
        _, first, texts = self._split(texts)
        return np.asarray(first.token_counts(texts))

    def collate(self, rows: Any, index: IntArray) -> Features:
        """Return the batch that the first block of the route makes, and the route as ``task``."""
        first, inner = self._blocks(rows.route)[0], rows.inner
        batch = first.tokenize([inner[i] for i in index]) if isinstance(inner, list) else first.collate(inner, index)
        return {**batch, "task": rows.route}

    def forward(self, features: Features, task: str | None = None, **kwargs: Any) -> Features:
        """Run the blocks of the route ``task``, else of ``features["task"]``, else of the default."""
        result: Features = self._blocks(task if task is not None else features.get("task"))(features)
        return result

    def get_sentence_embedding_dimension(self) -> int | None:
        """Length of the vectors that the routes give; None if no block knows it."""
        blocks: Any = chain.from_iterable(reversed(list(route.children())) for route in self.sub_modules.values())
        known = (block for block in blocks if hasattr(block, "get_sentence_embedding_dimension"))
        return next((block.get_sentence_embedding_dimension() for block in known), None)

    @property
    def _first(self) -> Any:
        return self._blocks(self.default_route or next(iter(self.sub_modules)))[0]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the default route, or of the first one."""
        return getattr(self._first, "tokenizer", None)

    @property
    def max_seq_length(self) -> int | None:
        """The limit of the default route, or of the first one; setting it sets that of all."""
        return getattr(self._first, "max_seq_length", None)

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        for route in self.sub_modules:
            self._blocks(route)[0].max_seq_length = value

    def save(self, output_path: str | Path, safe_serialization: bool = True) -> None:
        """Write every block to a folder of its own; one that several routes share is written once."""
        names: dict[Any, str] = {}
        for route in self.sub_modules:
            for place, block in enumerate(self._blocks(route)):
                names.setdefault(block, f"{route}_{place}_{type(block).__name__}")
        for block, name in names.items():
            path = inside(output_path, name)
            path.mkdir(parents=True, exist_ok=True)
            block.save(*(path, safe_serialization) if isinstance(block, Module) else (str(path),))
        types = {name: type_name(block) for block, name in names.items()}
        structure = {route: [names[block] for block in self._blocks(route)] for route in self.sub_modules}
        config = {"types": types, "structure": structure, "parameters": self.get_config_dict()}
        write_json(Path(output_path) / self.config_file, config)

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Make the router that this or any published version saved in a folder.

        Raises:
            UnsafeModelError: a block is of a type outside the closed table, or lies outside the folder.
            ModelFormatError: files are missing, damaged, or do not fit each other.
        """
        folder = Path(input_path)
        file = Router.config_file if inside(folder, Router.config_file).is_file() else Asym.config_file
        config = read_json(folder, file)
        types, structure, parameters = (config.get(key, {}) for key in ("types", "structure", "parameters"))
        listed = all(isinstance(table, dict) for table in (types, structure, parameters))
        if not listed or not all(isinstance(names, list) and names for names in structure.values()):
            raise ModelFormatError(f"{folder / file} does not list the types and routes of its blocks.")
        if parameters.get("route_mappings"):
            raise ModelFormatError(f"{folder / file} has route_mappings; only routes named by the rows are known.")
        blocks: dict[str, nn.Module] = {}
        for name, kind in types.items():
            path = inside(folder, name)
            if path.resolve() == folder.resolve():
                raise UnsafeModelError(f"{folder / file}: the block {name!r} lies in the router's own folder.")
            blocks[name] = module_class(kind).load(path)
        try:
            routes = {route: [blocks[name] for name in names] for route, names in structure.items()}
            return cls(routes, **{key: parameters[key] for key in cls.config_keys if key in parameters})
        except (TypeError, ValueError, KeyError) as error:
            raise ModelFormatError(f"{folder / file} does not describe a {cls.__name__}: {error}") from error


class Asym(Router):
    """The router of earlier versions: plain texts take the first route, and folders have the older layout."""

    config_file = "config.json"
    config_keys: ClassVar[tuple[str, ...]] = ("allow_empty_key",)

    def __init__(self, sub_modules: dict[str, list[nn.Module]], allow_empty_key: bool = True) -> None:
        super().__init__(sub_modules, None, allow_empty_key)


def split_route(rows: list[Any]) -> tuple[str | None, list[Any]]:
    """Return the one route that all rows name (None if they are plain texts), and what they hold.

    Raises:
        ValueError: a row names no route or several, or the rows name different ones.
    """
    for index, row in enumerate(rows):
        if isinstance(row, dict) and len(row) != 1:
            raise ValueError(f"Row {index} has {len(row)} keys; expected one route and its text: {{'query': text}}.")
    pairs = [next(iter(row.items())) if isinstance(row, dict) else (None, row) for row in rows]
    routes = Counter(route for route, _ in pairs)
    if len(routes) > 1:
        found = ", ".join(f"{count} for {repr(route) if route else 'none'}" for route, count in routes.items())
        raise ValueError(f"All rows of one call must take the same route, but there are {found}. Encode each apart.")
    return next(iter(routes), None), [text for _, text in pairs]
