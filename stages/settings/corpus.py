"""What ``stages.corpus`` reads of a corpus in ``params.yaml``."""

from typing import Annotated

from pydantic import Field, model_validator

from stages.settings import Section

Name = Annotated[str, Field(min_length=1)]


class Settings(Section):
    """Reviews of the user's own. What is not always needed is refused where it is not: ``stages.corpus`` decides.

    ``text`` and ``label`` name the columns of a table; ``test_fraction`` and ``seed`` draw the test split of reviews
    that come without one; at most ``bad_rows`` rows may be left out.
    """

    reviews: Name
    labels: Annotated[list[Name], Field(min_length=2, max_length=2)]
    bad_rows: Annotated[int, Field(ge=0)]
    text: Name | None = None
    label: Name | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    @model_validator(mode="after")
    def _names_differ(self):
        if self.labels[0] == self.labels[1]:
            raise ValueError(f"labels: expected two different names, got {self.labels[0]!r} twice")
        if self.text is not None and self.text == self.label:
            raise ValueError(f"text and label: expected two different columns, got {self.text!r} for both")
        return self
