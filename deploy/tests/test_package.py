"""The .deb: what is in it, and that installing and removing it leaves what it should."""

import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

import program

ROOT = program.ROOT
# There is no address to write to yet, and the package is not one of Debian itself.
KNOWN = "bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs"
FILES = {
    "./etc/procession/agent.toml": "-rw-r--r--",
    "./usr/bin/procession": "-rwxr-xr-x",
    "./usr/lib/systemd/system/procession.service": "-rw-r--r--",
    "./usr/lib/sysusers.d/procession.conf": "-rw-r--r--",
    "./usr/share/bash-completion/completions/procession": "-rw-r--r--",
    "./usr/share/doc/procession/copyright": "-rw-r--r--",
    "./usr/share/doc/procession/SECURITY.md": "-rw-r--r--",
    "./usr/share/doc/procession/install.md": "-rw-r--r--",
    "./usr/share/doc/procession/third-party.txt": "-rw-r--r--",
    "./usr/share/fish/vendor_completions.d/procession.fish": "-rw-r--r--",
    "./usr/share/man/man1/procession.1.gz": "-rw-r--r--",
    "./usr/share/zsh/vendor-completions/_procession": "-rw-r--r--",
}


class Sources(unittest.TestCase):
    def test_what_is_packed_is_in_the_repository(self):
        crate = ROOT / "crates" / "procession-cli"
        about = tomllib.loads((crate / "Cargo.toml").read_text())["package"]["metadata"]["deb"]
        sources = [source for source, _, _ in about["assets"]]
        sources += [about["maintainer-scripts"], about["systemd-units"]["unit-scripts"], about["license-file"][0]]
        for source in sources:
            if "/target/" not in source:
                self.assertTrue((crate / source).exists(), source)

    def test_it_is_not_started_unasked(self):
        crate = ROOT / "crates" / "procession-cli"
        about = tomllib.loads((crate / "Cargo.toml").read_text())["package"]["metadata"]["deb"]
        self.assertEqual((about["systemd-units"]["enable"], about["systemd-units"]["start"]), (False, False))


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        program.need("cargo-deb", "dpkg-deb", "strip")
        program.need_binary()
        made = subprocess.run(
            [ROOT / "deploy" / "deb" / "build", program.binary()], stdout=subprocess.PIPE, text=True, check=True
        )
        # One line, as `apt install "$(deploy/deb/build)"` needs it.
        (cls.path,) = made.stdout.splitlines()

    def test_files(self):
        listed = subprocess.run(["dpkg-deb", "--contents", self.path], capture_output=True, text=True, check=True)
        lines = [line.split(maxsplit=5) for line in listed.stdout.splitlines()]
        found = {line[5]: line[0] for line in lines}
        self.assertLessEqual(FILES.items(), found.items())
        self.assertEqual({line[1] for line in lines}, {"0/0"})

    def test_lintian(self):
        program.need("lintian")
        done = subprocess.run(
            ["lintian", "--allow-root", "--fail-on", "error,warning", "--suppress-tags", KNOWN, self.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_changed_configuration_survives_all_but_purge(self):
        program.need("systemd-sysusers", root=True)
        with tempfile.TemporaryDirectory() as root:
            machine = Machine(Path(root))
            machine.dpkg("--install", self.path)
            self.assertIn("procession:", (machine.root / "etc/group").read_text())
            config = machine.root / "etc/procession/agent.toml"
            config.write_text('log-level = "debug"\n')
            machine.dpkg("--install", self.path)
            self.assertEqual(config.read_text(), 'log-level = "debug"\n')
            recorded = [machine.root / "var" / folder / "procession" for folder in ["log", "lib"]]
            for folder in recorded:
                folder.mkdir(parents=True)
            machine.dpkg("--remove", "procession")
            self.assertFalse((machine.root / "usr/bin/procession").exists())
            for kept in [config, *recorded]:
                self.assertTrue(kept.exists(), kept)
            machine.dpkg("--purge", "procession")
            for gone in [config, *recorded]:
                self.assertFalse(gone.exists(), gone)


class Machine:
    """A folder that dpkg believes to be an empty machine. Scripts run outside, and are told where it is."""

    def __init__(self, root):
        self.root = root
        for folder in ["info", "updates", "triggers"]:
            (root / "var/lib/dpkg" / folder).mkdir(parents=True)
        for file in ["status", "available"]:
            (root / "var/lib/dpkg" / file).touch()
        # What the package depends on.
        (root / "var/lib/dpkg/status").write_text("".join(STANDS_IN.format(name=each) for each in ["libc6", "systemd"]))

    def dpkg(self, *arguments):
        done = subprocess.run(
            ["dpkg", "--force-not-root", "--force-script-chrootless", f"--root={self.root}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise AssertionError(done.stdout)


STANDS_IN = """\
Package: {name}
Status: install ok installed
Architecture: amd64
Maintainer: nobody
Version: 999
Description: stands in

"""

if __name__ == "__main__":
    unittest.main()
