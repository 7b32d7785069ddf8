"""Runs the batch job where the command `draw` is not installed: `python -m serving.batch --help`."""

from serving.cli.score_batch_command import score_batch

if __name__ == "__main__":
    score_batch(prog_name="python -m serving.batch")
