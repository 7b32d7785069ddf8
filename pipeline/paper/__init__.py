"""Every figure of the paper, drawn from an exported model, images and the logs of a training."""
