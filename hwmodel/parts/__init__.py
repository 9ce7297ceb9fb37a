"""Hardware used on either side: each part knows only its tables."""
