"""The built program, if there is one, and what it says of itself."""

import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

import chart

ROOT = chart.DEPLOY.parent
LISTED = (chart.DEPLOY / "tests" / "options.txt").read_text().split()
# Of the command line alone.
META = {"config", "config-dir", "print-config", "detach-all"}


def binary():
    """Its path, or None."""
    path = os.environ.get("PROCESSION_BIN", "")
    return Path(path).resolve() if path and Path(path).is_file() else None


def says(*arguments):
    """What it prints, or None if there is no program or it knows no such thing."""
    if binary() is None:
        return None
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else None


def options():
    """The options of its agent, by --help; None if there is no program, or it has no agent."""
    text = says("agent", "--help")
    if text is None:
        return None
    return set(re.findall(r"^ +(?:-\w, )?--([a-z][a-z-]+)", text, re.MULTILINE)) - {"help", "version"}


def missing(what):
    """Ends a test that cannot run without it: as skipped, or as failed where all have to run."""
    if os.environ.get("PROCESSION_REQUIRE_PRIVILEGED_TESTS") == "1":
        raise AssertionError(f"cannot run: {what}")
    raise unittest.SkipTest(what)


def need(*programs, root=False):
    """Ends a test that cannot run without root, or one of these."""
    if root and os.geteuid() != 0:
        missing("needs root")
    for each in programs:
        if shutil.which(each) is None:
            missing(f"{each} is not installed")


def need_binary():
    """Ends a test that cannot run without the program."""
    if says("--version") is None:
        missing("no program is built; set PROCESSION_BIN")
