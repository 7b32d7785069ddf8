"""Pictures of every mode, depth, alpha and orientation: the pixels that a person sees, or a reason."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.images import picture_decoder
from serving.images.bad_image import BadImage
from serving.images.picture_decoder import decode_picture, is_picture

GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
COLOUR = np.array([[[250, 0, 10], [0, 200, 30], [40, 0, 255]], [[9, 8, 7], [90, 80, 70], [255, 255, 255]]], np.uint8)
LUMA = ((COLOUR @ np.array([19595, 38470, 7471]) + 0x8000) >> 16).astype(np.uint8)
ALPHA = np.array([[255, 0, 128], [255, 255, 0]], np.uint8)
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def saved(pixels: np.ndarray, file_format: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(file, file_format, **options)
    return file.getvalue()


def png(depth: int, colour: int, rows: bytes, transparent: bytes = b"", width: int = 3, height: int = 2) -> bytes:
    """A PNG of raw scan lines, as Pillow cannot write them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = max(1, len(rows) // height)
    packed = b"".join(b"\0" + rows[place : place + lines] for place in range(0, len(rows), lines))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    keys = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + keys
        + chunk(b"IDAT", zlib.compress(packed))
        + chunk(b"IEND", b"")
    )


def tiff(bits: int, pixels: np.ndarray, *, white_is_zero: bool = False, sample_format: int = 1) -> bytes:
    """A TIFF of one strip of grey, little endian."""
    strip = pixels.tobytes()
    tags = [
        (256, 3, 3), (257, 3, 2), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1), (273, 4, 8),
        (277, 3, 1), (278, 3, 2), (279, 4, len(strip)), (339, 3, sample_format),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + directory + bytes(4)


def layered_tiff(
    samples: np.ndarray, photometric: int, *, planes: bool = False, compressed: bool = False, stored: int | None = None
) -> bytes:
    """A TIFF of several channels [H, W, C], little endian; `stored` is what it claims of its strips' sizes."""
    rows, columns, channels = samples.shape
    parts = [samples[..., place].tobytes() for place in range(channels)] if planes else [samples.tobytes()]
    strips = [zlib.compress(part) if compressed else part for part in parts]
    content = bytearray(8)
    places = []
    for strip in strips:
        places.append(len(content))
        content += strip
    tags = [
        (256, [columns]), (257, [rows]), (258, [8 * samples.itemsize] * channels), (259, [8 if compressed else 1]),
        (262, [photometric]), (273, places), (277, [channels]), (278, [rows]),
        (279, [len(strip) if stored is None else stored for strip in strips]), (284, [2 if planes else 1]),
        *([(338, [2])] if channels in (2, 4) else []),
    ]  # fmt: skip
    entries = struct.pack("<H", len(tags))
    beyond = b""
    start = len(content) + 2 + 12 * len(tags) + 4
    for tag, values in tags:
        packed = struct.pack(f"<{len(values)}H", *values)
        entries += struct.pack("<HHI", tag, 3, len(values))
        entries += packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", start + len(beyond))
        beyond += packed if len(packed) > 4 else b""
    return b"II*\0" + struct.pack("<I", len(content)) + bytes(content[8:]) + entries + bytes(4) + beyond


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


SLOPE = np.add.outer(np.arange(28) * 4, np.arange(28) * 4).astype(np.uint8)


