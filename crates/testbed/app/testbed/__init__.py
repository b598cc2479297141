"""A Flower app that measures how models travel."""
