"""Everything on one machine: the embedded server, the supervisor of the worker processes, and the main job on a file."""
