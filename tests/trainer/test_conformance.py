"""Every public function of the model and every module: eager, tf.function, XLA, checkpoint and SavedModel say the same.

REGISTRY is the one list of them; a meta-test fails when something public is not in it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import trainer
from tests import tiny
from trainer.export import exporter
from trainer.model import attention, draw, learned_start, loss, network, ram
from trainer.training import objective, recurrence, step

B, A, H, Z, N = tiny.ROWS, tiny.COLUMNS, tiny.UNITS, tiny.LATENTS, tiny.SMALL_N
n = tiny.BATCH
TASK = tiny.MODELS["attention"]
COLOUR_WITHOUT_ATTENTION = tiny.MODELS["no_attention_colour"]

Values = dict[str, Any]


class Entry(tf.Module):
    """A function with its arguments as variables, so that it can be checkpointed and saved as a module is."""

    def __init__(self, function: Callable[[Values], Any], arguments: Values, module: tf.Module | None = None) -> None:
        super().__init__(name="entry")
        self._function = function
        self.arguments = tf.nest.map_structure(lambda value: tf.Variable(value, dtype=value.dtype), arguments)
        self.module = module

    def __call__(self) -> list[tf.Tensor]:
        """The function's tensors, in a fixed order."""
        values = tf.nest.map_structure(tf.convert_to_tensor, self.arguments)
        return [tf.identity(value) for value in tf.nest.flatten(self._function(values)) if value is not None]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.5, shape).astype(np.float32)


def windows() -> Values:
    return {"raw": normal(n, 5)}


def window_of(values: Values) -> attention.Window:
    return attention.window(values["raw"], rows=B, columns=A, N=N)


def model(task) -> Values:
    case = tiny.make_case(task, scale=0.5)
    floats = {"x": case.x.astype(np.float32), "eps": case.eps.astype(np.float32)}
    return {"weights": {k: v.astype(np.float32) for k, v in case.weights.items()}, **floats}


def classifier() -> Values:
    case = tiny.make_classifier_case(scale=0.5)
    return {"weights": {k: v.astype(np.float32) for k, v in case.weights.items()}, "x": case.x.astype(np.float32)}


def one_glimpse(v: Values) -> Any:
    state = ram.start(v["weights"], n)
    return ram.glimpse(recurrence.linear(v["weights"]), state, v["x"], tiny.CLASSIFIER)


def entry(function: Callable[[Values], Any], arguments: Callable[[], Values]) -> Callable[[Path], Entry]:
    return lambda directory: Entry(function, arguments())


def infer_entry(task, **options: bool) -> Callable[[Path], Entry]:
    def function(v: Values) -> draw.Inference:
        return draw.infer(v["weights"], v["x"], v["eps"], task, **options)

    return entry(function, lambda: model(task))


def scanned(scan: Callable[..., Any]) -> Callable[[Path], Entry]:
    """The recurrence of the inference network, and its gradient, for that is what the ways to run it differ in."""

    def function(v: Values) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(v["weights"])
            bound = draw.infer(v["weights"], v["x"], v["eps"], TASK, scan=scan).nll_bound
        return bound, tape.gradient(bound, v["weights"])

    return entry(function, lambda: model(TASK))


def network_of(v: Values, task=TASK) -> network.Network:
    return network.for_task(task, recurrence.linear(v["weights"]))


def one_step(v: Values, step: Callable[..., Any], *inputs: tf.Tensor) -> Any:
    return step(network_of(v), draw.start(v["weights"], n), *inputs)


def layers(task) -> Callable[[Values], Any]:
    """Every function of the task's network, and what they trace."""

    def function(v: Values) -> Any:
        net = network_of(v, task)
        _, h_enc, s_enc, h_dec, s_dec = draw.start(v["weights"], n)
        r = net.read(v["x"], 1 - v["x"], h_dec)
        z = net.sample(h_enc, v["eps"][0])
        encoded, decoded = net.encoder(h_enc, s_enc, [*r, h_dec]), net.decoder(h_dec, s_dec, z)
        return r, z, encoded, decoded, net.write(h_dec), net.trace

    return function


def train_state(directory: Path) -> Entry:
    state = step.TrainState(TASK)

    def one_more(values: Values) -> Any:
        return state.read(), state.exported(TASK), state.step.read_value()

    return Entry(one_more, {}, state)


