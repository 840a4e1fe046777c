"""Score a trained model on the test split: metrics/<model>.json, the data of plots/<model>/, the probabilities."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from sentiment import InputError, model, scoring
from sentiment.data.padding import UNKNOWN, Reviews, words_of
from sentiment.engine import shards
from sentiment.schema import ModelSettings
from sentiment.training import digest, predicted_labels
from stages.common.command import command
from stages.common.files import write_array, write_csv, write_json
from stages.common.launcher import launch
from stages.common.splits import read_split
from stages.params import IMDB, read_model

WIDE = 0.2
"""Width of the 95% interval of the accuracy above which the stage warns that the test split is too small."""

HARDLY = 0.1
"""Minimum relative reduction of the error of always predicting the commonest label, below which the stage warns."""

UPDATES = "a network may need more updates of its weights: raise train.epochs or lower train.batch"


def main(settings: ModelSettings, name: str) -> None:
    """Predict the test split, which no other stage reads, and write the metrics, the plots and the predictions."""
    try:
        trained, about, _ = model.read(Path("models", name))
    except InputError as error:
        raise InputError(str(error).replace(model.REMEDY, f"`dvc repro train@{name}` makes it again")) from None
    names, own_corpus = about["labels"], about["corpus"] != IMDB
    reviews, labels = read_split(name, "test", len(names))
    if trained.parallel and launch():
        return
    batch = settings.evaluate.batch
    if shards.processes().rank:  # the first process writes
        trained.predict(reviews, batch=batch)
        return
    print(f"{name}: {trained.promise}")
    with tqdm(total=len(labels), unit=" reviews", desc=f"evaluate {name}", disable=None) as bar:
        positive = trained.predict(reviews, batch=batch, progress=bar.update)
    bins = settings.evaluate.calibration_bins
    if len(names) > 2:
        figures = scoring.figures_of_several(labels, positive, names)
        curves = scoring.curves_of_several(labels, positive, bins, names)
    else:
        figures = scoring.figures(labels, positive)
        curves = scoring.curves(labels, positive, bins, names)
    chance = scoring.chance(labels, figures["accuracy"])
    lines = remarks(figures | chance, reviews, predicted_labels(positive), names)
    if own_corpus:
        figures |= chance
    for curve, columns in curves.items():
        write_csv(Path("plots", name, f"{curve}.csv"), columns)
    write_array(Path("data", name, "predicted.npy"), positive)
    weights = {"parameters": len(trained.weights), "weights": digest(trained.weights)}
    write_json(Path("metrics", f"{name}.json"), figures | weights)
    print(" ".join(f"{figure} {value:.4f}" for figure, value in figures.items() if "/" not in figure))
    for line in lines:
        if own_corpus or line.startswith("warning"):
            print(line)


def remarks(figures: dict[str, float], reviews: Reviews, predicted: np.ndarray, names: list[str]) -> list[str]:
    """Lines about how reliable the accuracy is: its interval, the accuracy of a constant label, and warnings.

    Args:
        figures: Metrics by name, including those of ``scoring.chance``.
        reviews: The test reviews.
        predicted: [reviews], the predicted labels, from 0.
        names: Names of the labels.
    """
    low, high, commonest = (figures[f"accuracy_{name}"] for name in ("low", "high", "commonest"))
    lines = [
        f"accuracy {figures['accuracy']:.4f}, 95% interval {low:.4f} to {high:.4f}; always giving the commonest label:"
        f" {commonest:.4f}"
    ]
    if figures["accuracy"] <= commonest:
        lines.append(f"warning: the model does not beat always giving the commonest label; {UPDATES}")
    elif low <= commonest or high - low > WIDE:
        lines.append(f"warning: {len(predicted):,} test reviews are too few to tell how good the model is")
    elif figures["accuracy"] - commonest < HARDLY * (1 - commonest):
        lines.append(f"warning: the model hardly beats always giving the commonest label; {UPDATES}")
    if len(different := np.unique(predicted)) == 1:
        lines.append(f"warning: the model gives every test review the label {names[different[0]]!r}")
    known = words_of(reviews)
    first = np.concatenate([[0], np.cumsum(known.ids > UNKNOWN)])
    if without := int((first[known.ends] == first[known.ends - known.lengths]).sum()):
        lines.append(f"warning: {without:,} of {len(predicted):,} test reviews have no token that the model knows")
    return lines


if __name__ == "__main__":
    command(main, read_model, name="model")
