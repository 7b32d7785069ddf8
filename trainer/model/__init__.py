"""The paper: attention, the loss, and the two models that are made of them."""
