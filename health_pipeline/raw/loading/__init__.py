"""What the stage publishes: the facts of each table, and whether each unit delivered its rows completely.

All of it follows from what has landed and is computed anew when that changes. What a delivered row may not be is a rule
of the contract, in ``reading``.
"""
