"""Writes `.env.example` and `docs/settings.md` from the settings' own descriptions.

Run it after a change of `settings.py`: `python scripts/document_settings.py`.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from settings import Settings  # noqa: E402  (found only after the line above)

INTRODUCTION = """\
Settings come from the environment, then from `.env` in the repository's folder. A wrong value stops the program at its
start with the variable's name, what is wrong and an example. Database URLs are written as SQLAlchemy writes them, the
asynchronous driver may be left out; ways to connect to SQL Server are in [sql-server.md](sql-server.md).
"""


def render_env_example() -> str:
    """Give the text of `.env.example`: every setting, described, with an example, and commented out."""
    parts = ["# Copy to .env and uncomment what you need; with nothing set, everything runs on local files.\n"]
    for name, field in Settings.model_fields.items():
        example = (field.examples or [""])[0]
        meaning, default = _meaning_and_default(name)
        parts.append(f"# {meaning} Default: {default}\n# {name.upper()}={example}\n")
    return "\n".join(parts)


def render_table() -> str:
    """Give the text of `docs/settings.md`: one table row a setting."""
    rows = ["| variable | meaning | default | example |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        example = (field.examples or [""])[0]
        meaning, default = _meaning_and_default(name)
        rows.append(f"| `{name.upper()}` | {meaning} | {default} | `{example}` |")
    return f"# Settings\n\n{INTRODUCTION}\n" + "\n".join(rows) + "\n"


def rendered_files() -> dict[Path, str]:
    """Give each file that is made from the settings, with the text that it must have."""
    return {REPOSITORY / ".env.example": render_env_example(), REPOSITORY / "docs" / "settings.md": render_table()}


def _meaning_and_default(name: str) -> tuple[str, str]:
    field = Settings.model_fields[name]
    # Where the value is found out only when it is asked for, the description says how.
    meaning, _, told = (field.description or "").partition(" Default: ")
    default = field.default
    if isinstance(default, Path):
        default = default.relative_to(REPOSITORY)
    return meaning, told.removesuffix(".") or f"`{default}`"


if __name__ == "__main__":
    for path, text in rendered_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
