"""Tests, intervals, effects, power, corrections and regression on tidy numbers. Never imports torch."""
