"""Memory layouts and managers."""
