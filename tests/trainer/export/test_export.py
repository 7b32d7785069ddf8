"""The SavedModel, loaded back: its signatures, their rows and seeds, what they refuse, what loading them needs."""

import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.reference import draw as reference
from trainer.export import exporter
from trainer.task import Attention, Task
from trainer.training import randomness

ROWS = 5
SEEDED = {"serving_default", "sample", "sample_sequence", "score", "reconstruct"}
LATENT = {"decode", "decode_sequence", "encode"}
NAMES = SEEDED | LATENT | {"score_examples"}


_FIELDS = {"seed": "seed", "image": "x", "examples": "examples", "z": "z", "eps": "z"}
"""Where a case has each input."""


class Exported:
    """A model as a server has it: signatures, and what went into them."""

    def __init__(self, task, directory):
        self.task = task
        self.case = tiny.make_case(task, rows=ROWS, scale=0.7, seed=6)
        # The reference is given what float32 keeps of the weights.
        weights = {name: value.astype(np.float32) for name, value in self.case.weights.items()}
        self.case.weights.update(weights)
        exporter.export(task, weights, str(directory))
        self.directory = directory
        self.model = tf.saved_model.load(str(directory))
        self.seed = np.array([[1, 2], [3, 4], [5, 6], [2, 1], [2**40, -7]], np.int64)
        # Pixels as bytes hold them, so that an example and an image can be the same.
        self.raw = np.round(self.case.x * (1 if task.binary else 255)).astype(np.uint8)
        self.x = self.raw.astype(np.float32) if task.binary else self.raw.astype(np.float32) / 255
        self.z = np.random.default_rng(12).standard_normal((ROWS, task.glimpses, task.latent_size)).astype(np.float32)
        self.ids = [f"example-{index}" for index in range(ROWS)]
        self.examples = np.array([tiny.serialize(*pair) for pair in zip(self.raw, self.ids, strict=True)], object)

    def call(self, name, rows=slice(None), **changes):
        """A signature's outputs on the rows that are asked for."""
        inputs = {key: getattr(self, _FIELDS[key]) for key in self.model.signatures[name].structured_input_signature[1]}
        inputs = {key: tf.constant(value[rows]) for key, value in {**inputs, **changes}.items()}
        return {key: value.numpy() for key, value in self.model.signatures[name](**inputs).items()}


@pytest.fixture(scope="module", params=tiny.MODELS)
def exported(request, tmp_path_factory):
    return Exported(tiny.MODELS[request.param], tmp_path_factory.mktemp(request.param) / "model")


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    return Exported(tiny.MODELS["attention"], tmp_path_factory.mktemp("binary") / "model")


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    return Exported(tiny.MODELS["no_attention_colour"], tmp_path_factory.mktemp("colour") / "model")


# The contract


def test_signatures_have_the_names_shapes_and_types_of_the_contract(exported):
    task, signatures = exported.task, exported.model.signatures
    assert set(signatures) == NAMES
    seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
    image = tf.TensorSpec([None, *task.image_shape], tf.float32, name="image")
    strings = tf.TensorSpec([None], tf.string, name="examples")
    z, eps = (tf.TensorSpec([None, task.glimpses, task.latent_size], tf.float32, name=name) for name in ("z", "eps"))
    inputs = {name: signatures[name].structured_input_signature[1] for name in NAMES}
    assert inputs == {
        **{name: {"seed": seed} for name in ("serving_default", "sample", "sample_sequence")},
        **{name: {"image": image, "seed": seed} for name in ("score", "reconstruct")},
        "score_examples": {"examples": strings},
        **{name: {"z": z} for name in ("decode", "decode_sequence")},
        "encode": {"image": image, "eps": eps},
    }
    T, shape = task.glimpses, task.image_shape
    bounds = dict.fromkeys(("nll_bound", "reconstruction", "kl", "log_weight"), (ROWS,)) | {"kl_per_step": (ROWS, T)}
    windows = {f"{name}_window": (ROWS, T, 5) for name in ("read", "write") if isinstance(task.attention, Attention)}
    canvas = {"canvas": (ROWS, T, *shape)}
    write = {name: value for name, value in windows.items() if name == "write_window"}
    expected = {
        "serving_default": {"image": (ROWS, *shape)},
        "sample": {"image": (ROWS, *shape)},
        "sample_sequence": {**canvas, **write},
        "score": bounds,
        "score_examples": bounds,
        "reconstruct": {"image": (ROWS, *shape), **canvas, **windows},
        "decode": {"image": (ROWS, *shape)},
        "decode_sequence": {**canvas, **write},
        "encode": {
            **dict.fromkeys(("z", "mu", "log_sigma"), (ROWS, T, task.latent_size)),
            "kl_per_step": (ROWS, T),
            "nll_bound": (ROWS,),
        },
    }
    for name, outputs in expected.items():
        result = exported.call(name)
        assert {key: value.shape for key, value in result.items()} == outputs, name
        assert {value.dtype for value in result.values()} == {np.dtype(np.float32)}, name
        for key, spec in signatures[name].structured_outputs.items():
            assert spec.dtype == tf.float32 and key in outputs


