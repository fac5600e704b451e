"""Deliveries that have arrived: each file once, with what became of it.

What a file says is judged in ``reading``. Which of several deliveries supply a day is a matter of their receipts and
decided here (:mod:`.ledger`); how a day's rows are put together belongs in ``loading``.
"""
