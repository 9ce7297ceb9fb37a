"""Hardware that both the primary and the secondary side use: each part knows only its own tables."""
