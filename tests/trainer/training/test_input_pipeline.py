"""The training stream is a function of the seed and the step alone, and the reader refuses what it cannot read."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.task import Binarisation
from trainer.training import input_pipeline

TOTAL, BATCH = 23, tiny.BATCH  # so that batches cross the borders of epochs, and no epoch starts like another
GIVEN = tiny.tiny_task()
INTENSITIES = tiny.tiny_task(binarisation=Binarisation.NONE)
EACH_EPOCH = tiny.tiny_task(binarisation=Binarisation.STOCHASTIC_EACH_EPOCH)


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    images = tiny.make_images(GIVEN, TOTAL)
    return images, tiny.write_examples(tmp_path_factory.mktemp("binary"), images, shards=3)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    images = tiny.make_images(INTENSITIES, TOTAL)
    return images, tiny.write_examples(tmp_path_factory.mktemp("grey"), images, shards=3)


def stream(files, task, steps, *, first_step=0, context=None):
    """The batches of so many steps, [steps, batch, B, A, C]."""
    batches = input_pipeline.training_batches(files, task, first_step=first_step, context=context)
    return np.stack([x.numpy() for x in itertools.islice(batches, steps)])


def indices(x, images):
    """Which of the images each row of x is."""
    known = {image.tobytes(): index for index, image in enumerate(images)}
    return [known[row.tobytes()] for row in x.reshape(-1, *images.shape[1:]).astype(np.uint8)]


@pytest.mark.parametrize("first_step", [1, 2, 3, 5, 23])
@pytest.mark.parametrize("task", [GIVEN, EACH_EPOCH], ids=["given", "each_epoch"])
def test_a_stream_that_starts_at_a_step_goes_on_as_the_one_from_the_start(request, task, first_step):
    _, files = request.getfixturevalue("binary" if task is GIVEN else "grey")
    whole = stream(files, task, first_step + 4)
    np.testing.assert_array_equal(stream(files, task, 4, first_step=first_step), whole[first_step:])


@pytest.mark.parametrize("buffer", [input_pipeline._SHUFFLE_BYTES, 6 * tiny.ROWS * tiny.COLUMNS])
def test_a_short_shuffle_buffer_changes_neither_of_the_two_promises(monkeypatch, binary, buffer):
    monkeypatch.setattr(input_pipeline, "_SHUFFLE_BYTES", buffer)
    images, files = binary
    seen = np.array(indices(stream(files, GIVEN, 23), images)).reshape(-1, TOTAL)
    for epoch in seen:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(TOTAL))
    assert len({tuple(epoch) for epoch in seen}) == len(seen) == 10
    resumed = indices(stream(files, GIVEN, 16, first_step=7), images)
    assert resumed == seen.ravel()[7 * BATCH :].tolist()


def test_another_seed_shuffles_otherwise(binary):
    images, files = binary
    orders = {tuple(indices(stream(files, tiny.tiny_task({"seed": seed}), 2), images)) for seed in (0, 1, 2, 11)}
    assert len(orders) == 4


def test_the_order_in_which_files_are_given_does_not_matter(binary):
    _, files = binary
    np.testing.assert_array_equal(stream(files[::-1], GIVEN, 3), stream(files, GIVEN, 3))


def test_batches_have_static_shapes(binary):
    spec = input_pipeline.training_batches(binary[1], GIVEN, first_step=0).element_spec
    assert spec == tf.TensorSpec([BATCH, tiny.ROWS, tiny.COLUMNS, 1], tf.float32)


@pytest.mark.parametrize(("pipelines", "replicas"), [(1, 2), (2, 2), (2, 4)])
@pytest.mark.parametrize("binarisation", [Binarisation.NONE, Binarisation.STOCHASTIC_EACH_EPOCH])
def test_replicas_get_slices_of_the_global_batch_in_order(grey, pipelines, replicas, binarisation):
    _, files = grey
    task = tiny.tiny_task({"batch_size": 12}, binarisation=binarisation)
    whole = stream(files, task, 3, first_step=2)
    local, rows = replicas // pipelines, 12 // replicas
    parts = []
    for pipeline in range(pipelines):
        context = tf.distribute.InputContext(pipelines, pipeline, replicas)
        part = stream(files, task, 3 * local, first_step=2, context=context)
        assert part.shape == (3 * local, rows, *task.image_shape)
        parts.append(part.reshape(3, local * rows, *task.image_shape))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_batch_that_replicas_cannot_share_is_refused(binary):
    with pytest.raises(ValueError, match=r"recipe.batch_size is 10: it must be a multiple of the 3 replicas"):
        input_pipeline.training_batches(binary[1], GIVEN, first_step=0, context=tf.distribute.InputContext(1, 0, 3))


def test_intensities_are_divided_by_255_and_binarised_pixels_are_not(binary, grey):
    images, files = grey
    x = stream(files, INTENSITIES, 3)
    assert indices(np.round(x * 255), images)
    assert x.max() > 0.99 and np.isin(np.round(x * 255), np.arange(256)).all() and x.max() <= 1
    for binarisation in (Binarisation.GIVEN, Binarisation.THRESHOLD, Binarisation.STOCHASTIC):
        x = stream(binary[1], tiny.tiny_task(binarisation=binarisation), 3)
        np.testing.assert_array_equal(np.unique(x), [0.0, 1.0])


def test_pixels_are_drawn_anew_at_each_visit_with_their_intensity_as_the_probability(grey):
    images, files = grey
    # The same order with and without drawing: the seed alone decides it.
    probability, drawn = stream(files, INTENSITIES, 230), stream(files, EACH_EPOCH, 230)
    np.testing.assert_array_equal(np.unique(drawn), [0.0, 1.0])
    for low, high in itertools.pairwise((0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.001)):
        chosen = (probability >= low) & (probability < high)
        # At least 7,000 pixels: 0.02 is four standard errors or more.
        np.testing.assert_allclose(drawn[chosen].mean(), probability[chosen].mean(), atol=0.02)
    np.testing.assert_array_equal(drawn[probability == 0], 0)
    np.testing.assert_array_equal(drawn[probability == 1], 1)
    order = indices(np.round(probability * 255), images)
    visits = drawn.reshape(-1, *images.shape[1:])[np.array(order) == 4]
    assert len(visits) == 100 and len(np.unique(visits.reshape(100, -1), axis=0)) == 100


def test_rows_of_one_batch_are_drawn_apart(tmp_path):
    """A batch of images that are all grey: equal draws in two rows would show."""
    files = tiny.write_examples(tmp_path, np.full((BATCH, *EACH_EPOCH.image_shape), 128, np.uint8))
    x = stream(files, EACH_EPOCH, 1)[0]
    assert len(np.unique(x.reshape(BATCH, -1), axis=0)) == BATCH


def test_evaluation_takes_the_first_examples_in_order_with_a_short_last_batch(binary):
    images, files = binary
    batches = input_pipeline.evaluation_batches(files, GIVEN, 17)
    assert [(x.shape[0], ids.shape[0]) for x, ids in batches] == [(10, 10), (7, 7)]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), images[:17])
    names = np.concatenate([ids for _, ids in batches])
    assert names.tolist() == [f"example-{index}".encode() for index in range(17)]
    assert sum(len(x) for x, _ in input_pipeline.evaluation_batches(files, GIVEN, 500)) == TOTAL


def test_evaluation_reads_pixels_as_its_split_holds_them(binary, grey):
    """Evaluation splits are binarised before they are written, whichever way training does it."""
    x, _ = input_pipeline.evaluation_batches(binary[1], EACH_EPOCH, 5)[0]
    np.testing.assert_array_equal(x, binary[0][:5])
    x, _ = input_pipeline.evaluation_batches(grey[1], INTENSITIES, 5)[0]
    np.testing.assert_allclose(x, grey[0][:5] / 255, rtol=1e-6)


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_damaged_file_is_named_wherever_it_was_cut(tmp_path, binary, compression):
    whole = tmp_path / f"whole{'.gz' * bool(compression)}"
    with tf.io.TFRecordWriter(str(whole), compression) as writer:
        for _ in range(3):
            writer.write(b"an example" * 3)
    content, files = whole.read_bytes(), [*binary[1], str(whole)]
    assert input_pipeline.count(files) == TOTAL + 3
    damaged = [content[:length] for length in range(1, len(content), 3) if length % 46 or compression]
    damaged += [b""] if compression else []
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for part in (*damaged, bytes(flipped), b"no records", bytes(100)):
        whole.write_bytes(part)
        with pytest.raises(ValueError, match=f"{whole} cannot be read as examples: ") as caught:
            input_pipeline.count(files)
        assert not set("\n{[") & set(str(caught.value).removeprefix(str(whole)))
    whole.write_bytes(bytes(flipped))
    with pytest.raises(ValueError, match=f"{whole} cannot be read as examples: "):
        input_pipeline.evaluation_batches([str(whole)], GIVEN, 5)


def test_files_of_both_compressions_are_read_in_order(tmp_path):
    images = tiny.make_images(GIVEN, 9)
    paths = tiny.write_examples(tmp_path, images, shards=3)
    plain = []
    for number, path in enumerate(paths):
        plain.append(str(tmp_path / f"{number}{'.gz' if number == 1 else ''}"))
        zipped = str(path).endswith(".gz")
        records = tf.data.TFRecordDataset([path], "GZIP" if zipped else None)
        with tf.io.TFRecordWriter(plain[-1], "GZIP" if number == 1 else "") as writer:
            for record in records.as_numpy_iterator():
                writer.write(record)
    assert input_pipeline.count(plain) == 9
    np.testing.assert_array_equal(
        input_pipeline.all_arrays(plain, GIVEN)["images"], input_pipeline.all_arrays(paths, GIVEN)["images"]
    )


def test_count_counts_all_files(binary, tmp_path):
    assert input_pipeline.count(binary[1]) == TOTAL
    assert input_pipeline.count(binary[1][1:2]) == 8


def test_files_may_be_plain_too(tmp_path, binary):
    images, _ = binary
    path = str(tmp_path / "plain.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for index, image in enumerate(images):
            writer.write(tiny.serialize(image, f"example-{index}"))
    (x, _), *_ = input_pipeline.evaluation_batches([path], GIVEN, 6)
    np.testing.assert_array_equal(x, images[:6])


# Crops

MARGIN = (3, 2)  # an odd one and an even one
CROPPED = dataclasses.replace(INTENSITIES, data=dataclasses.replace(INTENSITIES.data, crop_margin=MARGIN))


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    images = tiny.make_images(CROPPED, TOTAL)
    assert images.shape[1:] == (tiny.ROWS + 3, tiny.COLUMNS + 2, 1)
    return images, tiny.write_examples(tmp_path_factory.mktemp("larger"), images, shards=3)


def places(x, images):
    """Which image, from which row and column on, each row of x is: [n, 3]."""
    known = {
        image[top : top + tiny.ROWS, left : left + tiny.COLUMNS].tobytes(): (index, top, left)
        for index, image in enumerate(images)
        for top in range(MARGIN[0] + 1)
        for left in range(MARGIN[1] + 1)
    }
    crops = np.round(x * 255).astype(np.uint8).reshape(-1, *CROPPED.image_shape)
    return np.array([known[crop.tobytes()] for crop in crops])


def test_training_sees_crops_at_random_places(larger):
    images, files = larger
    found = places(stream(files, CROPPED, 230), images)
    # Another place at another visit, and in each place 2,300 / 12 = 192 images with a standard deviation of 13.
    counts = np.zeros((4, 3), int)
    np.add.at(counts, tuple(found[:, 1:].T), 1)
    assert abs(counts - 192).max() < 60
    np.testing.assert_array_equal(np.bincount(found[:, 0]), [100] * TOTAL)
    assert all(len(np.unique(found[found[:, 0] == index], axis=0)) > 6 for index in range(TOTAL))
    # Rows of one batch are cropped apart.
    assert len(np.unique(found[:BATCH, 1:], axis=0)) > 3


@pytest.mark.parametrize("first_step", [1, 5])
def test_a_resumed_run_sees_the_same_crops(larger, first_step):
    _, files = larger
    whole = stream(files, CROPPED, first_step + 4)
    np.testing.assert_array_equal(stream(files, CROPPED, 4, first_step=first_step), whole[first_step:])


def test_replicas_share_the_crops_of_the_global_batch(larger):
    _, files = larger
    task = dataclasses.replace(CROPPED, recipe=dataclasses.replace(CROPPED.recipe, batch_size=12))
    whole = stream(files, task, 3, first_step=2)
    parts = stream(files, task, 6, first_step=2, context=tf.distribute.InputContext(1, 0, 2))
    np.testing.assert_array_equal(parts.reshape(whole.shape), whole)


def test_evaluation_sees_the_centre(larger):
    images, files = larger
    batches = input_pipeline.evaluation_batches(files, CROPPED, 17)
    x = np.concatenate([x for x, _ in batches])
    np.testing.assert_allclose(x * 255, images[:17, 1 : 1 + tiny.ROWS, 1 : 1 + tiny.COLUMNS], rtol=1e-6)


@pytest.mark.parametrize(
    "read",
    [
        lambda files: stream(files, CROPPED, 1),
        lambda files: input_pipeline.evaluation_batches(files, CROPPED, 5),
    ],
)
def test_images_that_are_cropped_already_are_refused(read, grey):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must hold 70 bytes, one a pixel of \(10, 7, 1\)"):
        read(grey[1])


# What cannot be read


def read_for_training(files):
    return stream(files, GIVEN, 1)


def read_for_evaluation(files):
    return input_pipeline.evaluation_batches(files, GIVEN, 5)


READERS = pytest.mark.parametrize("read", [read_for_training, read_for_evaluation])


@READERS
def test_no_file_is_said_clearly(read):
    with pytest.raises(ValueError, match=r"No file of .*examples was given.*ingestion"):
        read([])


@READERS
def test_empty_files_are_said_clearly_and_named(read, tmp_path):
    files = tiny.write_examples(tmp_path, np.zeros((0, *GIVEN.image_shape), np.uint8))
    with pytest.raises(ValueError, match=r"no examples in .*00000-of-00002.gz, .*00001-of-00002.gz"):
        read(files)


@READERS
@pytest.mark.parametrize("shape", [(7, 6, 1), (7, 5, 3), (6, 5, 1)])
def test_an_image_of_another_size_is_refused_with_both_sizes(read, tmp_path, shape):
    files = tiny.write_examples(tmp_path, np.zeros((BATCH, *shape), np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"must hold 35 bytes(.|\n)*{np.prod(shape)}"):
        read(files)


@READERS
def test_one_image_of_another_size_among_good_ones_is_refused(read, tmp_path):
    records = [tiny.serialize(np.zeros(GIVEN.image_shape, np.uint8), str(index)) for index in range(BATCH - 1)]
    records.append(tiny.serialize(np.zeros((2, 2), np.uint8), "bad"))
    # Sizes that add up to those of good images are no excuse.
    records[:2] = [tiny.serialize(np.zeros(size, np.uint8), "bad") for size in (34, 36)]
    path = tmp_path / "mixed.gz"
    tiny.write_records(path, records)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must hold 35 bytes"):
        read([str(path)])


@READERS
@pytest.mark.parametrize("missing", ["image", "id"])
def test_a_missing_feature_is_named(read, tmp_path, missing):
    record = tf.train.Example.FromString(tiny.serialize(np.zeros(GIVEN.image_shape, np.uint8), "x"))
    del record.features.feature[missing]
    path = tmp_path / "missing.gz"
    tiny.write_records(path, [record.SerializeToString()] * BATCH)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{missing}.*required but could not be found"):
        read([str(path)])


@READERS
def test_a_record_that_is_no_example_is_refused(read, tmp_path):
    path = tmp_path / "garbage.gz"
    tiny.write_records(path, [b"not an Example"] * BATCH)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?i)could not parse example"):
        read([str(path)])


# Mirrored images

FLIPPED = dataclasses.replace(INTENSITIES, data=dataclasses.replace(INTENSITIES.data, horizontal_flip=True))


def sides(x, images):
    """Index of each image, and whether it is mirrored."""
    known = {image.tobytes(): (index, 0) for index, image in enumerate(images)}
    known |= {image[:, ::-1].tobytes(): (index, 1) for index, image in enumerate(images)}
    stored = np.round(x * 255).astype(np.uint8).reshape(-1, *FLIPPED.image_shape)
    return np.array([known[image.tobytes()] for image in stored])


def test_training_sees_half_of_the_images_mirrored_and_others_at_each_visit(grey):
    images, files = grey
    seen = sides(stream(files, FLIPPED, 230), images)
    assert abs(seen[:, 1].mean() - 0.5) < 0.05
    assert all(0.2 < seen[seen[:, 0] == index, 1].mean() < 0.8 for index in range(TOTAL))
    # Nothing else changes, and only that.
    np.testing.assert_array_equal(seen[:, 0], sides(stream(files, INTENSITIES, 230), images)[:, 0])
    whole = stream(files, FLIPPED, 9)
    np.testing.assert_array_equal(stream(files, FLIPPED, 4, first_step=5), whole[5:])


def test_evaluation_mirrors_nothing(grey):
    images, files = grey
    x = np.concatenate([x for x, _ in input_pipeline.evaluation_batches(files, FLIPPED, 17)])
    np.testing.assert_allclose(x * 255, images[:17], rtol=1e-6)
