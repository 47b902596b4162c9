"""Read by pytest before anything else."""

import os

# On two cores, OpenMP threads that wait actively keep each other, and whatever else runs, from working: a test run
# beside one other process took twenty times as long. OpenMP reads this when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
