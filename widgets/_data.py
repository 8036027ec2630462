"""What a person may bring as data, a frame, a data set or a file, and the columns of it that hold text."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError, choose

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_frame", "is_data", "text_columns"]


def is_data(value: object) -> bool:
    """Whether a value is a table or a file of one, rather than texts."""
    return isinstance(value, Path) or hasattr(value, "columns") or hasattr(value, "to_pandas")


def as_frame(data: Any) -> "pd.DataFrame":
    """Return a DataFrame from a DataFrame, a ``datasets.Dataset``, or the path of a CSV, TSV, JSONL or Parquet file."""
    import pandas as pd

    if isinstance(data, Path):
        readers: dict[str, Any] = {
            ".csv": pd.read_csv,
            ".tsv": partial(pd.read_csv, sep="\t"),
            ".jsonl": partial(pd.read_json, lines=True),
            ".parquet": pd.read_parquet,
        }
        data = choose("kind of file", data.suffix.lower(), readers)(data)
    return pd.DataFrame(data if isinstance(data, pd.DataFrame) else data.to_pandas())


def text_columns(frame: "pd.DataFrame") -> dict[str, list[str]]:
    """Return the columns that hold text, with a blank text for every gap.

    Raises:
        WorkbenchError: there is none.
    """
    found = {}
    for name in frame.columns:
        values, gaps = frame[name].tolist(), frame[name].isna()
        if any(isinstance(value, str) for value in values):
            found[str(name)] = ["" if gap else value for value, gap in zip(values, gaps, strict=True)]
    if not found:
        raise WorkbenchError("No column of this data holds text. Convert one with .astype(str) first.")
    return found
