"""Training: the objective, the compiled step, the loop around it, and the devices it runs on."""
