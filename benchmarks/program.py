"""Load what `python -m benchmarks.export_step` wrote, with JAX and without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

# JAX has no public way to call another compiler's program inside its own jit. These names have been the same from JAX
# 0.4.36 to 0.12.
from jax._src.interpreters import mlir
from jax._src.lib.mlir import ir
from jax._src.lib.mlir.dialects import func
from jax.extend import core

from benchmarks import fused_draw

try:
    from jax.extend.mlir import hlo_to_stablehlo
except ImportError:  # before JAX 0.7
    from jax._src.lib import xla_client

    hlo_to_stablehlo = xla_client._xla.mlir.hlo_to_stablehlo

_DTYPES = {"f32": "float32", "i32": "int32", "i64": "int64", "bf16": "bfloat16"}


@dataclasses.dataclass(frozen=True)
class Program:
    """One training step: `call` takes the arrays of the state and of a batch and returns the new state and the loss."""

    batch: int
    call: Callable[..., list[jax.Array]]
    inputs: tuple[jax.ShapeDtypeStruct, ...]


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder that `python -m benchmarks.export_step` wrote."""

    path: Path
    description: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """Open a folder; raises ValueError for one that is not an export, or not complete."""
        path = Path(path)
        try:
            return cls(path, json.loads((path / "program.json").read_text(encoding="utf-8")))
        except OSError as error:
            raise ValueError(
                f"{path} holds no program: write one with `python -m benchmarks.export_step -o {path}`."
            ) from error

    @property
    def batches(self) -> list[int]:
        """Batch sizes for which there is a program."""
        return [entry["batch"] for entry in self.description["programs"]]

    def program(self, batch: int) -> Program:
        """Load the step on `batch` rows; raises ValueError where there is none."""
        names = {entry["batch"]: entry["file"] for entry in self.description["programs"]}
        if batch not in names:
            raise ValueError(f"{self.path} holds programs for {self.batches} rows, none for {batch}.")
        call, inputs = _load(self.path / names[batch])
        return Program(batch, call, inputs)

    def fused(self, batch: int) -> Program:
        """Build the step on `batch` rows of `benchmarks.fused_draw`'s kernels and the exported update.

        It draws noise of its own from the step. Raises ValueError for a task that the kernels are not for.
        """
        task, names = self.description["task"], self.description["state"]
        gradients_of = fused_draw.make(task, batch, interpret=jax.default_backend() != "gpu")
        update, inputs = _load(self.path / self.description["update"])
        parameters = [name.removeprefix("parameters/") for name in names if name.startswith("parameters/")]

        def call(*arguments: jax.Array) -> list[jax.Array]:
            *state, x = arguments
            weights = dict(zip(parameters, state, strict=False))
            key = jax.random.fold_in(jax.random.key(task["recipe"]["seed"]), state[-1])
            eps = jax.random.normal(key, (task["glimpses"], batch, task["latent_size"]))
            loss, gradients = gradients_of(weights, x, eps)
            return [*update(*state, *(gradients[name] for name in parameters)), loss]

        x = jax.ShapeDtypeStruct((batch, *task["image_shape"]), np.dtype(np.float32))
        return Program(batch, call, (*inputs[: len(names)], x))

    def state(self, path: Path | None = None) -> list[jax.Array]:
        """Load the state in `path`, by default the initial one, in the program's order."""
        with np.load(path or self.path / "state.npz") as arrays:
            values = [arrays[name] for name in self.description["state"]]
        return [jax.numpy.asarray(value) for value in (*values[:-1], np.int32(values[-1]))]

    def exported(self, state: list[jax.Array]) -> list[jax.Array]:
        """The state with the weights that would be exported, their moving average if there is one, in use."""
        names = self.description["state"]
        if not self.description["task"]["recipe"]["ema_decay"]:
            return state
        values = dict(zip(names, state, strict=True))
        return [values[name.replace("parameters/", "average/")] for name in names]

    def save_state(self, state: list[jax.Array], path: Path) -> None:
        """Write a state that `trainer.training.loop.train` can start from; whole or not at all."""
        arrays = dict(zip(self.description["state"], map(np.asarray, state), strict=True))
        arrays["step"] = arrays["step"].astype(np.int64)
        unfinished = path.with_name(path.name + ".unfinished")
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)
        unfinished.replace(path)

    def batch_inputs(self, program: Program) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes of what a program takes beside the state: images, and labels for a classifier."""
        return program.inputs[len(self.description["state"]) :]

    @property
    def composed(self) -> bool:
        """Whether the folder holds digits to compose images of, in place of images."""
        return (self.path / "digits.npz").exists()

    def examples(self) -> tuple[np.ndarray, ...]:
        """Load the training images, uint8 [examples, B, A, C], and a classifier's labels [examples].

        Of a folder that is `composed`, the digits, uint8 [digits, 28, 28], and their labels. Raises ValueError where
        none were exported.
        """
        try:
            return self._arrays("digits.npz" if self.composed else "images.npz")
        except OSError as error:
            raise ValueError(
                f"{self.path} holds no images: write it again with "
                "`python -m benchmarks.export_step --examples PATTERN`."
            ) from error

    def validation(self) -> tuple[np.ndarray, ...]:
        """Load the validation images as `examples` does the training ones; nothing where none were exported."""
        return self._arrays("validation.npz") if (self.path / "validation.npz").exists() else ()

    def _arrays(self, file: str) -> tuple[np.ndarray, ...]:
        with np.load(self.path / file) as arrays:
            return tuple(arrays[name] for name in ("images", "labels") if name in arrays)


def _load(path: Path) -> tuple[Callable[..., list[jax.Array]], tuple[jax.ShapeDtypeStruct, ...]]:
    text = path.read_bytes()
    if path.suffix == ".hlo":
        text = hlo_to_stablehlo(text)
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        main = ir.SymbolTable(module.operation)["main"]
        inputs, outputs = (tuple(map(_shape, kinds)) for kinds in (main.type.inputs, main.type.results))
        readable = str(module)
    avals = tuple((value.shape, value.dtype) for value in outputs)
    return (lambda *arguments: _step.bind(*arguments, text=readable, outputs=avals)), inputs


def _shape(kind: Any) -> jax.ShapeDtypeStruct:
    tensor = ir.RankedTensorType(kind)
    return jax.ShapeDtypeStruct(tuple(tensor.shape), np.dtype(_DTYPES[str(tensor.element_type)]))


def _lower(context: Any, *arguments: Any, text: str, outputs: Any) -> Any:
    module = ir.Module.parse(text)
    results = list(ir.SymbolTable(module.operation)["main"].type.results)
    name = mlir.merge_mlir_modules(
        context.module_context.module, "draw_step", module, dst_symtab=context.module_context.symbol_table
    )
    return func.CallOp(results, ir.FlatSymbolRefAttr.get(name), list(arguments)).results


_step = core.Primitive("draw_step")
_step.multiple_results = True
_step.def_abstract_eval(lambda *_, text, outputs: [jax.core.ShapedArray(shape, dtype) for shape, dtype in outputs])
mlir.register_lowering(_step, _lower)
