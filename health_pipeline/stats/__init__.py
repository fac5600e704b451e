"""Pure numerics on arrays: no files, no Dagster, no data frames.

The detector reads, in order: :mod:`.delivery` (which days are complete), :mod:`.baseline` (what to expect),
:mod:`.scan` (did a step begin some days ago?), :mod:`.calibration` (how surprised should this series make us?),
:mod:`.detect` (all series of a day, false discoveries controlled).
"""
