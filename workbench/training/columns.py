"""The check of a data set's columns against what a loss takes, before the first step."""

__all__ = ["VALID_LABEL_COLUMNS"]

VALID_LABEL_COLUMNS = ("label", "labels", "score", "scores")
"""What a column of labels may be called; every other column holds texts."""
