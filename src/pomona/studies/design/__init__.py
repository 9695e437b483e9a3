"""What hypotheses can reach and see as they are planned, before there are data."""
