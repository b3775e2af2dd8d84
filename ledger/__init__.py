"""What happened: events, the facts folded from them, the log and its proofs."""
