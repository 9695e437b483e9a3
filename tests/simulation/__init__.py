"""Simulated studies: how often the offered tests err, their intervals cover and their forecasts hold."""
