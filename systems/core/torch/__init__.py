"""Torch compute: real models over paged memory, on CPU (and, never run yet, on CUDA)."""
