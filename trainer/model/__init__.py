"""The paper: its equations and the two models that are made of them."""
