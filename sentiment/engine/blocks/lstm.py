"""LSTM (S. Hochreiter and J. Schmidhuber, 1997), as ``keras.layers.LSTM``: rows of features -> outputs.

Each step computes the outputs h and the cells c from the inputs x and from h and c of the step before:

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of (x, h) @ weights + bias
    c = f * c + i * g        h = o * tanh(c)

In the shapes, n reviews, F features and C units; F and C are padded to whole vectors.

Reviews of a batch often read the same x at the same step: the padding, or one text with one word or another made
unknown. The product of x with the weights is then computed once, and in prediction a whole step of reviews that are in
the same state. The bits are those of each review alone: a sum over x and h goes on from its part over x.
"""

from typing import NamedTuple

import numpy as np

from sentiment.engine.block import Block, Capacity, Shape, settings
from sentiment.engine.functions import orthogonal, sigmoid, tanh
from sentiment.engine.matrices import add_rows, clear, continue_product, product
from sentiment.engine.packing import Weight, constant, glorot
from sentiment.engine.vectors import LANES, broadcast, compiled, fma, internal, load, same_bits, store, whole, zeros

CHUNK = 128
"""Minimum number of rows whose outer products are summed before they are added to a gradient.

Summing in two levels keeps the rounding error small.
"""

FEW = 8
"""Reviews fewer than which multiply the x of many steps together, since the weights are then read once for all."""

_ZERO, _ONE = np.float32(0), np.float32(1)


class GateWeights(NamedTuple):
    """The weights of the gates i, f, g, o, for compiled code."""

    units: int  # C before padding
    kernel: np.ndarray  # float32 [F + units, whole(4 * units)]: rows for x, then for h; no padding between the gates
    bias: np.ndarray  # float32 [whole(4 * units) + LANES]; no padding between the gates
    transposed: np.ndarray  # float32 [4C, F + C], each gate padded


class States(NamedTuple):
    """Outputs and cells of the padding review before each step and after the last; or the gradient of both."""

    outputs: np.ndarray  # float32 [steps + 1, C]
    cells: np.ndarray  # float32 [steps + 1, C]


class Memory(NamedTuple):
    """Arrays that the forward pass of a group keeps for the backward pass, and those that the backward pass fills."""

    inputs: np.ndarray  # float32 [rows + n, F + C]: x and h of each step, and the last h
    cells: np.ndarray  # float32 [rows + n, C]: c before each step, and the last c; or [n, C]: the last c only
    every_cell: bool  # whether ``cells`` has every step
    raw: np.ndarray  # float32 [n, 4 * units + LANES, padded]: the gates of one step before sigmoid and tanh
    x: np.ndarray  # float32 [at least n, F]: the different x of the next steps
    x_sums: np.ndarray  # float32 [as many, whole(4 * units)]: the products of these x and the kernel
    x_of: np.ndarray  # int32 [rows]: the index in ``x`` of each row's x
    h: np.ndarray  # float32 [n, C]: the different h of a step
    firsts: np.ndarray  # int32 [n + 1]: the first review of each run of equal states, and the end of the last run
    gates: np.ndarray  # float32 [rows, 4C]: the gates, then their gradient; without rows in prediction
    d_inputs: np.ndarray  # float32 [rows + n, F + C]: the gradient of ``inputs``
    d_cells: np.ndarray  # float32 [n, C]: the gradient of the cells of one step
    d_start_outputs: np.ndarray  # float32 [n, C]: the gradient of the outputs that each review starts from
    d_start_cells: np.ndarray  # float32 [n, C]: the gradient of the cells that each review starts from


