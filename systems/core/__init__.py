"""What every system stands on: protocol, memory, executors, HTTP."""
