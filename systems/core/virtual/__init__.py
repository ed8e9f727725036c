"""Modeled time: one event queue, any number of engines."""
