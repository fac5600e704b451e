"""The numerical core: one series, one window of days, one weighted regression with correlated noise; compiled.

The model of a series on its additive scale (log, logit) is::

    baseline = level + weekday + slow drift (three half-waves) + steps already reported + what is known (offset)
    variance = what sampling alone gives at the baseline + an extra part;  a share of it is AR(1), the rest is white

It is fitted by iterated reweighting (quasi-likelihood: McCullagh and Nelder, *Generalized Linear Models*, 1989) with
Huber weights. Noise is whitened by the Kalman filter of "AR(1) plus white noise", which knows of missing days. Weekdays
and drift have normal priors. From the same pass come the score statistics of a further step that began 1..``OLDEST``
days ago and of ramps, each orthogonal to everything in the baseline.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from health_pipeline.stats.spans import WINDOW

WEEKDAYS = 6
WAVES = 3
SHARED = 1 + WEEKDAYS + WAVES  # columns that every series has
STEPS = 5  # further columns: steps under way, or over but still in the window
COLUMNS = SHARED + STEPS
OLDEST = 42  # a step is looked for so many days back
LAGS = np.array([1, 2, 3, 4, 5, 7, 10, 14, 21, 28])  # at first among these
RAMPS = np.array([14, 28])  # lengths of the ramps that are looked for; the onset of one found may be any
SHORTEST_RAMP = 7
CUT = 3.0  # standard deviations beyond which a day counts no more than if it were there (Huber)
FAR = 0.5  # linear residual beyond which the additive scale itself is nearer to what a day is worth
FARTHEST = 3.0  # the same while a fit is sought: from there a linear step would overshoot
PASSES = 3
LEAST = 28  # days without which a series teaches nothing about its noise
FEWEST_BEFORE = 7  # days before a step without which it can't be told from the level
VAGUE = 2.0  # prior standard deviation of the level around the median day: nothing at all has no logarithm
WIDE = 10.0  # prior standard deviation of a step, on the additive scale: none to speak of


def weekday_columns() -> np.ndarray:
    """(7, WEEKDAYS): an orthonormal basis of weekday effects that sum to zero, so that a prior treats all alike."""
    q, _ = np.linalg.qr(np.column_stack([np.ones(7), np.eye(7)[:, :6]]))
    return np.ascontiguousarray(q[:, 1:] * np.sqrt(7.0))


def drift_columns() -> np.ndarray:
    """(WINDOW, WAVES): half-waves of one, two and three per window, falling in size like a random walk's."""
    t = (np.arange(WINDOW) + 0.5) / WINDOW
    return np.ascontiguousarray(np.stack([np.cos(np.pi * k * t) / k for k in range(1, WAVES + 1)], axis=1))


WEEK = weekday_columns()
DRIFT = drift_columns()

COUNT, PROPORTION, MEAN, RATE = 0, 1, 2, 3
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"nsz", "contract", "arcp", "reassoc"})


@compiled
def value_of(scale, k, n):
    """A day's value on the additive scale; the halves keep zero counts finite."""
    if scale == COUNT:
        return np.log(k + 0.5)
    if scale == PROPORTION:
        return np.log((k + 0.5) / (max(n - k, 0.0) + 0.5))
    if scale == RATE:
        return np.log((k + 0.5) / n)
    return np.log1p(max(k / n, -0.999999))


@compiled
def residual_and_variance(scale, k, n, eta):
    """(observed less expected in units of the additive scale, variance by sampling alone), were ``eta`` true."""
    if scale == MEAN:
        return value_of(scale, k, n) - eta, 0.0
    if scale == PROPORTION:
        odds = np.exp(min(max(eta, -25.0), 25.0))
        p = odds / (1.0 + odds)
        information = n * p * (1.0 - p)
        return (k - n * p) / information, 1.0 / information
    mu = np.exp(min(max(eta, -30.0), 40.0))
    if scale == RATE:
        mu *= n
    return (k - mu) / mu, 1.0 / mu


