"""Verdicts on claims, the suite of cases, and the wrong theories that must be refused."""
