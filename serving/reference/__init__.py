"""A model's scores of its validation split, and what they say of other images and of a whole batch."""
