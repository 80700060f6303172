"""The image: its recipe, what is laid out in it, and that it sees the machine with the rights it is given."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import chart
import container
import program

DOCKER = chart.DEPLOY / "docker"
RECIPE = (DOCKER / "Dockerfile").read_text()


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
        ignore = (program.ROOT / ".dockerignore").read_text().splitlines()
        sent = [line[1:] for line in ignore if line.startswith("!")]
        for path in sent:
            self.assertTrue((program.ROOT / path).exists(), path)
        members = re.findall(r'^    "(\w+)[/"]', (program.ROOT / "Cargo.toml").read_text(), re.MULTILINE)
        self.assertLessEqual({*members, "Cargo.toml", "Cargo.lock", "deploy/docker"}, set(sent))


class Layout(unittest.TestCase):
    def setUp(self):
        program.need_binary()
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.image = container.collect(self.directory)

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
        docker = self.enterContext(container.docker_engine(directory))
        context = directory / "context"
        container.collect(context)
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
    def test_it_sees_the_machine_with_the_rights_of_the_chart(self):
        container.need()
        pod = chart.of_kind(chart.objects(), "DaemonSet")["spec"]["template"]["spec"]
        with container.directory() as directory:
            process = container.observe(directory, container.spec(directory, pod))
        self.assertEqual(os.path.basename(process["binary"]), "true")
        self.assertNotIn("docker", process)


class Documentation(unittest.TestCase):
    def test_docker_is_told_of_the_charts_capabilities(self):
        agent = chart.of_kind(chart.objects(), "DaemonSet")["spec"]["template"]["spec"]["containers"][0]
        text = (program.ROOT / "docs" / "install.md").read_text()
        line = re.search(r"docker run --detach .*?(?=\n\n|\n *docker logs)", text, re.DOTALL)[0]
        self.assertEqual(re.findall(r"--cap-add (\S+)", line), agent["securityContext"]["capabilities"]["add"])
        for option in ["--pid host", "--read-only", "--cap-drop ALL", "no-new-privileges", "apparmor=unconfined"]:
            self.assertIn(option, line)


def last_stage():
    return RECIPE[RECIPE.rindex("FROM ") :]


if __name__ == "__main__":
    unittest.main()
