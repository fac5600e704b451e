"""Write platforms.csv anew: what 22 platforms filed each day of 2025, as a long table, from the bundled sample.

    .venv/bin/python examples/detect/export.py

``value`` is all statements of a platform's day, ``automated`` those about what was found by automated means.

© European Union, DSA Transparency Database; provenance and terms: health_pipeline/eu_dsa/sample/README.md.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parents[1] / "health_pipeline" / "eu_dsa" / "sample" / "eu_dsa_daily.parquet"
QUERY = f"""
    SELECT platform AS series, day,
           sum(statements) FILTER (attribute = 'rows') AS value,
           coalesce(sum(statements) FILTER (attribute = 'automated_detection' AND value = 'Yes'), 0) AS automated
    FROM '{SAMPLE}' WHERE day >= DATE '2025-01-01'
    GROUP BY platform, day HAVING count(*) FILTER (attribute = 'rows') > 0 ORDER BY platform, day
"""

if __name__ == "__main__":
    with duckdb.connect() as connection:
        connection.sql(QUERY).write_csv(str(HERE / "platforms.csv"))
