"""What may happen: conditions over (facts, event), and the decision they give."""
