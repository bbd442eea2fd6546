"""Simulated ground, light and changes, with the ranges that they are drawn from."""
