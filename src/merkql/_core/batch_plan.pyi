# Nothing for Python: what it has for Cython is in batch_plan.pxd.
