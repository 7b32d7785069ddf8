"""Every format, sound, damaged and odd: each row that a file claims is read or counted as lost, and nothing raises."""

from __future__ import annotations

import functools
import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.images.bad_image import BadImage
from serving.images.file_reader import Lost, Piece, Row, open_local, pieces, rows
from serving.images.image_format import ImageFormat
from tests.serving.images.test_picture_decoder import saved

GREY = ImageFormat(shape=(7, 5, 1), binary=False)
COUNT = 12
IMAGES = np.random.default_rng(3).integers(0, 256, (COUNT, 7, 5), np.uint8)
EXPECTED = IMAGES.astype(np.float32) / np.float32(255)


class Reading(NamedTuple):
    """What a file gave."""

    images: dict[str, np.ndarray]
    """By id, or by the name that a row without one gets."""
    bad: list[str]
    """Why rows were refused."""
    lost: list[Lost]
    claimed: int
    """Rows that the headers claim."""

    @property
    def is_whole(self) -> bool:
        """Whether it is known of all rows what became of them."""
        return all(lost.rows is not None for lost in self.lost)

    @property
    def counted(self) -> int:
        return len(self.images) + len(self.bad) + sum(lost.rows or 0 for lost in self.lost)


def read(path: Path, images: ImageFormat = GREY) -> Reading:
    reading = Reading({}, [], [], 0)
    claimed = 0
    for piece in pieces(str(path), images, open_local):
        if isinstance(piece, Lost):
            reading.lost.append(piece)
            claimed += piece.rows or 0
            continue
        claimed += piece.rows or 0
        for row in rows(piece, images, open_local):
            if isinstance(row, Lost):
                reading.lost.append(row)
                continue
            name = piece.row_id(row, path.name).decode()
            try:
                reading.images[name] = row.read()
            except BadImage as error:
                reading.bad.append(str(error))
    return reading._replace(claimed=claimed)


def npy(array: np.ndarray = IMAGES) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(save: Callable[..., Any] = np.savez, **arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def idx(array: np.ndarray = IMAGES) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def record(content: bytes) -> bytes:
    """Of a TFRecord file, as TensorFlow frames it."""
    path = f"/tmp/record-{os.getpid()}"
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(content)
    framed = Path(path).read_bytes()
    os.unlink(path)
    return framed


def example(image: bytes, **features: tf.train.Feature) -> bytes:
    pixels = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    return tf.train.Example(features=tf.train.Features(feature={"image": pixels, **features})).SerializeToString()


@functools.cache
def examples() -> tuple[bytes, ...]:
    """Framed records, as TensorFlow Datasets writes them: pictures with a label, and no id."""
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[3]))
    return tuple(record(example(saved(image), label=label)) for image in IMAGES)


def csv(header: bool = True, label: bool = True) -> bytes:
    names = [*(["label"] if label else []), *(f"pixel{place}" for place in range(35))]
    lines = [",".join(map(str, [*([7] if label else []), *image.ravel()])) for image in IMAGES]
    return "".join(f"{line}\n" for line in ([",".join(names)] if header else []) + lines).encode()


def parquet() -> bytes:
    file = io.BytesIO()
    table = pa.table({"image": [{"bytes": saved(image), "path": "x.png"} for image in IMAGES], "label": [1] * COUNT})
    pq.write_table(table, file, row_group_size=5)
    return file.getvalue()


@functools.cache
def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for row, image in enumerate(IMAGES):
            archive.writestr(f"{row}.png", saved(image))
    return file.getvalue()


