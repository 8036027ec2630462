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
from benchmarks.core import THREADS, missed

BAR = 0.60  # the mean share of translations found by cosine, and each language's Spearman


def main() -> int:
    """Measure, print the table, and return 1 if a bar was missed (never with ``--quick``)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of public sets")
    parser.add_argument("--model", nargs="+", default=["starter"], help="names or folders of models")
    parser.add_argument("--bars", action="store_true", help="each must reach the bars of a bundled model")
    parser.add_argument("--quick", action="store_true", help="a smoke run: a few rows of everything")
    options = parser.parse_args()
    import torch

    from workbench import SentenceTransformer
    from workbench.metrics import spearman
    from workbench.recipes.public_data import LANGUAGES, PublicData
    from workbench.similarity import pairwise_cos_sim

    torch.set_num_threads(THREADS)
    data, most = PublicData(options.data), 40 if options.quick else None
    print("| model | language | found by cosine | found by margin | STS benchmark dev |\n|---|---|---|---|---|")
    for name in options.model:
        model, found = SentenceTransformer(name, device="cpu"), []
        for language, code in LANGUAGES.items():
            first, second, scores = (list(column)[:most] for column in zip(*data.sts_dev(language), strict=True))
            value = spearman(pairwise_cos_sim(model.encode(first), model.encode(second)), scores)
            if options.bars and value < BAR:
                missed.append(f"{name}: {language} {value:.3f} on STS benchmark dev, at least {BAR} wanted")
            shares = ["", ""]
            if language != "en":
                rows = [(row["eng"], row[code]) for row in table(options.data / f"tatoeba/{code}-eng.tsv.gz")][:most]
                found.append(_found(*(model.encode(list(side)) for side in zip(*rows, strict=True))))
                shares = [f"{part:.3f}" for part in found[-1]]
            print(f"| {name} | {language} | {shares[0]} | {shares[1]} | {value:.3f} |", flush=True)
        cosine, margin = np.mean(found, axis=0)
        print(f"| {name} | mean | {cosine:.3f} | {margin:.3f} | |", flush=True)
        if options.bars and cosine < BAR:
            missed.append(f"{name}: {cosine:.3f} of the translations found, at least {BAR} wanted")
    print("\nAll bars reached." if not missed else "\nMissed:\n- " + "\n- ".join(missed))
    return int(bool(missed) and not options.quick)


def _found(first: Any, second: Any) -> list[float]:
    """The share of rows whose partner comes first, mean of both directions: by cosine, and by the margin."""
    from workbench.mining import mine_bitext

    ways = [
        [mine_bitext(first, second, 4, margin, way) for way in ("forward", "backward")]
        for margin in ("absolute", "ratio")
    ]
    return [float(np.mean([one == other for rows in way for _, one, other in rows])) for way in ways]


if __name__ == "__main__":
    sys.exit(main())
