"""Workloads, schedules and the load generator."""