class LSTM(Block):
    """The outputs of every step if ``return_sequences`` is set, and otherwise those of the last step."""

    layers = ("LSTM",)
    takes_steps = True

    def __init__(self, layers: list[dict], takes: Shape):
        self.units, self.sequences = settings(
            layers[0], "units", "return_sequences", "zero_output_for_mask",
            activation="tanh", recurrent_activation="sigmoid", unit_forget_bias=True,
        )[:2]  # fmt: skip
        features, units, columns = takes.features, self.units, 4 * self.units
        f, c = whole(features), whole(units)
        super().__init__(
            takes,
            Shape(takes.steps if self.sequences else 0, units),
            [
                Weight("kernel", (features, columns), (f, 4, c), glorot(features, columns), (features, 4, units)),
                Weight(
                    "recurrent_kernel", (units, columns), (c, 4, c),
                    lambda random: orthogonal(random, units, columns), (units, 4, units),
                ),
                # The forget gate's bias is 1 at first (R. Jozefowicz et al., 2015).
                Weight("bias", (columns,), (4, c), constant(np.repeat([0.0, 1.0, 0.0, 0.0], units)), (4, units)),
            ],
            shapes=[(f + c, 4 * c), (4 * c,)],  # both kernels are one array
        )  # fmt: skip

    def allocate(self, capacity: Capacity, outputs: np.ndarray, d_outputs: np.ndarray) -> None:
        """As ``Block``; x and h are columns of one array, so that one matrix product computes the gates from both."""
        super().allocate(capacity, outputs, d_outputs)
        self.training = capacity.training
        n, groups, backward = capacity.reviews, capacity.groups, capacity.backward
        rows, f, c = n * self.takes.steps, whole(self.takes.features), whole(self.units)
        joint, d_joint = zeros(groups, rows + n, f + c), zeros(groups, (rows + n) * backward, f + c)
        self.inputs, self.d_inputs = joint[..., :f], d_joint[..., :f]
        self._memory = [
            Memory(
                inputs=joint[group],
                cells=zeros(rows + n if backward or not group else n, c),
                every_cell=backward or not group,
                raw=zeros(n, whole(4 * self.units) + LANES),
                x=zeros(max(n, CHUNK), f),
                x_sums=zeros(max(n, CHUNK), whole(4 * self.units)),
                x_of=np.zeros(rows, np.int32),
                h=zeros(n, c),
                firsts=np.zeros(n + 1, np.int32),
                gates=zeros(rows * backward, 4 * c),
                d_inputs=d_joint[group],
                d_cells=zeros(n * backward, c),
                d_start_outputs=zeros(n * backward, c),
                d_start_cells=zeros(n * backward, c),
            )
            for group in range(groups)
        ]
        self._starts = States(joint[0, :, f:], self._memory[0].cells)
        self._d_starts = States(zeros(self.takes.steps + 1, c), zeros(self.takes.steps + 1, c))
        self._nothing = States(zeros(0, c), zeros(0, c))
        self._weights = GateWeights(
            units=self.units,
            kernel=zeros(f + self.units, whole(4 * self.units)),
            bias=zeros(whole(4 * self.units) + LANES),
            transposed=zeros(4 * c, f + c),
        )

    def bind(self, vector, gradient):
        """As ``Block``; in prediction the weights do not change, so they are copied once."""
        super().bind(vector, gradient)
        if not self.training:
            self._copy_weights()

    def prepare(self, groups, seed):
        """As ``Block``; in training it copies the weights."""
        if self.training:
            self._copy_weights()
        return super().prepare(groups, seed)

    def _copy_weights(self):
        """Copy the weights to the layouts of the forward and the backward pass."""
        f, c, units = whole(self.takes.features), whole(self.units), self.units
        kernel, bias = self.values
        for array, padded in ((self._weights.kernel, kernel[: f + units]), (self._weights.bias, bias)):
            gates = padded.reshape(*padded.shape[:-1], 4, c)[..., :units]
            array[..., : 4 * units] = gates.reshape(*padded.shape[:-1], 4 * units)
        if self.d_inputs.size:
            self._weights.transposed[...] = kernel.T

    def forward(self, group):
        """As ``Block``."""
        rows, memory = self.groups.rows[group], self._memory[group]
        every = self.outputs[group] if self.sequences else self.outputs[group, :0]
        end = _forward(rows, self._weights, self._starts, memory, every)
        if not self.sequences and group:
            n, f = len(rows.starts), whole(self.takes.features)
            self.outputs[group, :n, : self.units] = memory.inputs[end : end + n, f : f + self.units]

    def backward(self, group):
        """As ``Block``."""
        self.parts[group] = 0
        d_starts = self._nothing if group else self._sum_d_starts()
        _backward(
            self.groups.rows[group], self._weights, self.sequences, self.d_outputs[group], d_starts,
            self._memory[group], self.d_values[group],
        )  # fmt: skip

    def exchanged_arrays(self, group):
        """As ``Block``; also the gradient of the states that each review started from."""
        n, memory = len(self.groups.rows[group].starts), self._memory[group]
        return [*super().exchanged_arrays(group), memory.d_start_outputs[:n], memory.d_start_cells[:n]]

    def _sum_d_starts(self) -> States:
        """The gradient of the padding review's states: the sum over all reviews that started there, in their order.

        The order of the sums is part of the contract.
        """
        for array in self._d_starts:
            array[...] = 0
        for group in range(1, len(self.groups)):
            _add_starts(self.groups.rows[group].starts, self._memory[group], self._d_starts)
        return self._d_starts


