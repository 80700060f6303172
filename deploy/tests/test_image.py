"""The image: its recipe, what is laid out in it, and that it sees the machine with the rights it is given."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import uuid
from pathlib import Path

import chart
import program

DOCKER = chart.DEPLOY / "docker"
RECIPE = (DOCKER / "Dockerfile").read_text()
COLLECT = DOCKER / "collect"
SECONDS = 30


class Recipe(unittest.TestCase):
    def test_stages_take_from_those_before(self):
        known = set()
        for line in RECIPE.splitlines():
            if stage := re.match(r"FROM \S+ AS (\S+)", line):
                known.add(stage[1])
            for source in re.findall(r"--from=(\S+)", line):
                self.assertIn(source, known)

    def test_the_program_is_built_by_the_compiler_that_it_needs(self):
        cargo = (program.ROOT / "Cargo.toml").read_text()
        version = re.search(r'^rust-version = "(.*)"$', cargo, re.MULTILINE)[1]
        self.assertIn(f"FROM rust:{version}-", RECIPE)

    def test_the_version_is_the_programs(self):
        cargo = (program.ROOT / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)[1]
        self.assertIn(f"ARG VERSION={version}\n", RECIPE)

    def test_nothing_but_the_program_is_in_the_image(self):
        final = last_stage()
        self.assertTrue(final.startswith("FROM scratch\n"))
        self.assertEqual(re.findall(r"^(?:COPY|ADD) .*$", final, re.MULTILINE), ["COPY --from=build /image/ /"])
        self.assertNotIn("\nRUN ", final)

    def test_what_is_built_from_is_sent(self):
        ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        sent = [line[1:] for line in ignore if line.startswith("!")]
        for path in sent:
            self.assertTrue((program.ROOT / path).exists(), path)
        members = re.findall(r'^    "(\w+)[/"]', (program.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
        self.assertLessEqual({*members, "Cargo.toml", "Cargo.lock", "deploy/docker"}, set(sent))


class Layout(unittest.TestCase):
    def setUp(self):
        program.need_binary()
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.image = collect(self.directory)

    def test_nothing_can_be_written(self):
        for path in self.image.rglob("*"):
            if path.is_file():
                self.assertEqual(path.stat().st_mode & 0o7777, 0o555, path)
            else:
                self.assertEqual(path.stat().st_mode & 0o022, 0, path)

    def test_the_program_runs_with_nothing_else_there(self):
        program.need(root=True)
        done = subprocess.run(["chroot", self.image, "/usr/bin/procession", "--version"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("procession", done.stdout)


class Build(unittest.TestCase):
    def test_the_last_stage_builds(self):
        program.need("dockerd", "docker", root=True)
        program.need_binary()
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        docker = self.enterContext(docker_engine(directory))
        context = directory / "context"
        collect(context)
        # What the first stage would have made: the compiler's image is not to be had everywhere.
        (context / "Dockerfile").write_text(last_stage().replace("--from=build /image/", "image/"))
        docker("build", "--quiet", "--tag", "image", str(context))
        (about,) = json.loads(docker("image", "inspect", "image"))
        config = about["Config"]
        self.assertEqual((config["Entrypoint"], config["Cmd"]), (["/usr/bin/procession"], ["agent"]))
        self.assertEqual((config["User"], config["StopSignal"]), ("0:0", "SIGTERM"))
        self.assertEqual(config["Labels"]["org.opencontainers.image.licenses"], "Apache-2.0")
        self.assertEqual(len(about["RootFS"]["Layers"]), 1)


class Container(unittest.TestCase):
    """A container as a kubelet has containerd make it of the chart's pod."""

    def setUp(self):
        program.need("containerd", "ctr", "runc", root=True)
        program.need_binary()
        if not Path("/sys/kernel/btf/vmlinux").exists():
            program.missing("needs a kernel with BTF")
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.pod = chart.of_kind(chart.objects(), "DaemonSet")["spec"]["template"]["spec"]

    def test_it_sees_the_machine_with_the_rights_of_the_chart(self):
        has_agent = program.options() is not None
        arguments = ["agent", "--source", "ebpf", "--export-filename", "-"]
        if not has_agent:
            arguments = ["watch", "--source", "ebpf", "--output", "json", "--exec"]
        bundle = self.bundle(arguments)
        state = self.directory / "runc"
        output = open(self.directory / "output", "w+")
        running = subprocess.Popen(
            ["runc", "--root", state, "run", "--bundle", bundle, "it"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            process = self.sees_the_machine(running, Path(output.name))
            self.assertEqual(os.path.basename(process["binary"]), "true")
            self.assertNotIn("docker", process)
            subprocess.run(["runc", "--root", state, "kill", "it", "TERM"], check=True)
            code = running.wait(timeout=SECONDS)
            if has_agent:
                self.assertEqual(code, 0)
        finally:
            subprocess.run(["runc", "--root", state, "delete", "--force", "it"], capture_output=True)
            running.wait(timeout=SECONDS)
            output.close()

    def bundle(self, arguments):
        """What runc is given: by containerd all but the pid namespace, which a pod with hostPID shares."""
        agent = self.pod["containers"][0]
        security = agent["securityContext"]
        self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertIs(self.pod["hostPID"], True)
        rights = ["--read-only", "--seccomp"]
        for each in sorted(USUAL):
            rights += ["--cap-drop", f"CAP_{each}"]
        for each in security["capabilities"]["add"]:
            rights += ["--cap-add", f"CAP_{each}"]
        for each in agent["volumeMounts"]:
            if not each.get("readOnly"):
                rights += ["--mount", f"type=tmpfs,src=tmpfs,dst={each['mountPath']},options=mode=0750"]
        image = collect(self.directory)
        with containerd(self.directory) as ctr:
            ctr("containers", "create", "--rootfs", *rights, str(image), "it", "/usr/bin/procession", *arguments)
            spec = json.loads(ctr("containers", "info", "it"))["Spec"]
        granted = spec["process"]["capabilities"]["bounding"]
        self.assertEqual(set(granted), {f"CAP_{each}" for each in security["capabilities"]["add"]})
        self.assertTrue(spec["process"]["noNewPrivileges"])
        self.assertIn("seccomp", spec["linux"])
        namespaces = spec["linux"]["namespaces"]
        spec["linux"]["namespaces"] = [each for each in namespaces if each["type"] != "pid"]
        bundle = self.directory / "bundle"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(spec))
        return bundle

    def sees_the_machine(self, running, output):
        """What it tells of a program that runs outside of all containers."""
        mark = uuid.uuid4().hex
        end = time.monotonic() + SECONDS
        while running.poll() is None and time.monotonic() < end:
            subprocess.run(["true", mark], check=True)
            time.sleep(0.3)
            for line in output.read_text().splitlines():
                if line.startswith('{"process_exec"') and mark in line:
                    return json.loads(line)["process_exec"]["process"]
        raise AssertionError(f"nothing of {mark} in:\n{output.read_text()[-2000:]}")


class Documentation(unittest.TestCase):
    def test_docker_is_told_of_the_charts_capabilities(self):
        agent = chart.of_kind(chart.objects(), "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
        text = (program.ROOT / "docs" / "install.md").read_text()
        line = re.search(r"docker run --detach .*?(?=\n\n|\n *docker logs)", text, re.DOTALL)[0]
        self.assertEqual(re.findall(r"--cap-add (\S+)", line), agent["securityContext"]["capabilities"]["add"])
        for option in ["--pid host", "--read-only", "--cap-drop ALL", "no-new-privileges", "apparmor=unconfined"]:
            self.assertIn(option, line)


# What containerd grants unless it is told otherwise.
USUAL = set(
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID"
    " SYS_CHROOT".split()
)


def last_stage():
    return RECIPE[RECIPE.rindex("FROM ") :]


def collect(directory):
    """The file system of the image."""
    image = Path(directory) / "image"
    subprocess.run([COLLECT, program.binary(), image], check=True)
    return image


@contextlib.contextmanager
def daemon(arguments, client, directory, environment=None):
    """A daemon with all that it has in one folder, and how to ask it: a function of a client's arguments."""

    def run(*arguments):
        return subprocess.run(
            [*client, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ask(*arguments):
        done = run(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.stdout}")
        return done.stdout

    log = directory / "daemon.log"
    with open(log, "w") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output)
    try:
        end = time.monotonic() + SECONDS
        while run("version").returncode != 0:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text()[-2000:])
            time.sleep(0.2)
        yield ask
    finally:
        process.terminate()
        process.wait(timeout=SECONDS)


def docker_engine(directory):
    host = f"unix://{directory}/docker.sock"
    folders = ["--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid"]
    # Not every machine lets the score be lowered.
    alone = ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--oom-score-adjust", "0"]
    # The other builder is a plug-in, which need not be there.
    classic = {"DOCKER_BUILDKIT": "0"}
    return daemon(["dockerd", "--host", host, *folders, *alone], ["docker", "--host", host], directory, classic)


def containerd(directory):
    config = directory / "containerd.toml"
    socket = directory / "containerd.sock"
    config.write_text(
        f'''version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{socket}"
'''
    )
    return daemon(["containerd", "--config", config], ["ctr", "--address", str(socket)], directory)


if __name__ == "__main__":
    unittest.main()
