import os
import subprocess
import sys
import threading
from queue import SimpleQueue

import numpy as np
import pytest

from sentiment.engine import shards as module
from sentiment.engine.groups import deal
from sentiment.engine.shards import side_by_side


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_side_by_side_runs_each_task_once(count):
    done, lock = [], threading.Lock()

    def run(task):
        with lock:
            done.append(task)

    side_by_side(run, count)
    assert sorted(done) == list(range(count))


@pytest.fixture
def three_cores(monkeypatch):
    """The caller and two more threads, however many cores there are."""
    monkeypatch.setattr(module, "processes", lambda: module.Processes(None, 0, 1, cores=3))


@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize("fails", ["caller", "helper"])
def test_an_error_in_any_thread_is_raised(fails):
    caller, both = threading.current_thread(), threading.Barrier(2)  # both threads take a task before one continues

    def run(task):
        both.wait(60)
        if (threading.current_thread() is caller) == (fails == "caller"):
            raise ArithmeticError(task)

    with pytest.raises(ArithmeticError):
        side_by_side(run, 2)


@pytest.mark.usefixtures("three_cores")
def test_a_failure_is_raised_after_the_other_threads_have_ended(monkeypatch):
    caller, both, released, ended = threading.current_thread(), threading.Barrier(2), threading.Event(), []

    def run(task):
        both.wait(60)
        if threading.current_thread() is caller:
            raise ArithmeticError(task)
        released.wait(60)
        ended.append(task)

    class Ended(SimpleQueue):
        def get(self):
            released.set()
            return super().get()

    module._requests()  # its queue is of the other class
    monkeypatch.setattr(module, "SimpleQueue", Ended)
    try:
        with pytest.raises(ArithmeticError):
            side_by_side(run, 2)
        assert len(ended) == 1
    finally:
        released.set()


def test_nothing_is_called_if_a_thread_cannot_start(monkeypatch):
    def start(number):
        if number:
            raise RuntimeError("can't start new thread")

    requests = SimpleQueue()
    monkeypatch.setattr(module, "processes", lambda: module.Processes(None, 0, 1, cores=3))
    monkeypatch.setattr(module, "_start", start)
    monkeypatch.setattr(module, "_requests", lambda: requests)
    done: list[int] = []
    with pytest.raises(RuntimeError, match="start new thread"):
        side_by_side(done.append, 3)
    assert done == []
    assert requests.empty()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_starts_threads_of_its_own():
    code = """if True:
        import os
        from sentiment.engine import shards
        shards.processes = lambda: shards.Processes(None, 0, 1, cores=3)
        done = []
        shards.side_by_side(done.append, 5)
        child = os.fork()
        shards.side_by_side(done.append, 5)
        assert sorted(done) == sorted([*range(5)] * 2)
        if child:
            assert os.waitpid(child, 0)[1] == 0
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(("reviews", "shards"), [(1, 1), (1, 4), (3, 4), (4, 4), (13, 4)])
def test_each_review_is_in_one_shard_the_longest_first_and_shards_have_nearly_equal_sizes(reviews, shards):
    random = np.random.default_rng(reviews)
    ids, starts = random.integers(1, 9, (reviews, 5)), random.integers(0, 5, reviews).astype("i4")
    groups = deal(ids, starts, 7, shards)
    assert sorted(groups.order) == list(range(reviews))
    np.testing.assert_array_equal(groups.ids[1:], ids[groups.order])
    assert not groups.ids[0].any()
    counts = [len(rows.starts) for rows in groups.rows]
    assert counts[0] == 1
    assert len(counts) == 1 + min(shards, reviews)
    assert 1 <= min(counts[1:]) >= max(counts[1:]) - 1
    for rows in groups.rows:
        assert (np.diff(rows.starts) >= 0).all()
        assert [*rows.active] == [sum(start <= step for start in rows.starts) for step in range(len(rows.active))]
    assert [len(rows.active) for rows in groups.rows] == [starts.max()] + [7] * (len(counts) - 1)


def test_reviews_that_start_together_keep_their_order():
    """There are many, because an unstable sort may keep the order of a few, and differs between processors."""
    starts = np.arange(300, dtype="i4") // 7 % 2
    order = deal(np.ones((300, 5), "u1"), starts, 7, 3).order
    expected = np.lexsort((np.arange(300), starts))
    np.testing.assert_array_equal(order, np.concatenate([expected[shard::3] for shard in range(3)]))
