"""The message about a failed run of the pipeline itself. Pure: no I/O, and no Slack library."""

from __future__ import annotations

from health_pipeline.alerts.delivery import blocks as kit
from health_pipeline.alerts.delivery.blocks import Message, escape
from health_pipeline.catalog.model import Catalog


def failure_message(
    catalog: Catalog,
    *,
    job: str,
    run_id: str,
    step: str | None = None,
    error: str = "",
    link: str | None = None,
) -> Message:
    """The message about a failed run of the pipeline itself, for the channel of its engineers.

    Args:
        step: the step that failed; ``None`` when the run failed before any.
        error: its error; only the first line is shown.
    """
    first = next((line.strip() for line in error.splitlines() if line.strip()), "No error was recorded.")
    where = f"at step {step}" if step else "before any step"
    told = f"Job {job} failed {where}."
    links = kit.web_links({"Open run": link} if link else {})
    text = escape(f"Pipeline failure, {catalog.name}: {told} {first}", 2_000)
    return Message(
        key=kit.key(catalog.name, "failure", run_id),
        channel=catalog.alerts.failures_channel,
        text=kit.with_link(text, links),
        blocks=(
            kit.header(f"Pipeline failure · {job}"),
            kit.context([catalog.name, f"run {run_id}"]),
            kit.section(f"{told}\n{kit.clean(first)}", 1_000),
            *kit.link_line(links),
        ),
    )
