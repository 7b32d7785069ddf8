"""An ExampleValidator that stops the pipeline when it finds an anomaly."""
