"""How what a model attends to becomes a section of a report, one file a kind of model."""