def tar_of(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """An archive that ends with its mark, and without the padding that may follow it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    blocks = -(-len(file.getvalue().rstrip(b"\0")) // tarfile.BLOCKSIZE)
    return file.getvalue()[: (blocks + 1) * tarfile.BLOCKSIZE]


@functools.cache
def tar() -> bytes:
    return tar_of({f"{row}.png": saved(image) for row, image in enumerate(IMAGES)})


FILES: dict[str, Callable[[], bytes]] = {
    "a.npy": npy,
    "flat.npy": lambda: npy(IMAGES.reshape(COUNT, 35)),
    "a.npz": lambda: npz(image=IMAGES),
    "packed.npz": lambda: npz(np.savez_compressed, image=IMAGES, id=np.arange(COUNT)),
    "a-idx3-ubyte": idx,
    "a-idx3-ubyte.gz": lambda: gzip.compress(idx(), mtime=0),
    "a.npy.gz": lambda: gzip.compress(npy(), mtime=0),
    "a.tfrecord": lambda: b"".join(examples()),
    "mnist-test.tfrecord-00000-of-00001": lambda: b"".join(examples()),
    "named-plain.tfrecord": lambda: gzip.compress(b"".join(examples()), mtime=0),
    "named-zipped.tfrecord.gz": lambda: b"".join(examples()),
    "a.csv": csv,
    "test.csv": lambda: csv(label=False),
    "no-header.csv": lambda: csv(header=False),
    "no-names.csv": lambda: csv(header=False, label=False),
    "a.csv.gz": lambda: gzip.compress(csv(), mtime=0),
    "bom.csv": lambda: b"\xef\xbb\xbf" + csv().replace(b"\n", b"\r\n"),
    "a.parquet": parquet,
    "a.zip": zipped,
    "a.tar": tar,
    "a.tar.gz": lambda: gzip.compress(tar(), mtime=0),
}
ARCHIVES = ("a.zip", "a.tar", "a.tar.gz")


def identity_of(name: str, row: int) -> str:
    if name in ARCHIVES:
        return f"{name}/{row}.png"
    return str(row) if name == "packed.npz" else f"{name}:{row}"


@pytest.mark.parametrize("name", FILES)
def test_each_format_has_the_same_pixels(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    reading = read(tmp_path / name)
    assert (reading.bad, reading.lost) == ([], [])
    named = {identity_of(name, row): image for row, image in enumerate(EXPECTED)}
    assert reading.images.keys() == named.keys()
    for identity, image in named.items():
        np.testing.assert_array_equal(reading.images[identity][..., 0], image)


@pytest.mark.parametrize("name", ["column.npz", "missing.npz", "missing.parquet", "missing.csv"])
def test_labels_are_those_of_keras_and_pandas(name: str, tmp_path: Path) -> None:
    """In a column, and as floats where one is missing."""
    import pandas as pd

    labels = np.arange(COUNT) % 3
    missing = np.where(np.arange(COUNT) == 4, np.nan, labels)
    path = tmp_path / name
    if name == "column.npz":
        np.savez(path, x_train=IMAGES, y_train=labels[:, None])
    elif name == "missing.npz":
        np.savez(path, image=IMAGES, label=missing)
    elif name == "missing.parquet":
        pd.DataFrame({"image": IMAGES.reshape(COUNT, -1).tolist(), "label": missing}).to_parquet(path)
    else:
        pixels = pd.DataFrame(IMAGES.reshape(COUNT, -1))
        pd.concat([pd.Series(missing, name="label"), pixels], axis=1).to_csv(path, index=False)
    expected = [None if name != "column.npz" and row == 4 else label for row, label in enumerate(labels.tolist())]
    result = [row for piece in pieces(str(path), GREY, open_local) for row in rows(piece, GREY, open_local)]
    assert [row.label for row in result] == expected  # type: ignore[union-attr]


def test_keras_mnist_is_read_with_both_its_arrays(tmp_path: Path) -> None:
    labels = np.arange(COUNT, dtype=np.uint8)
    (tmp_path / "mnist.npz").write_bytes(
        npz(x_train=IMAGES[:8], y_train=labels[:8], x_test=IMAGES[8:], y_test=labels[8:])
    )
    reading = read(tmp_path / "mnist.npz")
    names = [f"mnist.npz:x_train:{row}" for row in range(8)] + [f"mnist.npz:x_test:{row}" for row in range(COUNT - 8)]
    assert list(reading.images) == names and not reading.lost
    np.testing.assert_array_equal(np.stack(list(reading.images.values()))[..., 0], EXPECTED)


# Of formats in which no cut can be missed; a CSV file or plain TFRecords may end at the end of any row.
CUT = {name: name.endswith(".csv") or name.startswith(("a.tfrecord", "mnist", "named-zipped")) for name in FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere_loses_nothing_unseen(name: str, tmp_path: Path) -> None:
    whole = FILES[name]()
    ends = {0}
    if CUT[name]:
        parts = examples() if "csv" not in name else whole.splitlines(keepends=True)
        ends |= {sum(map(len, parts[:count])) for count in range(len(parts))}
    path = tmp_path / name
    for size in sorted({*range(0, len(whole), max(1, len(whole) // 150)), *range(len(whole) - 20, len(whole))} | ends):
        path.write_bytes(whole[:size])
        reading = read(path)
        rows_by_id = {identity_of(name, row): row for row in range(COUNT)}
        for identity, image in reading.images.items():
            row = rows_by_id[identity]
            if "csv" not in name:  # the last number of a CSV file may be cut
                np.testing.assert_array_equal(image[..., 0], EXPECTED[row])
        if size not in ends - {0} and not name.endswith(".csv"):
            assert reading.lost, size
        if reading.is_whole and reading.lost:
            assert reading.counted == COUNT == reading.claimed, size


def damaged(whole: bytes, seed: int) -> bytes:
    """Some bytes changed, taken away, put in, or put at the end."""
    rng = np.random.default_rng(seed)
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        place, size = int(rng.integers(len(content) + 1)), int(rng.choice([1, 2, 8, 100]))
        if rng.random() < 0.5:  # headers are small, and what harms most is in them
            place = min(place, int(rng.integers(150)))
        match rng.integers(4):
            case 0:
                content[place : place + size] = rng.bytes(min(size, len(content) - place))
            case 1:
                del content[place : place + size]
            case 2:
                content[place:place] = rng.bytes(size)
            case _:
                content[place : place + 8] = rng.choice([b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7, b"99999999"])
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_of_a_damaged_file_every_claimed_row_is_accounted_for(
    name: str, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(damaged(FILES[name](), seed))
    reading = read(path)
    assert reading.counted >= reading.claimed
    if reading.is_whole and reading.claimed:
        assert reading.counted == reading.claimed
    # Nothing in an archive claims a number, but each picture is given, refused, or behind a place that is known.
    if name in ARCHIVES and reading.is_whole:
        assert reading.counted == COUNT
    # What has checksums never gives other pixels than those that were written.
    if ".npz" in name or ".gz" in name or "tfrecord" in name or name in ARCHIVES:
        for image in reading.images.values():
            assert any(np.array_equal(image[..., 0], expected) for expected in EXPECTED)


def npy_claiming(shape: str, content: bytes = bytes(800), dtype: str = "|u1") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + content


def zip_with(change: Callable[[bytes], bytes]) -> bytes:
    return change(npz(image=IMAGES, id=np.arange(COUNT)))


def _encrypted(content: bytes) -> bytes:
    """The flag of encryption set in all headers."""
    content = content.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(
        b"PK\3\4\x2d\0\0\0", b"PK\3\4\x2d\0\1\0"
    )
    place = 0
    while (place := content.find(b"PK\1\2", place)) >= 0:
        content = content[: place + 8] + b"\1" + content[place + 9 :]
        place += 4
    return content


def _method_99(content: bytes) -> bytes:
    place = 0
    while (place := content.find(b"PK\1\2", place)) >= 0:
        content = content[: place + 10] + b"\x63\0" + content[place + 12 :]
        place += 4
    return content


def _huge_row() -> bytes:
    """A row of 3.6 GB in an archive of 3.5 MB, as a bomb is."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("image.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy_claiming("(1, 60000, 60000)", b""))
        for _ in range(4):  # and no more of it: nobody reads as far
            member.write(bytes(2**20))
    return file.getvalue()


