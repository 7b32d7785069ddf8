"""The command `draw`: a group that imports a subcommand when it is called, so that help and errors come at once."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any

import click

# Module and name of each subcommand, with its line in the group's help.
SUBCOMMANDS = {
    "init": ("pipeline.cli.init_command", "init", "Write a task file for your own images."),
    "run": ("pipeline.cli.run_command", "run", "Train, judge and push a model: the whole pipeline on this machine."),
    "compile": ("pipeline.cli.compile_command", "compile_pipeline", "Write the pipeline for Kubeflow, as a package."),
    "report": (
        "pipeline.cli.report_command",
        "report",
        "Show the paper's table with a row for the last evaluated model.",
    ),
    "figures": ("pipeline.cli.figures_command", "figures", "Draw the paper's figures of a model, for print."),
    "train": (
        "pipeline.cli.train_command",
        "train",
        "Train and export a model from examples, alone or as one worker of several.",
    ),
    "export": ("pipeline.cli.export_command", "export", "Write a model as ONNX or TensorFlow Lite."),
    "serve": ("serving.cli.serve_command", "serve", "Serve a model over gRPC and REST, as TF Serving does."),
    "sample": ("serving.cli.sample_command", "sample", "Draw images: a sheet of samples from a model server."),
    "sequence": ("serving.cli.sequence_command", "sequence", "Show how the model draws: an animation."),
    "score": ("serving.cli.score_command", "score", "Score images: the bound of each in nats, and its parts."),
    "score-batch": ("serving.cli.score_batch_command", "score_batch", "Score any number of images, with Beam."),
    "reference": ("serving.cli.reference_command", "reference", "Write what a model scores on images of its own kind."),
    "reconstruct": ("serving.cli.reconstruct_command", "reconstruct", "Reconstruct images: a sheet of pairs."),
    "interpolate": (
        "serving.cli.interpolate_command",
        "interpolate",
        "Show how one image becomes another: a film of what lies between.",
    ),
    "classify": ("serving.cli.classify_command", "classify", "Classify images: the likeliest class of each."),
    "status": ("serving.cli.status_command", "status", "Show which versions a model server has, and their signatures."),
    "check-server": ("serving.cli.check_server_command", "check_server", "Check that a server keeps to the contract."),
    "models": ("serving.cli.models_command", "models", "List the pretrained models, and what they reach."),
    "doctor": ("serving.cli.doctor_command", "doctor", "Show what this installation can do, for a report of a fault."),
    "tasks": ("pipeline.cli.tasks_command", "tasks", "List the tasks and what each is made of."),
}

# The extra of draw-tfx that a subcommand needs; the others need `server`, and the client's only for --model.
EXTRAS = {
    **dict.fromkeys(("score-batch", "reference"), "batch"),
    "compile": "kubeflow",
    "export": "onnx",
    **dict.fromkeys(("init", "run", "report", "figures", "train", "tasks"), "pipeline"),
}
CLIENT_EXTRA = "server"
# The extra of what the client's commands import for one kind of file.
EXTRAS_OF_PACKAGES = {"apache_beam": "batch", "pyarrow": "batch"}


def _advice(command: str, error: ModuleNotFoundError) -> str | None:
    """Says which extra brings a package that is not installed; None for any other fault of an import."""
    package = (error.name or "").partition(".")[0]
    if not package or importlib.util.find_spec(package):
        return None
    extra = EXTRAS.get(command) or EXTRAS_OF_PACKAGES.get(package, CLIENT_EXTRA)
    return (
        f"`draw {command}` needs the package {package}, which is not installed. The extra {extra} brings it: "
        f"pip install 'draw-tfx[{extra}]'"
    )


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the table's order."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the subcommand of that name; None, which click reports, for an unknown one."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module, name, _ = SUBCOMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the subcommand. Raises UsageError for an unknown one, with the nearest name."""
        if args[0] not in SUBCOMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], SUBCOMMANDS, 1)
            raise click.UsageError(
                f"There is no command {args[0]!r}." + (f" Did you mean {near[0]}?" if near else ""), ctx
            )
        ctx.invoked_subcommand = args[0]  # before its import, which may fail
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Invokes the subcommand. Raises ClickException where a package is not installed."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if advice := _advice(ctx.invoked_subcommand or "", error):
                raise click.ClickException(advice) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in SUBCOMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="draw-tfx", message="draw %(version)s")
def main() -> None:
    """DRAW: a recurrent neural network for image generation, as a TFX pipeline."""
