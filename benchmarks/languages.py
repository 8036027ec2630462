"""Models of several languages on sentences in English and six others: finding translations, and similarity.

``--data`` is the folder of public sets that ``workbench train-starter`` takes too. The translations are Tatoeba's,
1,000 for each language, which nothing was trained on: the share that is found, both ways, by cosine and by the margin
(Artetxe and Schwenk 2019, arXiv:1811.01136).
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bundled import table
from benchmarks.harness import line, measure, parser

BAR = 0.60  # the mean share of translations found by cosine, and each language's Spearman


def languages(options: argparse.Namespace) -> None:
    """Shares of translations that are found, and Spearman's correlation, for each model and language."""
    from workbench import SentenceTransformer
    from workbench.metrics import spearman
    from workbench.recipes.public_data import LANGUAGES, PublicData
    from workbench.similarity import pairwise_cos_sim

    data, most = PublicData(options.data), 40 if options.quick else None
    for name in options.model:
        model, found = SentenceTransformer(name, device="cpu"), []
        for language, code in LANGUAGES.items():
            first, second, scores = (list(column)[:most] for column in zip(*data.sts_dev(language), strict=True))
            value = spearman(pairwise_cos_sim(model.encode(first), model.encode(second)), scores)
            shares = ["", ""]
            if language != "en":
                rows = [(row["eng"], row[code]) for row in table(options.data / f"tatoeba/{code}-eng.tsv.gz")][:most]
                found.append(_found(*(model.encode(list(side)) for side in zip(*rows, strict=True))))
                shares = [f"{part:.3f}" for part in found[-1]]
            bars = {f"STSb ≥ {BAR}": value >= BAR} if options.bars else {}
            line(f"{name}, {language}", *shares, f"{value:.3f}", **bars)
        cosine, margin = np.mean(found, axis=0)
        bars = {f"cosine ≥ {BAR}": bool(cosine >= BAR)} if options.bars else {}
        line(f"{name}, mean of the others", f"{cosine:.3f}", f"{margin:.3f}", **bars)


def _found(first: Any, second: Any) -> list[float]:
    """The share of rows whose partner comes first, mean of both directions: by cosine, and by the margin."""
    from workbench.mining import mine_bitext

    ways = [
        [mine_bitext(first, second, 4, margin, way) for way in ("forward", "backward")]
        for margin in ("absolute", "ratio")
    ]
    return [float(np.mean([one == other for rows in way for _, one, other in rows])) for way in ways]


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    ask = parser(__doc__)
    ask.add_argument("--data", type=Path, required=True, help="folder of public sets")
    ask.add_argument("--model", nargs="+", default=["starter"], help="names or folders of models")
    ask.add_argument("--bars", action="store_true", help="each must reach the bars of a bundled model")
    head = "model, language | found by cosine | found by margin | STS benchmark dev"
    return measure(ask.parse_args(), [languages], head=head)


if __name__ == "__main__":
    sys.exit(main())
