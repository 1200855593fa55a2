"""What can be seen of a running server: metrics, log lines, traces and a status page."""
