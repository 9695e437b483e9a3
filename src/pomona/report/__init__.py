"""Tables and figures of a study as one HTML file. Computes no statistic."""
