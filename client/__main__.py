"""Build the client wheel: tasks, shim, celery_app and celery_bridge, and nothing of the suite behind them."""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CONTENT = ["tasks", "shim", "celery_app.py", "celery_bridge.py"]


def main() -> int:
    """Build the wheel and print its path."""
    parser = argparse.ArgumentParser(prog="python -m client", description=__doc__)
    parser.add_argument("--into", type=Path, default=REPOSITORY / "dist", help="folder for the wheel; default: dist")
    arguments = parser.parse_args()
    sys.stdout.write(f"{build_wheel(arguments.into)}\n")
    return 0


def build_wheel(folder: Path) -> Path:
    """Build the wheel.

    Args:
        folder: Where the wheel goes.

    Returns:
        The wheel's path.
    """
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory(prefix="client-wheel-") as name:
        source = Path(name)
        for item in CONTENT:
            copy = shutil.copytree if (REPOSITORY / item).is_dir() else shutil.copy
            copy(REPOSITORY / item, source / item)
        shutil.copy(REPOSITORY / "client" / "pyproject.toml", source)
        (source / "VERSION").write_text(version)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), name]
        subprocess.run(command, check=True)  # noqa: S603
    return folder / f"hr_flows_client-{version}-py3-none-any.whl"


if __name__ == "__main__":
    raise SystemExit(main())
