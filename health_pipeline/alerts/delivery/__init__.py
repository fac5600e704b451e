"""What is to be done in Slack, and doing it once, whatever breaks on the way.

Here is what a message may look like (:mod:`.blocks`), one thing to do as a value (:mod:`.intent`), the outbox that
keeps it until Slack has confirmed it, and Slack's Web API. Nothing here knows of incidents: a message is text and
blocks under a key. What it says belongs in ``messages``, whether and when there is one in ``planning``.
"""
