"""Audit the locks: `python requirements/audit.py PIP_AUDIT LOCK...`, as `make audit` does.

pip-audit exits with 0 when it could not ask about a single package. So its report is counted here:

    every package asked about, nothing known       0
    none asked about: no advisories are reachable  0, and SKIPPED is said; with --required, 1
    some asked about, others not                   1
    something known                                1
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_OPTIONS = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")


def judge(report: dict[str, Any], *, required: bool) -> tuple[int, str]:
    """Return the exit status, and what to say."""
    packages = report["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    known = [
        f"{package['name']} {package['version']}: {', '.join(v['id'] for v in package['vulns'])}"
        for package in packages
        if package.get("vulns")
    ]
    audited = len(packages) - len(skipped)
    if known:
        return 1, "known vulnerabilities: " + "; ".join(known)
    if not audited:
        said = f"SKIPPED pip-audit: none of {len(packages)} packages could be asked about"
        return int(required or not packages), said
    if skipped:
        return 1, f"{audited} packages audited, but not {', '.join(skipped)}"
    return 0, f"{audited} packages audited, nothing known against them"


def _report(pip_audit: str, lock: str) -> dict[str, Any]:
    asked = subprocess.run(
        [pip_audit, *_OPTIONS, "--requirement", lock],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(asked.stdout)
    except json.JSONDecodeError:
        # It could not even begin. What it printed ends with why.
        print(asked.stderr.strip().splitlines()[-1:])
        return {"dependencies": []}
    return report


def main(arguments: list[str]) -> int:
    """Judge each lock, and return the worst."""
    required = "--required" in arguments
    pip_audit, *locks = [argument for argument in arguments if argument != "--required"]
    worst = 0
    for lock in locks:
        status, said = judge(_report(pip_audit, lock), required=required)
        print(f"{Path(lock).name}: {said}")
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
