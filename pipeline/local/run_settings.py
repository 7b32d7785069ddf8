"""What a user asks of a local run, checked before anything slow is imported, and where its files land."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from trainer import tasks
from trainer.task import ClassifyingTask, ErrorGate, Gate, GenerativeTask, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """One local run. All paths are absolute, for TFX stores them and may be started from another folder next time."""

    task: Task
    gate: Gate | ErrorGate
    data_dir: Path | None
    """None for TFDS's own default."""
    pipeline_root: Path
    """Shared by the tasks; each has a folder of its own in it."""
    use_cache: bool
    initial_state: Path | None = None
    """Where training begins, an .npz of `TrainState.arrays`; None for the beginning."""
    score_samples: int | None = None
    """Of each image of the test split, in a stage of its own; None for no such stage."""

    @classmethod
    def resolve(
        cls,
        *,
        task_name: str,
        data_dir: str | None,
        steps: int | None,
        pipeline_root: str,
        max_nll_bound: float | None,
        max_error: float | None,
        use_cache: bool,
        initial_state: str | None = None,
        train_examples: int | None = None,
        score_samples: int | None = None,
    ) -> RunSettings:
        """Settings from a user's words; None leaves a value as the task has it.

        Raises ValueError for a name, number or folder that cannot be used, and makes the run's folder.
        """
        task = tasks.get(task_name)
        if steps is not None:
            if steps < 1:
                raise ValueError(f"The number of steps is {steps}: give at least 1, or none for the task's own number.")
            task = task.with_steps(steps)
        if train_examples is not None:
            task = task.with_train_examples(train_examples)
        gate = gate_of(task, max_nll_bound, max_error)
        if data_dir is not None and not Path(data_dir).expanduser().is_dir():
            raise ValueError(
                f"The data directory {data_dir} does not exist. Name the folder in which TFDS data sets are prepared, "
                "or make it first, so that TFDS can prepare them there."
            )
        if initial_state is not None and not Path(initial_state).expanduser().is_file():
            raise ValueError(
                f"The initial state {initial_state} does not exist. Name an .npz file of a training state, or none to "
                "begin at the beginning."
            )
        check_score_samples(task, score_samples)
        settings = cls(
            task=task,
            gate=gate,
            data_dir=None if data_dir is None else Path(data_dir).expanduser().resolve(),
            pipeline_root=Path(pipeline_root).expanduser().resolve(),
            use_cache=use_cache,
            initial_state=None if initial_state is None else Path(initial_state).expanduser().resolve(),
            score_samples=score_samples,
        )
        settings._make_folder()
        return settings

    @classmethod
    def of_a_run(cls, task_name: str, pipeline_root: str) -> RunSettings:
        """Where the files of a task's runs are, to look at them. Raises ValueError for a task that there is not."""
        task = tasks.get(task_name)
        root = Path(pipeline_root).expanduser().resolve()
        return cls(task=task, gate=task.gate, data_dir=None, pipeline_root=root, use_cache=True)

    @property
    def pipeline_name(self) -> str:
        """The name in MLMD, and that of `tfx run create --pipeline_name`."""
        return f"draw-{self.task.name.replace('_', '-')}"

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
        """Where training goes on after it was killed."""
        return self.folder / "checkpoints"

    @property
    def log_dir(self) -> Path:
        """A full log a run."""
        return self.folder / "logs"

    def sample_sheet(self, model_number: str) -> Path:
        """The picture of what a model draws, or of where a classifier looks."""
        return self.folder / "samples" / f"model-{model_number}.png"

    def importance_weights(self, model_number: str, split: str, samples: int) -> Path:
        """The importance-weighted bounds of a model, image by image."""
        return self.folder / "report" / f"model-{model_number}-{split}-{samples}-samples.jsonl"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"Cannot make the folder {self.folder}: {error.strerror}. Choose another pipeline root."
            ) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ValueError(f"Cannot write to the folder {self.folder}. Choose another pipeline root.")


def gate_of(
    task: GenerativeTask | ClassifyingTask, max_nll_bound: float | None, max_error: float | None
) -> Gate | ErrorGate:
    """The task's, with what the user wants otherwise. Raises ValueError for the threshold of another kind of task."""
    if isinstance(task, ClassifyingTask):
        if max_nll_bound is not None:
            raise ValueError(f"{task.name} is a classifier, which has no bound: give the greatest error instead.")
        return task.gate if max_error is None else dataclasses.replace(task.gate, max_error=max_error)
    if max_error is not None:
        raise ValueError(f"{task.name} is a generative task, which has no error: give the greatest bound instead.")
    return task.gate if max_nll_bound is None else dataclasses.replace(task.gate, max_nll_bound=max_nll_bound)


def check_score_samples(task: GenerativeTask | ClassifyingTask, score_samples: int | None) -> None:
    """Raises ValueError where images cannot be scored so; None is for no scores."""
    if score_samples is not None and (score_samples < 1 or isinstance(task, ClassifyingTask)):
        raise ValueError(
            f"Got {score_samples} samples to score of each image of {task.name}: give at least 1, of a generative "
            "task, or none for no such stage."
        )