@compiled
def _forward(rows, weights, starts, memory, outputs):
    """Forward pass of a group through all its steps.

    The order of the sums is part of the contract.

    Args:
        rows: ``Rows``.
        weights: ``GateWeights``.
        starts: ``States`` of the padding review, from which reviews start.
        memory: ``Memory``. Its inputs have x; all else is filled.
        outputs: float32 [rows, C], filled with h after each step; or without rows.

    Returns:
        The row of ``memory.inputs`` at which h after the last step begins.
    """
    units, width = weights.units, memory.cells.shape[1]
    features = memory.inputs.shape[1] - width
    base = np.int64(0)  # a literal 0 has its own type, for which Numba would compile ``_multiply_inputs`` again
    started, multiplied, shared = 0, 0, False
    for step, active in enumerate(rows.active):
        if step == multiplied:
            multiplied, shared = _multiply_inputs(rows, step, base, weights.kernel[:features], memory)
        first_cell = base if memory.every_cell else 0
        for r in range(started, active):
            for u in range(0, width, LANES):
                store(memory.inputs, (base + r, features + u), load(starts.outputs, (step, u)))
                store(memory.cells, (first_cell + r, u), load(starts.cells, (step, u)))
        started = active
        states = memory.inputs[base : base + active], memory.cells[first_cell : first_cell + active]
        count = _find_different(states, shared and not len(memory.gates), memory.firsts)
        raw = memory.raw[:count, : memory.x_sums.shape[1]]
        if shared:
            for k in range(count):
                row = base + memory.firsts[k]
                for at in range(0, raw.shape[1], LANES):
                    store(raw, (k, at), load(memory.x_sums, (memory.x_of[row], at)))
                for u in range(0, width, LANES):
                    store(memory.h, (k, u), load(memory.inputs, (row, features + u)))
            continue_product(memory.h[:count, :units], weights.kernel[features:], raw)
        else:
            for r in range(active):
                for at in range(0, raw.shape[1], LANES):
                    store(raw, (r, at), broadcast(_ZERO))
            continue_product(memory.inputs[base : base + active, : features + units], weights.kernel, raw)
        after = base + active
        next_cell = after if memory.every_cell else 0
        for k in range(count):
            r = memory.firsts[k]
            for u in range(0, width, LANES):
                # Lanes after the last unit belong to the next gate. Their results are finite, and nothing reads them.
                i = sigmoid(load(weights.bias, (u,)) + load(memory.raw, (k, u)))
                f = sigmoid(load(weights.bias, (units + u,)) + load(memory.raw, (k, units + u)))
                g = tanh(load(weights.bias, (2 * units + u,)) + load(memory.raw, (k, 2 * units + u)))
                o = sigmoid(load(weights.bias, (3 * units + u,)) + load(memory.raw, (k, 3 * units + u)))
                cell = fma(f, load(memory.cells, (first_cell + r, u)), i * g)
                if len(memory.gates):
                    store(memory.gates, (base + r, u), i)
                    store(memory.gates, (base + r, width + u), f)
                    store(memory.gates, (base + r, 2 * width + u), g)
                    store(memory.gates, (base + r, 3 * width + u), o)
                store(memory.cells, (next_cell + r, u), cell)
                output = o * tanh(cell)
                store(memory.inputs, (after + r, features + u), output)
                for same in range(r + 1, memory.firsts[k + 1]):
                    store(memory.cells, (next_cell + same, u), cell)
                    store(memory.inputs, (after + same, features + u), output)
        if len(outputs):
            for r in range(active):
                for u in range(0, width, LANES):
                    store(outputs, (base + r, u), load(memory.inputs, (after + r, features + u)))
                for u in range(units, width):
                    outputs[base + r, u] = 0
        base = after
    return base


