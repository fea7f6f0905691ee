"""The answers of the oracle to the questions of `intmlp selftest`, and so golden.json.

The questions are data; of the package's arithmetic nothing runs here. tools/make_golden.py writes
the table.
"""

import dataclasses
import itertools
import json
import math
import struct

import reference
from intmlp import arithmetic_version, selftest
from intmlp.nn.network import describe
from reference import elements
from support import twin, twin_accumulator, twin_layers


def digest(group):
    """Return the digest of the answers to a group of questions."""
    return selftest.digest(itertools.chain.from_iterable(map(answer, selftest.questions(group))))


def text():
    """Return the content of golden.json."""
    table = {group: digest(group) for group in selftest.GROUPS}
    content = {"arithmetic_version": arithmetic_version, "sha256": table}
    return json.dumps(content, indent=1) + "\n"


def answer(question):
    """Yield nested lists, or bytes."""
    match question:
        case selftest.Words(stream, random_bits, number):
            words = of(stream)
            yield [words.word(i, random_bits) for i in range(number)]
        case selftest.Quantize(values, _, fmt, stream):
            yield reference.quantized(values, twin(fmt), of(stream))
        case selftest.Dequantize(raw, fmt):
            yield [reference.dequantize(entry, twin(fmt)) for entry in raw]
        case selftest.Requantize(values, frac_in, fmt, stream):
            yield reference.requantized(values, frac_in, twin(fmt), of(stream))
        case selftest.Matmul():
            yield from multiply(question)
        case selftest.Training():
            yield from train(question)


def of(stream):
    """Return the oracle's stream."""
    return reference.Stream(stream.seed, stream.step, stream.tensor)


def multiply(asked):
    """Yield the product as often as there are numbers of threads."""
    if len(asked.b) > 1000:  # constant operands: a sum is a multiple of its first term
        a, b = [[len(asked.b) * row[0]] for row in asked.a], asked.b[:1]
        assert {v for row in asked.a for v in row} == {asked.a[0][0]}
        assert {v for row in asked.b for v in row} == {asked.b[0][0]}
    else:
        a, b = asked.a, asked.b
    product = reference.matmul(
        a, b, asked.frac_in, twin(asked.fmt), asked.bias, asked.bias_frac,
        twin_accumulator(asked.accumulator), of(asked.stream),
    )  # fmt: skip
    whole = [row * asked.repeats for row in product] * asked.repeats
    for _ in asked.threads:
        yield whole


def train(asked):
    """Yield what a network says before, during and after its training."""
    described = {"accumulator": None, "momentum_shift": None, "decay_shift": None, **asked.network}
    average = described.pop("average", False)
    network = describe(**described)
    parts, bias = network.parts, network.bias
    m = (asked.batch_size.bit_length() - 1) if average else 0
    pairs = zip(asked.weights, asked.biases, strict=True) if bias else zip(asked.weights)
    model = reference.Network(
        twin(network.input),
        twin_layers(network),
        [list(pair) for pair in pairs],
        network.loss,
        network.update,
        reference.Parts(parts.forward, parts.backward, parts.update),
        twin_accumulator(network.accumulator),
        network.momentum_shift,
        network.decay_shift,
        network.rounding_seed,
    )
    for number, (layer, tensors) in enumerate(zip(model.layers, model.tensors, strict=True), 1):
        for j, tensor in enumerate(tensors):
            if parts.update == "float":
                tensors[j] = reference.as_floats(tensor, layer.fW)
            else:
                tensors[j] = reference.as_raw(tensor, layer.fW, model.stream(number, "Wb"[j]))
    x, y = asked.x, asked.y
    if not asked.epochs:
        D, _ = model.backward(*model.forward(x), y)
        for [delta] in D:
            yield [d + 0 for d in delta]  # of floats the sum of one: -0.0 becomes 0.0
        return
    yield model.forward(x)[1][-1]
    diverged = False
    for again in range(1 + asked.saved):
        right, loss, counts, idle = [], [], {}, {}
        for lr_shift in asked.epochs:
            for start in range(0, len(x), asked.batch_size):
                batch = [part[start : start + asked.batch_size] for part in (x, y)]
                if diverged:
                    right.append(0)
                    loss.append(math.nan)
                    continue
                try:
                    if asked.observe:
                        observe(model, *batch, lr_shift, m, counts, idle)
                    reported = model.step(*batch, lr_shift, m)
                except reference.Diverged:
                    diverged, reported = True, (0, math.nan)
                right.append(reported[0])
                loss.append(reported[1])
        yield right
        yield loss
        for (number, tensor), row in counts.items():
            yield counted(number, tensor, row, idle)
        if asked.saved and not again:
            yield content(network, average, model)
    yield from kept(model, bias)
    if not diverged:
        m = (selftest.BATCH.bit_length() - 1) if average else 0
        gradient = model.gradient(x[: selftest.BATCH], y[: selftest.BATCH], m)
        for j in range(1 + bias):
            yield from (layer[j] for layer in gradient)
        yield model.forward(x)[1][-1]


