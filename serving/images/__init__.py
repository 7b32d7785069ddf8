"""Images out of files: one decoder and one set of readers, for the batch job, the commands and training."""
