"""DRAW (Gregor et al., 2015, arXiv:1502.04623) in TensorFlow. Read it in this order:

model/draw.py: section 2.1, a time-step in the paper's six lines (Eqs. 3-8); section 2.3, generation.
model/network.py: what those lines call; reading and writing without attention and with it (sections 3.1 and 3.3).
model/attention.py: section 3.2, the window and its filterbank (Eqs. 19-29).
model/loss.py: section 2.2, the loss (Eqs. 9-12).
model/learned_start.py and model/initializers.py: h_0 and its like, and the values that all weights start from.
model/ram.py: section 4.1, the classifier that looks through the same window.
training/objective.py: what each model minimises, and what a person is shown of it.
training/optimizer.py: Adam, the learning rate and the average of the weights; training/muon.py: Muon in its place.
training/step.py: one compiled step on one or many devices; training/recurrence.py runs its T time-steps.
training/loop.py: resume, train, validate, save.
export/: the SavedModel that a server answers from.

task.py says what an experiment consists of, and tasks.py lists the paper's.
"""
