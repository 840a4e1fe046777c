"""What ``stages.fit`` reads of a baseline in ``params.yaml``."""

from typing import Annotated, Literal

from pydantic import Field

from stages.settings import Section

Strength = Annotated[float, Field(gt=0, le=10**6)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Grams(Section):
    """Which n-grams there are, and what their counts become; see ``sentiment.ngrams`` and ``sentiment.linear``."""

    longest: Annotated[int, Field(ge=1, le=3)]
    minimum: Annotated[int, Field(ge=1, le=10**6)]
    most: Annotated[int, Field(ge=1, le=10**8)]
    values: Literal["counts", "presence", "tfidf", "naive-bayes"]


class Logistic(Section):
    """Logistic regression."""

    solver: Literal["logistic"]
    c: Strength
    seed: Seed


class Svm(Section):
    """A support vector machine, interpolated."""

    solver: Literal["svm"]
    c: Strength
    interpolation: Annotated[float, Field(ge=0, le=1)]
    seed: Seed


class Adam(Section):
    """By gradient."""

    solver: Literal["adam"]
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    batch: Annotated[int, Field(ge=1, le=100_000)]
    learning_rate: Annotated[float, Field(gt=0)]
    seed: Seed


class Settings(Section):
    """What the stage reads of a baseline."""

    corpus: str
    grams: Grams
    fit: Annotated[Logistic | Svm | Adam, Field(discriminator="solver")]