def counted(columns: int) -> bytes:
    return ",".join(map(str, range(columns))).encode() + b"\n"


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE, target
    return info


def _swallowed(content: bytes) -> bytes:
    """The first file's comment, in the archive's directory, is as long as the entries of all others."""
    place = content.index(b"PK\1\2")
    others = content.index(b"PK\5\6") - content.index(b"PK\1\2", place + 1)
    return content[: place + 32] + struct.pack("<H", others) + content[place + 34 :]


ODD: dict[str, tuple[str, bytes, int | None, str]] = {
    "a billion rows": ("a.npy", npy_claiming("(1000000000, 7, 5)"), 10**9 - 22, "claims 1,000,000,000 rows.* after 22"),
    "10^15 rows": ("a.npy", npy_claiming("(1000000000000000, 7, 5)"), 10**15 - 22, "and the file ends after 22"),
    "negative rows": ("a.npy", npy_claiming("(-5, 7, 5)"), None, r"claims the shape \[-5, 7, 5\]"),
    "a broken header": ("a.npy", npy_claiming("(3, 7, 5")[:-800], None, "it cannot be read"),
    "no header": ("a.npy", b"\x93NUMPY\1\0", None, "it cannot be read"),
    "Python objects": ("a.npy", npy_claiming("(3, 7, 5)", dtype="|O"), None, "Python objects"),
    "Fortran's order": ("a.npy", npy(np.asfortranarray(IMAGES)), None, "Fortran's order"),
    "large images": ("a.npy", npy_claiming("(300, 2048, 2048)", dtype="<f4"), 300,
                     r"shape \[300, 2048, 2048\]; expected \[n, 7, 5, 1\]"),
    "text": ("a.npy", npy_claiming("(3, 7, 5)", dtype="<U9"), 3, "its pixels are <U9"),
    "bytes after the array": ("a.npy", npy() + b"more", None, "4 bytes follow its array of 12 rows"),
    "an encrypted archive": ("a.npz", zip_with(_encrypted), None, "encrypted"),
    "an unknown compression": ("a.npz", zip_with(_method_99), None, "compression"),
    "a huge row": ("a.npz", _huge_row(), 1, r"its array has the shape \[1, 60000, 60000\]"),
    "one id": ("a.npz", npz(image=IMAGES, id=np.array(3)), COUNT, r"array 'id' has the shape \[\]; expected \[12\]"),
    "too few ids": ("a.npz", npz(image=IMAGES, id=np.arange(3)), COUNT, r"expected \[12\], an id a row"),
    "no such array": ("a.npz", npz(p=IMAGES, q=IMAGES), None, r"it holds the arrays \['p', 'q'\]; expected one, or"),
    "IDX of too many": ("a-idx3-ubyte", idx()[:4] + b"\xff\xff\xff\xff" + idx()[8:], 2**32 - 1 - COUNT,
                        "4,294,967,295 rows"),
    "IDX of labels": ("labels", idx(IMAGES[:, 0, 0]), COUNT, r"shape \[12\]; expected"),
    "an empty file": ("anything", b"", None, "it is empty"),
    "five bytes": ("a.tfrecord", b"\1\2\3\4\5", None, "ends within a record's length"),
    "something else": ("anything", b"\x7fELF and more", None, "it begins with 7f 45 4c 46.*; expected a TFRecord"),
    "a CSV of something else": ("a.csv", b"name,age\nme,7\n", None, "first line is 'name,age', of 2 columns; expected"),
    "a CSV whose first row has a hole": ("a.csv", csv(header=False).replace(b",", b",NA,", 1), None, "has 'na' among"),
    "a CSV with an unnamed index": ("a.csv", b"," + counted(35) + b"0," + b"9," * 34 + b"9\n", None, "has '' among"),
    "a TAR that is cut between two files": ("a.tar", tar()[:2048], None, "ends without its mark"),
    "a TAR with a damaged header": ("a.tar", tar()[:1030] + b"x" + tar()[1031:], None, "neither a file's header nor"),
    "two TARs in one": ("a.tar", tar() * 2, None, "neither a file's header nor the archive's end"),
    "two ZIPs in one": ("a.zip", zipped() * 2, None, "bytes stand before its first file"),
    "two NPZs in one": ("a.npz", npz(image=IMAGES) * 2, None, "bytes stand before its first file"),
    "a ZIP whose directory is damaged": ("a.zip", _swallowed(zipped()), None, "names 1 files, and its end 12"),
    "an NPZ whose directory is damaged": ("a.npz", _swallowed(npz(x_train=IMAGES, x_test=IMAGES)), None, "its end 2"),
    "a CSV that is none": ("a.csv", b"\xff\xfe\0\0" * 9, None, "cannot be read"),
    "a picture without a suffix in an archive": ("a.tar", tar_of({"a": saved(IMAGES[0])}), 0, "its name is that of no"),
    "a table in an archive": ("a.tar", tar_of({"a.npy": npy()}), 0, "its name is that of no picture"),
    "a link in an archive": ("a.tar", tar_of({"a": link("a.png", "b/c.png")}), 0, "it is a link to b/c.png"),
    "a CSV with the names of pandas": ("a.csv", counted(35) + b"9," * 34 + b"9\n", 0, "its line counts from 0"),
    "a picture of another size": ("a.png", saved(IMAGES[0].T), 0, "its shape is"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_an_odd_file_is_one_line_with_the_reason(case: str, tmp_path: Path) -> None:
    name, content, lost_rows, reason = ODD[case]
    (tmp_path / name).write_bytes(content)
    reading = read(tmp_path / name)
    if lost_rows == 0:
        assert len(reading.bad) == 1
        assert reading.bad[0].startswith(reason)
        return
    (lost,) = reading.lost
    assert lost.rows == lost_rows
    with pytest.raises(BadImage, match=reason):
        raise BadImage(lost.reason)


def test_of_an_archive_each_damaged_picture_is_one_row(tmp_path: Path) -> None:
    place = zipped().index(saved(IMAGES[4])) + 50
    content = zipped()[:place] + bytes([zipped()[place] ^ 1]) + zipped()[place + 1 :]
    (tmp_path / "a.zip").write_bytes(content)
    reading = read(tmp_path / "a.zip")
    assert reading.bad == ["it cannot be read: Bad CRC-32 for file '4.png'"] and not reading.lost
    assert list(reading.images) == [f"a.zip/{row}.png" for row in range(COUNT) if row != 4]


def test_what_an_archive_has_beside_a_picture_or_about_it_is_no_image(tmp_path: Path) -> None:
    """As WebDataset has labels and more, and macOS and people have texts."""
    picture = saved(IMAGES[0])
    names = ("0.png", "0.cls", "0.npy", "README.md", "__MACOSX/._0.png", "labels.txt", "1.seg.npy", "1.png")
    members = {name: picture if name.endswith("0.png") or name == "1.png" else b"7" for name in names}
    (tmp_path / "a.tar").write_bytes(tar_of(members))
    reading = read(tmp_path / "a.tar")
    assert list(reading.images) == ["a.tar/0.png", "a.tar/1.png"] and not reading.bad and not reading.lost


def test_a_first_line_that_counts_beyond_a_pixel_is_names(tmp_path: Path) -> None:
    images = ImageFormat(shape=(20, 20, 1), binary=False)
    (tmp_path / "a.csv").write_bytes(counted(400) + b"9," * 399 + b"9\n")
    reading = read(tmp_path / "a.csv", images)
    assert len(reading.images) == 1 and not reading.bad and not reading.lost


def test_a_damaged_record_is_one_row_and_the_next_is_read(tmp_path: Path) -> None:
    parts = [*examples()]
    parts[4] = parts[4][:20] + bytes([parts[4][20] ^ 1]) + parts[4][21:]
    (tmp_path / "a.tfrecord").write_bytes(b"".join(parts))
    reading = read(tmp_path / "a.tfrecord")
    assert reading.bad == ["the record does not fit its checksum"]
    assert list(reading.images) == [f"a.tfrecord:{row}" for row in range(COUNT) if row != 4]


def test_rows_of_a_csv_file_that_are_none_are_refused_alone(tmp_path: Path) -> None:
    lines = csv().decode().splitlines()
    lines[3] = lines[3].replace(",", ",x", 1)
    lines[5] += ",1"
    lines[7] = ",".join(["0"] * 18 + ["1"] * 18)
    lines[9] = lines[9].rpartition(",")[0] + ",256"
    lines[11] = lines[11].rpartition(",")[0] + ",nan"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    reading = read(tmp_path / "a.csv")
    assert len(reading.images) == COUNT - 5 and not reading.lost
    for reason, expected in zip(
        reading.bad,
        (
            "expected a number",
            "its line has 37 cells; expected 36",
            "its cells are 0 and 1 alone",
            "to 256; expected",
            "from nan to nan",
        ),
        strict=True,
    ):
        assert expected in reason


def test_large_rows_of_a_table_are_read_one_by_one(tmp_path: Path) -> None:
    """Rows of lists of 2 million numbers: 256 at once would be 2 GB, and 17 GB as Python's numbers."""
    row = np.random.default_rng(8).random(2**21).astype(np.float32)
    offsets = np.arange(7, dtype=np.int32) * row.size
    table = pa.table({"image": pa.ListArray.from_arrays(offsets, np.tile(row, 6))})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    del table
    (piece,) = pieces(str(tmp_path / "a.parquet"), GREY, open_local)
    assert isinstance(piece, Piece)
    before, sizes = pa.total_allocated_bytes(), []
    for read_row in rows(piece, GREY, open_local):
        assert isinstance(read_row, Row)
        sizes.append(pa.total_allocated_bytes())
        with pytest.raises(BadImage, match=r"its shape is \[2097152\]; expected \[7, 5, 1\]"):
            read_row.read()
    assert len(sizes) == 6 and max(sizes) - before < 5 * row.nbytes


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (pa.list_(pa.list_(pa.uint8())), ""),
        (pa.large_list(pa.list_(pa.int64())), ""),
        (pa.list_(pa.list_(pa.uint8(), 5), 7), ""),
        (pa.list_(pa.list_(pa.float64())), "from 0 to 255; expected floats from 0 to 1"),
        (pa.list_(pa.list_(pa.string())), "expected integers or floats"),
    ],
    ids=str,
)
def test_lists_of_every_kind_are_pixels(kind: pa.DataType, reason: str, tmp_path: Path) -> None:
    cells = [(image * 0 + np.arange(5) * 63 + 3 * (np.arange(7) == 6)[:, None]).tolist() for image in IMAGES]
    values = [[list(map(str, row)) for row in cell] for cell in cells] if "string" in str(kind) else cells
    pq.write_table(pa.table({"image": pa.array(values, kind)}), tmp_path / "a.parquet")
    reading = read(tmp_path / "a.parquet")
    if reason:
        assert len(reading.bad) == COUNT and all(reason in bad for bad in reading.bad)
    else:
        np.testing.assert_array_equal(reading.images["a.parquet:3"][..., 0], np.float32(cells[3]) / np.float32(255))