@internal
def _multiply_inputs(rows, step, base, kernel, memory):
    """Multiply the x of this step and of the next steps by the kernel, if that saves time. Equal neighbours count once.

    The order of the sums is part of the contract.

    Args:
        rows: ``Rows``.
        step: The first step.
        base: The first row of the step.
        kernel: float32 [F, whole(4 * units)].
        memory: ``Memory``, whose ``x``, ``x_sums`` and ``x_of`` are filled.

    Returns:
        The first step that is left out, and whether ``x_sums`` has the products.
    """
    begin, count = base, 0
    while step < len(rows.active) and count + rows.active[step] <= len(memory.x):
        for row in range(base, base + rows.active[step]):
            same, f = count > 0, 0
            while same and f < memory.x.shape[1]:
                same = same_bits(load(memory.inputs, (row, f)), load(memory.x, (count - 1, f)))
                f += LANES
            if not same:
                for f in range(0, memory.x.shape[1], LANES):
                    store(memory.x, (count, f), load(memory.inputs, (row, f)))
                count += 1
            memory.x_of[row] = count - 1
        base += rows.active[step]
        step += 1
    shared = count > 0 and (len(rows.starts) < FEW or 2 * count < base - begin)
    if shared:
        clear(memory.x_sums[:count])
        continue_product(memory.x[:count], kernel, memory.x_sums[:count])
    return step, shared


@internal
def _find_different(states, merge, firsts):
    """Find the reviews whose state at a step differs from that of the review before them.

    Args:
        states: float32 [active, F + C] and [active, C]: x and h, and c.
        merge: Whether reviews of equal states are computed once.
        firsts: int32 [n + 1], filled with the first review of each run of equal states, and the end of the last run.

    Returns:
        Number of runs.
    """
    inputs, cells = states
    count = 0
    for r in range(len(inputs)):
        same, at = merge and r > 0, 0
        while same and at < cells.shape[1]:
            same = same_bits(load(cells, (r - 1, at)), load(cells, (r, at)))
            at += LANES
        at = 0
        while same and at < inputs.shape[1]:
            same = same_bits(load(inputs, (r - 1, at)), load(inputs, (r, at)))
            at += LANES
        if not same:
            firsts[count] = r
            count += 1
    firsts[count] = len(inputs)
    return count


