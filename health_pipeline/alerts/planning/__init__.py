"""What is to be told now: a pure function of what is known. Begin at :mod:`.plan`.

Here is decided which incident is told, in what form, where and when, and what becomes of what was told. Nothing here
reads or writes: what a plan follows from comes as a value (:mod:`.known`), and so does what is to be done. Words belong
in ``messages``.
"""
