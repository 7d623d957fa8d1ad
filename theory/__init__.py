"""Derives order parameters of wide random networks and predicts their Fisher information spectrum."""
