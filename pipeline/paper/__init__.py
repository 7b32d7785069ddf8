"""The paper's table and figures, made from an exported model, examples and the logs of a training."""
