"""Measurements: what the gateway promises in numbers, shown."""
