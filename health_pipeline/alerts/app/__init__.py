"""The Slack app: what people click, the answer, and the two ways in which clicks arrive.

A click becomes a decision (``people``), and somebody is asked to bring the message up to date; what it says then is not
decided here. Posting belongs in ``delivery``. The words of an answer are here: only whoever clicked reads them.
"""
