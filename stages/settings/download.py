"""What ``stages.download`` reads of ``params.yaml``."""

from typing import Annotated

from pydantic import Field

from stages.settings import Section


class Source(Section):
    """One raw file: its SHA-256 in lower-case hex and the public addresses of the same bytes."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    urls: list[Annotated[str, Field(pattern="^https?://")]]


class Download(Section):
    """The raw data: ``timeout`` in seconds, ``retries`` after the first try of each address."""

    timeout: Annotated[float, Field(gt=0, le=86_400)]
    retries: Annotated[int, Field(ge=0, le=100)]
    reviews: Source
    word_index: Source


class Settings(Section):
    """What the stage reads of the file."""

    download: Download
