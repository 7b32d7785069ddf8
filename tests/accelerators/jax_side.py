"""The half of these tests that runs in JAX's environment: runs an exported step on CPU, or compiles it for TPUs.

    python -m tests.accelerators.jax_side run FOLDER BATCHES.npz     the loss of each step, and sums of the last state
    python -m tests.accelerators.jax_side compile FOLDER TOPOLOGY    for one chip, and for four that share the batch
    python -m tests.accelerators.jax_side compose WORDS.npz IMAGES.npz    cluttered images and labels of given words
    python -m tests.accelerators.jax_side fused TASK.json ARRAYS.npz GRADIENTS.npz    of `benchmarks.fused_draw`

Prints JSON. Compiling ahead of time shows that the program suits the chip; it does not show that it runs there.
"""

from __future__ import annotations

import collections
import json
import os
import re
import sys
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
# No TPU is here, and libtpu would ask a cloud's metadata server for one.
os.environ["TPU_SKIP_MDS_QUERY"] = "1"

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks import clutter, fused_draw
from benchmarks.program import Folder


def run(folder: Folder, batches: list[np.ndarray]) -> dict[str, Any]:
    """Trains on the given batches: images [steps, batch, B, A, C], and maybe labels [steps, batch]."""
    program = folder.program(batches[0].shape[1])
    step = jax.jit(lambda *arguments: program.call(*arguments))
    state, losses = folder.state(), []
    for batch in zip(*batches, strict=True):
        *state, loss = step(*state, *batch)
        losses.append(float(loss))
    return {"losses": losses, "state": [np.asarray(value, np.float64).sum() for value in state]}


def compile_for(folder: Folder, topology_name: str) -> dict[str, Any]:
    """Bytes of temporaries on one chip, and the collective operations of four that share the batch."""
    topology = topologies.get_topology_desc(topology_name, platform="tpu")
    program = folder.program(folder.batches[0])
    chips = len(topology.devices)
    mesh = topologies.make_mesh(topology, (chips,), ("chip",))
    single = jax.sharding.SingleDeviceSharding(topology.devices[0])
    replicated, sharded = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("chip"))
    *state, x = program.inputs

    def compiled(state_sharding: Any, x_sharding: Any) -> Any:
        arguments = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=state_sharding) for s in state]
        arguments.append(jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x_sharding))
        step = jax.jit(
            lambda *values: program.call(*values),
            donate_argnums=tuple(range(len(state))),
            out_shardings=state_sharding,
        )
        return step.trace(*arguments).lower(lowering_platforms=("tpu",)).compile()

    alone, together = compiled(single, single), compiled(replicated, sharded)
    collectives = re.findall(r"= .*? ((?:all|collective|reduce-scatter)[\w-]*?)(?:-start)?\(", together.as_text())
    return {
        "chips": chips,
        "temporary_bytes": alone.memory_analysis().temp_size_in_bytes,
        "flops": alone.cost_analysis()["flops"],
        "flops_a_chip_together": together.cost_analysis()["flops"],
        "collectives": collections.Counter(collectives),
    }


def compose(source: str, target: str) -> None:
    """Compose images of the digits, labels and words in one .npz, and write them into another."""
    with np.load(source) as arrays:
        images, labels = clutter.compose(*(jax.numpy.asarray(arrays[name]) for name in ("digits", "labels", "words")))
    np.savez(target, images=images, labels=labels)


def fused(task_file: str, source: str, target: str) -> None:
    """Compute the loss and the gradients of the weights, x and eps in one .npz, and write them into another."""
    with np.load(source) as arrays:
        weights = {name: jax.numpy.asarray(arrays[name]) for name in arrays.files if name not in ("x", "eps")}
        x, eps = arrays["x"], arrays["eps"]
    with open(task_file, encoding="utf-8") as file:
        step = fused_draw.make(json.load(file), len(x), interpret=True)
    loss, gradients = jax.jit(step)(weights, x, eps)
    np.savez(target, loss=loss, **gradients)


if __name__ == "__main__":
    mode, path, argument, *more = sys.argv[1:]
    if mode == "run":
        result: Any = run(Folder.open(path), list(np.load(argument).values()))
    elif mode == "compile":
        result = compile_for(Folder.open(path), argument)
    elif mode == "fused":
        result = fused(path, argument, *more)
    else:
        result = compose(path, argument)
    print(json.dumps(result))