@compiled
def deviance_score(scale, size, error, p):
    """Signed root of the deviance of an estimate, which is nearer to normal than the score itself for small numbers.

    The estimate is read as that of a Poisson (binomial) number with the same precision, half a thing nearer to what was
    expected: its discreteness.

    Args:
        size, error: estimate and standard error in units of the additive scale, linearised.
        p: typical share, for proportions.
    """
    if scale == MEAN:
        return size / error
    c2 = error * error
    if scale == PROPORTION:
        spread = p * (1.0 - p)
        draws = 1.0 / (c2 * spread)
        away = abs(size) * spread - 0.5 / draws
        if away <= 0.0:
            return 0.0
        q = p + (away if size > 0 else -away)
        q = min(max(q, 0.0), 1.0)
        total = 0.0
        if q > 0.0:
            total += q * np.log(q / p)
        if q < 1.0:
            total += (1.0 - q) * np.log((1.0 - q) / (1.0 - p))
        r = np.sqrt(max(2.0 * draws * total, 0.0))
        return r if size > 0 else -r
    away = abs(size) - 0.5 * c2
    if away <= 0.0:
        return 0.0
    d = away if size > 0 else -min(away, 1.0)
    if abs(d) < 1e-3:
        return d / error
    total = -d
    if d > -1.0:
        total += (1.0 + d) * np.log1p(d)
    r = np.sqrt(max(2.0 * total, 0.0)) / error
    return r if size > 0 else -r


@compiled
def fill_column(x, j, weekday, steps, count, columns):
    """Row ``j`` of the design matrix into ``x``."""
    x[0] = 1.0
    for c in range(WEEKDAYS):
        x[1 + c] = WEEK[weekday, c]
    for c in range(WAVES):
        x[1 + WEEKDAYS + c] = DRIFT[j, c]
    for s in range(count):
        x[SHARED + s] = 1.0 if steps[s, 0] <= j < steps[s, 1] else 0.0


@compiled
def cholesky(a, size):
    """In place, lower triangle; False when not positive definite."""
    for i in range(size):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if i == j:
                if total <= 0.0:
                    return False
                a[i, i] = np.sqrt(total)
            else:
                a[i, j] = total / a[j, j]
    return True


@compiled
def forward(a, b, out, size):
    for i in range(size):
        total = b[i]
        for k in range(i):
            total -= a[i, k] * out[k]
        out[i] = total / a[i, i]


@compiled
def backward(a, b, out, size):
    for i in range(size - 1, -1, -1):
        total = b[i]
        for k in range(i + 1, size):
            total -= a[k, i] * out[k]
        out[i] = total / a[i, i]


