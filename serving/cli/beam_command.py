"""Commands whose job runs on Beam: what comes after `--` on their command line is Beam's."""

from __future__ import annotations

import click

from serving.cli.command_line import StrictCommand


class BeamCommand(StrictCommand):
    """A command that gets what comes after `--` as `beam_arguments`, a tuple of words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keeps Beam's options apart, where none of them can be taken for one of ours, nor one of ours for Beam's."""
        end = args.index("--") if "--" in args else len(args)
        words = super().parse_args(ctx, args[:end])
        ctx.params["beam_arguments"] = tuple(args[end + 1 :])
        return words

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Shows it in the usage."""
        return [*super().collect_usage_pieces(ctx), "[-- BEAM OPTIONS]"]
