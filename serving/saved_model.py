"""An exported SavedModel: its signatures called with NumPy arrays, and the task that is written beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serving.exported_task import ExportedTask
from serving.reference.model_reference import REFERENCE_FILE, Reference

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2

# TensorFlow, which takes seconds to import, is imported where a model is loaded or a file lies in a bucket.

GRAPH_FILE = "saved_model.pb"
"""A folder without this file holds no SavedModel, or a half copied one."""
TASK_FILE = os.path.join("assets", "task.json")
VARIABLES_FILE = os.path.join("variables", "variables.index")
"""Written last of all; only a model without variables may lack it."""
DEFAULT_SIGNATURE = "serving_default"

Arrays = dict[str, np.ndarray]

_KINDS = {
    **dict.fromkeys(
        ("sample", "sample_sequence", "score", "score_examples", "reconstruct"), "only a generative model has it"
    ),
    **dict.fromkeys(
        ("decode", "decode_sequence", "encode"),
        "only a generative model has it, and one that was exported before there were latent variables gets it by "
        "`draw run --init-from MODEL --steps 0`",
    ),
    **dict.fromkeys(("classify", "classify_examples"), "only a classifier has it"),
}
"""Which models have a signature of our contract."""


class NotASavedModel(ValueError):
    """The file or folder holds no SavedModel."""


class NoServingGraph(NotASavedModel):
    """The SavedModel has no graph that is tagged for serving."""


class TensorSpec(NamedTuple):
    """One input or output of a signature."""

    dtype: np.dtype[Any]
    """`object` for strings."""
    shape: tuple[int | None, ...] | None
    """None stands for a dimension of any size, or for any shape at all."""


class SavedModel:
    """A model in this process. Threads may share it."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Loads the SavedModel in `directory`, or the newest of the numbered versions there.

        Raises:
          ValueError: if there is none.
          Exception: whatever TensorFlow raises for a broken one.
        """
        import tensorflow as tf

        self.directory = newest_version(directory)
        loaded = tf.saved_model.load(self.directory, tags=[tf.saved_model.SERVING])
        self.signatures = {
            name: Signature(name, function, loaded, self.directory) for name, function in loaded.signatures.items()
        }

    def signature(self, name: str) -> Signature:
        """Returns the signature `name`. Raises ValueError if there is none."""
        if name not in self.signatures:
            raise _no_signature(name, self.directory, self.signatures)
        return self.signatures[name]

    def task(self) -> ExportedTask:
        """Reads the task. Raises FileNotFoundError if the model has none."""
        return require_task(self.directory)


def load(directory: str | os.PathLike[str]) -> SavedModel:
    """Loads a user's SavedModel. Raises ValueError if there is none, or if it is damaged, as half of a copy is."""
    import tensorflow as tf

    try:
        return SavedModel(directory)
    # TensorFlow's for bytes that are missing or are others.
    except (LookupError, RuntimeError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise NotASavedModel(
            f"TensorFlow cannot load the SavedModel in {os.fspath(directory)}, so it is damaged, or not all of it is "
            f"there: {type(error).__name__}: {error}"
        ) from error


class Signature:
    """A function of a SavedModel: arrays in, arrays out."""

    def __init__(
        self, name: str, function: tf.types.experimental.ConcreteFunction, owner: object, directory: str
    ) -> None:
        self.name = name
        self.inputs = {alias: _spec(spec) for alias, spec in function.structured_input_signature[1].items()}
        self.outputs = {alias: _spec(spec) for alias, spec in function.structured_outputs.items()}
        self._function = function
        # Kept because it owns the variables that the function uses.
        self._owner = owner
        self._directory = directory

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[H, W, C] of the input `image`. Raises ValueError if there is no image of a fixed size."""
        spec = self.inputs.get("image")
        if spec is None or spec.shape is None or len(spec.shape) != 4 or None in spec.shape[1:]:
            raise ValueError(f"{self.name!r} of {self._directory} takes no image [n, H, W, C] of a fixed size.")
        height, width, channels = (int(size or 0) for size in spec.shape[1:])
        return height, width, channels

    @property
    def only_input(self) -> str:
        """The name of the input of a signature that takes one, such as serialised tf.Examples; else ValueError."""
        if len(self.inputs) != 1:
            raise ValueError(
                f"{self.name!r} of {self._directory} takes {sorted(self.inputs)}; expected one input, serialised "
                "tf.Examples [n]."
            )
        return next(iter(self.inputs))

    def require_outputs(self, *names: str) -> None:
        """Raises ValueError if the signature lacks one of these outputs."""
        missing = set(names) - self.outputs.keys()
        if missing:
            raise ValueError(
                f"{self.name!r} of {self._directory} lacks the outputs {sorted(missing)}; it gives "
                f"{sorted(self.outputs)}."
            )

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Collection[str] | None = None) -> Arrays:
        """Calls the function once and returns whatever it gives, or these outputs, unchecked.

        Other Python threads run meanwhile.

        An array is converted to the input's dtype; where that is a float, uint8 pixels are divided by 255.

        Raises:
          ValueError: for other inputs than the signature takes.
          tf.errors.InvalidArgumentError: for an input that the model refuses.
        """
        import tensorflow as tf

        if inputs.keys() != self.inputs.keys():
            raise ValueError(f"{self.name!r} of {self._directory} takes {sorted(self.inputs)}; got {sorted(inputs)}.")
        arguments = {}
        for alias, value in inputs.items():
            dtype = self.inputs[alias].dtype
            arguments[alias] = tf.constant(_converted(value, dtype), tf.as_dtype(dtype))
        answer = self._function(**arguments)
        # What nobody asked for may be large, and is never copied.
        return {alias: answer[alias].numpy() for alias in (answer if outputs is None else outputs)}

    def call(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        outputs: Mapping[str, str] | None = None,
        batch_rows: int | None = None,
        finite: bool = False,
    ) -> Arrays:
        """Calls the function as `run` does, in batches, and checks that each input row has an output row.

        Args:
          inputs: arrays of equally many rows, at least one.
          outputs: which to return, with their shapes, such as `[n, T]`, of which the rank is checked; None for all.
          batch_rows: at most so many rows a call; None for one call.
          finite: whether a NaN or an infinity is an error.

        Raises:
          ValueError: if an answer has another shape, or is not finite where it must be.
        """
        rows = len(next(iter(inputs.values())))
        step = batch_rows or rows
        parts = [
            self.run({alias: value[first : first + step] for alias, value in inputs.items()}, outputs)
            for first in range(0, rows, step)
        ]
        answer = {
            # A number where rows should be cannot be joined, only reported.
            name: np.concatenate([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
            for name in (outputs or self.outputs)
        }
        for name, values in answer.items():
            shape = outputs[name] if outputs else "[n, ...]"
            if values.shape[:1] != (rows,) or (outputs and values.ndim != shape.count(",") + 1):
                raise ValueError(
                    f"{self.name!r} of {self._directory} gave {name} of shape {values.shape} for {rows} rows; expected "
                    f"{shape}."
                )
            if finite and np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise ValueError(f"{self.name!r} of {self._directory} gave {name} that is not finite.")
        return answer


def read_task(directory: str | os.PathLike[str]) -> ExportedTask | None:
    """Reads the task of the SavedModel in `directory`; None if it has none. Imports no TensorFlow for a local file."""
    try:
        return ExportedTask(json.loads(_read_file(os.path.join(directory, TASK_FILE))))
    except (FileNotFoundError, NotADirectoryError):
        return None


def require_task(directory: str | os.PathLike[str]) -> ExportedTask:
    """Reads the task as `read_task` does. Raises FileNotFoundError if the SavedModel has none."""
    task = read_task(directory)
    if task is None:
        raise FileNotFoundError(
            f"The SavedModel {os.fspath(directory)} has no {TASK_FILE}, so its images are not known. Export it with "
            "its task."
        )
    return task


def read_reference(directory: str | os.PathLike[str]) -> Reference | None:
    """Reads the reference of the SavedModel in `directory`; None if it has none. Raises BadReference.

    Imports no TensorFlow for a local file.
    """
    try:
        return Reference.from_json(_read_file(os.path.join(directory, REFERENCE_FILE)))
    except (FileNotFoundError, NotADirectoryError):
        return None


def newest_version(directory: str | os.PathLike[str]) -> str:
    """Returns `directory` if it is a SavedModel, or the whole one in it with the greatest number; else ValueError."""
    import tensorflow as tf

    path = os.fspath(directory).rstrip("/")
    if not tf.io.gfile.exists(os.path.join(path, GRAPH_FILE)):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(path)] if tf.io.gfile.isdir(path) else []
        versions = sorted((name for name in names if name.isascii() and name.isdecimal()), key=int)
        # The Pusher, or who copies a version by hand, makes the folder first, and the graph before the variables.
        graphs = [name for name in versions if tf.io.gfile.exists(os.path.join(path, name, GRAPH_FILE))]
        whole = [name for name in graphs if tf.io.gfile.exists(os.path.join(path, name, VARIABLES_FILE))] or graphs
        if not whole:
            seen = f"only {', '.join(versions[-3:])}, without {GRAPH_FILE}" if versions else "none"
            raise NotASavedModel(
                f"There is no model in {path}: expected a SavedModel, or its numbered versions; there is {seen}."
            )
        path = os.path.join(path, whole[-1])
    return path if "://" in path else os.path.abspath(path)


def signature_definitions(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the SignatureDefs of a SavedModel, by name, without loading it.

    Raises:
      NotASavedModel, NoServingGraph: as `serving_graph`.
      FileNotFoundError: if there is none.
    """
    definitions = serving_graph(_read_file(os.path.join(directory, GRAPH_FILE)), directory).signature_def
    # TensorFlow's own, such as the one for initialisation, begin with two underscores.
    return {name: definitions[name] for name in sorted(definitions) if name[:2] != "__"}


def serving_graph(content: bytes, directory: str | os.PathLike[str]) -> meta_graph_pb2.MetaGraphDef:
    """Parses the graph file of a SavedModel, and returns the graph that is for serving.

    Raises:
      NotASavedModel: if the content is no SavedModel.
      NoServingGraph: if no graph of it is for serving.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        graphs = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    except DecodeError as error:
        raise NotASavedModel(f"{os.path.join(directory, GRAPH_FILE)} is no SavedModel: {error}") from error
    for graph in graphs:
        if "serve" in graph.meta_info_def.tags:
            return graph
    tags = sorted({tag for graph in graphs for tag in graph.meta_info_def.tags})
    raise NoServingGraph(f"{os.fspath(directory)} has no graph tagged 'serve', only {tags}: export one.")


def require_signature(directory: str | os.PathLike[str], name: str) -> None:
    """Raises ValueError if the SavedModel has no signature `name`. Loads nothing."""
    names = signature_definitions(directory)
    if name not in names:
        raise _no_signature(name, directory, names)


def refusal(error: tf.errors.InvalidArgumentError) -> str:
    """Returns what the model's own assertion says, without TensorFlow's account of where it stands."""
    message = error.message or str(error)
    _, is_assertion, text = message.partition("assertion failed: [")
    return text.partition("]")[0] if is_assertion else message.splitlines()[0]


def _no_signature(name: str, directory: str | os.PathLike[str], names: Mapping[str, Any]) -> ValueError:
    hint = _KINDS.get(name, "export the model with the signatures of our contract")
    return ValueError(f"The SavedModel {os.fspath(directory)} has no signature {name!r}, only {sorted(names)}: {hint}.")


def _converted(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    value = np.asarray(value)
    if value.dtype == np.uint8 and np.issubdtype(dtype, np.floating):
        return value.astype(dtype) / dtype.type(255)
    return value.astype(dtype, copy=False)


def _spec(spec: tf.TensorSpec) -> TensorSpec:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorSpec(np.dtype(spec.dtype.as_numpy_dtype), shape)


def _read_file(path: str) -> bytes:
    """Raises FileNotFoundError if there is none."""
    if "://" not in path:
        return Path(path).read_bytes()
    import tensorflow as tf

    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"There is no file {path}.")
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())
