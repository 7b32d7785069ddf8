"""The classifier where it is trained and exported: labels, steps, the loop, and signatures that refuse bad input."""

import itertools
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from benchmarks import export_step
from tests import tiny
from trainer.export import exporter
from trainer.task import Task
from trainer.training import devices, input_pipeline, loop, step

CLASSES, BATCH = 3, 12
TASK = tiny.tiny_classifier(
    {
        "batch_size": BATCH, "steps": 120, "validation_interval": 50, "validation_examples": 100,
        "learning_rate": 2e-2, "final_learning_rate": 1e-2, "jit_compile": True,
    },
    classes=CLASSES, glimpses=3, image_shape=(tiny.ROWS, tiny.COLUMNS, 1),
)  # fmt: skip
TOTAL = 31


def make_data(count, seed=0):
    """Noise in which a bright bar at the left, in the middle or at the right is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 60, (count, *TASK.image_shape), np.uint8)
    images[np.arange(count), :, 2 * labels] = 250
    return images, labels


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    images, labels = make_data(TOTAL)
    return images, labels, tiny.write_examples(tmp_path_factory.mktemp("data"), images, labels=labels)


# Labels


def test_labels_travel_with_their_images_in_training_and_in_evaluation(data):
    images, labels, files = data
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}

    def assert_paired(x, batch_labels):
        rows = np.round(x.numpy() * 255).astype(np.uint8)
        np.testing.assert_array_equal(batch_labels, [known[row.tobytes()] for row in rows])

    for x, batch_labels in itertools.islice(input_pipeline.training_batches(files, TASK, first_step=2), 4):
        assert (x.shape, batch_labels.shape, batch_labels.dtype) == ((BATCH, *TASK.image_shape), (BATCH,), tf.int64)
        assert_paired(x, batch_labels)
    batches = input_pipeline.evaluation_batches(files, TASK, TOTAL)
    for (x, batch_labels), _ in batches:
        assert_paired(x, batch_labels)
    assert [len(ids) for _, ids in batches] == [12, 12, 7]


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_that_is_no_class_is_refused(tmp_path, label):
    images, labels = make_data(BATCH)
    files = tiny.write_examples(tmp_path, images, labels=[*labels[:-1], label])
    with pytest.raises(tf.errors.InvalidArgumentError, match="one of the classes 0 to 2"):
        next(iter(input_pipeline.training_batches(files, TASK, first_step=0)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="one of the classes 0 to 2"):
        input_pipeline.evaluation_batches(files, TASK, BATCH)


# Training


def test_a_cut_and_compiled_step_is_one_of_a_plain_batch_and_moves_every_variable(data, monkeypatch):
    *_, files = data
    results = []
    for count in (1, 3):
        monkeypatch.setattr(devices, "slices", lambda rows, count=count: count)
        trainer = step.Trainer(TASK, tf.distribute.get_strategy())
        start = trainer.state.arrays()
        metrics = trainer.train(iter(input_pipeline.training_batches(files, TASK, first_step=0)), 2)
        results.append((trainer.state.arrays(), metrics))
        assert all(not np.array_equal(value, start[name]) for name, value in results[-1][0].items())
    (plain, plain_metrics), (cut, cut_metrics) = results
    for name, value in plain.items():
        np.testing.assert_allclose(cut[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(cut_metrics.loss, plain_metrics.loss, rtol=1e-5)
    assert 0 <= float(plain_metrics.means.error) <= 1


TWO_DEVICES = """
import json, sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tests.trainer import test_classifier as here
from trainer.training import devices, input_pipeline, step

losses = []
for strategy in (tf.distribute.OneDeviceStrategy("/cpu:0"), devices.strategy()):
    trainer = step.Trainer(here.TASK, strategy)
    batches = iter(strategy.distribute_datasets_from_function(
        lambda context: input_pipeline.training_batches(
            json.loads(sys.argv[1]), here.TASK, first_step=0, context=context
        )
    ))
    losses.append([strategy.num_replicas_in_sync] + [float(trainer.train(batches, 1).loss) for _ in range(3)])
