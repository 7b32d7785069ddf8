"""The command `draw`: a file for each subcommand of the pipeline's user."""
