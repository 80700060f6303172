"""The program in a container as a kubelet has containerd make it, with no rights but those it is given."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import chart
import program

COLLECT = chart.DEPLOY / "docker" / "collect"
SECONDS = 30


def need():
    """Ends a test that cannot run without what this module needs."""
    program.need("containerd", "ctr", "runc", root=True)
    program.need_binary()
    if not Path("/sys/kernel/btf/vmlinux").exists():
        program.missing("needs a kernel with BTF")


@contextlib.contextmanager
def directory():
    """A folder for as long as it is needed."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def spec(directory, pod):
    """What containerd has runc make of the pod's container, except that it is in the machine's pid namespace."""
    (agent,) = pod["containers"]
    security = agent["securityContext"]
    added = {f"CAP_{each}" for each in security["capabilities"]["add"]}
    rights = ["--read-only", "--seccomp"]
    for each in sorted(USUAL - added):
        rights += ["--cap-drop", each]
    for each in sorted(added):
        rights += ["--cap-add", each]
    for each in agent["volumeMounts"]:
        if not each.get("readOnly"):
            rights += ["--mount", f"type=tmpfs,src=tmpfs,dst={each['mountPath']},options=mode=0750"]
    image = collect(directory)
    with containerd(directory) as ctr:
        ctr("containers", "create", "--rootfs", *rights, str(image), "it", *command())
        made = json.loads(ctr("containers", "info", "it"))["Spec"]
    assert pod["hostPID"] and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert made["process"]["noNewPrivileges"] and made["linux"]["seccomp"] and made["root"]["readonly"]
    assert set(made["process"]["capabilities"]["bounding"]) == added
    namespaces = made["linux"]["namespaces"]
    made["linux"]["namespaces"] = [each for each in namespaces if each["type"] != "pid"]
    return made


def command():
    """How the program tells of every exec on standard output."""
    if program.options() is not None:
        return ["/usr/bin/procession", "agent", "--source", "ebpf", "--export-filename", "-"]
    return ["/usr/bin/procession", "watch", "--source", "ebpf", "--output", "json", "--exec"]


def observe(directory, made):
    """Runs the container, and gives what it tells of a process outside of all containers."""
    bundle = directory / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(made))
    runc = ["runc", "--root", directory / "runc"]
    with open(directory / "output", "w+") as output:
        running = subprocess.Popen(
            [*runc, "run", "--bundle", bundle, "it"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            process = sees(running, Path(output.name))
            subprocess.run([*runc, "kill", "it", "TERM"], check=True)
            code = running.wait(timeout=SECONDS)
            assert code == 0 or program.options() is None, f"ended with {code}"
            return process
        finally:
            subprocess.run([*runc, "delete", "--force", "it"], capture_output=True)
            running.wait(timeout=SECONDS)


def sees(running, output):
    """Starts processes until one is told of."""
    mark = uuid.uuid4().hex
    end = time.monotonic() + SECONDS
    while running.poll() is None and time.monotonic() < end:
        subprocess.run(["true", mark], check=True)
        time.sleep(0.3)
        told = output.read_text(errors="replace")
        # The last line may be half there, or end within a letter.
        for line in told.rpartition("\n")[0].split("\n"):
            if line.startswith('{"process_exec"') and mark in line:
                return json.loads(line)["process_exec"]["process"]
    told = output.read_text(errors="replace")[-2000:]
    raise AssertionError(f"nothing of {mark} in:\n{told}")


# What containerd grants unless it is told otherwise.
USUAL = {
    f"CAP_{each}"
    for each in (
        "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW"
        " SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
    ).split()
}


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
