"""Reads the images of a job's input with Beam: those that the model takes and, apart from them, rejected rows."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.pvalue import TaggedOutput

from serving.batch import file_formats
from serving.batch.elements import Image, Place, Rejected
from serving.batch.input_files import PASSED_OVER, Inputs, MatchInputs
from serving.image_format import BadImage, ImageFormat

REJECTED = "rejected"


class ReadImages(beam.PTransform):
    """Gives three collections: `images`, of Image, `REJECTED`, of Rejected, and `PASSED_OVER`, of PassedOver.

    An image's id is in its file, or else it is the file's path, below the folder of all inputs, and the row.
    """

    def __init__(self, inputs: Inputs, images: ImageFormat) -> None:
        super().__init__()
        self._inputs = inputs
        self._images = images

    def expand(self, root: beam.pvalue.PBegin) -> beam.pvalue.DoOutputsTuple:
        """Spreads pieces of files over the workers; images stay where they are read."""
        matched = root | "Match" >> MatchInputs(self._inputs)
        cut = matched["files"] | "Cut" >> beam.ParDo(_Cut(self._images)).with_outputs(REJECTED, main="pieces")
        read = (
            cut.pieces
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._images, self._inputs.folder)).with_outputs(REJECTED, main="images")
        )
        return {
            "images": read.images,
            REJECTED: (cut[REJECTED], read[REJECTED]) | "Rejected" >> beam.Flatten(),
            PASSED_OVER: matched[PASSED_OVER],
        }


class _Cut(beam.DoFn):
    def __init__(self, images: ImageFormat) -> None:
        self._images = images

    def process(self, file: FileMetadata) -> Iterator[file_formats.Piece | TaggedOutput]:
        try:
            yield from file_formats.pieces(file.path, self._images)
        except file_formats.UNREADABLE as error:
            yield TaggedOutput(REJECTED, Rejected(None, Place(file.path), f"it cannot be read: {error}", rows=None))


class _Read(beam.DoFn):
    def __init__(self, images: ImageFormat, folder: str) -> None:
        self._images = images
        self._folder = folder

    def process(self, piece: file_formats.Piece) -> Iterator[Image | TaggedOutput]:
        name = piece.path.removeprefix(self._folder)
        is_picture = piece.path.lower().endswith(file_formats.PICTURES)
        number = piece.first - 1
        try:
            for row in file_formats.rows(piece, self._images):
                number = row.number
                identity = row.id
                if identity is None:
                    identity = (name if is_picture else f"{name}:{number}").encode()
                place = Place(piece.path, None if is_picture else number)
                try:
                    yield Image(identity, row.read(), place)
                except BadImage as error:
                    yield TaggedOutput(REJECTED, Rejected(row.id, place, str(error)))
        except file_formats.UNREADABLE as error:
            reason = f"from here on the file cannot be read: {error}"
            rows = None if piece.rows is None else piece.first + piece.rows - number - 1
            yield TaggedOutput(REJECTED, Rejected(None, Place(piece.path, number + 1), reason, rows))
