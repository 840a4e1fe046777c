"""Score a trained model on the test split: metrics/<model>.json, the data of plots/<model>/, the probabilities."""

from pathlib import Path

from tqdm import tqdm

from sentiment import InputError, model, scoring
from sentiment.engine import shards
from sentiment.schema import ModelSettings
from sentiment.training import digest
from stages.common.command import command
from stages.common.files import write_array, write_csv, write_json
from stages.common.launcher import launch
from stages.common.splits import read_split
from stages.params import read_model


def main(settings: ModelSettings, name: str) -> None:
    """Read the test split, which no other stage does, once."""
    try:
        trained, _, _ = model.read(Path("models", name))
    except InputError as error:
        raise InputError(str(error).replace(model.REMEDY, f"`dvc repro train@{name}` makes it again")) from None
    reviews, labels = read_split(name, "test")
    if trained.parallel and launch():
        return
    batch = settings.evaluate.batch
    if shards.processes().rank:  # the first process writes
        trained.predict(reviews, batch=batch)
        return
    print(f"{name}: {trained.promise}")
    with tqdm(total=len(labels), unit=" reviews", desc=f"evaluate {name}", disable=None) as bar:
        positive = trained.predict(reviews, batch=batch, progress=bar.update)
    figures = scoring.figures(labels, positive)
    for curve, columns in scoring.curves(labels, positive, settings.evaluate.calibration_bins).items():
        write_csv(Path("plots", name, f"{curve}.csv"), columns)
    write_array(Path("data", name, "predicted.npy"), positive)
    weights = {"parameters": len(trained.weights), "weights": digest(trained.weights)}
    write_json(Path("metrics", f"{name}.json"), figures | weights)
    print(" ".join(f"{figure} {value:.4f}" for figure, value in figures.items()))


if __name__ == "__main__":
    command(main, read_model, name="model")
