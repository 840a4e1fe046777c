"""What ``stages.evaluate`` reads of a model in ``params.yaml``."""

from typing import Annotated

from pydantic import Field

from stages.settings import Section


class Evaluate(Section):
    """How the test split is scored."""

    batch: Annotated[int, Field(ge=1, le=10**6)]
    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


class Settings(Section):
    """What the stage reads of a model."""

    evaluate: Evaluate
