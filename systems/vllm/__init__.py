"""A vLLM-like baseline."""
