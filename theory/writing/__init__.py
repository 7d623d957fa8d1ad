"""Statements with their where-lists as text: one line a name in the terminal, LaTeX, Python."""
