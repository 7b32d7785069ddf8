"""How many stages the job is to an engine, each of which starts workers of its own."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.portability import common_urns
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.transforms import environments

from serving.batch import job
from serving.batch.blocks import SAMPLES_TOGETHER
from serving.batch.job import Job
from serving.batch.model_source import SavedModelSource
from serving.batch.output_claim import Places
from serving.beam_options import LOCAL_RUNNER
from serving.images.image_format import ImageFormat
from serving.images.input_files import find_inputs

PRIMITIVES = common_urns.primitives
PHASES = [
    translations.annotate_downstream_side_inputs,
    translations.fix_side_input_pcoll_coders,
    translations.lift_combiners,
    translations.expand_gbk,
    translations.sink_flattens,
    translations.greedily_fuse,
]


@pytest.mark.parametrize(("samples", "most"), [(1, 5), (SAMPLES_TOGETHER + 1, 7)])
def test_a_job_has_few_stages(samples: int, most: int, tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        (tmp_path / name).touch()
    model = SavedModelSource(directory="/model", images=ImageFormat(shape=(7, 5, 1), binary=True))
    pipeline = beam.Pipeline(LOCAL_RUNNER)
    inputs = find_inputs([str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
    what = Job(model=model, input="", output="", samples=samples)
    job._build(pipeline, what, None, inputs, Places(str(tmp_path / "out"), "0a1b2c3d"))
    proto = pipeline.to_runner_api(default_environment=environments.EmbeddedPythonEnvironment.default())
    known = frozenset([PRIMITIVES.IMPULSE.urn, PRIMITIVES.GROUP_BY_KEY.urn, PRIMITIVES.FLATTEN.urn])
    _, stages = translations.create_and_optimize_stages(proto, phases=PHASES, known_runner_urns=known)
    with_python = [
        stage for stage in stages if any(each.spec.urn == PRIMITIVES.PAR_DO.urn for each in stage.transforms)
    ]
    assert 3 <= len(with_python) <= most
