"""What messages say: of one incident, of many, of a failed run. Pure.

An incident and what is known beside it go in, text and blocks come out. Which incidents are told, when, where and in
which thread is decided in ``planning``. The words that an incident has everywhere, in reports and on the terminal too,
are in :mod:`health_pipeline.incidents.wording`.
"""
