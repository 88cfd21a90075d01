"""The little glue around the training library: settings, run folder, callbacks, and one `fit`."""
