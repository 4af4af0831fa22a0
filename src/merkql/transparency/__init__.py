"""Signed statements about a log: notes, checkpoints, tiles, witnesses, monitors, timestamps."""