def laid_on(pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    alpha = ALPHA[..., None] / 255
    return np.rint(pixels * alpha + np.array(background) * (1 - alpha)).astype(np.uint8)


DEEP = GREY.astype(np.uint16) * 257
OFF = np.array([[0, 128, 129], [33_000, 65_300, 65_535]], np.uint16)
"""Values between those of 8 bits: 128 / 257 is below a half, 129 / 257 above."""
OFF_IN_8 = np.array([[0, 0, 1], [128, 254, 255]], np.uint8)
PALETTE = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def palette_picture(**options: Any) -> bytes:
    picture = Image.fromarray(PALETTE, "P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 9, 9, 250])
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


PALETTE_COLOURS = np.array([[255, 0, 0], [0, 255, 0], [9, 9, 250]], np.uint8)
RGB = np.repeat(GREY[..., None], 3, axis=2)

EXPECTED: dict[str, tuple[bytes, int, tuple[int, int, int] | None, np.ndarray]] = {
    "1 bit": (saved(GREY > 100, "PNG", "1"), 1, None, np.where(GREY > 100, 255, 0)),
    "1 bit PBM": (saved(GREY > 100, "PPM", "1"), 1, None, np.where(GREY > 100, 255, 0)),
    "1 bit TIFF": (saved(GREY > 100, "TIFF", "1"), 1, None, np.where(GREY > 100, 255, 0)),
    "2 bits": (png(2, 0, bytes([0b00011000, 0b10110000])), 1, None, np.array([[0, 85, 170], [170, 255, 0]])),
    "4 bits": (png(4, 0, bytes([0x0F, 0x30, 0x5A, 0x10])), 1, None, np.array([[0, 255, 51], [85, 170, 17]])),
    "8 bits": (saved(GREY), 1, None, GREY),
    "8 bits in colour": (saved(GREY), 3, None, RGB),
    "8 bits BMP": (saved(GREY, "BMP"), 1, None, GREY),
    "8 bits GIF": (saved(GREY, "GIF"), 1, None, GREY),
    "8 bits PGM": (saved(GREY, "PPM"), 1, None, GREY),
    "PGM of 100 greys": (b"P2 3 2 100 0 20 40 60 80 100", 1, None, GREY),
    "8 bits WEBP": (saved(RGB, "WEBP", lossless=True), 1, None, GREY),
    "8 bits TIFF": (saved(GREY, "TIFF"), 1, None, GREY),
    "8 bits TIFF, white is 0": (tiff(8, 255 - GREY, white_is_zero=True), 1, None, GREY),
    "12 bits TIFF": (tiff(12, np.frombuffer(bytes.fromhex("0003336660999cccfff0"), np.uint8)), 1, None, GREY),
    "16 bits": (saved(DEEP), 1, None, GREY),
    "16 bits in colour": (saved(DEEP), 3, None, RGB),
    "16 bits between those of 8": (saved(OFF), 1, None, OFF_IN_8),
    "16 bits TIFF": (saved(OFF, "TIFF"), 1, None, OFF_IN_8),
    "16 bits TIFF, big endian": (saved(OFF.astype(">u2"), "TIFF"), 1, None, OFF_IN_8),
    "16 bits TIFF, white is 0": (tiff(16, 65_535 - DEEP, white_is_zero=True), 1, None, GREY),
    "16 bits PGM": (b"P5 3 2 65535\n" + OFF.astype(">u2").tobytes(), 1, None, OFF_IN_8),
    "PGM of 1000 greys": (b"P5 3 2 1000\n" + np.array([0, 200, 400, 600, 800, 1000], ">u2").tobytes(), 1, None, GREY),
    "16 bits of colour": (png(16, 2, (COLOUR.astype(">u2") * 257).astype(">u2").tobytes()), 3, None, COLOUR),
    "colour": (saved(COLOUR), 3, None, COLOUR),
    "colour as grey": (saved(COLOUR), 1, None, LUMA),
    "colour TIFF": (saved(COLOUR, "TIFF"), 3, None, COLOUR),
    "colour TIFF in planes": (layered_tiff(COLOUR, 2, planes=True), 3, None, COLOUR),
    "colour TIFF of 16 bits": (layered_tiff(COLOUR.astype("<u2") * 257, 2), 3, None, COLOUR),
    "colour TIFF of 16 bits, in compressed planes": (
        layered_tiff(COLOUR.astype("<u2") * 257, 2, planes=True, compressed=True), 3, None, COLOUR),
    "palette": (palette_picture(), 3, None, PALETTE_COLOURS[PALETTE]),
    "palette on white": (palette_picture(transparency=1), 3, WHITE,
                         np.array([PALETTE_COLOURS[0], WHITE, PALETTE_COLOURS[2]])[PALETTE]),
    "alpha on white": (saved(np.dstack([COLOUR, ALPHA])), 3, WHITE, laid_on(COLOUR, WHITE)),
    "alpha on black": (saved(np.dstack([COLOUR, ALPHA])), 3, BLACK, laid_on(COLOUR, BLACK)),
    "alpha on red": (saved(np.dstack([COLOUR, ALPHA])), 3, RED, laid_on(COLOUR, RED)),
    "alpha WEBP": (saved(np.dstack([COLOUR, ALPHA]), "WEBP", lossless=True, exact=True), 3, WHITE,
                   laid_on(COLOUR, WHITE)),
    "alpha TIFF": (saved(np.dstack([COLOUR, ALPHA]), "TIFF"), 3, WHITE, laid_on(COLOUR, WHITE)),
    "black ink on a transparent ground": (saved(np.dstack([GREY * 0, ALPHA])), 1, WHITE, 255 - ALPHA),
    "white ink on a transparent ground": (saved(np.dstack([GREY * 0 + 255, ALPHA])), 1, BLACK, ALPHA),
    "grey with alpha, in colour": (saved(np.dstack([GREY, ALPHA])), 3, RED, laid_on(RGB, RED)),
    "opaque alpha without a background": (saved(np.dstack([COLOUR, ALPHA * 0 + 255])), 3, None, COLOUR),
    "one transparent grey": (saved(GREY, transparency=51), 1, WHITE, np.where(GREY == 51, 255, GREY)),
    "one transparent grey of 2 bits": (png(2, 0, bytes([0b00011000, 0b10110000]), b"\0\1"), 1, WHITE,
                                       np.array([[0, 255, 170], [170, 255, 0]])),
    "one transparent grey of 1 bit": (png(1, 0, bytes([0b01000000, 0b10100000]), b"\0\0"), 1, RED,
                                      np.array([[76, 255, 76], [255, 76, 255]])),
    "one transparent grey of 16 bits": (png(16, 0, DEEP.astype(">u2").tobytes(), struct.pack(">H", 51 * 257)), 1, WHITE,
                                        np.where(GREY == 51, 255, GREY)),
    "one transparent colour": (saved(COLOUR, transparency=(9, 8, 7)), 3, WHITE,
                               np.where((COLOUR == (9, 8, 7)).all(axis=2, keepdims=True), 255, COLOUR)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_the_pixels_are_those_that_a_person_sees(name: str) -> None:
    content, channels, background, expected = EXPECTED[name]
    assert is_picture(content)
    pixels = decode_picture(content, channels, background=background)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected.reshape(*expected.shape[:2], channels))


def test_a_jpeg_is_near_what_was_saved() -> None:
    ramp = np.add.outer(np.arange(16) * 8, np.arange(24) * 5).astype(np.uint8)
    for picture in (ramp, np.dstack([ramp, ramp[::-1], ramp[:, ::-1]])):
        content = saved(picture, "JPEG", quality=97, subsampling=0)
        assert is_picture(content)
        channels = picture.size // ramp.size
        pixels = decode_picture(content, channels).reshape(picture.shape)
        np.testing.assert_allclose(pixels.astype(int), picture, atol=6)


# What a camera stores, so that it is seen as UPRIGHT; the numbers are EXIF's.
STORED = {
    1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1],
    5: GREY.T, 6: GREY.T[::-1], 7: GREY.T[::-1, ::-1], 8: GREY.T[:, ::-1],
}  # fmt: skip


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("file_format", "dtype"), [("PNG", "u1"), ("TIFF", "u1"), ("WEBP", "u1"), ("PNG", "<u2"), ("TIFF", "<u2")]
)
def test_a_picture_is_turned_upright(orientation: int, file_format: str, dtype: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation]).astype(dtype) * (1 if dtype == "u1" else 257)
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    content = saved(stored.astype(dtype), file_format, "RGB" if file_format == "WEBP" else None, exif=exif, **options)
    shapes = ((*GREY.shape, 1),)
    np.testing.assert_array_equal(decode_picture(content, 1, shapes=shapes)[..., 0], GREY)
    with pytest.raises(BadImage, match=r"its shape is \[2, 3, 1\]; expected \[3, 2, 1\]"):
        decode_picture(content, 1, shapes=((3, 2, 1),))


