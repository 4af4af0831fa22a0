"""What a user waits for: one module a subject, plain asv classes, sizes as class attributes.

Each class also names the sizes of a test that only sees that it runs (``toy``). The table takes
turns with the same classes, at the sizes in `rows.py` one folder up.
"""