def test_the_resolved_task_lies_in_the_assets(exported):
    text = (exported.directory / "assets" / "task.json").read_text(encoding="utf-8")
    assert Task.from_json(text) == exported.task
    with open(exported.model.task_json.asset_path.numpy(), encoding="utf-8") as file:
        assert file.read() == text


def test_the_default_is_sample(exported):
    np.testing.assert_array_equal(exported.call("serving_default")["image"], exported.call("sample")["image"])


# What the numbers are


def test_sample_and_its_sequence_are_the_references_generation_with_the_rows_noise(exported):
    noise = randomness.row_noise(exported.task, tf.constant(exported.seed)).numpy()
    expected = reference.generate(exported.case.weights, noise, tiny.window_sizes(exported.task)[1])
    sequence = exported.call("sample_sequence")
    np.testing.assert_allclose(sequence["canvas"], np.swapaxes(reference.sigm(expected.canvas), 0, 1), atol=1e-5)
    np.testing.assert_allclose(exported.call("sample")["image"], sequence["canvas"][:, -1], rtol=0, atol=1e-6)
    if expected.write_window is not None:
        windows = np.swapaxes(expected.write_window, 0, 1) - [1, 1, 0, 0, 0]
        np.testing.assert_allclose(sequence["write_window"], windows, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def forward(exported):
    noise = randomness.row_noise(exported.task, tf.constant(exported.seed)).numpy()
    sizes = tiny.window_sizes(exported.task)
    return reference.forward(exported.case.weights, exported.x.astype(np.float64), noise, *sizes)


def test_score_is_the_references_bound_with_the_rows_noise(exported, forward):
    result = exported.call("score")
    for name in ("nll_bound", "reconstruction", "log_weight"):
        np.testing.assert_allclose(result[name], getattr(forward, name), rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(result["kl_per_step"], forward.kl.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result["kl"], forward.kl.sum(axis=0), rtol=1e-4, atol=1e-4)


def test_reconstruct_is_the_references_canvas_with_the_rows_noise(exported, forward):
    result = exported.call("reconstruct")
    canvas = np.swapaxes(reference.sigm(forward.canvas), 0, 1)
    np.testing.assert_allclose(result["canvas"], canvas, atol=2e-5)
    np.testing.assert_allclose(result["image"], result["canvas"][:, -1], rtol=0, atol=1e-6)
    for name in ("read_window", "write_window"):
        if name in result:
            windows = np.swapaxes(getattr(forward, name), 0, 1) - [1, 1, 0, 0, 0]
            np.testing.assert_allclose(result[name], windows, rtol=1e-3, atol=1e-3)


def noise_of(model):
    """The noise of the rows' seeds, [n, T, Z]."""
    return np.swapaxes(randomness.row_noise(model.task, tf.constant(model.seed)).numpy(), 0, 1)


def test_decode_of_the_seeds_noise_is_sample(exported):
    z = noise_of(exported)
    np.testing.assert_allclose(exported.call("decode", z=z)["image"], exported.call("sample")["image"], atol=1e-6)
    for name, value in exported.call("sample_sequence").items():
        np.testing.assert_allclose(exported.call("decode_sequence", z=z)[name], value, rtol=1e-5, atol=1e-5)


def test_encode_is_the_references_posterior_and_scores_bound(exported, forward):
    result = exported.call("encode", eps=noise_of(exported))
    for name, expected in (("z", forward.z), ("mu", forward.mu), ("log_sigma", np.log(forward.sigma))):
        np.testing.assert_allclose(result[name], np.swapaxes(expected, 0, 1), rtol=1e-4, atol=1e-4, err_msg=name)
    score = exported.call("score")
    for name in ("nll_bound", "kl_per_step"):
        np.testing.assert_allclose(result[name], score[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_decoding_what_was_encoded_is_the_reconstruction(exported):
    eps = noise_of(exported)
    z = exported.call("encode", eps=eps)["z"]
    np.testing.assert_allclose(exported.call("decode", z=z)["image"], exported.call("reconstruct")["image"], atol=1e-5)
    # Without noise, z is the mean.
    result = exported.call("encode", eps=0 * eps)
    np.testing.assert_array_equal(result["z"], result["mu"])


def test_score_examples_is_score_with_the_seeds_of_the_ids(exported):
    seed = randomness.seeds_for_ids(tf.constant(exported.ids)).numpy()
    expected = exported.call("score", seed=seed)
    for name, value in exported.call("score_examples").items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_score_examples_takes_the_centre_of_a_larger_image(tmp_path):
    task = tiny.MODELS["attention_colour"]
    task = dataclasses.replace(task, data=dataclasses.replace(task.data, crop_margin=(4, 2)))
    model = Exported(task, tmp_path / "model")
    stored = tiny.make_images(task, ROWS)
    height, width, _ = task.image_shape
    assert stored.shape[1:] == (height + 4, width + 2, 3)
    examples = [tiny.serialize(image, name) for image, name in zip(stored, model.ids, strict=True)]
    result = model.call("score_examples", examples=np.array(examples, object))
    centre = stored[:, 2 : 2 + height, 1 : 1 + width].astype(np.float32) / 255
    expected = model.call("score", image=centre, seed=randomness.seeds_for_ids(tf.constant(model.ids)).numpy())
    for name, value in result.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_the_mean_importance_weight_is_the_likelihood(tmp_path):
    """T = 1 and one latent variable, so that p(x) can be integrated. To 0.01 nats."""
    task = tiny.tiny_task(glimpses=1, latent_size=1)
    case = tiny.make_case(task, rows=1, scale=0.5, seed=8)
    case.weights["latent/b"][1] = 0.2  # a posterior wide enough to cover the true one
    z = np.linspace(-9, 9, 2_001)
    canvas = reference.generate(case.weights, z.reshape(1, -1, 1), tiny.window_sizes(task)[1]).canvas[-1]
    log_joint = [-reference.cross_entropy(case.x[0], c) - 0.5 * v**2 for c, v in zip(canvas, z, strict=True)]
    log_joint = np.array(log_joint) - 0.5 * math.log(2 * math.pi)
    log_likelihood = np.log(np.exp(log_joint - log_joint.max()).sum() * (z[1] - z[0])) + log_joint.max()

    exporter.export(task, {name: value.astype(np.float32) for name, value in case.weights.items()}, str(tmp_path / "m"))
    rows = 20_000
    model = tf.saved_model.load(str(tmp_path / "m"))
    seed = np.stack([np.arange(rows), np.full(rows, 3)], axis=1)
    images = np.repeat(case.x.astype(np.float32), rows, axis=0)
    result = model.signatures["score"](image=tf.constant(images), seed=tf.constant(seed))
    log_weight = result["log_weight"].numpy().astype(np.float64)
    estimate = np.log(np.exp(log_weight - log_weight.max()).mean()) + log_weight.max()
    assert np.exp(log_weight - log_weight.max()).std() / math.sqrt(rows) < 0.003  # else the estimate says little
    assert estimate == pytest.approx(log_likelihood, abs=0.01)
    # The bound lies above, and by more than the tolerance: it could not pass for the likelihood.
    assert result["nll_bound"].numpy().mean() > -log_likelihood + 0.02


# Seeds and rows


@pytest.mark.parametrize("name", sorted(SEEDED))
def test_the_same_seed_gives_the_same_bits_and_another_seed_another_row(exported, name):
    first, again = exported.call(name), exported.call(name)
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
    for half in (0, 1):
        seed = exported.seed.copy()
        seed[2, half] += 1
        other = exported.call(name, seed=seed)
        for key, value in first.items():
            same = np.isclose(value, other[key], rtol=1e-6, atol=1e-7).reshape(ROWS, -1).all(axis=1)
            assert same[[0, 1, 3, 4]].all() and not same[2], key


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_row_does_not_depend_on_the_batch_that_it_travels_in(exported, name):
    whole = exported.call(name)
    for rows in ([3], [4, 0], [2, 1, 0, 4, 3], [1, 1, 1, 2, 2, 2, 0]):
        for key, value in exported.call(name, rows).items():
            np.testing.assert_allclose(value, whole[key][rows], rtol=1e-5, atol=1e-5, err_msg=key)


# What is refused, and why


def refused(model, name, reason, **inputs):
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        model.model.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})


SCORING = pytest.mark.parametrize("name", ["score", "reconstruct"])


def spoilt(model, value):
    image = model.x.copy()
    image[3, 1, 2, 0] = value
    return image


@SCORING
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 2.0, 255.0, 0.5, 1 / 255])
def test_a_pixel_that_is_neither_0_nor_1_is_refused_by_a_binary_model(binary, name, value):
    refused(binary, name, "must be 0 or 1.*binarised", image=spoilt(binary, value), seed=binary.seed)


