"""What every room stands on: errors, steps, seed streams, canonical forms and references to users' code."""
