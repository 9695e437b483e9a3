"""Hypotheses as objects: written in a study, bound to its states, designed, observed and judged."""
