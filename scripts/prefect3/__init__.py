"""A real Prefect 3 server on this machine, for the conformance tests and the demo. Standard library only."""
