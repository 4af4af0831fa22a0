"""What a user waits for: one module a subject, plain asv classes, sizes as class attributes.

A class names its sizes three times: as it is (asv, `make bench`), ``quick`` and ``toy`` (the test
that keeps these from rotting). `table.py`, one folder up, runs the same classes side by side.
"""
