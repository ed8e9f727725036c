"""The harness: campaigns, load, claims, plots."""