def kept(model, bias):
    """Yield all tensors of a network: weights, then biases; raw, master, velocities."""
    kinds = []
    if "fixed" in model.parts:
        kinds.append(model.fixed())
    if model.parts.update == "float":
        kinds.append(model.tensors)
    if model.momentum is not None:
        kinds.append(model.velocities)
    for layers in kinds:
        for j in range(1 + bias):
            yield from (layer[j] for layer in layers)


def observe(model, x, y, lr_shift, m, counts, idle):
    """Add the counts of a step, and of each relu unit whether it was idle in all steps."""
    rows, now = model.observe(x, y, lr_shift, m)
    for key, row in rows.items():
        counts.setdefault(key, reference.Counts()).add(row)
    for number, units in now.items():
        before = idle.get(number, [True] * len(units))
        idle[number] = [was and is_now for was, is_now in zip(before, units, strict=True)]


def counted(number, tensor, row, idle):
    """Return a row of counts as the package's answer has it."""
    dead = sum(idle.get(number, [])) if tensor == "Z" else 0
    values = {"layer": number, "tensor": tensor, "dead_units": dead, **row.__dict__}
    return ascii([values[name] for name in selftest.COUNTED]).encode()


def content(network, average, model):
    """Return what is in a file of the network, but for the version that wrote it."""
    state = {
        "average": average,
        "network": dataclasses.asdict(network),
        "steps": model.step_number,
    }
    versions = {"arithmetic_version": arithmetic_version, "format_version": 1}
    tensors = {}
    kinds = ["weight", "bias"][: 1 + network.bias]
    for number, layer in enumerate(model.layers):
        for j, kind in enumerate(kinds):
            name = f"layers.{number + 1}."
            if "fixed" in model.parts:
                tensors[name + kind] = model.fixed()[number][j], layer.fW
            if model.parts.update == "float":
                tensors[f"{name}master_{kind}"] = model.tensors[number][j], None
            if model.momentum is not None:
                fmt = layer.fV if model.parts.update == "fixed" else None
                tensors[f"{name}{kind}_velocity"] = model.velocities[number][j], fmt
    text = json.dumps({**versions, "state": state}, sort_keys=True).encode()
    return text + b"".join(tensor_bytes(name, *tensors[name]) for name in sorted(tensors))


def tensor_bytes(name, tensor, fmt):
    """Return name, dtype, shape and bytes of a tensor of a file."""
    code, letter = ("F64", "d") if fmt is None else ("I32", "i") if fmt.bits <= 32 else ("I64", "q")
    shape = [len(tensor)] + ([len(tensor[0])] if isinstance(tensor[0], list) else [])
    values = elements(tensor)
    return f"{name} {code} {shape} ".encode() + struct.pack(f"<{len(values)}{letter}", *values)
