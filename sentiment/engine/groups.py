"""A batch dealt into groups, and which of its reviews are being read at each step.

Reviews are padded in front, so until its first word every review is in the same state. That state is computed once, as
if of a review of padding alone, the *padding review*, and each review starts from the state it would have reached.

Group 0 is the padding review; the other groups are the shards. In a group the longest reviews come first, so those that
have started are its first ones. What a group computes for each step and review is a *row*, and rows lie end to end,
step by step: the reviews that have started by step 0, then those that have started by step 1, and so on. Compiled code
goes through them like this:

    base = 0
    for active in rows.active:
        for r in range(active):
            ...  # review r at this step is row base + r
        base += active
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Rows of a group, for compiled code."""

    starts: np.ndarray  # int32 [reviews], ascending: the first step of each review
    active: np.ndarray  # int64 [steps]: how many reviews have started by each step


class Groups:
    """A batch in the order in which compiled code reads it: group by group, the longest reviews first in each.

    Args:
        ids: int [1 + reviews, length]; the first row is the padding review. Those of shards that other processes
            compute (``shards``) are filled when these have done so.
        starts: int32 [1 + reviews]: the first step of each that sees a word; the last one if none does.
        bounds: int64 [groups + 1]: where each group begins, and the end of the last.
        steps: int64 [groups]: the steps of each; of the padding review, as many as some review needs, or none.
        order: int [reviews]: where each was in the batch.
        here: The shards, from 1, that this process computes.

    Attributes:
        active: int64 [groups, steps]: how many reviews of each group have started by each step; 0 after its last step.
        rows: The rows of each group.
        reviews: The reviews of each group, among all.
    """

    def __init__(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        bounds: np.ndarray,
        steps: np.ndarray,
        order: np.ndarray,
        here: range,
    ):
        self.ids, self.starts, self.bounds, self.steps, self.order = ids, starts, bounds, steps, order
        self.here = here
        self.reviews = [slice(begin, end) for begin, end in zip(bounds.tolist(), bounds[1:].tolist(), strict=False)]
        self.active = np.zeros((len(steps), steps.max()), np.int64)
        self.rows = []
        for reviews, active, count in zip(self.reviews, self.active, steps, strict=True):
            active[:count] = np.searchsorted(starts[reviews], np.arange(count), side="right")
            self.rows.append(Rows(starts[reviews], active[:count]))

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.rows)

    def unshared(self) -> "Groups":
        """The same reviews if all start at step 0, so that none needs the padding review."""
        steps = self.steps.copy()
        steps[0] = 0
        return Groups(self.ids, np.zeros_like(self.starts), self.bounds, steps, self.order, self.here)


def deal(
    ids: np.ndarray,
    starts: np.ndarray,
    steps: int,
    shards: int,
    *,
    rows: np.ndarray | None = None,
    padding_steps: int | None = None,
    run: int = 1,
    own: Callable[[int], range] = range,
) -> Groups:
    """Deal reviews, longest first, into shards that are alike; none is empty.

    Args:
        ids: Unsigned int [any, length], padded in front with 0; of a memory map only the rows needed are read.
        starts: int32 [reviews]: the first step of each that sees a word.
        steps: Steps of every review.
        shards: At most so many.
        rows: int [reviews], ascending: which rows of ``ids`` are the batch; all by default.
        padding_steps: Steps of the padding review, where no other review of the batch says how many.
        run: Reviews dealt at a time; there must be enough for all shards.
        own: Says which of how many shards, from 0, this process computes, in one run; all by default.

    >>> deal(np.array([[0, 5], [4, 5], [0, 7]]), np.array([1, 0, 1], np.int32), steps=2, shards=2).order
    array([1, 2, 0])
    """
    longest_first = np.argsort(starts, kind="stable")
    turns = np.arange(len(starts)) // run % shards
    dealt = [longest_first[turns == shard] for shard in range(min(shards, len(starts)))]
    order, bounds = np.concatenate(dealt), np.cumsum([0, 1, *map(len, dealt)])
    here = range(1, 1 + len(dealt))[own(len(dealt)).start : own(len(dealt)).stop]
    read = np.zeros((1 + len(order), ids.shape[1]), ids.dtype)
    places = np.arange(bounds[here.start], bounds[here.stop])
    places = places[np.argsort(order[places - 1])]  # a memory map is read forwards
    wanted = order[places - 1]
    read[places] = ids[wanted if rows is None else rows[wanted]]
    padding_steps = int(starts.max()) if padding_steps is None else padding_steps
    return Groups(
        ids=read,
        starts=np.append(np.int32(0), starts[order]),
        bounds=bounds,
        steps=np.array([padding_steps] + [steps] * len(dealt)),
        order=order,
        here=here,
    )