@compiled
def fit(k, n, told, offset, use, scale, weekday, steps, count, noise, prior, raw, beta, a, design, work):
    """Fit one window.

    Args:
        k, n, told, offset: WINDOW days of numerator, denominator, sampling variance told by the data, known effects.
        use: WINDOW; which days to use.
        weekday: weekday of the first day, 0..6.
        steps, count: (STEPS, 2) first day and first day no more, in window columns; how many are set.
        noise: extra variance, autocorrelated share of the variance, its autocorrelation.
        prior: standard deviations of weekday and drift coefficients, then WEEKDAYS means of weekday coefficients.
        raw: no day is clipped, and days far from the baseline are read on the additive scale itself: the linear reading
            of a large rise, not clipped, throws the fit off. For scores that are estimates of large steps.
        beta: COLUMNS; out: coefficients.
        a: (COLUMNS, COLUMNS); out: Cholesky factor of the precision of the coefficients.
        design: (COLUMNS, WINDOW); out: whitened design, 0 on days without data.
        work: (8, WINDOW); out: whitened residual (not clipped), root of its Huber weight, standard deviation of the
            day, filter gain, innovation standard deviation, raw residual, sampling variance, baseline with steps.

    Returns:
        number of used days, 0 when there was no fit.
    """
    extra, shared_noise, rho = noise[0], noise[1], noise[2]
    columns = SHARED + count
    white = 1.0 - shared_noise
    x = np.empty(COLUMNS)
    state = np.empty(COLUMNS + 2)
    row = np.empty(COLUMNS + 2)
    b = np.empty(COLUMNS)
    half = np.empty(COLUMNS)
    values, target = np.empty(WINDOW), np.zeros(WINDOW)
    used = 0
    for j in range(WINDOW):
        if use[j]:
            values[used] = value_of(scale, k[j], n[j]) - offset[j]
            used += 1
    if used == 0:
        return 0
    centre = np.median(values[:used])
    beta[:] = 0.0
    beta[0] = centre
    for attempt in range(PASSES):
        state[:] = 0.0
        variance = shared_noise
        for j in range(WINDOW):
            for c in range(columns + 2):
                state[c] *= rho
            variance = rho * rho * variance + shared_noise * (1.0 - rho * rho)
            fill_column(x, j, (weekday + j) % 7, steps, count, columns)
            eta = 0.0
            for c in range(columns):
                eta += x[c] * beta[c]
            work[7, j] = eta
            if not use[j]:
                work[4, j] = 0.0
                work[1, j] = 0.0
                for c in range(columns):
                    design[c, j] = 0.0
                target[j] = 0.0
                continue
            if attempt == 0:
                _, s = residual_and_variance(scale, k[j], n[j], centre + offset[j])
                r = value_of(scale, k[j], n[j]) - offset[j] - eta
            else:
                r, s = residual_and_variance(scale, k[j], n[j], eta + offset[j])
                if abs(r) > (FAR if raw else FARTHEST):
                    r = value_of(scale, k[j], n[j]) - offset[j] - eta
            s = max(s, told[j])
            sd = np.sqrt(s + extra)
            innovation = np.sqrt(variance + white)
            for c in range(columns):
                row[c] = (x[c] / sd - state[c]) / innovation
            row[columns] = ((eta + r) / sd - state[columns]) / innovation
            row[columns + 1] = (r / sd - state[columns + 1]) / innovation
            e = row[columns + 1]
            h = 1.0
            if attempt > 0 and abs(e) > CUT and not raw:
                h = CUT / abs(e)
            gain = variance / (variance + white) * h
            for c in range(columns + 2):
                state[c] += gain * row[c] * innovation
            variance *= 1.0 - gain
            for c in range(columns):
                design[c, j] = row[c]
            target[j] = row[columns]
            work[0, j] = e
            work[1, j] = np.sqrt(h)
            work[2, j] = sd
            work[3, j] = gain
            work[4, j] = innovation
            work[5, j] = r
            work[6, j] = s
        # Column by column, not day by day: sums over contiguous days are several at once.
        for c in range(columns):
            for j in range(WINDOW):
                values[j] = design[c, j] * work[1, j] * work[1, j]
            for d in range(c + 1):
                total = 0.0
                for j in range(WINDOW):
                    total += values[j] * design[d, j]
                a[c, d] = total
            total = 0.0
            for j in range(WINDOW):
                total += values[j] * target[j]
            b[c] = total
        a[0, 0] += 1.0 / (VAGUE * VAGUE)
        b[0] += centre / (VAGUE * VAGUE)
        for c in range(WEEKDAYS):
            precision = 1.0 / (prior[0] * prior[0])
            a[1 + c, 1 + c] += precision
            b[1 + c] += precision * prior[2 + c]
        for c in range(WAVES):
            a[1 + WEEKDAYS + c, 1 + WEEKDAYS + c] += 1.0 / (prior[1] * prior[1])
        for c in range(count):
            a[SHARED + c, SHARED + c] += 1.0 / (WIDE * WIDE)
        if not cholesky(a, columns):
            return 0
        forward(a, b, half, columns)
        backward(a, half, beta, columns)
    # Residuals at the last coefficients, which the scores are made of.
    for j in range(WINDOW):
        if use[j]:
            eta = 0.0
            fill_column(x, j, (weekday + j) % 7, steps, count, columns)
            for c in range(columns):
                eta += x[c] * beta[c]
            work[7, j] = eta
            r, s = residual_and_variance(scale, k[j], n[j], eta + offset[j])
            if raw and abs(r) > FAR:
                r = value_of(scale, k[j], n[j]) - offset[j] - eta
            work[5, j] = r
    level = 0.0
    for j in range(WINDOW):
        level *= rho
        if use[j]:
            sd, gain, innovation = work[2, j], work[3, j], work[4, j]
            e = (work[5, j] / sd - level) / innovation
            level += gain * e * innovation
            work[0, j] = e
            h = 1.0 if abs(e) <= CUT or raw else CUT / abs(e)
            work[1, j] = np.sqrt(h)
    return used


