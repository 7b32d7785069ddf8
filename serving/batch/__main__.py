"""Runs the batch job without the command `draw`: `python -m serving.batch --help`."""

from serving.batch.command import score_batch

if __name__ == "__main__":
    score_batch(prog_name="python -m serving.batch")
