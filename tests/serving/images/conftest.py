"""What the tests of readers share: images of the tiny model in a file."""

from tests.serving.batch.conftest import examples, images

__all__ = ["examples", "images"]