def signatures(directory: Path) -> Entry:
    task_file = directory / "task.json"
    task_file.write_text(TASK.to_json(), encoding="utf-8")
    module = exporter.signatures(TASK, objective.for_task(TASK).initial_weights(3), str(task_file))
    seeds = tf.constant([[1, 2], [3, 4], [5, 6]], tf.int64)
    x = tf.constant(np.round(normal(3, B, A, 1) > 0), tf.float32)
    return Entry(lambda values: (module.sample(seeds), module.reconstruct(x, seeds)), {}, module)


def classifier_signatures(directory: Path) -> Entry:
    task_file = directory / "task.json"
    task_file.write_text(tiny.CLASSIFIER.to_json(), encoding="utf-8")
    module = exporter.signatures(
        tiny.CLASSIFIER, objective.for_task(tiny.CLASSIFIER).initial_weights(3), str(task_file)
    )
    x = tf.constant(np.random.default_rng(1).uniform(size=(3, *tiny.CLASSIFIER.image_shape)), tf.float32)
    return Entry(lambda values: module.classify(x), {}, module)


REGISTRY: dict[str, Callable[[Path], Entry]] = {
    "attention.window": entry(window_of, windows),
    "attention.filterbank": entry(lambda v: attention.filterbank(window_of(v), rows=B, columns=A, N=N), windows),
    "attention.extract": entry(
        lambda v: attention.extract(v["images"], window_of(v), N=N),
        lambda: {**windows(), "images": normal(n, B, A, 3, seed=1)},
    ),
    "attention.place": entry(
        lambda v: attention.place(v["patch"], window_of(v), rows=B, columns=A),
        lambda: {**windows(), "patch": normal(n, N, N, 3, seed=2)},
    ),
    "network.lstm": entry(
        lambda v: network.lstm(v["gates"], v["s"]), lambda: {"gates": normal(n, 4 * H), "s": normal(n, H, seed=3)}
    ),
    "loss.kl_divergence": entry(
        lambda v: loss.kl_divergence(v["mu"], v["log_sigma"]),
        lambda: {"mu": normal(n, Z), "log_sigma": normal(n, Z, seed=4)},
    ),
    "loss.reconstruction_loss": entry(
        lambda v: loss.reconstruction_loss(tf.sigmoid(v["x"]), v["c"]),
        lambda: {"x": normal(n, B, A, 3), "c": normal(n, B, A, 3, seed=5)},
    ),
    "loss.nll_bound": entry(
        lambda v: loss.nll_bound(v["reconstruction"], v["kl"]),
        lambda: {"reconstruction": normal(n), "kl": normal(tiny.STEPS, n, seed=9)},
    ),
    "loss.log_importance_ratio": entry(
        lambda v: loss.log_importance_ratio(v["eps"], v["z"], v["log_sigma"]),
        lambda: {"eps": normal(n, Z), "z": normal(n, Z, seed=6), "log_sigma": normal(n, Z, seed=7)},
    ),
    "recurrence.linear": entry(
        lambda v: recurrence.linear(v)("decoder", v["z"], v["h"]),
        lambda: {
            "decoder/w": normal(Z + H, 4 * H),
            "decoder/b": normal(4 * H),
            "z": normal(n, Z),
            "h": normal(n, H, seed=8),
        },
    ),
    "learned_start.for_rows": entry(
        lambda v: list(learned_start.for_rows(learned_start.DRAW, v["weights"], n)), lambda: model(TASK)
    ),
    "recurrence.scan": scanned(recurrence.scan),
    "recurrence.scan_deferred": scanned(recurrence.scan_deferred),
    "draw.start": entry(lambda v: draw.start(v["weights"], n), lambda: model(TASK)),
    "network.for_task": entry(layers(TASK), lambda: model(TASK)),
    "network.for_task without attention": entry(
        layers(COLOUR_WITHOUT_ATTENTION), lambda: model(COLOUR_WITHOUT_ATTENTION)
    ),
    "draw.step": entry(lambda v: one_step(v, draw.step, v["x"], v["eps"][0]), lambda: model(TASK)),
    "draw.generative_step": entry(lambda v: one_step(v, draw.generative_step, v["eps"][0]), lambda: model(TASK)),
    "draw.infer": infer_entry(TASK, trace=True),
    "draw.infer without attention": infer_entry(COLOUR_WITHOUT_ATTENTION),
    "draw.generate": entry(lambda v: draw.generate(v["weights"], v["eps"], TASK, trace=True), lambda: model(TASK)),
    "ram.start": entry(lambda v: ram.start(v["weights"], n), classifier),
    "ram.glimpse": entry(one_glimpse, classifier),
    "ram.classify": entry(lambda v: ram.classify(v["weights"], v["x"], tiny.CLASSIFIER, trace=True), classifier),
    "attention.read": entry(
        lambda v: attention.read(recurrence.linear(v), v["images"], v["h"], N=N),
        lambda: {
            f"{attention.HEAD}/w": normal(H, 5),
            f"{attention.HEAD}/b": normal(5),
            "images": normal(n, B, A, 2, seed=1),
            "h": normal(n, H, seed=2),
        },
    ),
    "attention.pixels": entry(
        lambda v: attention.pixels(v["raw"], TASK.image_shape, N=N), lambda: {"raw": normal(3, n, 5)}
    ),
    "step.TrainState": train_state,
    "generative_signatures.GenerativeSignatures": signatures,
    "classifier_signatures.ClassifierSignatures": classifier_signatures,
}

