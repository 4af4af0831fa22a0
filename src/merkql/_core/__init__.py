"""Computation on bytes: these modules open no file, read no clock and know no path."""
