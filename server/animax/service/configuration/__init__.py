"""Settings from a file, the environment and the command line. Needs pydantic; only commands import it."""