@compiled
def score(kind, days, count, rho, raw, a, design, work, out):
    """Estimate of a further step (kind 0) or ramp (kind 1) that began ``days`` days ago, the last day counted.

    ``raw``: no day is clipped, for telling when a step began that is known to be there.
    ``out`` becomes: size, standard error. Both 0 when the last days hold nothing.
    """
    columns = SHARED + count
    first = WINDOW - days
    level = 0.0
    projected = 0.0
    information = 0.0
    inner = np.zeros(COLUMNS)
    solved = np.empty(COLUMNS)
    weighted = np.empty(WINDOW)
    for j in range(first, WINDOW):
        level *= rho
        innovation = work[4, j]
        weighted[j] = 0.0
        if innovation == 0.0:
            continue
        height = 1.0 if kind == 0 else (j - first + 1.0) / days
        row = (height / work[2, j] - level) / innovation
        level += work[3, j] * row * innovation
        h = work[1, j] ** 2
        if raw or days == 1:  # a single day is not clipped: whether it is a spike or a beginning is known only tomorrow
            h = 1.0
        projected += h * row * work[0, j]
        information += h * row * row
        weighted[j] = h * row
    out[0] = 0.0
    out[1] = 0.0
    if information <= 0.0:
        return
    for c in range(columns):
        total = 0.0
        for j in range(first, WINDOW):
            total += weighted[j] * design[c, j]
        inner[c] = total
    forward(a, inner, solved, columns)
    left = information
    for c in range(columns):
        left -= solved[c] * solved[c]
    if left <= 1e-9 * information:
        return
    out[0] = projected / left
    out[1] = 1.0 / np.sqrt(left)


@compiled
def window_of(i, last, numerator, denominator, told, effects, cohort, special, since, k, n, s, offset, use):
    """Copy the window that ends at column ``last`` of series ``i``; returns how many days can be used."""
    seen = 0
    for j in range(WINDOW):
        t = last - WINDOW + 1 + j
        use[j] = False
        offset[j] = effects[cohort[i], t] if t >= 0 else 0.0  # of days not used too: none must keep another series'
        if t < since or t < 0 or special[i, t]:
            continue
        value = numerator[i, t]
        if np.isnan(value):
            continue
        k[j], n[j], s[j] = value, denominator[i, t], told[i, t]
        use[j] = True
        seen += 1
    return seen


@compiled
def relative_steps(steps, count, last, use, out, slots):
    """Steps from panel columns to columns of the window that ends at ``last``.

    Left out are those outside the window, and those with hardly a day before them: their level is all that is known.
    ``slots`` becomes the places of those that are kept.
    """
    kept = 0
    for s in range(count):
        start, end = steps[s, 0] - (last - WINDOW + 1), steps[s, 1] - (last - WINDOW + 1)
        if start >= WINDOW or end <= 0 or start >= end:
            continue
        before = 0
        for j in range(start):
            before += use[j]
        if before >= FEWEST_BEFORE or end < WINDOW:
            out[kept, 0], out[kept, 1] = start, end
            slots[kept] = s
            kept += 1
    return kept


@compiled
def diagonal_variance(a, columns, c):
    """Posterior variance of coefficient ``c`` from the Cholesky factor of the precision."""
    unit = np.zeros(COLUMNS)
    solved = np.empty(COLUMNS)
    unit[c] = 1.0
    forward(a, unit, solved, columns)
    total = 0.0
    for i in range(columns):
        total += solved[i] * solved[i]
    return total