@compiled
def _backward(rows, weights, sequences, d_outputs, d_starts, memory, d_weights):
    """Backward pass of a group through all its steps.

    The order of the sums is part of the contract.

    Args:
        rows: ``Rows``.
        weights: ``GateWeights``.
        sequences: True if ``d_outputs`` has every step, and false if it has the last step only.
        d_outputs: float32 [rows or n, C].
        d_starts: ``States``: the gradient of the padding review's states from the shards; or without rows.
        memory: ``Memory`` that ``_forward`` has filled.
        d_weights: float32 [F + C, 4C] and [4C], to which the gradient of kernel and bias is added; or empty.
    """
    width = memory.cells.shape[1]
    features, one = memory.inputs.shape[1] - width, broadcast(_ONE)
    steps, base = len(rows.active), np.int64(0)  # a literal, as in ``_forward``, would have its own type
    for active in rows.active:
        base += active
    chunk_end = base
    clear(memory.d_cells[: len(rows.starts)])
    for step in range(steps - 1, -1, -1):
        active = rows.active[step]
        if active == 0:
            break
        after = base
        base -= active
        for r in range(active):
            row = base + r
            for u in range(0, width, LANES):
                if sequences:
                    d_output = load(d_outputs, (row, u))
                    if step < steps - 1:
                        d_output = d_output + load(memory.d_inputs, (after + r, features + u))
                elif step == steps - 1:
                    d_output = load(d_outputs, (r, u))
                else:
                    d_output = load(memory.d_inputs, (after + r, features + u))
                d_cell = load(memory.d_cells, (r, u))
                if len(d_starts.outputs):
                    d_output = d_output + load(d_starts.outputs, (step + 1, u))
                    d_cell = d_cell + load(d_starts.cells, (step + 1, u))
                i, f = load(memory.gates, (row, u)), load(memory.gates, (row, width + u))
                g, o = load(memory.gates, (row, 2 * width + u)), load(memory.gates, (row, 3 * width + u))
                tanh_cell = tanh(load(memory.cells, (after + r, u)))
                d_cell = d_cell + d_output * o * (one - tanh_cell * tanh_cell)
                store(memory.gates, (row, u), d_cell * g * (i * (one - i)))
                store(memory.gates, (row, width + u), d_cell * load(memory.cells, (row, u)) * (f * (one - f)))
                store(memory.gates, (row, 2 * width + u), d_cell * i * (one - g * g))
                store(memory.gates, (row, 3 * width + u), d_output * tanh_cell * (o * (one - o)))
                store(memory.d_cells, (r, u), d_cell * f)
        clear(memory.d_inputs[base : base + active])
        for gate in range(0, 4 * width, width):
            d_gate = memory.gates[base : base + active, gate : gate + weights.units]
            product(d_gate, weights.transposed[gate : gate + weights.units], memory.d_inputs[base : base + active])
        if chunk_end - base >= CHUNK and len(d_weights[1]):
            _add_outer(memory, base, chunk_end, features + weights.units, d_weights)
            chunk_end = base
        for r in range(rows.active[step - 1] if step else 0, active):
            for u in range(0, width, LANES):
                store(memory.d_start_outputs, (r, u), load(memory.d_inputs, (base + r, features + u)))
                store(memory.d_start_cells, (r, u), load(memory.d_cells, (r, u)))
    if chunk_end > base and len(d_weights[1]):
        _add_outer(memory, base, chunk_end, features + weights.units, d_weights)


@internal
def _add_outer(memory, low, high, depth, d_weights):
    """Add the gradient of the weights from the rows ``low`` to ``high``.

    The order of the sums is part of the contract.
    """
    d_kernel, d_bias = d_weights
    product(memory.inputs[low:high, :depth].T, memory.gates[low:high], d_kernel[:depth])
    add_rows(memory.gates[low:high], d_bias)


@compiled
def _add_starts(starts, memory, d_starts):
    """Add the gradient of the states that a group's reviews started from to ``d_starts``.

    The order of the sums is part of the contract.
    """
    for r in range(len(starts)):
        for u in range(0, d_starts.outputs.shape[1], LANES):
            at = starts[r], u
            store(d_starts.outputs, at, load(d_starts.outputs, at) + load(memory.d_start_outputs, (r, u)))
            store(d_starts.cells, at, load(d_starts.cells, at) + load(memory.d_start_cells, (r, u)))
