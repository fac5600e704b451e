"""Pure numerics on arrays: no files, no Dagster, no data frames.

The detector reads, in order: :mod:`.delivery` (which days are complete), :mod:`.common` (what all series of a cohort
do on a day), :mod:`.noise` (how noisy each series is), :mod:`.kernel` (what to expect, and did a step begin some days
ago?), :mod:`.fits` (both of every series), :mod:`.discovery` (false discoveries controlled over series and days),
:mod:`.life` (until when a reported shift lasts), :mod:`.shift` (what is told of it), :mod:`.detect` (day after day).
"""