@compiled
def scan_series(
    rows, last, numerator, denominator, told, effects, cohort, special, weekday, scale, since, steps, counts,
    noise, prior, warm_up, raw, size, error, r, beta, level_error, step_size,
    step_error, fitted, used,
):  # fmt: skip
    """Fit each of ``rows`` on the window that ends at column ``last``, and score further steps and ramps.

    Args:
        rows: places of the series.
        weekday: N; weekday of column 0 of each series.
        warm_up: observed days before a step without which it is not scored.
        raw: see :func:`score`.
        size, error, r: (N, 2 OLDEST); out: estimate, standard error, signed root of the deviance; of steps of 1.. days,
            then of ramps; NaN where not scored. Without ``raw`` and steps only those of LAGS and RAMPS are scored.
        beta: (N, COLUMNS); out. level_error: N; out: standard error of tomorrow's baseline.
        step_size, step_error: (N, STEPS); out: NaN where a step is not in the window, or all that is known.
        fitted: (N, WINDOW); out: the baseline without steps, effects of common days included.
        used: N; out: days used, 0 without a fit.
    """
    k, n, s, offset = np.zeros(WINDOW), np.ones(WINDOW), np.zeros(WINDOW), np.zeros(WINDOW)
    use = np.zeros(WINDOW, dtype=np.bool_)
    a = np.empty((COLUMNS, COLUMNS))
    design, work = np.zeros((COLUMNS, WINDOW)), np.zeros((8, WINDOW))
    mine, slots = np.zeros((STEPS, 2), dtype=np.int64), np.zeros(STEPS, dtype=np.int64)
    out = np.empty(2)
    x = np.empty(COLUMNS)
    solved = np.empty(COLUMNS)
    for i in rows:
        size[i, :] = np.nan
        error[i, :] = np.nan
        r[i, :] = np.nan
        used[i] = 0
        if (
            window_of(i, last, numerator, denominator, told, effects, cohort, special, since[i], k, n, s, offset, use)
            < 7
        ):
            continue
        count = relative_steps(steps[i], counts[i], last, use, mine, slots)
        day = (weekday[i] + last - WINDOW + 1) % 7
        used[i] = fit(
            k, n, s, offset, use, scale[i], day, mine, count, noise[i], prior[i], raw, beta[i], a, design, work
        )
        if used[i] == 0:
            continue
        columns = SHARED + count
        for j in range(WINDOW):
            eta = work[7, j]
            for c in range(count):
                if mine[c, 0] <= j < mine[c, 1]:
                    eta -= beta[i, SHARED + c]
            fitted[i, j] = eta + offset[j]
        fill_column(x, WINDOW - 1, (day + WINDOW) % 7, mine, 0, columns)
        for c in range(count):
            x[SHARED + c] = 0.0
        forward(a, x, solved, columns)
        total = 0.0
        for c in range(columns):
            total += solved[c] * solved[c]
        level_error[i] = np.sqrt(total)
        step_size[i, :] = np.nan
        step_error[i, :] = np.nan
        for c in range(count):
            step_size[i, slots[c]] = beta[i, SHARED + c]
            step_error[i, slots[c]] = np.sqrt(diagonal_variance(a, columns, SHARED + c))
        if not use[WINDOW - 1]:
            continue
        p = 0.5
        if scale[i] == PROPORTION:
            odds = np.exp(min(max(work[7, WINDOW - 1] + offset[WINDOW - 1], -25.0), 25.0))
            p = odds / (1.0 + odds)
        before = 0
        for j in range(WINDOW):
            before += use[j]
        within = 0
        for days in range(1, OLDEST + 1):
            if use[WINDOW - days]:
                within += 1
                before -= 1
            if before < max(warm_up, 2 * days):
                break
            if within < 0.6 * days:
                continue
            step = raw or counts[i] > 0
            for c in range(len(LAGS)):
                step = step or days == LAGS[c]
            if step:
                score(0, days, count, noise[i, 2], raw, a, design, work, out)
                if out[1] > 0.0:
                    size[i, days - 1], error[i, days - 1] = out[0], out[1]
                    r[i, days - 1] = deviance_score(scale[i], out[0], out[1], p)
            ramp = raw and days >= SHORTEST_RAMP
            for c in range(len(RAMPS)):
                ramp = ramp or days == RAMPS[c]
            if ramp:
                score(1, days, count, noise[i, 2], raw, a, design, work, out)
                if out[1] > 0.0:
                    c = OLDEST + days - 1
                    size[i, c], error[i, c] = out[0], out[1]
                    r[i, c] = deviance_score(scale[i], out[0], out[1], p)


MOMENTS = 4 + 1 + 2 * WEEKDAYS  # total variance, sampling variance, autocorrelation 1 and 2, days, weekdays
DETAILS = 2 * WAVES + 4  # drift, its variance, third largest and largest day, blocks of 5 and 14 days


@compiled
def clipped_variance(e, use, free):
    """Robust mean square: clipped at 2.5 standard deviations, made consistent for normal noise."""
    values = np.empty(WINDOW)
    count = 0
    for j in range(WINDOW):
        if use[j]:
            values[count] = abs(e[j])
            count += 1
    v = (1.4826 * np.median(values[:count])) ** 2
    for _ in range(4):
        total = 0.0
        for j in range(count):
            total += min(values[j] ** 2, 6.25 * v)
        v = max(total / 0.97756 / max(count - free, 1.0), 1e-12)
    return v


