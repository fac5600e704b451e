"""Delivered files become facts that meet their contract; what does not is set aside with the reason.

Rooms, from left to right; a module imports only from what stands left of its own room, and from its own::

    schema    reading    landed    sources    loading

``assets`` and ``checks`` lead to Dagster; nothing here imports them.
"""
