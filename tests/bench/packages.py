"""Installs the pinned packages of the peers below target/bench. tests/bench/run calls it while it compiles; the
benchmarks call it for what they need."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")).resolve()
WORK = TARGET / "bench"
PYTHON = WORK / "venv" / "bin" / "python"
NODE = WORK / "node"


def install(python, node):
    """Installs the packages for Python and for Node.js, unless they are installed."""
    if python:
        if not PYTHON.exists():
            subprocess.run([sys.executable, "-m", "venv", WORK / "venv"], check=True)
        wanted = HERE / "requirements.txt"
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted], check=True)
    if node:
        NODE.mkdir(parents=True, exist_ok=True)
        # npm writes the second file when it is done. It takes long even if everything is installed.
        lock, done = NODE / "package-lock.json", NODE / "node_modules" / ".package-lock.json"
        is_installed = done.exists() and lock.read_bytes() == (HERE / "peers" / lock.name).read_bytes()
        for path in [*(HERE / "peers").glob("package*.json"), *(HERE / "peers").glob("*.mjs")]:
            (NODE / path.name).write_bytes(path.read_bytes())
        if not is_installed:
            done.unlink(missing_ok=True)
            subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=NODE, check=True)


if __name__ == "__main__":
    install(python=True, node=True)