@compiled
def moments_of_series(
    rows, last, numerator, denominator, told, effects, cohort, special, weekday, scale, since, steps, counts, moments
):
    """How noisy each of ``rows`` was in the window that ends at its column ``last[i]``; noise taken for independent.

    ``moments`` (N, MOMENTS), out: total variance around the baseline, mean sampling variance, autocorrelation of lag 1
    and 2 (corrected for the fit), days, then weekday coefficients and their variances. Days 0 where there were too few.
    """
    k, n, s, offset = np.zeros(WINDOW), np.ones(WINDOW), np.zeros(WINDOW), np.zeros(WINDOW)
    use = np.zeros(WINDOW, dtype=np.bool_)
    a = np.empty((COLUMNS, COLUMNS))
    beta = np.empty(COLUMNS)
    design, work = np.zeros((COLUMNS, WINDOW)), np.zeros((8, WINDOW))
    mine, slots = np.zeros((STEPS, 2), dtype=np.int64), np.zeros(STEPS, dtype=np.int64)
    noise = np.zeros(3)
    prior = np.zeros(2 + WEEKDAYS)
    prior[0], prior[1] = 0.5, 0.5
    differences = np.empty(WINDOW)
    tells = np.zeros(WINDOW, dtype=np.bool_)
    for i in rows:
        moments[i, :] = 0.0
        seen = window_of(
            i, last[i], numerator, denominator, told, effects, cohort, special, since[i], k, n, s, offset, use
        )
        if seen < LEAST:
            continue
        count = relative_steps(steps[i], counts[i], last[i], use, mine, slots)
        day = (weekday[i] + last[i] - WINDOW + 1) % 7
        found = 0
        for j in range(7, WINDOW):
            if use[j] and use[j - 7]:
                now = value_of(scale[i], k[j], n[j]) - offset[j]
                differences[found] = abs(now - value_of(scale[i], k[j - 7], n[j - 7]) + offset[j - 7])
                found += 1
        crude = (1.4826 * np.median(differences[:found])) ** 2 / 2.0 if found else 0.1
        typical = 0.0
        for j in range(WINDOW):
            if use[j]:
                _, one = residual_and_variance(scale[i], k[j], n[j], value_of(scale[i], k[j], n[j]))
                typical += max(one, s[j]) / seen
        noise[0] = max(crude - typical, 1e-8)
        for _ in range(2):
            used = fit(k, n, s, offset, use, scale[i], day, mine, count, noise, prior, False, beta, a, design, work)
            if used == 0:
                break
            columns = SHARED + count
            free = 1.0 * count
            for c in range(SHARED):
                ridge = 0.0
                if 1 <= c <= WEEKDAYS:
                    ridge = 1.0 / prior[0] ** 2
                elif c > WEEKDAYS:
                    ridge = 1.0 / prior[1] ** 2
                free += 1.0 - ridge * diagonal_variance(a, columns, c)
            telling = 0
            for j in range(WINDOW):
                tells[j] = use[j] and work[6, j] < 1.0
                telling += tells[j]
            if telling < 14:
                tells[:] = use
                telling = seen
            total = clipped_variance(work[5], tells, free)
            sampling = 0.0
            for j in range(WINDOW):
                if tells[j]:
                    sampling += work[6, j] / telling
            noise[0] = max(total - sampling, 1e-8)
        if used == 0:
            continue
        squares = 0.0
        one, two = 0.0, 0.0
        pairs_one, pairs_two = 0, 0
        limit = 2.5
        for j in range(WINDOW):
            if use[j]:
                u = min(max(work[5, j] / work[2, j], -limit), limit)
                squares += u * u
                if j >= 1 and use[j - 1]:
                    one += u * min(max(work[5, j - 1] / work[2, j - 1], -limit), limit)
                    pairs_one += 1
                if j >= 2 and use[j - 2]:
                    two += u * min(max(work[5, j - 2] / work[2, j - 2], -limit), limit)
                    pairs_two += 1
        squares /= seen
        smooth = 1.0 + count
        for c in range(1 + WEEKDAYS, SHARED):
            smooth += 1.0 - diagonal_variance(a, SHARED + count, c) / prior[1] ** 2
        lost = smooth / seen  # what the fit takes from every autocovariance, in units of the variance
        moments[i, 0], moments[i, 1] = total, sampling
        if pairs_one and pairs_two and squares > 0.0:
            kept = max(1.0 - lost, 0.3)
            moments[i, 2] = one / pairs_one / squares * kept + lost
            moments[i, 3] = two / pairs_two / squares * kept + lost
        moments[i, 4] = seen
        for c in range(WEEKDAYS):
            moments[i, 5 + c] = beta[1 + c]
            moments[i, 5 + WEEKDAYS + c] = diagonal_variance(a, SHARED + count, 1 + c)


