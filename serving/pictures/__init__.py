"""Pictures of samples, drawings and windows."""
