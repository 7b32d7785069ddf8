"""Renders letters in the fonts that matplotlib carries, as a folder of pictures with a folder for each letter.

    python examples/render_glyphs.py letters ABCDEFGHIJ

DejaVu's fonts are free (Bitstream Vera's licence, matplotlib has it beside them), and so is what is drawn with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

SIDE = 96
SIZES = (56, 64, 72)
ANGLES = (-8, -4, 0, 4, 8)


def render(letter: str, font: Path, size: int, angle: int) -> Image.Image:
    """Draws a letter black on white in the middle of a picture, turned by degrees."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    face = ImageFont.truetype(str(font), size)
    ImageDraw.Draw(picture).text((SIDE / 2, SIDE / 2), letter, fill=0, font=face, anchor="mm")
    return picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)


def main(folder: Path, letters: str) -> int:
    """Writes a PNG for each letter, font, size and angle; returns how many."""
    fonts = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuS*.ttf"))
    count = 0
    for letter in letters:
        (folder / letter).mkdir(parents=True, exist_ok=True)
        # The fonts for display have only some letters.
        for font in (font for font in fonts if "Display" not in font.name):
            for size in SIZES:
                for angle in ANGLES:
                    render(letter, font, size, angle).save(folder / letter / f"{font.stem}-{size}-{angle}.png")
                    count += 1
    return count


if __name__ == "__main__":
    print(f"{main(Path(sys.argv[1]), sys.argv[2]):,} pictures in {sys.argv[1]}")
