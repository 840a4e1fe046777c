"""Score a trained model on the test split: metrics/<model>.json, the data of plots/<model>/, the probabilities."""

from pathlib import Path

from tqdm import tqdm

from sentiment import InputError, archive, network
from sentiment.engine import shards
from sentiment.prediction import Predictor
from stages.common import command, read_split
from stages.launcher import launch
from stages.scores import write_scores
from stages.settings.evaluate import Settings


def main(settings: Settings, name: str) -> None:
    """Read the test split, which no stage but this and ``score`` does, once."""
    model = read_model(Path("models", f"{name}.keras"), name)
    ids, labels = read_split(name, "test")
    predictor = Predictor(model)
    if predictor.layers and launch():  # Keras predicts in one process
        return
    if shards.PLACE:  # the first process writes
        predictor.predict(ids, batch=settings.evaluate.batch)
        return
    print(f"{name}: {predictor.promise}")
    with tqdm(total=len(ids), unit=" reviews", desc=f"evaluate {name}", disable=None) as bar:
        positive = predictor.predict(ids, batch=settings.evaluate.batch, progress=bar.update)
    write_scores(name, labels, positive, settings.evaluate.calibration_bins, network.get_weights(model))


def read_model(path: Path, name: str) -> network.keras.Model:
    """The model called ``name``, from its file."""
    packed = path.read_bytes()
    try:
        return archive.unpack(packed)
    except InputError as error:
        raise InputError(f"{path}: {error}; `dvc repro train@{name}` makes it again") from None


if __name__ == "__main__":
    command(main, Settings, model="required")
