"""TFX's own command runs the pipeline: created and run for real, from a folder that is not the repository's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import local_runner
from tests.pipeline.draw_command import call

pytestmark = pytest.mark.slow


def _own_images(folder: Path) -> str:
    """A task file of pictures beside it; returns its name."""
    (folder / "photos").mkdir()
    for number in range(40):
        pixels = np.random.RandomState(number).randint(0, 256, (20, 30), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.png")
    (folder / "parts.yaml").write_text("like: digits\ndata: {images: photos}\nimage_shape: [12, 14, 1]\n")
    return "parts.yaml"


@pytest.mark.parametrize("name", ["digits", "parts"])
def test_tfx_creates_and_runs_the_pipeline(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    variables = {
        "TASK": _own_images(tmp_path) if name == "parts" else name,
        "SET": "recipe.batch_size=10 lstm_units=16",
        "STEPS": "5",
        "DATA_DIR": str(tmp_path / "data"),
        "MAX_NLL_BOUND": "1000",
        # Where the command keeps what it created; the default is in the home directory.
        "LOCAL_HOME": str(tmp_path / "tfx"),
    }

    created = call(
        "tfx",
        "pipeline",
        "create",
        "--engine=local",
        f"--pipeline_path={local_runner.__file__}",
        folder=tmp_path,
        variables=variables,
    )
    assert created.returncode == 0
    assert f'Pipeline "draw-{name}" created successfully.' in created.stdout
    assert not (tmp_path / "runs" / name / "metadata.db").exists(), "creating a pipeline runs nothing"

    ran = call(
        "tfx", "run", "create", "--engine=local", f"--pipeline_name=draw-{name}", folder=tmp_path, variables=variables
    )
    assert ran.returncode == 0
    assert "10/10 RunReport" in ran.stdout
    (version,) = (tmp_path / "runs" / name / "serving" / name).iterdir()
    assert (version / "saved_model.pb").is_file()
