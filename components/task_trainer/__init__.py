"""TFX's Trainer, which is told a task."""
