"""The report: one self-contained page for people who will not open the Dagster UI."""

from health_pipeline.report.report import Headline, ReportTables, build_report, headlines, write_report

__all__ = ["Headline", "ReportTables", "build_report", "headlines", "write_report"]
