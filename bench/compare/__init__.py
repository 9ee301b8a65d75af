"""Comparisons of records: statistics over seeds. Pure functions, no torch."""
