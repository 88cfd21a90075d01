"""Side by side with peers: `python -m benchmarks` (or `make bench`) prints the tables and keeps them in results/."""
