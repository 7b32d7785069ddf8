"""Decodes a picture file to the pixels that a person sees in it, or refuses it with the reason.

| the file has | the pixels are |
|---|---|
| 1, 2, 4 or 8 bits a channel, or a palette | as they are, from 0 to 255 |
| 16 bits of grey, or 12 in TIFF | scaled to 0 to 255 and rounded |
| 16 bits of colour | the higher byte of each |
| transparency | laid on the background; refused without one, unless all is opaque |
| an orientation (EXIF, TIFF) | turned as it says |
| colour, for a model of grey | ITU-R 601: 0.299 R + 0.587 G + 0.114 B |
| an embedded RGB or grey profile, or a gamma (PNG) | as they are: neither is applied |
| floats, 32-bit or signed integers, CMYK, Lab | refused: what is black or white is not known |
| several frames | refused: a frame that is not scored would be lost |
| a frame that does not fill it (GIF) | refused: what lies beside it is not known |
"""

from __future__ import annotations

import io
import re
import zlib
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from serving.images.bad_image import BadImage

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are opened, by Pillow's names. Others run programs (EPS runs Ghostscript) or hold no raster."""
SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
MAX_PIXELS = 2**27
"""Pixels of the largest picture, 134 million: more than a camera's, and less than what fills the memory."""

Background = tuple[int, int, int]

_SIGNATURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|P[1-6][\s#]",
    re.DOTALL,
)
_ORIENTATION = 0x0112
_TIFF_BITS, _TIFF_COMPRESSION, _TIFF_PHOTOMETRIC, _TIFF_PLANES, _TIFF_SAMPLE_FORMAT = 258, 259, 262, 284, 339
_TIFF_BYTES = 279, 325
"""Of each strip, or of each tile."""
_TIFF_RGB, _TIFF_YCBCR = 2, 6
_PNG_DEPTH = 24
"""The place of the bit depth in a PNG file, whose first chunk is always IHDR."""


def is_picture(content: bytes) -> bool:
    """Whether bytes begin as the file of a picture does; 18 bytes are enough."""
    return _SIGNATURES.match(content) is not None


def decode_picture(
    content: bytes,
    channels: int,
    *,
    background: Background | None = None,
    shapes: tuple[tuple[int, ...], ...] | None = None,
    at_least: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decodes a picture's file to [H, W, C] uint8.

    Args:
      content: the whole file.
      channels: C, 1 for grey or 3 for colour.
      background: RGB under transparent pixels.
      shapes: the shapes [H, W, C] to accept; another is refused before anything is decoded. None for any.
      at_least: rows and columns that are enough. A JPEG may then be decoded at a half, a quarter or an eighth of its
        size, several times as fast: each pixel is the mean of those that it stands for. None for its own size.

    Raises:
      BadImage: if it is no picture, is broken, has another shape, or its pixels have no certain meaning.
    """
    if not content:
        raise BadImage("it is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            _check_size(picture, content, channels, shapes)
            if picture.format == "PNG":
                _check_sums(content)
            if at_least is not None and picture.format == "JPEG":
                rows, columns = at_least if _orientation(picture) <= 4 else at_least[::-1]
                picture.draft(None, (columns, rows))
            pixels = _pixels(picture, content, channels, background)
            # A TIFF is turned by Pillow when it is loaded, and loses its orientation then.
            return np.ascontiguousarray(_turned(pixels, _orientation(picture)))
    except BadImage:
        raise
    except UnidentifiedImageError as error:  # its own message names an object in memory
        raise BadImage("it is no picture that can be read; expected PNG, JPEG, TIFF, WEBP, GIF, BMP or PNM") from error
    except Exception as error:  # a broken file makes Pillow raise almost anything
        raise BadImage(f"it cannot be read as a picture: {str(error) or type(error).__name__}") from error


def picture_size(content: bytes) -> tuple[int, int]:
    """Returns rows and columns of a picture that `decode_picture` takes, upright, and decodes nothing of it."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        return _upright_size(picture)


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Rows and columns."""
    columns, rows = picture.size
    # A TIFF is turned by Pillow, which tells the size that it has then.
    is_turned = picture.format != "TIFF" and _orientation(picture) > 4
    return (columns, rows) if is_turned else (rows, columns)


def _check_size(
    picture: Image.Image, content: bytes, channels: int, shapes: tuple[tuple[int, ...], ...] | None
) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise BadImage(f"it has {width:,} x {height:,} pixels; expected at most {MAX_PIXELS:,}")
    # A JPEG with a preview or a depth map is an MPO; its first image is the picture.
    if (picture.format != "MPO" and getattr(picture, "is_animated", False)) or _is_followed(picture, content):
        raise BadImage("it has several frames; expected one. Save each frame as a file of its own")
    if picture.format == "GIF" and picture.dispose_extent != (0, 0, width, height):  # type: ignore[attr-defined]
        raise BadImage(
            f"its frame does not fill its {width:,} x {height:,} pixels, and what lies beside it is not known"
        )
    if shapes is None:
        return
    shape = (*_upright_size(picture), channels)
    if shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise BadImage(f"its shape is {list(shape)}; expected {expected}")


def _is_followed(picture: Any, content: bytes) -> bool:
    """Whether a PNM of bytes, not of text, has another one behind it, as `cat` or ffmpeg puts them there."""
    if picture.format != "PPM" or picture.tile[0][0] == "ppm_plain":
        return False
    _, _, offset, args = picture.tile[0]
    is_deep = picture.mode == "I" or (isinstance(args, tuple) and args[1] > 255)
    row = picture.width * len(picture.getbands()) * (2 if is_deep else 1)
    end = offset + picture.height * ((picture.width + 7) // 8 if picture.mode == "1" else row)
    return content[end : end + 2] in (b"P4", b"P5", b"P6")


def _check_sums(content: bytes) -> None:
    """Raises BadImage where a PNG's pixels do not fit their checksums, at which Pillow does not look."""
    view = memoryview(content)
    place, before = 8, b""
    while place < len(view):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : place + 8])
        if before == b"IDAT" != kind:
            return  # What is damaged behind them is not seen.
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            name = kind.decode(errors="replace")
            raise BadImage(f"it cannot be read as a picture: its part {name!r} does not fit its checksum")
        place, before = end + 4, kind


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels [H, W, C] upright, by EXIF's numbers."""
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    down, across = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[
        orientation
    ]
    return pixels[::down, ::across]


