"""Reads the images of an input with Beam: those that the model takes and, apart from them, rejected rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import TaggedOutput

from serving.images.bad_image import BadImage
from serving.images.file_names import PICTURE
from serving.images.file_reader import Lost, Piece, open_local, pieces, rows
from serving.images.image_elements import Image, Place, Rejected
from serving.images.image_format import ImageFormat
from serving.images.input_files import PASSED_OVER, Inputs, MatchInputs

REJECTED = "rejected"


def open_file(path: str) -> IO[bytes]:
    """Opens a file here or on any file system that Beam knows. Raises OSError for what is no regular file."""
    if "://" not in path:
        return open_local(path)
    file: IO[bytes] = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


class ReadImages(beam.PTransform):
    """Gives the collections `images`, of Image; REJECTED, of Rejected; and PASSED_OVER, of one PassedOverFiles.

    All rows that the files have are in the first two: a Rejected says how many rows it stands for, if that is known.
    An image's id is in its file, or else it is the file's path, below the folder of all inputs, and the row.
    """

    def __init__(self, inputs: Inputs, images: ImageFormat) -> None:
        super().__init__()
        self._inputs = inputs
        self._images = images

    def expand(self, root: beam.pvalue.PBegin) -> dict[str, beam.PCollection]:
        """Spreads pieces of files over the workers; images stay where they are read."""
        matched = root | "Match" >> MatchInputs(self._inputs)
        cut = matched["files"] | "Cut" >> beam.ParDo(CutFiles(self._images)).with_outputs(REJECTED, main="pieces")
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


class CutFiles(beam.DoFn):
    """Cuts files into pieces that workers can read, and gives what is lost of them as REJECTED."""

    def __init__(self, images: ImageFormat) -> None:
        self._images = images

    def process(self, file: FileMetadata) -> Iterator[Piece | TaggedOutput]:
        """Yields the pieces of one file."""
        for piece in pieces(file.path, self._images, open_file):
            yield TaggedOutput(REJECTED, lost_rows(file.path, piece)) if isinstance(piece, Lost) else piece


class _Read(beam.DoFn):
    def __init__(self, images: ImageFormat, folder: str) -> None:
        self._images = images
        self._folder = folder

    def process(self, piece: Piece) -> Iterator[Image | TaggedOutput]:
        name = piece.path.removeprefix(self._folder)
        for row in rows(piece, self._images, open_file):
            if isinstance(row, Lost):
                yield TaggedOutput(REJECTED, lost_rows(piece.path, row))
                continue
            identity = piece.row_id(row, name)
            place = Place(piece.path, None if piece.format == PICTURE else row.number)
            try:
                yield Image(identity, self._images.drawn(row.read(), identity), place)
            except BadImage as error:
                yield TaggedOutput(REJECTED, Rejected(row.id, place, str(error)))


def lost_rows(path: str, lost: Lost) -> Rejected:
    """Returns what is lost of a file as rejected rows."""
    return Rejected(None, Place(path, lost.number), lost.reason, lost.rows)
