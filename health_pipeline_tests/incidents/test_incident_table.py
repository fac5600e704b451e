"""Incidents come back from the lake's table as they went."""

from __future__ import annotations

import dataclasses
import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from health_pipeline.incidents.model import (
    INCIDENTS,
    Contribution,
    Explanation,
    Incident,
    Member,
    Reach,
    Suspect,
    from_table,
    to_table,
)
from health_pipeline.stats.attribution import Estimate

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(allow_nan=False)
DATE = st.dates(dt.date(1970, 1, 2), dt.date(2200, 1, 1))
MEMBER = st.builds(
    Member, TEXT, TEXT, TEXT, DATE, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, DATE, TEXT
)  # fmt: skip
ESTIMATE = st.builds(Estimate, NUMBER, NUMBER, NUMBER)
EXPLANATION = st.builds(
    Explanation, TEXT, TEXT, ESTIMATE, st.none() | ESTIMATE, st.none() | ESTIMATE,
    st.lists(st.builds(Contribution, TEXT, ESTIMATE, NUMBER), max_size=2).map(tuple), DATE, DATE,
)  # fmt: skip
STORED = st.builds(
    Incident,
    day=DATE, id=TEXT, kind=st.sampled_from(["shift", "data"]), family=TEXT, unit=TEXT,
    state=st.sampled_from(["new", "ongoing", "recovered", "settled"]), first_reported=DATE, last_reported=DATE,
    headline_reported=DATE, onset=DATE, onset_low=DATE, onset_high=DATE, series=TEXT, metric=TEXT, segment=TEXT,
    shape=TEXT, direction=TEXT, expected=NUMBER, observed=NUMBER, change=NUMBER, change_low=NUMBER, change_high=NUMBER,
    excess=NUMBER, q_value=NUMBER, tested=st.integers(0, 2**31 - 1), ended=st.none() | DATE,
    members=st.lists(MEMBER, max_size=3).map(tuple), events=st.lists(TEXT, max_size=3).map(tuple),
    worse_beyond=NUMBER, worsened_on=st.none() | DATE, merged_into=TEXT,
    reach=st.builds(Reach, st.integers(0, 9), st.integers(0, 9), st.lists(TEXT, max_size=2).map(tuple),
                    st.none() | NUMBER, TEXT),
    explanation=st.none() | EXPLANATION,
    suspects=st.lists(st.builds(Suspect, st.sampled_from(["volume", "policy"]), TEXT), max_size=2).map(tuple),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(STORED, max_size=4))
def test_an_incident_comes_back_from_a_table_as_it_went(incidents: list[Incident]) -> None:
    table = to_table(incidents)
    assert table.schema == INCIDENTS
    assert from_table(table) == incidents


def test_the_columns_are_the_fields() -> None:
    assert INCIDENTS.names == [field.name for field in dataclasses.fields(Incident)]
