"""Cuts the two photographs that scikit-learn carries into small pictures, a folder for each photograph.

    python examples/cut_photographs.py patches

They are by danielbuechele and vultilion, under Creative Commons Attribution 2.0, as scikit-learn says beside them. No
two patches overlap, so that a model is judged by pixels that it has not seen.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

SIDE = 32


def main(folder: Path) -> int:
    """Writes a JPEG for each whole patch; returns how many."""
    count = 0
    photographs = load_sample_images()
    for pixels, name in zip(photographs.images, photographs.filenames, strict=True):
        photograph, kind = Image.fromarray(pixels), folder / Path(name).stem
        kind.mkdir(parents=True, exist_ok=True)
        for top in range(0, photograph.height - SIDE + 1, SIDE):
            for left in range(0, photograph.width - SIDE + 1, SIDE):
                patch = photograph.crop((left, top, left + SIDE, top + SIDE))
                patch.save(kind / f"{top:03}-{left:03}.jpg", quality=95)
                count += 1
    return count


if __name__ == "__main__":
    print(f"{main(Path(sys.argv[1])):,} pictures in {sys.argv[1]}")
