"""Reads the images of a pattern with Beam: those that the model takes and, apart from them, rejected rows."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.io.fileio import EmptyMatchTreatment, MatchFiles
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import TaggedOutput

from serving.batch import file_formats
from serving.batch.elements import Image, Place, Rejected
from serving.image_format import BadImage, ImageFormat

REJECTED = "rejected"


def full_pattern(text: str) -> str:
    """Returns the pattern of all files of what a user named. Raises ValueError if there are none."""
    pattern = text
    if os.path.isdir(text) or text.endswith("/"):
        pattern = posixpath.join(text, "**")
    if not FileSystems.match([pattern], limits=[1])[0].metadata_list:
        raise ValueError(f"There is no input: no file matches {pattern!r}.")
    return pattern


class ReadImages(beam.PTransform):
    """Gives two collections: `images`, of Image, and `REJECTED`, of Rejected.

    An image's id is in its file, or else it is the file's name, below the folder that the pattern begins with, and the
    row. Files whose names begin with a dot or an underscore are skipped.
    """

    def __init__(self, pattern: str, images: ImageFormat) -> None:
        super().__init__()
        self._pattern = pattern
        self._images = images

    def expand(self, root: beam.pvalue.PBegin) -> beam.pvalue.DoOutputsTuple:
        """Spreads pieces of files over the workers; images stay where they are read."""
        cut = (
            root
            | "Match" >> MatchFiles(self._pattern, empty_match_treatment=EmptyMatchTreatment.DISALLOW)
            | "Cut" >> beam.ParDo(_Cut(self._images)).with_outputs(REJECTED, main="pieces")
        )
        read = (
            cut.pieces
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._images, _folder(self._pattern))).with_outputs(REJECTED, main="images")
        )
        return {
            "images": read.images,
            REJECTED: (cut[REJECTED], read[REJECTED]) | "Rejected" >> beam.Flatten(),
        }


class _Cut(beam.DoFn):
    def __init__(self, images: ImageFormat) -> None:
        self._images = images

    def process(self, file: FileMetadata) -> Iterator[file_formats.Piece | TaggedOutput]:
        if posixpath.basename(file.path)[:1] in (".", "_"):
            return
        try:
            yield from file_formats.pieces(file.path, self._images)
        except file_formats.UNREADABLE as error:
            yield TaggedOutput(REJECTED, Rejected(None, Place(file.path), f"it cannot be read: {error}"))


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
            yield TaggedOutput(REJECTED, Rejected(None, Place(piece.path, number + 1), reason))


def _folder(pattern: str) -> str:
    """Returns the folder before the first wildcard, with its slash."""
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return literal[: literal.rfind("/") + 1]
