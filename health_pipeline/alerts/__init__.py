"""Incidents become messages in Slack, and what people click there becomes decisions.

Five rooms, from left to right; a module imports only from rooms left of its own, and from its own::

    delivery    people    messages    planning    app

The modules beside them put the rooms together: :mod:`.post` brings messages up to date, :mod:`.setup` looks whether
Slack is ready for it, ``assets`` and ``checks`` lead to Dagster. No room imports one of these.
"""
