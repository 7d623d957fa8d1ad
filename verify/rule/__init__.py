"""The statistics of a verdict: regressions, tolerances and error rates."""
