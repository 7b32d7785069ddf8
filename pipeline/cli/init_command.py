"""`draw init`: a task file for somebody's own images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.cli.command_line import draw_command
from serving.cli.place_options import LocalName, TaskImages
from serving.native_output import quiet_native_code
from trainer import task_file
from trainer.task import Task

if TYPE_CHECKING:
    from components.image_example_gen.first_look import Look
    from pipeline.new_task import NewTask

_NAMED = 3


@draw_command()
@click.argument("name", type=LocalName())
@click.option(
    "--images", required=True, type=TaskImages(), help="A folder, a pattern of files, an archive, or tfds:NAME."
)
@click.option("--classify", is_flag=True, help="Make a classifier of the images' folders, and not a model that draws.")
@click.option(
    "--data-dir",
    envvar="DATA_DIR",
    type=LocalName(),
    help="Where TFDS data sets are prepared.  [default: TFDS's own]",
)
@click.option("--time/--no-time", "timed", default=True, show_default=True, help="Whether to time two steps here.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(name: str, images: str, classify: bool, data_dir: str | None, timed: bool, force: bool) -> None:
    """Write a task file for your own images: look at some, choose every size, and say why.

    NAME is the task's name: the file is NAME.yaml in this folder. It is ready for `draw run --task NAME.yaml`, and
    each value has a comment. At most 2,000 images are looked at, and nothing is asked.

    Exits with 0 when the file is written, and 1 where the images are none, or too few.
    """
    path = Path(name if name.endswith(task_file.SUFFIXES[:2]) else f"{name}.yaml")
    try:
        if path.exists() and not force:
            raise ValueError(f"{path} is there already: choose another name, or overwrite it with --force.")
        # Before the images are looked at, which takes a while.
        task_file.check_name(path.stem)
        _check_writable(path)
        with quiet_native_code():
            _write(path, images, classify=classify, data_dir=data_dir, timed=timed)
    except (ValueError, RuntimeError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _check_writable(path: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"Cannot write {path}: {error.strerror}. Choose another folder.") from error


def _write(path: Path, images: str, *, classify: bool, data_dir: str | None, timed: bool) -> None:
    from components.image_example_gen.first_look import look
    from pipeline import new_task
    from trainer.training import devices

    address = task_file.absolute_address(images, Path())
    click.echo(f"looking at {images} ...")
    seen = look(address, data_dir=data_dir)
    _report(seen, images)
    written = images if path.parent == Path() or address == images else address
    new = new_task.choose(seen, written, classify=classify, has_accelerator=bool(devices.accelerators()))
    seconds_per_step = _time_step(path, new, seen) if timed else None
    seconds = new_task.choose_steps(new, seen, seconds_per_step)
    text = new.text(path.stem)
    _check(path, text)
    path.write_text(text, encoding="utf-8")
    values = new.values
    rows, columns, channels = values["image_shape"]
    time = "" if seconds is None else f", {new_task.duration(seconds)} of training on this machine"
    click.echo(
        f"{path}: {rows} x {columns} {'grey' if channels == 1 else 'colour'}, T = {values['glimpses']}, "
        f"{values['recipe.steps']:,} steps of {values['recipe.batch_size']}{time}"
    )
    click.echo(f"\nnext: draw run --task {path}")


def _report(seen: Look, images: str) -> None:
    """Says what was seen."""
    sizes = seen.sizes
    noun = "image" if seen.images == 1 else "images"
    click.echo(f"{seen.images:,} {noun} in {images}, {len(sizes) + len(seen.unreadable):,} looked at")
    if sizes:
        (low, high) = min(sizes), max(sizes)
        span = f"{low[0]} x {low[1]}" + ("" if low == high else f" to {high[0]} x {high[1]}")
        colourful = sum(sight.is_colour for sight in seen.sights)
        click.echo(f"sizes      {span} (rows x columns)")
        click.echo(f"colour     {colourful:,} in colour, {len(sizes) - colourful:,} grey")
    if seen.class_names:
        shown = ", ".join(seen.class_names[:8]) + (", ..." if len(seen.class_names) > 8 else "")
        click.echo(f"classes    {len(seen.class_names)}: {shown}")
        if seen.class_counts and min(seen.class_counts) < 10:
            few = [name for name, count in zip(seen.class_names, seen.class_counts, strict=True) if count < 10]
            click.echo(f"           fewer than 10 images: {', '.join(few[:8])}")
    elif seen.classes:
        click.echo(f"classes    labels from 0 to {seen.greatest_label}")
    if seen.unlabelled:
        click.echo(f"unlabelled {seen.unlabelled:.1%} have no class")
    if seen.splits:
        click.echo(f"splits     by the folders {', '.join(seen.splits)}")
    if seen.unreadable:
        click.echo(f"unreadable {len(seen.unreadable):,}")
        for path, why in seen.unreadable[:_NAMED]:
            click.echo(f"           {path}: {why}")
    for why, count in seen.passed_over.items():
        click.echo(f"not read   {count:,}: {why}")


def _time_step(path: Path, new: NewTask, seen: Look) -> float:
    from pipeline import new_task
    from trainer.training import step_time

    trial = type(new)(dict(new.values), {})
    new_task.choose_steps(trial, seen, None)
    task = _check(path, trial.text(path.stem))
    click.echo("timing two steps ...")
    return step_time.seconds_per_step(task)


def _check(path: Path, text: str) -> Task:
    """Reads the text as the file that it is to be. Raises ValueError where it is no task."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder, path.name)
        trial.write_text(text, encoding="utf-8")
        return task_file.load(str(trial))
