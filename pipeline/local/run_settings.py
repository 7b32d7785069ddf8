"""Settings of a local run, checked before anything slow is imported, and the folder of a task's runs."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Annotated

from pipeline.option_fields import Option, absolute_path
from pipeline.training_options import TaskOption, TrainingOptions
from serving import pretrained
from trainer.task import WITH_SET, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFolder(TaskOption):
    """Where the runs of one task keep their files."""

    pipeline_root: Annotated[Path, Option("That of `draw run`.")] = Path("runs")

    @property
    def folder(self) -> Path:
        """Everything of this task: its artifacts and what the other properties name."""
        return self.pipeline_root / self.task.name

    @property
    def metadata_path(self) -> Path:
        """MLMD's database."""
        return self.folder / "metadata.db"

    @property
    def serving_dir(self) -> Path:
        """TF Serving's model_base_path: a pushed model is a numbered folder in it."""
        return self.folder / "serving" / self.task.name

    @property
    def checkpoint_root(self) -> Path:
        """Checkpoints of a training that was killed."""
        return self.folder / "checkpoints"

    @property
    def log_dir(self) -> Path:
        """A full log for each run."""
        return self.folder / "logs"

    @property
    def split_scores(self) -> Path:
        """Scores that `draw report --samples` keeps."""
        return self.folder / "report"

    def sample_sheet(self, model_number: str) -> Path:
        """The picture of what a model draws, or of where a classifier looks."""
        return self.folder / "samples" / f"model-{model_number}.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingOptions, RunFolder):
    """One local run. Raises ValueError for a name, number or folder that cannot be used."""

    pipeline_root: Annotated[Path, Option("Where everything lands, in a folder a task.")] = Path("runs")
    data_dir: Annotated[
        Path | None, Option("Where TFDS data sets are, or will be, prepared.  [default: TFDS's own]")
    ] = None
    use_cache: Annotated[
        bool,
        Option(
            "Whether to reuse stages whose inputs have not changed. The cache does not notice changed code.",
            flag="--cache/--no-cache",
            has_variable=False,
        ),
    ] = True
    init_from: Annotated[
        str | None,
        Option(
            "Where training starts: a pretrained model (see `draw models`), a SavedModel, a training's checkpoints, or "
            "a state of benchmarks.accelerator. With --steps 0 its weights are exported.  [default: random weights]",
            is_place=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        _ = self.task, self.gate  # Both raise where the options do not fit.
        self.check_images()
        if odd := sorted(set("*?[") & set(os.path.abspath(self.folder))):
            # TFX's own stages read and write their files by patterns, and there is no way to tell them.
            raise ValueError(
                f"The pipeline root {self.pipeline_root} has {' and '.join(odd)} in its path, which TFX takes for a "
                "pattern of files. Choose another pipeline root."
            )
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise ValueError(
                f"The data directory {self.data_dir} does not exist. Name the folder in which TFDS data sets are "
                "prepared, or make it first, so that TFDS can prepare them there."
            )
        if self.initial_weights is not None and not self.initial_weights.exists():
            raise ValueError(
                f"There is nothing at {self.init_from} to start from. Name a pretrained model (see `draw models`), the "
                "folder of a SavedModel or of checkpoints, or an .npz file of a training state."
            )
        if self.steps == 0 and self.init_from is None:
            raise ValueError("With --steps 0 nothing is trained: name the weights to export with --init-from.")
        self.check_score_samples()

    @functools.cached_property
    def task(self) -> Task:
        """The task with the user's number of steps and of training examples."""
        task = super().task
        if self.steps is not None:
            if self.steps < 0:
                raise ValueError(
                    f"The number of steps is {self.steps}: give at least 0, or none for the task's own number."
                )
            if task.source("recipe.steps") == WITH_SET:
                raise ValueError("The number of steps is given by --steps and by --set recipe.steps: give one of them.")
            task = task.with_steps(self.steps)
        return task if self.train_examples is None else task.with_train_examples(self.train_examples)

    @functools.cached_property
    def initial_weights(self) -> Path | None:
        """Where training starts; None for random weights."""
        return None if self.init_from is None else absolute_path(pretrained.resolve(self.init_from))

    @property
    def pipeline_name(self) -> str:
        """The name in MLMD, and that of `tfx run create --pipeline_name`."""
        return f"draw-{self.task.name.replace('_', '-')}"

    def make_folder(self) -> None:
        """Makes the folder of the task's runs. Raises ValueError where it cannot be made or written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"Cannot make the folder {self.folder}: {error.strerror}. Choose another pipeline root."
            ) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ValueError(f"Cannot write to the folder {self.folder}. Choose another pipeline root.")
