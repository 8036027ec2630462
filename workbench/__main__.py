"""``python -m workbench``: the command line, where its console script is not on the path."""

from workbench.cli import app

__all__: list[str] = []

if __name__ == "__main__":
    app(prog_name="workbench")
