"""The batch job on a real Spark, in one process with its job server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines import java_jars, scoring

pytestmark = pytest.mark.slow


def test_spark_scores_as_the_local_runner_does(tmp_path: Path) -> None:
    jar = java_jars.jar("spark")
    place = scoring.make_place(tmp_path)
    local = scoring.score(place, tmp_path / "local", "--samples", "3")
    assert local.returncode == 0, local.stderr
    (tmp_path / "out").mkdir()
    beam = ("--", "--runner=SparkRunner", f"--spark_job_server_jar={jar}", "--spark_master_url=local[2]")
    done = scoring.score(place, tmp_path / "out" / "x", "--samples", "3", *beam)
    assert (done.returncode, scoring.without_progress(done.stderr)) == (0, "")
    scoring.assert_same(tmp_path / "out" / "x", tmp_path / "local")
    names = {path.name.split("-")[1] for path in (tmp_path / "out").iterdir()}
    assert names == {"scores", "rejected", "summary.json"}
