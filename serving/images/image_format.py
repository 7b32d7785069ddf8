"""The images that a model takes, made from stored pixels: the right shape, in [0, 1], and 0 or 1 where binarised."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from serving.images.bad_image import BadImage
from serving.images.picture_decoder import Background, decode_picture, is_picture, with_channels
from serving.images.pixel_draws import draw_pixels
from serving.images.preparation import Preparation


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """Shape and range of a model's images, and how stored ones become them."""

    shape: tuple[int, int, int]
    """[H, W, C]."""
    margin: tuple[int, int] = (0, 0)
    """Rows and columns by which a stored image may be larger; its centre is taken, as in evaluation."""
    binary: bool
    """Pixels are 0 or 1."""
    threshold: float | None = None
    """Pixels above it become 1 and the others 0; None leaves them as they are."""
    background: Background | None = None
    """RGB under a picture's transparent pixels; None refuses them."""
    preparation: Preparation | None = None
    """How images of other sizes become these; None refuses them."""
    binarisation: str = "none"
    """How grey pixels become 0 and 1 without a threshold: `threshold` at 1/2, `stochastic` as `drawn` does, or `none`,
    which refuses them."""

    @property
    def dimensions(self) -> int:
        """H W C."""
        return math.prod(self.shape)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """[H, W, C] with the margin."""
        height, width, channels = self.shape
        return height + self.margin[0], width + self.margin[1], channels

    @functools.cached_property  # asked for with each image
    def stored_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that a stored image may have."""
        return tuple(dict.fromkeys((self.shape, self.stored_shape)))

    def resized(self, resize: str | None) -> ImageFormat:
        """Returns the format that makes its images of others in that way, one of RESIZES; None changes nothing."""
        if resize is None:
            return self
        preparation = self.preparation or Preparation(resize=resize)
        return dataclasses.replace(self, preparation=dataclasses.replace(preparation, resize=resize))

    def with_options(
        self, *, threshold: float | None, background: Background | None, resize: str | None
    ) -> ImageFormat:
        """Returns the format that reads images as a user says; None leaves to the model what it says itself."""
        background = background or self.background
        return dataclasses.replace(self, threshold=threshold, background=background).resized(resize)

    def whole_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns [H, W, C] for [H, W], or [H W] in one row, of grey. Raises BadImage for any other shape.

        Colour in one row is refused: nobody knows whether its channels come first or last.
        """
        if shape == self.shape:
            return shape
        for stored in self.stored_shapes:
            if shape == stored or (stored[2] == 1 and shape in (stored[:2], (math.prod(stored),))):
                return stored
        if self.preparation is not None and len(shape) in (2, 3) and min(shape) > 0:
            if len(shape) == 2:
                return (*shape, 1)
            if shape[2] in (1, 3):
                return shape
        raise BadImage(f"its shape is {list(shape)}; expected {self._expected(list)}")

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether `whole_shape` takes pixels of that shape."""
        try:
            self.whole_shape(shape)
        except BadImage:
            return False
        return True

    def array_shapes(self) -> str:
        """Returns the shapes of arrays of such images, for people."""
        if self.preparation is not None:
            return "[n, rows, columns] or [n, rows, columns, 3]"
        shapes = [*self.stored_shapes]
        if self.shape[2] == 1:
            shapes += [shape[:2] for shape in shapes]
        return " or ".join(f"[n, {str(list(shape))[1:]}" for shape in shapes)

    def from_bytes(self, raw: bytes) -> np.ndarray:
        """Makes [H, W, C] float32 of raw uint8 pixels, row by row. Raises BadImage."""
        for shape in self.stored_shapes:
            if len(raw) == math.prod(shape):
                # Whoever stored it has prepared it.
                return self._finished(self._scaled(np.frombuffer(raw, np.uint8).reshape(shape)))
        raise BadImage(f"it has {len(raw):,} bytes; expected {self._expected(math.prod)}")

    def from_cell(self, content: bytes) -> np.ndarray:
        """Makes [H, W, C] float32 of a data set's raw uint8 pixels, or of a picture's file. Raises BadImage."""
        is_raw = len(content) in map(math.prod, self.stored_shapes)
        if is_picture(content):
            try:
                # A data set of 0 and 1 has them in its pictures too.
                return self.from_pixels(self._decoded(content))
            except BadImage:
                # A picture of just as many bytes as it has pixels is rare, but pixels that begin as one are rarer.
                if not is_raw:
                    raise
        elif not is_raw:
            raise BadImage(f"it has {len(content):,} bytes and is no picture; expected {self._expected(math.prod)}")
        return self.from_bytes(content)

    def from_picture(self, content: bytes) -> np.ndarray:
        """Makes [H, W, C] float32 of a picture's file, in which 255 is white. Raises BadImage."""
        return self._finished(self._decoded(content).astype(np.float32) / np.float32(255))

    def from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Makes [H, W, C] float32 of pixels of a shape that `whole_shape` takes.

        They are integers from 0 to 255 or floats from 0 to 1. Integers are divided by 255, except 0 and 1 of a
        binarised image without a threshold. Raises BadImage.
        """
        image = self._scaled(pixels.reshape(self.whole_shape(pixels.shape)))
        if self.preparation is not None:
            # To bytes and back, as ingestion stores them.
            image = self._prepared(np.rint(255 * image).astype(np.uint8)).astype(np.float32) / np.float32(255)
        return self._finished(image)

    @property
    def is_drawn(self) -> bool:
        """Whether grey pixels become 0 or 1 by chance, by `drawn`, for which an image needs its id."""
        return self.binarisation == "stochastic" and self.threshold is None

    def drawn(self, image: np.ndarray, identity: bytes) -> np.ndarray:
        """Ends the making of an image [H, W, C]: draws its pixels as ingestion does for that id, where `is_drawn`."""
        if not self.is_drawn:
            return image
        # 0 and 1 stay what they are. All that is stored is drawn, and then the centre is taken.
        return self._centre(draw_pixels(np.rint(255 * image).astype(np.uint8), identity=identity).astype(np.float32))

    def _decoded(self, content: bytes) -> np.ndarray:
        if self.preparation is None:
            return decode_picture(content, self.shape[2], background=self.background, shapes=self.stored_shapes)
        enough = self.preparation.enough(self.stored_shape)
        return self._prepared(decode_picture(content, self.shape[2], background=self.background, at_least=enough))

    def _prepared(self, pixels: np.ndarray) -> np.ndarray:
        """Makes [*stored_shape] uint8 of [H, W, C] uint8 of any size, grey or colour."""
        assert self.preparation is not None
        return self.preparation.apply(with_channels(pixels, self.shape[2]), self.stored_shape)

    def _centre(self, image: np.ndarray) -> np.ndarray:
        if image.shape == self.shape:
            return image
        top, left = (margin // 2 for margin in self.margin)
        return image[top : top + self.shape[0], left : left + self.shape[1]]

    def _finished(self, image: np.ndarray) -> np.ndarray:
        if self.is_drawn:
            return image
        image = self._centre(image)
        if self.threshold is not None:
            return (image > self.threshold).astype(np.float32)
        if self.binary and self.binarisation == "threshold":
            return (image > 0.5).astype(np.float32)
        if self.binary and self.binarisation == "none" and not np.logical_or(image == 0, image == 1).all():
            raise BadImage(
                "its pixels are not 0 or 1 alone, as the model's are; a threshold makes them so (--threshold, or "
                "binarisation: threshold in the task)"
            )
        return image

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == bool:
            return pixels.astype(np.float32)
        if np.issubdtype(pixels.dtype, np.integer):
            if pixels.dtype != np.uint8 and (pixels.min() < 0 or pixels.max() > 255):
                raise BadImage(
                    f"its pixels reach from {pixels.min()} to {pixels.max()}; expected integers from 0 to 255"
                )
            # With a threshold 0 and 1 are two dark greys.
            are_bits = self.binary and self.threshold is None and pixels.max() <= 1
            return pixels.astype(np.float32) / np.float32(1 if are_bits else 255)
        if not np.issubdtype(pixels.dtype, np.floating):
            raise BadImage(f"its pixels are {pixels.dtype}; expected integers or floats")
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):  # false for a NaN too
            raise BadImage(f"its pixels reach from {low:g} to {high:g}; expected floats from 0 to 1")
        return pixels.astype(np.float32)

    def _expected(self, describe: Callable[[tuple[int, ...]], object]) -> str:
        return " or ".join(str(describe(shape)) for shape in self.stored_shapes)
