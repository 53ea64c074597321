"""Engines: where the parts of a piece of work are computed, in this process or on a Ray cluster."""
