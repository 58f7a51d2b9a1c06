"""What the gateway tells of itself: log lines, spans and metrics, and how those leave it."""
