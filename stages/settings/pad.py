"""What ``stages.pad`` reads of a model in ``params.yaml``."""

from typing import Annotated

from pydantic import Field

from stages.settings import Section


class Pad(Section):
    """Review length in words, and number of word ids, 3 of which are special.

    The longest IMDB review has 2,494 words; its index has 88,584.
    """

    max_length: Annotated[int, Field(ge=1, le=10_000)]
    vocabulary: Annotated[int, Field(ge=4, le=10**6)]


class Settings(Section):
    """What the stage reads of a model: the name of the corpus too."""

    corpus: str
    pad: Pad
