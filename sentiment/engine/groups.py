"""A batch divided into groups, and the reviews that are active at each step.

Reviews are padded at the front, so before its first word every review is in the same state. The engine computes this
state once per step, for a review without words, the *padding review*. Each review starts at its first word, from the
state of the padding review at that step.

Group 0 is the padding review. The other groups are the shards. In a group the longest reviews come first, so the active
reviews are the first ones. The values of one review at one step are a *row*. Rows are in the order of the steps: first
a row for each review that has started by step 0, then a row for each review that has started by step 1, and so on.
Compiled code loops over the rows like this:

    base = 0
    for active in rows.active:
        for r in range(active):
            ...  # row base + r has the values of review r at this step
        base += active
"""

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Rows of a group, for compiled code."""

    starts: np.ndarray  # int32 [reviews], ascending: the first step of each review
    active: np.ndarray  # int64 [steps]: number of reviews that have started by each step


class Groups:
    """A batch in the order in which compiled code reads it: group by group, the longest reviews first in each.

    Args:
        ids: int [1 + reviews, length]; the first row is the padding review. The rows of shards that other processes
            compute (``shards``) are filled after these processes have computed them.
        starts: int32 [1 + reviews]: the first step of each review that reads a word; its last step if it has no word.
        bounds: The index of the first review of each group, and the number of rows of ``ids``.
        steps: Number of steps of each group. The padding review needs as many as the largest of ``starts``.
        order: int [reviews]: the index of each review in the batch.
        here: Numbers of the shards, from 1, that this process computes.

    Attributes:
        bounds: As int64 [groups + 1].
        active: int64 [groups, steps]: number of reviews of each group that have started by each step; 0 after the last
            step of a group.
        rows: The rows of each group.
        reviews: The slice of each group in ``ids`` and ``starts``.
    """

    def __init__(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        bounds: list[int],
        steps: list[int],
        order: np.ndarray,
        here: range,
    ):
        self.ids, self.starts, self.steps, self.order, self.here = ids, starts, steps, order, here
        self.bounds, self.reviews = np.array(bounds), [*map(slice, bounds, bounds[1:])]
        self.active, numbers = np.zeros((len(steps), max(steps)), np.int64), np.arange(max(steps))
        self.rows = []
        for reviews, active, count in zip(self.reviews, self.active, steps, strict=True):
            active[:count] = starts[reviews].searchsorted(numbers[:count], side="right")
            self.rows.append(Rows(starts[reviews], active[:count]))

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.rows)

    def unshared(self) -> "Groups":
        """The same groups, but all reviews start at step 0, so that none needs the padding review."""
        steps = [0, *self.steps[1:]]
        return Groups(self.ids, np.zeros_like(self.starts), self.bounds.tolist(), steps, self.order, self.here)


def deal(
    ids: np.ndarray,
    starts: np.ndarray,
    steps: int,
    shards: int,
    *,
    rows: np.ndarray | None = None,
    padding_steps: int | None = None,
    run: int = 1,
    tasks_of: Callable[[int], range] = range,
) -> Groups:
    """Divide reviews, longest first, into shards of similar lengths; no shard is empty.

    Args:
        ids: Unsigned int [any, length], padded at the front with 0; only the needed rows of a memory map are read.
        starts: int32 [reviews]: the first step of each review that reads a word.
        steps: Number of steps of every review.
        shards: Maximum number of shards.
        rows: int [reviews], ascending: the rows of ``ids`` that are the batch; by default all.
        padding_steps: Number of steps of the padding review; by default the largest of ``starts``.
        run: Number of successive reviews that go to one shard; there must be enough runs for all shards.
        tasks_of: Function from the number of shards to the range of shards, from 0, that this process computes; by
            default all.

    >>> deal(np.array([[0, 5], [4, 5], [0, 7]]), np.array([1, 0, 1], np.int32), steps=2, shards=2).order
    array([1, 2, 0])
    """
    order, sizes = starts.argsort(kind="stable"), [len(starts)]
    if shards > 1:
        turns = np.arange(len(starts)) // run % shards
        dealt = [order[turns == shard] for shard in range(min(shards, len(starts)))]
        order, sizes = np.concatenate(dealt), [len(shard) for shard in dealt]
    bounds = [0, *accumulate(sizes, initial=1)]
    tasks = tasks_of(len(sizes))
    here = range(1 + tasks.start, 1 + tasks.stop)
    read = np.zeros((1 + len(order), ids.shape[1]), ids.dtype)
    reviews = slice(bounds[here.start], bounds[here.stop])
    wanted = order[reviews.start - 1 : reviews.stop - 1]
    if rows is None:
        read[reviews] = ids[wanted]
    else:
        forwards = wanted.argsort()  # a memory map is read forwards
        read[reviews.start + forwards] = ids[rows[wanted[forwards]]]
    padding_steps = int(starts.max()) if padding_steps is None else padding_steps
    return Groups(
        ids=read,
        starts=np.concatenate([np.zeros(1, np.int32), starts[order]]),
        bounds=bounds,
        steps=[padding_steps] + [steps] * len(sizes),
        order=order,
        here=here,
    )