def animated(file_format: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(picture) for picture in (GREY, 255 - GREY)]
    frames[0].save(file, file_format, save_all=True, append_images=frames[1:])
    return file.getvalue()


def framed_gif() -> bytes:
    """A GIF of 5 x 4 with a frame of 3 x 2."""
    content = saved(GREY, "GIF")
    return content[:6] + struct.pack("<HH", 5, 4) + content[10:]


def test_each_damage_of_a_png_is_seen() -> None:
    """Also one of the pixels, which Pillow decodes to others where it can; behind them there is none to be seen."""
    content = saved(SLOPE)
    end = content.index(b"IEND") - 4
    for place in range(end):
        with pytest.raises(BadImage):
            decode_picture(flipped(content, place), 1, shapes=((28, 28, 1),))
    for whole in (content[:end], content[: end + 6], content + b"more", flipped(content, len(content) - 1)):
        np.testing.assert_array_equal(decode_picture(whole, 1)[..., 0], SLOPE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (saved(np.dstack([COLOUR, ALPHA])), "it has transparent pixels.*; name a background"),
        (palette_picture(transparency=1), "it has transparent pixels"),
        (saved(GREY, transparency=51), "it has transparent pixels"),
        (saved(GREY.astype(np.float32), "TIFF"), "its pixels are floats or signed"),
        (saved(GREY.astype(np.int32), "TIFF"), "its pixels are floats or signed"),
        (tiff(32, GREY.astype(np.uint32)), "of the mode I, of which black and white are not known"),
        (tiff(8, GREY, sample_format=2), "its pixels are floats or signed"),
        (b"Pf 3 2 -1\n" + GREY.astype(np.float32).tobytes(), "no picture that can be read|of the mode F"),
        (saved(COLOUR, "JPEG", "CMYK"), "of the mode CMYK"),
        (saved(COLOUR, "TIFF", "CMYK"), "of the mode CMYK"),
        (saved(COLOUR, "TIFF", "LAB"), "of the mode LAB"),
        (png(16, 2, COLOUR.astype(">u2").tobytes(), struct.pack(">HHH", 1, 2, 3)), "transparent colour has 16 bits"),
        (layered_tiff(COLOUR.astype("<u2") * 257, 2, planes=True), "its channels lie in planes"),
        (layered_tiff(np.dstack([GREY, ALPHA]), 1, planes=True, compressed=True), "its channels lie in planes"),
        (layered_tiff(COLOUR, 6, planes=True), "its channels lie in planes"),
        (layered_tiff(COLOUR, 6), "YCbCr that is not compressed"),
        (layered_tiff(GREY[..., None], 1, stored=4), "its strips have 4 bytes, too few"),
        (flipped(saved(SLOPE), 50), "its part 'IDAT' does not fit its checksum"),
        (framed_gif(), "its frame does not fill it"),
        (saved(GREY, "PPM") * 2, "several frames"),
        (b"P4 3 2\n\0\0" * 2, "several frames"),
        (b"P6 3 2 1000\n" + bytes(36) + b"P6 3 2 255\n" + bytes(18), "several frames"),
        (animated("GIF"), "several frames"),
        (animated("PNG"), "several frames"),
        (animated("TIFF"), "several frames"),
        (animated("WEBP"), "several frames"),
        (saved(GREY)[:-25], "it cannot be read as a picture"),
        (saved(COLOUR, "ICO"), "no picture that can be read; expected PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 3\n", "no picture that can be read"),
        (b"", "^it is empty$"),
        (b"no picture", "no picture that can be read"),
        (png(8, 0, bytes(8), width=12_000, height=12_000), "12,000 x 12,000 pixels; expected at most 134,217,"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode_picture(content, 3)


def test_no_program_is_run_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow runs the first `gs` in PATH for an EPS file, whatever its name is."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "EPS")
    assert shutil.which("gs") == str(ghostscript)
    with pytest.raises(BadImage, match="no picture that can be read"):
        decode_picture(file.getvalue(), 1)
    assert not (tmp_path / "was-run").exists()


def test_a_picture_of_another_size_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(np.zeros((500, 400), np.uint8))
    monkeypatch.setattr(picture_decoder, "_pixels", None)
    with pytest.raises(BadImage, match=r"its shape is \[500, 400, 1\]; expected \[2, 3, 1\]"):
        decode_picture(content, 1, shapes=((2, 3, 1),))


def test_a_phones_picture_with_a_preview_is_read() -> None:
    file = io.BytesIO()
    picture = Image.fromarray(np.full((16, 16), 200, np.uint8))
    picture.save(file, "MPO", save_all=True, append_images=[Image.fromarray(np.zeros((4, 4), np.uint8))])
    np.testing.assert_allclose(decode_picture(file.getvalue(), 1).astype(int), 200, atol=2)
