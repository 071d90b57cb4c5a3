"""A real Prefect server on this machine, for the conformance tests and the demo. Standard library only."""
