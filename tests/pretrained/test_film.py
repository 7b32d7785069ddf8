"""`draw interpolate` on a model whose drawings differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli.main import main
from serving.local_model import LocalModel

MNIST = str(Path(__file__).resolve().parents[2] / "pretrained" / "mnist")
FRAMES = 4


def test_a_film_leads_from_one_drawing_to_another_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DRAW_SERVER", "DRAW_MODEL", "TASK"):
        monkeypatch.delenv(name, raising=False)
    with LocalModel(MNIST, name="mnist") as model:
        images = np.rint(model.sample(2, seed=7))
        ends = model.decode(model.encode(images).z)[..., 0]
    assert np.abs(ends - images[..., 0]).mean() < 0.05 < np.abs(ends[0] - ends[1]).mean()
    for name, image in zip("ab", images, strict=True):
        Image.fromarray((255 * image[..., 0]).astype(np.uint8)).save(f"{name}.png")
    arguments = ["interpolate", "a.png", "b.png", "-o", "film.webp", "--frames", str(FRAMES), "--model", MNIST]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    with Image.open("film.webp") as film:
        # The last image is one frame, however long it is shown.
        assert film.n_frames == 2 * FRAMES + 1
        shown = []
        for place in range(film.n_frames):
            film.seek(place)
            shown.append(np.asarray(film.convert("RGB"), np.float32)[..., 0])
    size = shown[0].shape[0] // 28
    small = [frame[size // 2 :: size, size // 2 :: size] / 255 for frame in shown]
    for place, end in ((0, 0), (FRAMES, 1), (2 * FRAMES, 0)):
        np.testing.assert_allclose(small[place], ends[end], atol=1 / 255)
    for place in range(FRAMES):
        np.testing.assert_array_equal(small[place], small[-1 - place])
