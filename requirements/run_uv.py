"""Runs uv with the package index of this host's pip: `python3 requirements/run_uv.py pip compile ...`.

Takes the uv on PATH, or installs one with pip into build/uv. uv does not read pip's configuration, so the index, the
mirrors and the certificates that pip is configured with are passed on; UV_* variables of the caller's win.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Mapping

PRIVATE = Path(__file__).resolve().parent.parent / "build" / "uv"


def find_uv(python: str = sys.executable) -> str:
    """Returns the path of uv, after installing it where there is none. Raises subprocess.CalledProcessError."""
    uv = shutil.which("uv") or str(PRIVATE / "bin/uv")
    if not os.path.exists(uv):
        pip = [str(PRIVATE / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        for command in ([python, "-m", "venv", "--clear", str(PRIVATE)], [*pip, "install", "uv"]):
            subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return uv


def read_pip_options(python: str = sys.executable) -> dict[str, str]:
    """Returns the options that `pip install` has on this host, by their long names; lists are separated by spaces."""
    # Debian's interpreter may be without pip; then only the environment speaks.
    private = PRIVATE / "bin/python"
    command = [str(private) if private.exists() else python, "-m", "pip", "config", "list"]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in result.stdout.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in sections:
            sections[section][option] = " ".join(ast.literal_eval(value).split())
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment = {name[len("PIP_") :].lower().replace("_", "-"): value for name, value in variables.items()}
    return {**sections["global"], **sections["install"], **environment}


def uv_variables(pip: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment in which uv installs from where pip with the options `pip` would."""
    # pip passes over a folder that is not there; uv fails.
    links = [link for link in pip.get("find-links", "").split() if "://" in link or os.path.isdir(link)]
    variables = {
        "UV_DEFAULT_INDEX": "" if "UV_INDEX_URL" in os.environ else pip.get("index-url", ""),
        "UV_INDEX": pip.get("extra-index-url", ""),
        # As pip: the best version that any index has.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": ",".join(links),
        "UV_OFFLINE": "1" if pip.get("no-index", "").lower() in ("1", "on", "true", "yes") else "",
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "UV_HTTP_TIMEOUT": pip.get("timeout") or pip.get("default-timeout", ""),
        # pip trusts the host's certificates; uv, only those that it brings.
        "UV_SYSTEM_CERTS": "true",
        "SSL_CERT_FILE": pip.get("cert", ""),
        "SSL_CLIENT_CERT": pip.get("client-cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
    }
    return {**{name: value for name, value in variables.items() if value}, **os.environ}


if __name__ == "__main__":
    try:
        program = find_uv()
    except subprocess.CalledProcessError as error:
        sys.exit(f"uv is neither on PATH nor could pip install it:\n{error.stderr}")
    os.execve(program, ["uv", *sys.argv[1:]], uv_variables(read_pip_options()))
