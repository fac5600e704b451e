"""What several commands take, and what each says at the end of its help."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = (
    "Exit codes: 0 done · 1 can't be done as things are · 2 wrong usage · 3 the catalog is wrong · "
    "4 a delivered file can't be read · 5 a run failed or wrong data was stopped · 130 interrupted."
)

ECOSYSTEM = "A bundled ecosystem, or a folder with catalog files."
Ecosystem = Annotated[str, typer.Option("--ecosystem", "-e", help=ECOSYSTEM, show_default=True)]
NamedEcosystem = Annotated[str, typer.Argument(help=ECOSYSTEM)]
MoreEcosystems = Annotated[
    list[str] | None,
    typer.Option("--ecosystem", "-e", help="A folder with catalog files, beside the bundled ecosystems; repeatable."),
]
