"""Measure how training scales with processes here, and estimate clusters: `python -m benchmarks.processes`.

Steps of a model of params.yaml on 1, 2 and 4 processes of one core each, and the time to exchange the results of all.
Where there are fewer cores, processes share them, and the row says so. A model of three parts is fitted: work that is
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

from sentiment.engine.trainer import CompiledTrainer, shards
from stages.params import read
from tests.bits import reviews

PROCESSES = (1, 2, 4)
MACHINES = (1, 8, 64, 512)
CORPORA = (10**6, 10**8, 10**10)
BATCHES = (64, 256, 1024)
SIZES = (2**10, 2**16, 2**20, 2**24)  # bytes gathered
CORPUS = (25_000, 250_000, 1_000_000)  # reviews, for the memory


class Network(NamedTuple):
    """Cost of the messages between two machines."""

    latency: float  # seconds until the first byte is there
    overhead: float  # seconds that a process is busy with each message
    bandwidth: float  # bytes a second, into each machine

    def gather(self, machines: int, size: float) -> float:
        """Seconds until every process has all ``size`` bytes, of which each process computed its share."""
        if machines == 1:
            return 0.0
        return self.latency + (machines - 1) * self.overhead + size * (1 - 1 / machines) / self.bandwidth


class Step(NamedTuple):
    """Seconds and bytes of a step, fitted to measurements."""

    dealt: float  # seconds per review, for whoever has its shard
    constant: float  # seconds in every process
    common: float  # seconds per review of the batch, in every process
    review: float  # bytes gathered per review
    shard: float  # bytes gathered per shard

    def time(self, machines: int, batch: int, shards: int, network: Network) -> float:
        """Seconds of a step, which ends when the process with the most shards is finished."""
        most = -(-shards // machines) / shards
        gathered = network.gather(machines, self.review * batch + self.shard * shards)
        return self.constant + batch * (self.common + self.dealt * most) + gathered


def main(options: list[str] | None = None) -> None:
    """Measure and print; ``options`` are those of the command line, which counts without them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="full", help="a name under `models` in params.yaml")
    parser.add_argument("--latency", type=float, default=20e-6, help="seconds between two machines; 20e-6 by default")
    parser.add_argument("--overhead", type=float, default=2e-6, help="seconds of a process per message; 2e-6")
    parser.add_argument("--bandwidth", type=float, default=1.25e9, help="bytes a second into each; 1.25e9, 10 Gbit/s")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts")
    arguments = parser.parse_args(options)
    if not find_spec("mpi4py"):
        sys.exit("error: expected the package mpi4py, which is not installed; `make mpi` brings it and an MPI")
    network = Network(arguments.latency, arguments.overhead, arguments.bandwidth)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    print(f"{arguments.model}, medians of {arguments.rounds}\n")
    print(
        "| processes | batch, shards | step | times the pace of one | by the model |\n|---|---|---|---|---|", flush=True
    )
    with tempfile.TemporaryDirectory() as scratch:
        settings, measured = Path(scratch, "settings.json"), {}
        settings.write_text(json.dumps(measured_settings(arguments.model, arguments.rounds)))
        for processes in PROCESSES:
            found = measured[processes] = run(processes, settings)
            one, step = measured[1]["steps"], fit(measured[1]["steps"])
            gathers = found["gather"]
            spread = max(gathers[-1][1] - gathers[0][1], 1e-9)
            here = Network(gathers[0][1], 0.0, (SIZES[-1] - SIZES[0]) * (1 - 1 / processes) / spread)
            title = f"| {processes}" + f" on {cores} cores" * (processes > cores)
            for alone, several in zip(one, found["steps"], strict=True):
                batch, count, seconds = alone["batch"], alone["shards"], several["seconds"]
                gain = step.time(1, batch, count, here) / step.time(processes, batch, count, here)
                by_model = f"{gain:.2f}" if processes <= cores else ""
                gains = f"{alone['seconds'] / seconds:.2f} | {by_model}"
                print(f"{title} | {batch}, {count} | {1e3 * seconds:.2f} ms | {gains} |", flush=True)
    for processes, found in measured.items():
        memory = ", ".join(f"{count:,} reviews {size / 2**20:,.0f} MiB" for count, size in found["memory"])
        print(f"\nmemory of each of {processes}, the pages of mapped arrays left out: {memory}")
        if processes > 1:
            sizes = ", ".join(f"{size / 2**10:,.0f} KiB {1e6 * seconds:,.0f} us" for size, seconds in found["gather"])
            print(f"gathered by {processes} processes here: {sizes}")
    reckon(step, network)


