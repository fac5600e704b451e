"""Where an incident stands with people: what they were told of it, and what they decided.

Tables of the state database with what follows from them. Nothing here knows of Slack: how it was said is in
``messages``, how far it has come in ``delivery``.
"""
