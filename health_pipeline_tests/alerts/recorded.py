"""Messages as they were when somebody last looked at them: one JSON file each in ``snapshots/``.

After a wanted change, ``HEALTH_PIPELINE_WRITE_SNAPSHOTS=1 pytest health_pipeline_tests/alerts`` writes them anew; the
difference then is what a reviewer reads. To see them as Slack shows them, paste ``blocks`` into Slack's Block Kit
Builder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from health_pipeline.alerts.delivery.blocks import Content

FOLDER = Path(__file__).parent / "snapshots"
VARIABLE = "HEALTH_PIPELINE_WRITE_SNAPSHOTS"


def rendered(told: Content | Mapping[str, Content]) -> str:
    """The file of a message, or of several by name."""
    whole = _parts(told) if isinstance(told, Content) else {name: _parts(content) for name, content in told.items()}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _parts(content: Content) -> dict[str, Any]:
    return {"text": content.text, "blocks": content.blocks}


def assert_as_recorded(name: str, told: Content | Mapping[str, Content]) -> None:
    """Fails when a message is not to the letter as recorded; writes it instead when asked to."""
    file = FOLDER / f"{name}.json"
    if os.environ.get(VARIABLE):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(rendered(told), encoding="utf-8")
    assert file.exists(), f"{file.name} is not there; write it with {VARIABLE}=1"
    recorded = file.read_text(encoding="utf-8")
    assert json.loads(rendered(told)) == json.loads(recorded), f"if that is wanted, write it anew with {VARIABLE}=1"
    assert rendered(told) == recorded
