"""Tier sim: points of a figure at the paper's scale, simulated on all cores."""