def _pixels(picture: Image.Image, content: bytes, channels: int, background: Background | None) -> np.ndarray:
    tags: Any = getattr(picture, "tag_v2", {})
    _check_tags(tags, picture.width * picture.height)
    picture.load()
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and picture.format in ("PNG", "PPM")):
        bits = int(np.ravel(tags.get(_TIFF_BITS, 16))[0])
        grey, alpha = _deep_grey(np.asarray(picture), bits, picture.info.get("transparency"))
        if tags.get(_TIFF_PHOTOMETRIC) == 0:  # white is 0, which Pillow sees to for 8 bits alone
            grey = 255 - grey
    elif mode in ("1", "L"):
        grey = np.asarray(picture.convert("L"))
        alpha = _key_alpha(grey, picture, content)
    elif mode in ("P", "PA", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        return _colour(picture, content, channels, background)
    else:
        raise BadImage(
            f"its pixels are of the mode {mode}, of which black and white are not known; save grey or RGB, of 8 bits"
        )
    if alpha is None and channels == 1:
        return grey[..., None]
    rgb = np.repeat(grey[..., None], 3, axis=2)
    return _channels(_laid_on(rgb, alpha, background), channels)


def _check_tags(tags: Any, pixels: int) -> None:
    """Raises BadImage for a TIFF that Pillow would read as something else than it is. Others have no tags."""
    if set(np.ravel(tags.get(_TIFF_SAMPLE_FORMAT, 1))) != {1}:
        raise BadImage("its pixels are floats or signed integers, of which the range is not known; save 8 or 16 bits")
    bits, kind = np.ravel(tags.get(_TIFF_BITS, 1)), tags.get(_TIFF_PHOTOMETRIC)
    is_raw = tags.get(_TIFF_COMPRESSION, 1) == 1
    if tags.get(_TIFF_PLANES) == 2 and len(bits) > 1 and (kind != _TIFF_RGB or (is_raw and set(bits) != {8})):
        raise BadImage("its channels lie in planes, which are read of RGB of 8 bits alone; save them interleaved")
    if is_raw and kind == _TIFF_YCBCR:
        raise BadImage("its pixels are YCbCr that is not compressed, which is not read; save RGB")
    stored = next((sum(tags[tag]) for tag in _TIFF_BYTES if tag in tags), None)
    if is_raw and stored is not None and 8 * stored < pixels * int(bits.sum()):
        raise BadImage(f"its strips have {stored:,} bytes, too few for its pixels")


def _deep_grey(pixels: np.ndarray, bits: int, key: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Scales grey of more than 8 bits, and makes the alpha of the one value that is transparent."""
    white = 2**bits - 1
    values = pixels.astype(np.uint32)
    alpha = None if key is None else np.where(values == key, 0, 255).astype(np.uint8)
    return ((values * 255 + white // 2) // white).astype(np.uint8), alpha


def _key_alpha(grey: np.ndarray, picture: Image.Image, content: bytes) -> np.ndarray | None:
    """Makes the alpha of the one grey that is transparent: a number of the file's own depth in PNG."""
    key = picture.info.get("transparency")
    if key is None:
        return None
    white = 2 ** content[_PNG_DEPTH] - 1 if picture.format == "PNG" else 255
    return np.where(grey == key * 255 // white, 0, 255).astype(np.uint8)


def _colour(picture: Image.Image, content: bytes, channels: int, background: Background | None) -> np.ndarray:
    key = picture.info.get("transparency")
    if picture.mode == "RGB" and key is not None and picture.format == "PNG" and content[_PNG_DEPTH] == 16:
        raise BadImage("its transparent colour has 16 bits, of which 8 are read; save an alpha channel")
    if not picture.has_transparency_data:
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy it
        return _channels(np.asarray(rgb), channels)
    straight = {"La": "LA", "RGBa": "RGBA"}.get(picture.mode, picture.mode)  # from what is multiplied by its alpha
    pixels = np.asarray(picture.convert(straight).convert("RGBA"))
    return _channels(_laid_on(pixels[..., :3], pixels[..., 3], background), channels)


def _laid_on(rgb: np.ndarray, alpha: np.ndarray | None, background: Background | None) -> np.ndarray:
    if alpha is None or alpha.min() == 255:
        return rgb
    if background is None:
        raise BadImage(
            "it has transparent pixels, and what lies under them is not known; name a background (--background, "
            "or data.background in the task)"
        )
    weight = alpha[..., None].astype(np.uint32)
    return ((rgb * weight + np.array(background, np.uint32) * (255 - weight) + 127) // 255).astype(np.uint8)


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Makes grey or colour [H, W, channels] uint8 of the other, as a picture's."""
    if pixels.shape[2] == channels:
        return pixels
    return np.repeat(pixels, 3, axis=2) if channels == 3 else _channels(pixels, 1)


def _channels(rgb: np.ndarray, channels: int) -> np.ndarray:
    if channels == 1:
        return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))[..., None]
    return rgb
