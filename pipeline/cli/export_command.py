"""`draw export`: a model for runtimes other than TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving import pretrained
from serving.cli.command_line import draw_command
from serving.cli.place_options import LocalName, LocalPath
from serving.native_output import quiet_native_code

if TYPE_CHECKING:
    from pipeline.portable.verification import Exported


@draw_command()
@click.argument("model", type=LocalName())
@click.option(
    "--format",
    "layout",
    type=click.Choice(["onnx", "triton", "tflite"]),
    default="onnx",
    show_default=True,
    help="ONNX files, a model repository of NVIDIA Triton with them, or TensorFlow Lite files.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=LocalPath(file_okay=False, path_type=Path),
    help="Folder that they are written to.",
)
def export(model: str, layout: str, output: Path) -> None:
    """Write a model as ONNX or TensorFlow Lite, each file held against the SavedModel first.

    MODEL is a pretrained model (see `draw models`) or a SavedModel's folder. A generative model becomes decode.onnx,
    decode_sequence.onnx and encode.onnx, a classifier classify.onnx, for any number of rows.
    """
    try:
        with quiet_native_code():
            from pipeline.portable import verification
            from serving.saved_model import newest_version

            directory = newest_version(pretrained.resolve(model))
            for exported in _exported(layout, directory, output):
                size = exported.path.stat().st_size / 1e6
                click.echo(
                    f"{exported.path}  {size:.1f} MB, equal to the SavedModel to {exported.difference:.1g} in "
                    f"{verification.ROWS} rows"
                )
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _exported(layout: str, directory: str, output: Path) -> Iterator[Exported]:
    if layout == "tflite":
        from pipeline.portable import tflite_export

        return tflite_export.export(directory, output)
    from pipeline.portable import onnx_export

    return onnx_export.export(directory, output, triton=layout == "triton")
