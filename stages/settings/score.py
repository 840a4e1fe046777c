"""What ``stages.score`` reads of a baseline in ``params.yaml``."""

from typing import Annotated

from pydantic import Field

from stages.settings import Section


class Score(Section):
    """How the test split is scored."""

    calibration_bins: Annotated[int, Field(ge=2, le=1000)]


class Settings(Section):
    """What the stage reads of a baseline."""

    corpus: str
    score: Score