@SCORING
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-3, 1.001, 255.0])
def test_a_pixel_outside_0_to_1_is_refused(colour, name, value):
    refused(
        colour, name, r"must lie in \[0, 1\]: divide intensities by 255", image=spoilt(colour, value), seed=colour.seed
    )


@SCORING
def test_other_numbers_of_seeds_than_images_are_refused(exported, name):
    for rows in (1, ROWS - 1):
        reason = rf"same number of rows(.|\n)*{ROWS}(.|\n)*{rows}"
        refused(exported, name, reason, image=exported.x, seed=exported.seed[:rows])
    refused(exported, name, "same number of rows", image=exported.x[:1], seed=exported.seed)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_empty_batch_is_refused(exported, name):
    with pytest.raises(tf.errors.InvalidArgumentError, match="batch is empty: send at least one"):
        exported.call(name, slice(0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.1e6, -3e38])
def test_latents_beyond_all_bounds_are_refused(exported, value):
    z = exported.z.copy()
    z[2, 1, 0] = value
    for name in ("decode", "decode_sequence"):
        refused(exported, name, "Every latent variable must be a number from -1e", z=z)
    refused(exported, "encode", "Every latent variable must be a number", image=exported.x, eps=z)


def test_great_latents_give_numbers(exported):
    z = 1e6 * np.sign(exported.z)
    for name, inputs in (("decode_sequence", {"z": z}), ("encode", {"eps": z})):
        result = exported.call(name, **inputs)
        assert name == "encode" or ((result["canvas"] >= 0) & (result["canvas"] <= 1)).all()
        assert all(not np.isnan(value).any() for value in result.values())


