"""TFX's Pusher, which is told a folder."""