def test_a_column_that_is_there_twice_is_not_guessed(tmp_path: Path) -> None:
    cells = pa.array([image.tobytes() for image in IMAGES])
    for names in (["image", "image"], ["image", "id", "id"]):
        pq.write_table(pa.Table.from_arrays([cells] * len(names), names=names), tmp_path / "a.parquet")
        (lost,) = read(tmp_path / "a.parquet").lost
        assert lost.rows == COUNT and f"it has several columns with the name {names[-1]!r}" in lost.reason


def test_a_row_that_no_memory_holds_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy_claiming("(2, 40000, 40000)"))
    (lost,) = read(tmp_path / "a.npy", ImageFormat(shape=(40_000, 40_000, 1), binary=False)).lost
    assert lost == Lost(None, 2, "its rows have 1,600,000,000 bytes each; expected at most 1,073,741,824")


def test_lists_with_holes_are_refused(tmp_path: Path) -> None:
    cells = [None, [[1, 2], [3]], [None, [1, 2]], [[None] * 5] * 7, []]
    pq.write_table(pa.table({"image": pa.array(cells, pa.list_(pa.list_(pa.uint8())))}), tmp_path / "a.parquet")
    reading = read(tmp_path / "a.parquet")
    for reason, expected in zip(
        reading.bad,
        ("its cell holds NoneType", "not of one length", "not of one length", "from nan to nan", "not of one length"),
        strict=True,
    ):
        assert expected in reason