def reckon(step: Step, network: Network) -> None:
    """Print estimates for clusters."""
    computed = f"{1e6 * step.dealt:.1f} us per review dealt out, {1e3 * step.constant:.2f} ms and"
    computed += f" {1e6 * step.common:.1f} us per review of the batch in every process"
    gathered = f"{step.review / 1e3:.1f} kB per review and {step.shard / 1e3:.0f} kB per shard gathered"
    apart = f"{1e6 * network.latency:g} us and {network.bandwidth / 1e9:g} GB/s apart"
    print(f"\na step: {computed}; {gathered}")
    print(f"reckoned for machines of one such core each, {apart}, {1e6 * network.overhead:g} us per message,")
    print("and as many shards as machines, 4 at least\n")
    corpora = " | ".join(f"{count:.0e} reviews" for count in CORPORA)
    print(f"| machines | batch | step | times the pace of one | an epoch of {corpora} |")
    print(f"|{'---|' * (4 + len(CORPORA))}")
    for batch in (64, 1024, 64 * 64):
        pace = batch / step.time(1, batch, 4, network)
        for machines in MACHINES:
            if machines > batch:
                continue
            seconds = step.time(machines, batch, max(4, machines), network)
            epochs = " | ".join(f"{count / batch * seconds / 3600:,.2f} h" for count in CORPORA)
            print(f"| {machines} | {batch:,} | {1e3 * seconds:.2f} ms | {batch / seconds / pace:.2f} | {epochs} |")
    print()
    for batch in (64, 1024, 64 * 64):
        times = {n: step.time(n, batch, max(4, n), network) for n in range(1, batch + 1)}
        best = min(times, key=times.get)
        doubling = next((n for n in times if 2 * n not in times or times[n] < 1.25 * times[2 * n]), 1)
        print(f"batch {batch:,}: fastest on {best} machines; twice as many as {doubling} gain less than a quarter")


def measured_settings(model: str, rounds: int) -> dict:
    """Settings of the measurement in each process."""
    from sentiment.keras import plain
    from sentiment.kinds import find

    found = read().model(model)
    network = find(found.architecture.kind).build(found.pad, found.architecture, plain)
    return {
        "layers": network.layers,
        "rounds": rounds,
        "length": found.pad.max_length,
        "vocabulary": found.pad.vocabulary,
    }


def run(processes: int, settings: Path) -> dict:
    """Measurements of this number of processes."""
    launcher = ["mpiexec", "-bind-to", "core", "-n", str(processes), sys.executable, "-m", "mpi4py"]
    command = [*launcher, "-m", "benchmarks.processes", f"--worker={settings}"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: `{' '.join(command)}` failed; its own error is above")
    return json.loads(done.stdout)


def fit(steps: list[dict]) -> Step:
    """A step's parts by least squares over measurements in one process."""
    batch, count = (np.array([step[name] for step in steps], float) for name in ("batch", "shards"))
    ones = np.ones_like(batch)

    def solve(name, *columns):
        return np.linalg.lstsq(np.stack(columns, 1), np.array([step[name] for step in steps]), rcond=None)[0]

    constant, common = solve("common", ones, batch)
    review, shard = solve("bytes", batch, count)
    dealt = solve("dealt", batch)[0]
    return Step(*(max(float(part), 0.0) for part in (dealt, constant, common, review, shard)))  # noise may give less


def work(settings: dict) -> None:
    """Measure in one process, or with others."""
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
    """Seconds of a step: all, what is dealt out, and the rest; and the bytes gathered."""
    trainer = CompiledTrainer(
        settings["layers"], batch=batch, shards=count, optimizer="adam", learning_rate=0.001, seed=1
    )
    ids, network, dealt = reviews(settings["length"], settings["vocabulary"], batch), trainer.network, []
    starts, forward, backward = network.first_steps(ids), network.forward, network.backward

    def clocked(run):
        def call(group):
            seconds = timed(lambda: run(group))
            dealt.append(seconds if group else 0.0)

        return call

    network.forward, network.backward = clocked(forward), clocked(backward)
    labels, whole, parts = (np.arange(batch) % 2).astype(np.float32), [], []

    def step():
        groups = network.deal(ids, count, starts, own=shards.own)
        trainer.find_gradient(groups, labels, 1)
        trainer.update(1)
        return groups

    for _ in range(1 + rounds):
        dealt.clear()
        whole.append(timed(step))
        parts.append(sum(dealt))
    seconds, dealt_out = float(np.median(whole[1:])), float(np.median(parts[1:]))
    sizes = [array.nbytes for group in range(1, 1 + count) for array in network.given(group)]
    return {
        "batch": batch, "shards": count, "seconds": seconds, "dealt": dealt_out, "common": seconds - dealt_out,
        "bytes": sum(sizes),
    }  # fmt: skip


def measure_memory(settings: dict, count: int) -> int:
    """Bytes of this process without pages of files, after some steps on a memory map of so many reviews."""
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
    """Seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--worker="):
        work(json.loads(Path(sys.argv[1].removeprefix("--worker=")).read_text()))
    else:
        main()
