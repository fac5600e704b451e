"""From the bytes of a delivered file to rows that meet the contract, and those that do not, each with its reason.

Nothing here knows where a file came from or what becomes of its rows: that is ``landed``.
"""
