"""The schema of a study, its expansion to a graph, its recipes, its plan, its run and its results."""
