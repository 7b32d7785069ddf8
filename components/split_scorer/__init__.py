"""The optional stage that scores every image of a split and keeps the scores."""
