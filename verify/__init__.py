"""Judges whether a prediction of `theory` and a measurement of `numerics` agree."""