def test_encode_refuses_images_as_score_does(exported, binary):
    refused(binary, "encode", "must be 0 or 1.*binarised", image=spoilt(binary, 0.5), eps=binary.z)
    reason = rf"`image` and `eps` must have the same number of rows(.|\n)*{ROWS}(.|\n)*1"
    refused(exported, "encode", reason, image=exported.x, eps=exported.z[:1])


@SCORING
def test_an_image_of_another_shape_or_type_is_refused(binary, name):
    for image in (binary.x[:, :-1], binary.x[..., 0], np.repeat(binary.x, 3, axis=3), binary.raw):
        with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
            binary.model.signatures[name](image=tf.constant(image), seed=tf.constant(binary.seed))


def example(model, change):
    features = tf.train.Example.FromString(model.examples[1])
    change(features.features.feature)
    return [model.examples[0], features.SerializeToString(), model.examples[2]]


def test_an_example_with_another_number_of_bytes_is_refused_with_both_numbers(exported):
    size = int(np.prod(exported.task.image_shape))

    def shorten(feature):
        feature["image"].bytes_list.value[0] = b"\x01" * (size - 1)

    refused(
        exported, "score_examples", rf"must hold {size} bytes(.|\n)*{size - 1}", examples=example(exported, shorten)
    )


@pytest.mark.parametrize("feature", ["image", "id"])
def test_an_example_without_a_feature_is_refused_by_its_name(exported, feature):
    reason = f"{feature}.*required but could not be found"
    refused(exported, "score_examples", reason, examples=example(exported, lambda features: features.pop(feature)))


def test_an_example_with_intensities_is_refused_by_a_binary_model(binary):
    def brighten(feature):
        feature["image"].bytes_list.value[0] = b"\x07" * 35

    refused(binary, "score_examples", "must be 0 or 1", examples=example(binary, brighten))


def test_what_is_no_example_is_refused(exported):
    refused(exported, "score_examples", "(?i)could not parse example", examples=[b"not an Example"])


# Loading


ALONE = """
import json, sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
seed = tf.constant(json.loads(sys.argv[2]), tf.int64)
image = model.signatures["sample"](seed=seed)["image"].numpy()
examples = tf.constant([bytes.fromhex(text) for text in json.loads(sys.argv[3])])
bound = model.signatures["score_examples"](examples=examples)["nll_bound"].numpy()
ours = {name.split(".")[0] for name in sys.modules} & {"trainer", "components", "pipeline", "serving", "tests", "tfx"}
assert not ours, ours
print(json.dumps([image.tobytes().hex(), bound.tolist()]))
"""


def test_a_fresh_process_needs_tensorflow_alone_and_draws_the_same_bits(binary, tmp_path):
    arguments = (str(binary.directory), json.dumps(binary.seed.tolist()))
    texts = json.dumps([example.hex() for example in binary.examples])
    image, bound = json.loads(tiny.run_python(ALONE, *arguments, texts, cwd=tmp_path).splitlines()[-1])
    assert bytes.fromhex(image) == binary.call("sample")["image"].tobytes()
    np.testing.assert_allclose(bound, binary.call("score_examples")["nll_bound"], rtol=1e-6)
