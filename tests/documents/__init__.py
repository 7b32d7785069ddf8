"""What the documents show is run, and what they link to is there."""
