"""A study on disk: its folder, its Optuna storage, its header and records; the one truth."""