@compiled
def details_of_series(
    rows, last, numerator, denominator, told, effects, cohort, special, weekday, scale, since, steps, counts,
    noise, prior, drift, details,
):  # fmt: skip
    """What the same windows hold under each series' own noise: its drift (``drift``), or else what is left.

    ``details`` (N, DETAILS), out: drift coefficients under a wide prior, their variances; sizes of the third largest
    and of the largest day; mean square of the sums of 5 and of 14 days, over what independent noise gives. NaN where
    there were too few.
    """
    k, n, s, offset = np.zeros(WINDOW), np.ones(WINDOW), np.zeros(WINDOW), np.zeros(WINDOW)
    use = np.zeros(WINDOW, dtype=np.bool_)
    a = np.empty((COLUMNS, COLUMNS))
    beta = np.empty(COLUMNS)
    design, work = np.zeros((COLUMNS, WINDOW)), np.zeros((8, WINDOW))
    mine, slots = np.zeros((STEPS, 2), dtype=np.int64), np.zeros(STEPS, dtype=np.int64)
    given = np.empty(2 + WEEKDAYS)
    large = np.empty(WINDOW)
    for i in rows:
        for c in range(0 if drift else 2 * WAVES, 2 * WAVES if drift else DETAILS):
            details[i, c] = np.nan
        seen = window_of(
            i, last[i], numerator, denominator, told, effects, cohort, special, since[i], k, n, s, offset, use
        )
        if seen < LEAST:
            continue
        count = relative_steps(steps[i], counts[i], last[i], use, mine, slots)
        day = (weekday[i] + last[i] - WINDOW + 1) % 7
        given[:] = prior[i]
        if drift:
            given[1] = 0.5
        if fit(k, n, s, offset, use, scale[i], day, mine, count, noise[i], given, False, beta, a, design, work) == 0:
            continue
        columns = SHARED + count
        smooth = 1.0 + count
        for c in range(WAVES):
            variance = diagonal_variance(a, columns, 1 + WEEKDAYS + c)
            smooth += 1.0 - variance / given[1] ** 2
            if drift:
                details[i, c] = beta[1 + WEEKDAYS + c]
                details[i, WAVES + c] = variance
        if drift:
            continue
        sums = np.zeros(WINDOW + 1)
        known = np.zeros(WINDOW + 1)
        position = 0
        for j in range(WINDOW):
            e = work[0, j] if use[j] else 0.0
            if use[j]:
                # The deviance makes skewed days of small numbers as surprising as they are.
                scaled = work[2, j] * work[4, j]
                p = 0.5
                if scale[i] == PROPORTION:
                    odds = np.exp(min(max(work[7, j] + offset[j], -25.0), 25.0))
                    p = odds / (1.0 + odds)
                large[position] = abs(deviance_score(scale[i], e * scaled, scaled, p))
                position += 1
            sums[j + 1] = sums[j] + min(max(e, -4.0), 4.0)
            known[j + 1] = known[j] + use[j]
        ordered = np.sort(large[:position])
        details[i, 2 * WAVES] = ordered[position - 3]
        details[i, 2 * WAVES + 1] = ordered[position - 1]
        for b in range(2):
            length = 5 if b == 0 else 14
            total, blocks = 0.0, 0
            for j in range(length, WINDOW + 1):
                days = known[j] - known[j - length]
                if days >= 0.6 * length:
                    total += (sums[j] - sums[j - length]) ** 2 / days
                    blocks += 1
            if blocks:
                expected = np.exp(-1.2 * smooth * length / seen)  # what a fit leaves of it; simulated
                details[i, 2 * WAVES + 2 + b] = total / blocks / expected
