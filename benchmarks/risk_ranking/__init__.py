"""Harm that the order of review averts, on twins with known truth: ``python -m benchmarks.risk_ranking`` (ten minutes).

Every judged morning, creators are ranked with what was known by then, by the program, by the orders that people use, and
by oracles who know what the simulator knows. Each order spends the same minutes on the same cases. What a listed
creator's undecided contents, and those they publish within the horizon, do to viewers later is the harm averted.
``--quick``: one seed, printed only. ``--keep FOLDER``: finished twins are kept there, and done again only when the program
has changed. Writes its parts of docs/risk-ranking.md.
"""
