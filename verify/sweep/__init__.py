"""Measurements over grids of settings, their table, and exponents."""
