"""How many clips one request makes at most, on a server (unless it is configured otherwise) and without one."""

MAX_VARIANTS = 8
