"""The independent float64 NumPy transcription of the paper, which the trainer is tested against."""
