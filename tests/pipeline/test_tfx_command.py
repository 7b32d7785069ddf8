"""TFX's own command runs the pipeline: created and run for real, from a folder that is not the repository's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import local_runner
from tests.pipeline.draw_command import call

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_tfx_creates_and_runs_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    variables = {
        "TASK": "digits",
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
    assert 'Pipeline "draw-digits" created successfully.' in created.stdout
    assert not (tmp_path / "runs" / "digits" / "metadata.db").exists(), "creating a pipeline runs nothing"

    ran = call(
        "tfx", "run", "create", "--engine=local", "--pipeline_name=draw-digits", folder=tmp_path, variables=variables
    )
    assert ran.returncode == 0
    assert "10/10 RunReport" in ran.stdout
    (version,) = (tmp_path / "runs" / "digits" / "serving" / "digits").iterdir()
    assert (version / "saved_model.pb").is_file()
