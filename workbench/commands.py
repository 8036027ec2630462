"""Commands that measure and mine: thin shells over ``workbench.scorecard``, ``workbench.evaluation`` and ``mining``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate", "mine_bitext", "tune"]


def _file(columns: str) -> Any:
    return typer.Option(help=f"A CSV, TSV, JSONL or Parquet file with the columns {columns}.")


def tune(
    model: Annotated[str, typer.Argument(help="A name or folder.")],
    texts: Annotated[Path | None, typer.Option(help="Texts like those to come: a text file, or a table.")] = None,
    column: Annotated[str, typer.Option(help="The column of texts, where the file is a table.")] = "text",
    backend: Annotated[list[str] | None, typer.Option(help="torch, onnx or openvino; may be repeated.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="float32, float16, bfloat16 or int8; may be repeated.")
    ] = None,
    budget: Annotated[list[int] | None, typer.Option(min=1, help="Tokens in a batch; may be repeated.")] = None,
    least: Annotated[float, typer.Option(min=0, max=1, help="Likeness to torch that is good enough.")] = 0.99,
    max_texts: Annotated[int, typer.Option(min=3, help="Of more texts, a sample is taken.")] = 500,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is timed.")] = 3,
    out: Annotated[Path | None, typer.Option(help="A folder to keep the exports in.")] = None,
) -> None:
    """Measure how fast a model runs here under each backend, precision and batch size, and recommend one."""
    from workbench.evaluation import tune as measure
    from workbench.readers import lines_of
    from workbench.scorecard import read_columns

    rows = None
    if texts is not None:
        plain = texts.is_file() and texts.name.removesuffix(".gz").endswith(".txt")
        rows = [line for line in lines_of(texts) if line.strip()] if plain else read_columns(texts, [column])[0]
    table = measure(
        model, rows, backends=backend, precisions=precision, budgets=budget, least=least, max_texts=max_texts,
        rounds=rounds, out=out,
    )  # fmt: skip
    shown = table.drop(columns=["code", "note"]).assign(recommended=table.recommended.map({True: "<-", False: ""}))
    for name, form in {"texts_per_second": "{:,.0f}", "speedup": "{:.2f}x", "mean_cosine": "{:.4f}"}.items():
        shown[name] = shown[name].map(form.format)
    _show(shown.assign(spearman=table.spearman.map("{:.4f}".format))[table.note == ""])
    for row in table[table.note != ""].to_dict("records"):
        typer.echo(f"{row['backend']}, {row['precision']}: {row['note']}")
    chosen = table[table.recommended]
    typer.echo(f"\n{chosen.code.iloc[0]}" if len(chosen) else "\nNothing is good enough: lower --least.")


def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names or folders, compared side by side.")],
    sts: Annotated[Path | None, _file("sentence1, sentence2, score")] = None,
    ir: Annotated[Path | None, typer.Option(help="A folder: BEIR's layout, or corpus.csv and queries.csv.")] = None,
    pairs: Annotated[Path | None, _file("sentence1, sentence2, label (1: the same meaning, 0: not)")] = None,
    clusters: Annotated[Path | None, _file("text, label")] = None,
    bitext: Annotated[Path | None, _file("source, target (one may be empty)")] = None,
    columns: Annotated[str, typer.Option(help="Other names of a file's columns, in that order: en,de.")] = "",
    samples: Annotated[int, typer.Option(min=1, help="Draws of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    json: Annotated[Path | None, typer.Option(help="A file to write the numbers to.")] = None,
) -> None:
    """Measure models on data of your own: each number with its 95 % confidence interval."""
    from workbench.folders import replacing
    from workbench.scorecard import evaluate as measure

    names = [name.strip() for name in columns.split(",")] if columns else None
    table = measure(
        models, sts=sts, ir=ir, pairs=pairs, clusters=clusters, bitext=bitext, columns=names, samples=samples, seed=seed
    )
    if json is not None:
        with replacing(json) as fresh:
            table.to_json(fresh, orient="records", indent=2, force_ascii=False)
    table["shown"] = [_interval(*row) for row in table[["value", "low", "high"]].to_numpy()]
    wide = table.pivot_table(index=["data", "metric"], columns="model", values="shown", aggfunc="first", sort=False)
    _show(wide[list(dict.fromkeys(models))].reset_index().rename_axis(columns=None))
    for row in table[(table.model != models[0]) & table.difference_low.notna()].to_dict("records"):
        gap = [row[name] for name in ("difference", "difference_low", "difference_high")]
        sure = "" if gap[1] > 0 or gap[2] < 0 else ": these data do not tell them apart"
        shown = _interval(gap[0], gap[1], gap[2], "+")
        typer.echo(f"{row['model']} - {models[0]}, {row['data']}, {row['metric']}: {shown}{sure}")


def mine_bitext(
    source: Annotated[Path, typer.Argument(help="Sentences in one language, one on a line.")],
    target: Annotated[Path, typer.Argument(help="Sentences in the other language.")],
    out: Annotated[Path, typer.Option(help="The table to write: score, source and target, between tabs.")],
    model: Annotated[str, typer.Option(help="A model of both languages.")] = "starter-multilingual",
    threshold: Annotated[float | None, typer.Option(help="The least score; all pairs without it.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Neighbours that the margin looks at.")] = 4,
    margin: Annotated[str, typer.Option(help="ratio, distance or absolute.")] = "ratio",
    retrieval: Annotated[str, typer.Option(help="max, intersection, forward or backward.")] = "max",
    backend: Annotated[str, typer.Option(help="exact or faiss.")] = "exact",
) -> None:
    """Find the sentences of two files that are translations of each other."""
    from workbench import SentenceTransformer
    from workbench.mining import mine_bitext_files

    both: Any = SentenceTransformer(model)
    options: dict[str, Any] = {"k": k, "margin": margin, "retrieval": retrieval, "backend": backend}
    found = mine_bitext_files(source, target, out, both, threshold=threshold, **options)
    typer.echo(f"{found:,} pairs are in {out}.")


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    """A number and its interval; the number alone where it has none."""
    return f"{value:{sign}.4f}" + ("" if low != low else f" [{low:{sign}.4f}, {high:{sign}.4f}]")


def _show(table: "pd.DataFrame") -> None:
    typer.echo(table.to_string(index=False))
