"""The pipeline on this machine: its settings, its run and what the user sees of it."""