def test_a_record_as_long_as_gzip_begins_is_no_gzip_file(tmp_path: Path) -> None:
    """0x088b1f is 1f 8b 08 in a file."""
    padding = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(560_000)]))
    overhead = len(example(IMAGES[0].tobytes(), padding=padding)) - 560_000
    padding.bytes_list.value[0] = bytes(0x088B1F - overhead)
    content = record(example(IMAGES[0].tobytes(), padding=padding))
    assert content.startswith(b"\x1f\x8b\x08")
    (tmp_path / "long").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "long").images["long:0"][..., 0], EXPECTED[0])


def test_what_is_no_regular_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "link.npy").symlink_to(tmp_path / "gone")
    for name, reason in (("pipe", "a pipe, a socket or a device"), ("folder", "a folder"), ("link", "No such file")):
        (lost,) = read(tmp_path / f"{name}.npy").lost
        assert reason in lost.reason and lost.rows is None


def test_a_pictures_file_that_vanishes_is_one_lost_row(tmp_path: Path) -> None:
    (lost,) = read(tmp_path / "gone.png").lost
    assert lost == Lost(0, 1, "from here on the file cannot be read: No such file or directory")


@pytest.mark.parametrize("level", [0, 1])
def test_0_and_1_are_black_and_white_in_a_data_set_and_greys_in_a_picture(level: int, tmp_path: Path) -> None:
    binary = ImageFormat(shape=(7, 5, 1), binary=True)
    bits = (IMAGES[0] > 128).astype(np.uint8)
    (tmp_path / "a.tfrecord").write_bytes(record(example(saved(bits) if level else bits.tobytes())))
    np.testing.assert_array_equal(read(tmp_path / "a.tfrecord", binary).images["a.tfrecord:0"][..., 0], bits)
    (tmp_path / "a.png").write_bytes(saved(bits))
    assert read(tmp_path / "a.png", binary).bad[0].startswith("its pixels are not 0 or 1 alone")
