"""Samples finite random networks and measures their Fisher information spectrum."""
