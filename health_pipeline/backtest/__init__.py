"""Replay the past under two settings, and compare what each would have reported and what it would have cost."""
