"""What leaves the machine signed: notes, checkpoints, tiles, witnesses, monitors, timestamps."""
