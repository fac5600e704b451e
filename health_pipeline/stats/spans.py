"""How far back a judgement looks, in days. Apart from the detector, so that asking does not load it."""

from __future__ import annotations

WINDOW = 112  # of a fit: sixteen weeks
BEHIND = 21  # between the end of the window that teaches the noise and the day it is used for
EVERY = 7  # between two lessons
LOOKBACK = WINDOW + BEHIND + EVERY  # before a judged day on which its judgement depends, besides the state
MEMBER_DAYS = 28  # a series is judged, or at least followed, for so long after it was large enough
