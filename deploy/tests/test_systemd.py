"""The unit: systemd takes it, and it gives little away."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import chart
import container
import program

UNIT = chart.DEPLOY / "systemd" / "procession.service"
CAPABILITIES = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"}
# Of 100; 96 is a unit without any protection.
EXPOSURE = 27


def analyze(*arguments):
    """What systemd-analyze finds, and whether it is content."""
    with tempfile.TemporaryDirectory() as directory:
        # It looks for the program, which need not be installed.
        unit = Path(directory) / UNIT.name
        unit.write_text(UNIT.read_text().replace("/usr/bin/procession", shutil.which("true")))
        done = subprocess.run(
            ["systemd-analyze", *arguments, str(unit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
    return done.returncode, done.stdout


def settings(name):
    """The values of a setting, in order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


class Unit(unittest.TestCase):
    def setUp(self):
        program.need("systemd-analyze")

    def test_systemd_has_nothing_to_say(self):
        self.assertEqual(analyze("verify", "--man=no"), (0, ""))

    def test_its_exposure_is_small(self):
        code, said = analyze("security", "--offline=true", f"--threshold={EXPOSURE}")
        self.assertEqual(code, 0, said)

    def test_the_agent_works_behind_the_filter(self):
        container.need()
        pod = chart.of_kind(chart.objects(), "DaemonSet")["spec"]["template"]["spec"]
        with container.directory() as directory:
            spec = container.spec(directory, pod)
            spec["linux"]["seccomp"] = {
                "defaultAction": "SCMP_ACT_ERRNO",
                # EPERM, as the unit says.
                "defaultErrnoRet": 1,
                "syscalls": [{"names": sorted(admitted()), "action": "SCMP_ACT_ALLOW"}],
            }
            process = container.observe(directory, spec)
        self.assertEqual(process["uid"], 0)

    def test_the_filter_keeps_out_what_it_never_calls(self):
        never = {"ptrace", "mount", "init_module", "setuid", "process_vm_readv", "process_vm_writev", "reboot"}
        self.assertEqual(never & admitted(), set())


class Agreement(unittest.TestCase):
    def test_capabilities_are_those_of_the_chart(self):
        (bounding,) = settings("CapabilityBoundingSet")
        agent = chart.of_kind(chart.objects(), "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
        added = {f"CAP_{each}" for each in agent["securityContext"]["capabilities"]["add"]}
        self.assertEqual((set(bounding.split()), added), (CAPABILITIES, CAPABILITIES))

    def test_the_socket_is_in_the_units_folder(self):
        (folder,) = settings("RuntimeDirectory")
        self.assertIn(f'"unix:///run/{folder}/procession.sock"', (chart.DEPLOY / "deb" / "agent.toml").read_text())

    def test_the_group_is_made(self):
        (group,) = settings("Group")
        self.assertIn(f"g {group} ", (chart.DEPLOY / "systemd" / "procession.sysusers").read_text())


def members(group):
    """The system calls of one of systemd's groups."""
    lines = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    found = set()
    for line in map(str.strip, lines[1:]):
        if line.startswith("@"):
            found |= members(line)
        elif line and not line.startswith("#"):
            found.add(line)
    return found


def admitted():
    """The system calls that the filter lets pass, as systemd adds the lines up."""
    calls = members("@default")
    for line in settings("SystemCallFilter"):
        named = set()
        for each in line.lstrip("~").split():
            named |= members(each) if each.startswith("@") else {each}
        calls = calls - named if line.startswith("~") else calls | named
    return calls


if __name__ == "__main__":
    unittest.main()
