"""The curated schema of a task."""
