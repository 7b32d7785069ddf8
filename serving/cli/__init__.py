"""The subcommands of `draw` that meet a model."""
