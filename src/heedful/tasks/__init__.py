"""Tasks, one a file: data, model, loss, metric, prediction, view. `catalog.py` is the one table of their names."""
