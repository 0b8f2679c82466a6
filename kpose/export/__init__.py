"""Exports that answer as the trained network does, or are not published."""
