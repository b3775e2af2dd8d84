"""Who asks: HTTP, the command line, wiring."""
