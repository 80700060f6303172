"""Dependencies: their licences, where they come from, what is known against them (deny.toml)."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import program

ROOT = program.ROOT
# What is built from: the program, and the fuzzers, which stand outside of its workspace with a lock file of their own.
MANIFESTS = ["Cargo.toml", "fuzz/Cargo.toml"]
# The database of advisories is a git repository elsewhere. Where it cannot be reached that is said, in CI too, unless this
# is set: then it is a failure.
REQUIRED = "PROCESSION_REQUIRE_ADVISORIES"


def deny(manifest, *checks):
    """What cargo-deny finds, and whether it is content."""
    where = ["--manifest-path", manifest, "--config", "deny.toml"]
    done = subprocess.run(
        ["cargo-deny", "--locked", *where, "check", "--hide-inclusion-graph", *checks],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


class Dependencies(unittest.TestCase):
    def setUp(self):
        program.need("cargo-deny", "cargo")

    def test_licences_and_sources(self):
        for manifest in MANIFESTS:
            with self.subTest(manifest):
                code, said = deny(manifest, "licenses", "bans", "sources")
                self.assertEqual(code, 0, said)

    def test_nothing_is_known_against_them(self):
        for manifest in MANIFESTS:
            with self.subTest(manifest):
                code, said = deny(manifest, "advisories")
                if "failed to fetch advisory database" in said and os.environ.get(REQUIRED) != "1":
                    self.skipTest(f"the database of advisories cannot be reached; {REQUIRED}=1 makes that a failure")
                self.assertEqual(code, 0, said)


class Licences(unittest.TestCase):
    def test_those_that_ask_for_it_go_with_the_program(self):
        program.need("cargo")
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "licenses"
            subprocess.run([ROOT / "deploy" / "deb" / "licenses", file], check=True)
            text = file.read_text()
        # One of each kind: permissive without an Apache alternative, in parts, and of C code within.
        for crate in ["tokio ", "ring ", "zstd-sys "]:
            self.assertRegex(text, f"(?m)^{crate}")
        for words in ["Permission is hereby granted, free of charge", "Permission to use, copy, modify", "Meta Platforms"]:
            self.assertIn(words, text)


if __name__ == "__main__":
    unittest.main()
