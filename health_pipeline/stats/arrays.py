"""What the numerics are made of: arrays of floats, series by days where they have two axes; NaN is a missing day."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
