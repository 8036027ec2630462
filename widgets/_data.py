"""What a person may bring as data (a frame, a data set, a file, texts, a bundled set), and its columns of text."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from widgets._theme import cut
from workbench.errors import WorkbenchError, choose
from workbench.texts import as_texts

__all__ = ["FILES", "as_frame", "bundled_sets", "is_data", "read_file", "same", "text_columns"]

_FILES = {  # what a file of each kind should hold
    ".csv": "lines of UTF-8 whose fields are parted by commas, the names of the columns first",
    ".tsv": "lines of UTF-8 whose fields are parted by tabs, the names of the columns first",
    ".jsonl": "a JSON object on every line, in UTF-8",
    ".parquet": "a whole Parquet file",
}
FILES = tuple(_FILES)


def is_data(value: object) -> bool:
    """Whether a value is a table or a file of one, rather than texts."""
    return isinstance(value, Path) or hasattr(value, "columns") or hasattr(value, "to_pandas")


def bundled_sets() -> dict[str, Path]:
    """Return the small sets that came along with the notebooks, if they are there: name → file."""
    folder = Path(__file__).parents[1] / "notebooks" / "data"
    return {path.stem: path for path in sorted(folder.glob("*.csv"))}


def read_file(file: Any, name: str) -> pd.DataFrame:
    """Read a CSV, TSV, JSONL or Parquet file, which its name tells; only an empty field of a table is a gap.

    Raises:
        WorkbenchError: the file is of another kind, is not there, or cannot be read.
    """
    table: Any = partial(pd.read_csv, keep_default_na=False, na_values=[""])
    lines: Any = partial(pd.read_json, lines=True, dtype=False)
    kinds = dict(zip(FILES, (table, partial(table, sep="\t"), lines, pd.read_parquet), strict=True))
    reader = choose("kind of file", Path(name).suffix.lower(), kinds)
    try:
        frame: pd.DataFrame = reader(file)
    except (ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise WorkbenchError(f"There is no file {name}. Paths begin at {Path.cwd()}.") from error
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise WorkbenchError(f"{name} cannot be read: {said}. Expected {_FILES[Path(name).suffix.lower()]}.") from error
    return frame


def as_frame(data: Any) -> pd.DataFrame:
    """Return a DataFrame, with strings as names of its columns, of whatever a person brings.

    Args:
        data: a DataFrame, a ``datasets.Dataset``, the path of a CSV, TSV, JSONL or Parquet file, the name of a bundled
            set, a list of records (dicts), or texts, which become the column "text".

    Raises:
        WorkbenchError: it is nothing of these, or two columns have the same name.
    """
    if isinstance(data, str):
        data = Path(data) if Path(data).suffix else choose("data set", data, bundled_sets())
    if isinstance(data, Path):
        frame = read_file(data, str(data))
    elif isinstance(data, pd.DataFrame):
        frame = data
    elif hasattr(data, "to_pandas"):
        frame = data.to_pandas()
    else:
        rows = data if isinstance(data, list) else list(as_texts(data, name="data")[0])
        records = bool(rows) and isinstance(rows[0], Mapping)
        frame = pd.DataFrame(rows if records else {"text": as_texts(rows, name="data")[0]})
    frame = frame.rename(columns=str)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise WorkbenchError(f"Two columns are called {twice!r}. Rename one of them first.")
    return frame


def text_columns(frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns that hold text, with a blank text for every gap.

    Raises:
        WorkbenchError: there is none.
    """
    if not len(frame):
        raise WorkbenchError("This data has no rows. Choose data with texts in it; a table needs more than its header.")
    found = {}
    for name in frame.columns:
        values, gaps = frame[name].tolist(), frame[name].isna()
        if any(isinstance(value, str) for value in values):
            found[str(name)] = ["" if gap else value for value, gap in zip(values, gaps, strict=True)]
    if not found:
        names = ", ".join(cut(str(name)) for name in frame.columns[:5])
        raise WorkbenchError(
            f"No column of this data holds text; it has {names}. Choose other data, or convert with .astype(str) first."
        )
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values of an input are equal; frames, arrays and models have ideas of their own about ``==``."""
    if one is other or type(one) is not type(other):
        return one is other
    if hasattr(one, "equals"):
        return bool(one.equals(other))
    return not hasattr(one, "__array__") and bool(one == other)  # vectors are the same if they are the same object
