"""Measure how training scales with processes, and estimate its speed on clusters: `python -m benchmarks.processes`.

Steps of a model of params.yaml on 1, 2 and 4 processes of one core each, and the time to exchange the results of all.
Where there are fewer cores, processes share them, and the row says so. A formula of three parts is fitted: work that is
divided (proportional to the reviews of a process), work of every process (a constant, and proportional to the batch),
and messages (latency, overhead of each, bandwidth).
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from demo.corpus import make_padded
from sentiment.engine.trainer import CompiledTrainer, shards
from stages.params import read

PROCESSES = (1, 2, 4)
MACHINES = (1, 8, 64, 512)
CORPORA = (10**6, 10**8, 10**10)
BATCHES = (64, 256, 1024)
SIZES = (2**10, 2**16, 2**20, 2**24)  # bytes exchanged in a measurement
CORPUS = (25_000, 250_000, 1_000_000)  # reviews in a measurement of memory


class Connection(NamedTuple):
    """Cost of the messages between two machines."""

    latency: float  # seconds until the first byte arrives
    overhead: float  # seconds of work of a process for each message
    bandwidth: float  # bytes per second that each machine can receive

    def gather(self, machines: int, size: float) -> float:
        """Return the seconds until every process has all ``size`` bytes, of which each process starts with a part."""
        if machines == 1:
            return 0.0
        return self.latency + (machines - 1) * self.overhead + size * (1 - 1 / machines) / self.bandwidth


class Step(NamedTuple):
    """Seconds and bytes of a training step, fitted to measurements."""

    divided: float  # seconds per review, in the process that has its shard
    constant: float  # seconds in every process
    common: float  # seconds per review of the batch, in every process
    review: float  # bytes exchanged per review
    shard: float  # bytes exchanged per shard

    def time(self, machines: int, batch: int, shards: int, network: Connection) -> float:
        """Return the seconds of a step, which ends when the process with the most shards is finished."""
        most = -(-shards // machines) / shards
        gathered = network.gather(machines, self.review * batch + self.shard * shards)
        return self.constant + batch * (self.common + self.divided * most) + gathered


def main(options: list[str] | None = None) -> None:
    """Measure and print; ``options`` are the arguments, by default those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="full", help="a model in params.yaml")
    parser.add_argument("--latency", type=float, default=20e-6, help="seconds between two machines; 20e-6 by default")
    parser.add_argument("--overhead", type=float, default=2e-6, help="seconds of work per message; 2e-6 by default")
    parser.add_argument("--bandwidth", type=float, default=1.25e9, help="bytes per second into each; 1.25e9, 10 Gbit/s")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements, of which the median is used")
    arguments = parser.parse_args(options)
    if not find_spec("mpi4py"):
        sys.exit("error: expected the package mpi4py, which is not installed; `make mpi` installs it and an MPI")
    network = Connection(arguments.latency, arguments.overhead, arguments.bandwidth)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    print(f"{arguments.model}, medians of {arguments.rounds}\n")
    print(
        "| processes | batch, shards | step | speed relative to one | by the formula |\n|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch:
        settings, measured = Path(scratch, "settings.json"), {}
        settings.write_text(json.dumps(measured_settings(arguments.model, arguments.rounds)))
        for processes in PROCESSES:
            found = measured[processes] = run(processes, settings)
            one, step = measured[1]["steps"], fit(measured[1]["steps"])
            gathers = found["gather"]
            spread = max(gathers[-1][1] - gathers[0][1], 1e-9)
            here = Connection(gathers[0][1], 0.0, (SIZES[-1] - SIZES[0]) * (1 - 1 / processes) / spread)
            title = f"| {processes}" + f" on {cores} cores" * (processes > cores)
            for alone, several in zip(one, found["steps"], strict=True):
                batch, count, seconds = alone["batch"], alone["shards"], several["seconds"]
                gain = step.time(1, batch, count, here) / step.time(processes, batch, count, here)
                by_model = f"{gain:.2f}" if processes <= cores else ""
                gains = f"{alone['seconds'] / seconds:.2f} | {by_model}"
                print(f"{title} | {batch}, {count} | {1e3 * seconds:.2f} ms | {gains} |", flush=True)
    for processes, found in measured.items():
        memory = ", ".join(f"{count:,} reviews {size / 2**20:,.0f} MiB" for count, size in found["memory"])
        print(f"\nmemory of each of {processes} processes, without the pages of mapped arrays: {memory}")
        if processes > 1:
            sizes = ", ".join(f"{size / 2**10:,.0f} KiB {1e6 * seconds:,.0f} us" for size, seconds in found["gather"])
            print(f"time of an exchange between {processes} processes: {sizes}")
    estimate(step, network)


def estimate(step: Step, network: Connection) -> None:
    """Print estimates for clusters."""
    computed = f"{1e6 * step.divided:.1f} us per review in one process, {1e3 * step.constant:.2f} ms and"
    computed += f" {1e6 * step.common:.1f} us per review of the batch in every process"
    exchanged = f"{step.review / 1e3:.1f} kB per review and {step.shard / 1e3:.0f} kB per shard are exchanged"
    between = f"{1e6 * network.latency:g} us and {network.bandwidth / 1e9:g} GB/s between two"
    print(f"\na step: {computed}; {exchanged}")
    print(f"estimates for machines of one such core each, {between}, {1e6 * network.overhead:g} us per message,")
    print("and as many shards as machines, at least 4\n")
    corpora = " | ".join(f"{count:.0e} reviews" for count in CORPORA)
    print(f"| machines | batch | step | speed relative to one | an epoch of {corpora} |")
    print(f"|{'---|' * (4 + len(CORPORA))}")
    for batch in (64, 1024, 64 * 64):
        alone = batch / step.time(1, batch, 4, network)
        for machines in MACHINES:
            if machines > batch:
                continue
            seconds = step.time(machines, batch, max(4, machines), network)
            epochs = " | ".join(f"{count / batch * seconds / 3600:,.2f} h" for count in CORPORA)
            print(f"| {machines} | {batch:,} | {1e3 * seconds:.2f} ms | {batch / seconds / alone:.2f} | {epochs} |")
    print()
    for batch in (64, 1024, 64 * 64):
        times = {n: step.time(n, batch, max(4, n), network) for n in range(1, batch + 1)}
        best = min(times, key=times.get)
        doubling = next((n for n in times if 2 * n not in times or times[n] < 1.25 * times[2 * n]), 1)
        print(f"batch {batch:,}: fastest on {best} machines; from {doubling} on, doubling gains less than a quarter")


def measured_settings(model: str, rounds: int) -> dict:
    """Return the settings of the measurement in each process."""
    from sentiment.keras import plain
    from sentiment.kinds import find

    settings = read().model(model)
    network = find(settings.architecture.kind).build(settings.pad, settings.architecture, plain)
    return {
        "layers": network.layers,
        "rounds": rounds,
        "length": settings.pad.max_length,
        "vocabulary": settings.pad.vocabulary,
    }


def run(processes: int, settings: Path) -> dict:
    """Run the measurement in a number of processes, and return its result."""
    launcher = ["mpiexec", "-bind-to", "core", "-n", str(processes), sys.executable, "-m", "mpi4py"]
    command = [*launcher, "-m", "benchmarks.processes", f"--worker={settings}"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: `{' '.join(command)}` failed; its own error is above")
    return json.loads(done.stdout)


def fit(steps: list[dict]) -> Step:
    """Fit the parts of a step to measurements in one process, by least squares."""
    batch, count = (np.array([step[name] for step in steps], float) for name in ("batch", "shards"))
    ones = np.ones_like(batch)

    def solve(name, *columns):
        return np.linalg.lstsq(np.stack(columns, 1), np.array([step[name] for step in steps]), rcond=None)[0]

    constant, common = solve("common", ones, batch)
    review, shard = solve("bytes", batch, count)
    divided = solve("divided", batch)[0]
    return Step(
        *(max(float(part), 0.0) for part in (divided, constant, common, review, shard))
    )  # noise can give a negative part


def work(settings: dict) -> None:
    """Measure in this process, and print the result if it is the first."""
    steps, gathers, memory, rounds = [], [], [], settings["rounds"]
    for batch in BATCHES:
        for count in (4, 16):
            steps.append(measure_step(settings, batch, count, rounds))
    rank, processes = shards.processes()[1:3]
    for size in SIZES:
        arrays = [np.zeros(size // processes, np.uint8) for _ in range(processes)]
        gather = functools.partial(shards.everywhere, lambda rank: None, processes, lambda rank, of=arrays: [of[rank]])
        gathers.append((size, float(np.median([timed(gather) for _ in range(5 * rounds)]))))
    for count in CORPUS:
        memory.append((count, measure_memory(settings, count)))
    if rank == 0:
        print(json.dumps({"steps": steps, "gather": gathers, "memory": memory}))


def measure_step(settings: dict, batch: int, count: int, rounds: int) -> dict:
    """Return the seconds of a step, in all, of the divided and of the common work, and the bytes exchanged."""
    trainer = CompiledTrainer(
        settings["layers"], batch=batch, shards=count, optimizer="adam", learning_rate=0.001, seed=1
    )
    ids, network, divided = make_padded(settings["length"], settings["vocabulary"], batch), trainer.network, []
    starts, forward, backward = network.first_steps(ids), network.forward, network.backward

    def clocked(run):
        def call(group):
            seconds = timed(lambda: run(group))
            divided.append(seconds if group else 0.0)

        return call

    network.forward, network.backward = clocked(forward), clocked(backward)
    labels, whole, parts = (np.arange(batch) % 2).astype(np.float32), [], []

    def step():
        groups = network.deal(ids, count, starts, tasks_of=shards.tasks_of)
        trainer.find_gradient(groups, labels, 1)
        trainer.update(1)
        return groups

    for _ in range(1 + rounds):
        divided.clear()
        whole.append(timed(step))
        parts.append(sum(divided))
    seconds, of_shards = float(np.median(whole[1:])), float(np.median(parts[1:]))
    sizes = [array.nbytes for group in range(1, 1 + count) for array in network.exchanged_arrays(group)]
    return {
        "batch": batch, "shards": count, "seconds": seconds, "divided": of_shards, "common": seconds - of_shards,
        "bytes": sum(sizes),
    }  # fmt: skip


def measure_memory(settings: dict, count: int) -> int:
    """Return the bytes of this process, without pages of files, after steps on a memory map of ``count`` reviews."""
    with tempfile.TemporaryDirectory() as scratch:
        path, shape = Path(scratch, "ids.npy"), (count, settings["length"])
        np.lib.format.open_memmap(path, "w+", np.uint16, shape)[:, -1] = 1
        ids, labels = np.load(path, mmap_mode="r"), np.zeros(count, np.uint8)
        trainer = CompiledTrainer(settings["layers"], batch=64, shards=4, optimizer="adam", learning_rate=0.001, seed=1)
        order = np.random.default_rng(1).permutation(count)
        trainer.epoch(ids, labels, order[:1024], 0)
        status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def timed(call) -> float:
    """Return the seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--worker="):
        work(json.loads(Path(sys.argv[1].removeprefix("--worker=")).read_text()))
    else:
        main()
