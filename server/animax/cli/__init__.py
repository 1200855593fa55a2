"""The ``animax`` command. Nothing heavy is imported before a command runs."""

from animax.cli.command_line import main

__all__ = ["main"]
