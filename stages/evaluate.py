"""Score a trained model on the test split: metrics/<model>.json, the data of plots/<model>/, the probabilities."""

from pathlib import Path

from tqdm import tqdm

from sentiment import archive, network
from sentiment.prediction import Predictor
from stages.common import command, read_split
from stages.scores import write_scores
from stages.settings.evaluate import Settings


def main(settings: Settings, name: str) -> None:
    """Read the test split, which no stage but this and ``score`` does, once."""
    model = archive.unpack(Path("models", f"{name}.keras").read_bytes())
    ids, labels = read_split(name, "test")
    predictor = Predictor(model)
    print(f"{name}: {predictor.promise}")
    with tqdm(total=len(ids), unit=" reviews", desc=f"evaluate {name}", disable=None) as bar:
        positive = predictor.predict(ids, batch=settings.evaluate.batch, progress=bar.update)
    write_scores(name, labels, positive, settings.evaluate.calibration_bins, network.get_weights(model))


if __name__ == "__main__":
    command(main, Settings, model="required")
