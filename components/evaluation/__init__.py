"""What the evaluators of both kinds of model do alike: score a split with Beam, compare with a baseline, bless."""
