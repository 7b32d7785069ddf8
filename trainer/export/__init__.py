"""The SavedModel and its signatures."""