print(json.dumps(losses))
"""


def test_two_devices_train_as_one(data):
    one, two = json.loads(tiny.run_python(TWO_DEVICES, json.dumps(data[2])).splitlines()[-1])
    assert (one[0], two[0]) == (1, 2) and len(set(one)) == 4
    np.testing.assert_allclose(two[1:], one[1:], rtol=2e-5)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    lines = []
    directory = tmp_path_factory.mktemp("run")
    files = {"train_files": data[2], "validation_files": data[2]}
    weights = loop.train(TASK, **files, directory=str(directory), report=lines.append)
    return weights, lines, directory


def test_it_learns_and_says_so(trained):
    _, lines, directory = trained
    assert lines[-1].startswith("step 120/120  validation error ") and lines[-1].endswith("% at 120")
    scalars = {}
    for path in (directory / "logs").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                image = value.metadata.plugin_data.plugin_name == "images"
                number = None if image else float(tf.make_ndarray(value.tensor))
                scalars.setdefault(value.tag, []).append(number)
    assert {"train/cross_entropy", "train/error", "validation/cross_entropy", "validation/error", "glimpses"} <= set(
        scalars
    )
    assert not [tag for tag in scalars if "kl" in tag or "bound" in tag]
    assert scalars["train/error"][0] > 0.3 and scalars["validation/error"][-1] < 0.1
    assert f"{scalars['validation/error'][-1]:.2%}" in lines[-1]


def test_a_run_that_is_cut_short_ends_with_the_same_bits(trained, data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    real = step.Trainer.validate

    def killed(self, batches):
        if int(self.state.step) == 100:
            raise Killed
        return real(self, batches)

    files = {"train_files": data[2], "validation_files": data[2]}
    monkeypatch.setattr(step.Trainer, "validate", killed)
    with pytest.raises(Killed):
        loop.train(TASK, **files, directory=str(tmp_path), report=lambda line: None)
    monkeypatch.setattr(step.Trainer, "validate", real)
    lines = []
    weights = loop.train(TASK, **files, directory=str(tmp_path), report=lines.append)
    assert "resuming at step" in lines[0]
    for name, value in trained[0].items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


def test_the_program_of_a_step_is_the_step(data):
    state = step.TrainState(TASK)
    arguments = [*map(tf.constant, state.arrays().values())]
    arguments[-1] = tf.constant(0)
    x, labels = next(iter(input_pipeline.training_batches(data[2], TASK, first_step=0)))
    *arrays, count, loss = export_step.whole_step(TASK, BATCH)(*arguments, x, tf.cast(labels, tf.int32))
    trainer = step.Trainer(TASK, tf.distribute.get_strategy())
    metrics = trainer.train(iter(input_pipeline.training_batches(data[2], TASK, first_step=0)), 1)
    assert int(count) == 1
    np.testing.assert_allclose(loss, metrics.loss, rtol=1e-5)
    for array, (name, value) in zip(arrays, trainer.state.arrays().items(), strict=False):
        np.testing.assert_allclose(array, value, rtol=1e-3, atol=1e-5, err_msg=name)


# The SavedModel

ROWS = 5


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    case = tiny.make_classifier_case(rows=ROWS)
    weights = {name: value.astype(np.float32) for name, value in case.weights.items()}
    case.weights.update(weights)
    # Pixels as bytes hold them, so that an example and an image can be the same.
    raw = np.round(case.x * 255).astype(np.uint8)
    case.x[...] = raw.astype(np.float32) / 255
    directory = tmp_path_factory.mktemp("exported") / "model"
    exporter.export(tiny.CLASSIFIER, weights, str(directory))
    return case, raw, directory, tf.saved_model.load(str(directory))


def classify(model, image):
    return {key: v.numpy() for key, v in model.signatures["classify"](image=tf.constant(image, tf.float32)).items()}


def test_signatures_have_the_names_shapes_and_types_of_the_contract(exported):
    case, _, directory, model = exported
    task, signatures = tiny.CLASSIFIER, model.signatures
    assert set(signatures) == {"serving_default", "classify", "classify_examples"}
    image = tf.TensorSpec([None, *task.image_shape], tf.float32, name="image")
    for name in ("serving_default", "classify"):
        assert signatures[name].structured_input_signature[1] == {"image": image}
    strings = tf.TensorSpec([None], tf.string, name="inputs")
    assert signatures["classify_examples"].structured_input_signature[1] == {"inputs": strings}
    result = {key: (value.shape, value.dtype) for key, value in classify(model, case.x).items()}
    assert result == {
        "probabilities": ((ROWS, tiny.CLASSES), np.float32),
        "label": ((ROWS,), np.int64),
        "glimpse_window": ((ROWS, tiny.STEPS, 5), np.float32),
    }
    assert Task.from_json((directory / "assets" / "task.json").read_text(encoding="utf-8")) == task


def test_classify_is_the_references_softmax_label_and_windows(exported):
    case, _, _, model = exported
    result, expected = classify(model, case.x), case.reference()
    np.testing.assert_allclose(result["probabilities"], expected.probabilities, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(result["label"], expected.probabilities.argmax(axis=1))
    windows = np.swapaxes(expected.windows, 0, 1) - [1, 1, 0, 0, 0]
    np.testing.assert_allclose(result["glimpse_window"], windows, rtol=1e-3, atol=1e-3)


def test_examples_get_the_answer_of_tf_servings_classify(exported):
    case, raw, directory, model = exported
    serialized = [tiny.serialize(image, str(index)) for index, image in enumerate(raw)]
    result = model.signatures["classify_examples"](inputs=tf.constant(serialized))
    np.testing.assert_array_equal(result["classes"], [[str(label).encode() for label in range(tiny.CLASSES)]] * ROWS)
    np.testing.assert_allclose(result["scores"], classify(model, case.x)["probabilities"], rtol=1e-5, atol=1e-7)
    message = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    methods = {name: d.method_name for name, d in message.meta_graphs[0].signature_def.items()}
    assert methods["classify_examples"] == "tensorflow/serving/classify"
    assert methods["classify"] == methods["serving_default"] == "tensorflow/serving/predict"


def test_a_row_does_not_depend_on_the_batch_that_it_travels_in(exported):
    case, _, _, model = exported
    whole = classify(model, case.x)
    for rows in ([3], [4, 0], [1, 1, 2, 2, 0]):
        for key, value in classify(model, case.x[rows]).items():
            np.testing.assert_allclose(value, whole[key][rows], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-3, 1.001, 255.0])
def test_a_pixel_outside_0_to_1_is_refused(exported, value):
    case, _, _, model = exported
    image = case.x.copy()
    image[3, 1, 2, 0] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must lie in \[0, 1\]: divide intensities by 255"):
        classify(model, image)


def test_an_empty_batch_is_refused(exported):
    case, _, _, model = exported
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty: send at least one image"):
        classify(model, case.x[:0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty: send at least one example"):
        model.signatures["classify_examples"](inputs=tf.constant([], tf.string))


def test_an_example_with_another_number_of_bytes_is_refused(exported):
    _, raw, _, model = exported
    size = raw[0].size
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"must hold {size} bytes"):
        model.signatures["classify_examples"](inputs=tf.constant([tiny.serialize(raw[0, :-1], "0")]))
