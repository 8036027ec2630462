"""Makes each exercise of the workshop from its solution: ``python notebooks/workshop/make_exercises.py``.

A cell tagged ``exercise`` keeps what stands above its line ``# SOLUTION``; a cell tagged ``solution-only`` is left out.
"""

from pathlib import Path

import nbformat

__all__ = ["exercise_of", "main"]

_MARK = "# SOLUTION"


def exercise_of(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook of tasks that belongs to a solution, which is left as it is.

    Raises:
        ValueError: a cell tagged ``exercise`` has nothing above or nothing below its line ``# SOLUTION``.
    """
    cells = []
    for cell in solution.cells:
        tags = cell.metadata.get("tags", [])
        if "solution-only" in tags:
            continue
        copy = nbformat.from_dict(cell)
        if "exercise" in tags:
            task, _, answer = cell.source.partition(f"\n{_MARK}\n")
            if not task.strip() or not answer.strip():
                raise ValueError(f"The cell {cell.id!r} needs a task, a line {_MARK!r} and an answer below it.")
            copy.source = task.rstrip()
        cells.append(copy)
    return nbformat.v4.new_notebook(cells=cells, metadata=solution.metadata)


def main() -> None:
    """Write the exercise beside each solution of this folder."""
    for path in sorted(Path(__file__).parent.glob("*_solution.ipynb")):
        exercise = exercise_of(nbformat.read(path, 4))
        nbformat.write(exercise, path.with_name(path.name.replace("_solution", "_exercise")))


if __name__ == "__main__":
    main()
