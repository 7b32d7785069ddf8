"""The sheet of samples that `draw run` names shows the model of that run."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pipeline.local import runner
from pipeline.local.run_settings import RunSettings
from tests import tiny
from tests.serving.model_server import export_model


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    return RunSettings(pipeline_root=tmp_path / "runs")


def _outcome(model_dir: Path) -> SimpleNamespace:
    """As much of it as counts here."""
    return SimpleNamespace(model_dir=model_dir, model_number="5")


def test_a_model_is_drawn_once_and_its_successor_anew(settings: RunSettings, tmp_path: Path) -> None:
    sheet = settings.sample_sheet("5")
    pictures = []
    for number, seed in enumerate((6, 8)):
        model_dir = export_model(tiny.MODELS["attention"], tmp_path / str(number), seed=seed) / "3"
        exported = (model_dir / "saved_model.pb").stat().st_mtime
        if number:
            # The number is given again once the metadata are deleted; the older sheet is then another model's.
            os.utime(sheet, (exported - 1, exported - 1))
        runner.update_sheet(settings, _outcome(model_dir))
        with Image.open(sheet) as picture:
            pictures.append(np.asarray(picture))
        # From the cache the same model comes again, in a later run.
        sheet.write_bytes(b"drawn")
        os.utime(sheet, (exported, exported))
        runner.update_sheet(settings, _outcome(model_dir))
        assert sheet.read_bytes() == b"drawn"
    first, second = pictures
    assert first.shape == second.shape and (first != second).any()
