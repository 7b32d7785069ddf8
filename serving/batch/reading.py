"""Reads the images of a pattern with Beam: those that the model takes and, apart from them, what is turned away."""

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

from serving.batch import formats
from serving.batch.pixels import BadImage, ImageFormat
from serving.batch.records import Image, Place, Rejected

REJECTED = "rejected"


def full_pattern(text: str) -> str:
    """The pattern of what a user named: a folder's is of all files below. Raises ValueError where there is none."""
    pattern = text
    if os.path.isdir(text) or text.endswith("/"):
        pattern = posixpath.join(text, "**")
    if not FileSystems.match([pattern], limits=[1])[0].metadata_list:
        raise ValueError(f"There is no input: no file matches {pattern!r}.")
    return pattern


class ReadImages(beam.PTransform):
    """Two collections: `images`, of Image, and `REJECTED`, of Rejected.

    An image's id is what its file says, or else its file's name, below the folder that the pattern begins with, and
    its row. Files whose name begins with a dot or an underscore are passed over.
    """

    def __init__(self, pattern: str, images: ImageFormat) -> None:
        super().__init__()
        self._pattern = pattern
        self._images = images

    def expand(self, root: beam.pvalue.PBegin) -> beam.pvalue.DoOutputsTuple:
        """Pieces of files are spread over the workers; their images stay where they are read."""
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

    def process(self, file: FileMetadata) -> Iterator[formats.Piece | TaggedOutput]:
        if posixpath.basename(file.path)[:1] in (".", "_"):
            return
        try:
            yield from formats.pieces(file.path, self._images)
        except formats.UNREADABLE as error:
            yield TaggedOutput(REJECTED, Rejected(None, Place(file.path), f"it cannot be read: {error}"))


class _Read(beam.DoFn):
    def __init__(self, images: ImageFormat, folder: str) -> None:
        self._images = images
        self._folder = folder

    def process(self, piece: formats.Piece) -> Iterator[Image | TaggedOutput]:
        name = piece.path.removeprefix(self._folder)
        is_picture = piece.path.lower().endswith(formats.PICTURES)
        number = piece.first - 1
        try:
            for row in formats.rows(piece, self._images):
                number = row.number
                identity = row.id
                if identity is None:
                    identity = (name if is_picture else f"{name}:{number}").encode()
                place = Place(piece.path, None if is_picture else number)
                try:
                    yield Image(identity, row.read(), place)
                except BadImage as error:
                    yield TaggedOutput(REJECTED, Rejected(row.id, place, str(error)))
        except formats.UNREADABLE as error:
            reason = f"from here on the file cannot be read: {error}"
            yield TaggedOutput(REJECTED, Rejected(None, Place(piece.path, number + 1), reason))


def _folder(pattern: str) -> str:
    """What all names that match begin with, up to the last slash before a wildcard."""
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return literal[: literal.rfind("/") + 1]