NOT_OF_TENSORS = {
    "learned_start.weight_shapes": "plain Python; the two weight_shapes are made of it",
    "network.weight_shapes": "plain Python; test_draw compares it with the reference",
    "ram.weight_shapes": "plain Python; test_ram compares it with the reference",
    "recurrence.layer_shapes": "plain Python; the two weight_shapes are made of it",
    "recurrence.row_count": "a number; the step is compiled with it",
    "signatures.Signatures": "the abstract base of two that are here",
}

NEVER_IN_XLA = {
    # XLA leaves out the assertions, and on CPU draws other noise from the same seed: a server runs them as they are.
    "generative_signatures.GenerativeSignatures",
    "classifier_signatures.ClassifierSignatures",
}


NEVER_SAVED = {
    # A gradient of our own is for training; what is saved is traced from `scan`.
    "recurrence.scan_deferred",
}


@pytest.fixture(scope="module", params=REGISTRY)
def case(request, tmp_path_factory):
    entry = REGISTRY[request.param](tmp_path_factory.mktemp("entry"))
    return entry, [value.numpy() for value in entry()]


def assert_same(actual: list[tf.Tensor], expected: list[np.ndarray], tolerance: float) -> None:
    assert expected and len(actual) == len(expected)
    for value, wanted in zip(actual, expected, strict=True):
        assert value.dtype == wanted.dtype and value.shape == wanted.shape
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)


def test_graph_says_what_eager_says(case):
    entry, expected = case
    assert_same(tf.function(entry, autograph=False)(), expected, 2e-5)


@pytest.mark.parametrize("case", [name for name in REGISTRY if name not in NEVER_IN_XLA], indirect=True)
def test_xla_says_what_eager_says(case):
    entry, expected = case
    assert_same(tf.function(entry, jit_compile=True, autograph=False)(), expected, 1e-4)


def test_a_checkpoint_brings_every_variable_back(case, tmp_path):
    entry, expected = case
    kept = [variable.numpy() for variable in entry.variables]
    path = tf.train.Checkpoint(entry=entry).write(str(tmp_path / "checkpoint"))
    for variable in entry.variables:
        variable.assign(tf.ones_like(variable) * 17)
    # assert_consumed: nothing that was saved is left over, and nothing here was left out.
    tf.train.Checkpoint(entry=entry).read(path).assert_consumed()
    for variable, value in zip(entry.variables, kept, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert kept
    assert_same(entry(), expected, 0)


@pytest.mark.parametrize("case", [name for name in REGISTRY if name not in NEVER_SAVED], indirect=True)
def test_a_saved_model_says_what_eager_says(case, tmp_path):
    entry, expected = case
    module = tf.Module()
    module.entry = entry
    module.call = tf.function(entry, input_signature=[], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    assert_same(loaded.call(), expected, 2e-5)


def test_everything_public_is_registered():
    functions = {
        f"{name_of(module)}.{name}"
        for module in (recurrence, learned_start, attention, loss, network, draw, ram)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    modules = [
        importlib.import_module(info.name)
        for info in pkgutil.walk_packages(trainer.__path__, "trainer.")
        if info.name != "trainer.run_fn"  # which alone imports TFX, and has no module
    ]
    classes = {
        f"{name_of(module)}.{kind.__name__}"
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, tf.Module) and kind.__module__ == module.__name__
        if not kind.__name__.startswith("_")
    }
    assert len(functions) >= 15 and len(classes) >= 2
    registered = {name.split(" ")[0] for name in REGISTRY}
    assert functions | classes == registered | set(NOT_OF_TENSORS)
    assert not registered & set(NOT_OF_TENSORS)


def name_of(module) -> str:
    return module.__name__.rpartition(".")[2]
