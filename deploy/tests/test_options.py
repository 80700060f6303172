"""Options are written in several places. They are the same in all."""

import json
import re
import tempfile
import tomllib
import unittest
from pathlib import Path

import chart
import program
from test_chart import VALUES, options

# What the file shows by example, for the default is nothing.
EXAMPLES = {"export-allowlist", "export-denylist", "field-filters", "redaction-filters"}


class Options(unittest.TestCase):
    def test_the_list_is_what_the_program_has(self):
        need_agent()
        self.assertEqual(program.options(), set(program.LISTED))

    def test_the_example_names_defaults(self):
        need_agent()
        told, default = printed(uncommented()), printed("")
        differing = {name for name in default if name in told and told[name] != default[name]}
        self.assertEqual(differing, EXAMPLES)

    def test_the_program_takes_what_the_chart_gives(self):
        need_agent()
        for name, values in VALUES.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                given = options(values)
                for option, text in given.items():
                    (Path(directory) / option).write_text(text)
                told = program.says("agent", "--config-dir", directory, "--print-config")
                self.assertIsNotNone(told, given)
                self.assertEqual(told.count(directory + "/"), len(given))

    def test_the_chart_gives_options_that_there_are(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                self.assertLessEqual(set(options(values)), set(program.LISTED))

    def test_the_chart_takes_each_option_in_one_place(self):
        schema = json.loads((chart.CHART / "values.schema.json").read_text())
        taken = set(schema["properties"]["config"]["properties"])
        everything = set().union(*(options(values) for values in VALUES.values()))
        # NODE_NAME, the pod's own account and where the node's BPF file system is stand for these.
        elsewhere = everything - taken | {"node-name", "kubeconfig", "pin-dir"} | program.META
        self.assertEqual(taken | elsewhere, set(program.LISTED))
        self.assertEqual(taken & elsewhere, set())

    def test_the_example_has_each_option_once(self):
        example = tomllib.loads(uncommented())
        self.assertEqual(set(example), set(program.LISTED) - program.META)

    def test_the_example_changes_nothing_as_it_is(self):
        self.assertEqual(tomllib.loads((chart.DEPLOY / "deb" / "agent.toml").read_text()), {})


def need_agent():
    """Ends a test that cannot run without a program that has an agent."""
    if program.options() is None:
        program.missing("no program with an agent is built; set PROCESSION_BIN")


def printed(text):
    """What the program makes of a configuration."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        return tomllib.loads(program.says("agent", "--config", file.name, "--print-config"))


def uncommented():
    """The example with its defaults in force: `#name = value` is one, `# text` is not."""
    text = (chart.DEPLOY / "deb" / "agent.toml").read_text()
    return re.sub(r"^#(?=[a-z-]+ = )", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
    unittest.main()
