"""What the chart makes: valid for each Kubernetes, with no right that the agent does not need."""

import json
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

import chart

OLDEST, NEWEST = 28, 36
# The first with the field appArmorProfile; before there was an annotation.
FIELD_SINCE = 30

DIGEST = "sha256:" + "0" * 64
VALUES = {
    "defaults": {},
    "everything": {
        "nameOverride": "lineage",
        "commonLabels": {"team": "security"},
        "image": {"repository": "registry.example.org/procession", "digest": DIGEST},
        "imagePullSecrets": [{"name": "pull"}],
        "config": {
            "source": "ebpf",
            "ring-size": "16M",
            "table-budget": 67108864,
            "event-queue-size": 20000000,
            "export-rate-limit": -1,
            "enable-process-cred": True,
            "metrics-label-filter": ["namespace", "binary"],
            "export-denylist": [{"health_check": True}, {"namespace": ["kube-system"]}],
            "redaction-filters": '{"redact": ["--password[ =](\\\\S+)"]}',
        },
        "export": {"to": "file", "hostPath": "/var/log/lineage", "file": "all.json"},
        "journal": {"hostPath": "/var/lib/lineage", "maxSizeMb": 2048, "pin": True},
        "server": {"socketHostPath": "/run/procession", "port": 54321, "tls": {"secretName": "procession-tls"}},
        "metrics": {
            "port": 9100,
            "service": {"annotations": {"note": "yes"}},
            "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        },
        "runtimes": {
            "sockets": [
                "cri:/run/containerd/containerd.sock",
                "containerd:/run/containerd/containerd.sock",
                "docker:/run/docker.sock",
            ]
        },
        "serviceAccount": {"annotations": {"note": "yes"}},
        "securityContext": {
            "seccompProfile": {"type": "Localhost", "localhostProfile": "procession.json"},
            "appArmorProfile": {"type": "Localhost", "localhostProfile": "procession"},
            "seLinuxOptions": {"type": "spc_t"},
        },
        "networkPolicy": {"enabled": True},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "watched", "operator": "Exists"}]}]
                }
            }
        },
        "podAnnotations": {"note": "yes"},
        "podLabels": {"note": "yes"},
        "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}],
    },
    "as little as possible": {
        "export": {"to": "none"},
        "journal": {"enabled": False},
        "metrics": {"service": {"enabled": False}},
        "serviceAccount": {"create": False, "name": "somebody"},
        "rbac": {"create": False},
        "securityContext": {"appArmorProfile": None},
        "priorityClassName": "",
        "tolerations": [],
    },
    "proc connector": {"config": {"source": "connector"}, "hostNetwork": True},
    "polling": {"config": {"source": "polling"}},
}
CAPABILITIES = {
    "defaults": ["BPF", "PERFMON", "SYS_PTRACE"],
    "everything": ["BPF", "PERFMON", "SYS_PTRACE"],
    "as little as possible": ["BPF", "PERFMON", "SYS_PTRACE"],
    "proc connector": ["NET_ADMIN", "SYS_PTRACE"],
    "polling": ["SYS_PTRACE"],
}




def as_if_old(directory):
    """A copy of the chart that believes Kubernetes to be the oldest: the renderer always takes its own."""
    old = Path(directory) / "procession"
    shutil.copytree(chart.CHART, old)
    template = old / "templates" / "daemonset.yaml"
    text = template.read_text()
    assert text.count(".Capabilities.KubeVersion.Version") == 1
    template.write_text(text.replace(".Capabilities.KubeVersion.Version", f'"v1.{OLDEST}.0"'))
    return old


def options(values=None):
    """The options that the agent is given."""
    return chart.of_kind(chart.objects(values), "ConfigMap")["data"]


def pod(values=None):
    """The pod that runs on each node."""
    return chart.of_kind(chart.objects(values), "DaemonSet")["spec"]["template"]["spec"]


def container(values=None):
    """Its one container."""
    (only,) = pod(values)["containers"]
    return only


class Valid(unittest.TestCase):
    def test_lint_finds_nothing(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                found = helm_python.lint(str(chart.CHART), values, strict=True, namespace="kube-system")
                said = [each for each in found["messages"] if each["error"] != "icon is recommended"]
                self.assertEqual((said, found["errors"]), ([], []))

    def test_every_kubernetes_takes_what_is_made(self):
        with tempfile.TemporaryDirectory() as directory:
            old = as_if_old(directory)
            for name, values in VALUES.items():
                new_objects, old_objects = chart.objects(values), chart.objects(values, chart=old)
                for minor in range(OLDEST, NEWEST + 1):
                    for each in new_objects if minor >= FIELD_SINCE else old_objects:
                        if each["kind"] == "PodMonitor":
                            continue
                        with self.subTest(name, kubernetes=f"1.{minor}", kind=each["kind"]):
                            kubernetes_validate.validate(each, f"1.{minor}", strict=True)

    def test_the_validator_would_tell(self):
        daemonset = chart.of_kind(chart.objects(), "DaemonSet")
        daemonset["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privilegd"] = False
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(daemonset, f"1.{NEWEST}", strict=True)

    def test_old_kubernetes_is_told_of_app_armor_by_annotation(self):
        with tempfile.TemporaryDirectory() as directory:
            for values, profile in [({}, "unconfined"), (VALUES["everything"], "localhost/procession")]:
                found = chart.objects(values, chart=as_if_old(Path(directory) / profile))
                template = chart.of_kind(found, "DaemonSet")["spec"]["template"]
                key = "container.apparmor.security.beta.kubernetes.io/agent"
                self.assertEqual(template["metadata"]["annotations"][key], profile)
                self.assertNotIn("appArmorProfile", template["spec"]["containers"][0]["securityContext"])

    def test_names_are_distinct_and_selectors_select(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                found = chart.objects(values, name="one")
                keys = [(each["kind"], each["metadata"]["name"]) for each in found]
                self.assertEqual(len(keys), len(set(keys)))
                daemonset = chart.of_kind(found, "DaemonSet")
                labels = daemonset["spec"]["template"]["metadata"]["labels"].items()
                selectors = [daemonset["spec"]["selector"]["matchLabels"]]
                for each in found:
                    if each["kind"] == "Service":
                        selectors.append(each["spec"]["selector"])
                    elif each["kind"] == "NetworkPolicy":
                        selectors.append(each["spec"]["podSelector"]["matchLabels"])
                    elif each["kind"] == "PodMonitor":
                        selectors.append(each["spec"]["selector"]["matchLabels"])
                for selector in selectors:
                    self.assertLessEqual(selector.items(), labels)

    def test_the_plain_manifest_is_the_chart_with_its_defaults(self):
        self.assertEqual(chart.MANIFEST.read_text(), chart.manifest(), "run deploy/tests/check --update")

    def test_the_chart_has_the_version_of_the_program(self):
        cargo = (chart.DEPLOY.parent / "Cargo.toml").read_text()
        version = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)[1]
        about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
        self.assertEqual((about["version"], about["appVersion"]), (version, version))


class Rights(unittest.TestCase):
    def test_a_container_has_only_what_its_source_needs(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                security = container(values)["securityContext"]
                self.assertIs(security["privileged"], False)
                self.assertIs(security["allowPrivilegeEscalation"], False)
                self.assertIs(security["readOnlyRootFilesystem"], True)
                self.assertEqual(security["capabilities"], {"drop": ["ALL"], "add": CAPABILITIES[name]})
                self.assertIn("seccompProfile", security)

    def test_no_other_container_runs(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                self.assertNotIn("initContainers", pod(values))
                self.assertEqual(len(pod(values)["containers"]), 1)

    def test_the_api_may_only_be_asked_for_pods(self):
        for name, values in VALUES.items():
            roles = [each for each in chart.objects(values) if each["kind"] in ("Role", "ClusterRole")]
            for role in roles:
                with self.subTest(name):
                    self.assertEqual(
                        role["rules"], [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
                    )

    def test_the_account_is_bound_to_the_role(self):
        found = chart.objects(name="one", namespace="there")
        binding = chart.of_kind(found, "ClusterRoleBinding")
        account = chart.of_kind(found, "ServiceAccount")["metadata"]
        self.assertEqual(
            binding["subjects"],
            [{"kind": "ServiceAccount", "name": account["name"], "namespace": "there"}],
        )
        self.assertEqual(binding["roleRef"]["name"], chart.of_kind(found, "ClusterRole")["metadata"]["name"])
        spec = chart.of_kind(found, "DaemonSet")["spec"]["template"]["spec"]
        self.assertEqual(spec["serviceAccountName"], account["name"])

    def test_by_default_only_the_journal_and_the_pins_are_on_the_node(self):
        def paths(values):
            return {each["hostPath"]["path"] for each in pod(values)["volumes"] if "hostPath" in each}

        self.assertEqual(paths({}), {"/var/lib/procession", "/sys/fs/bpf"})
        self.assertEqual(paths({"journal": {"pin": False}}), {"/var/lib/procession"})
        self.assertEqual(paths({"config": {"source": "polling"}}), {"/var/lib/procession"})
        self.assertEqual(paths({"journal": {"enabled": False}}), set())
        self.assertIs(pod()["hostNetwork"], False)

    WRITABLE = {"/run/procession", "/var/log/procession", "/var/lib/procession", "/sys/fs/bpf"}

    def test_only_export_journal_and_socket_folders_are_mounted_to_write(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                writable = [each["mountPath"] for each in container(values)["volumeMounts"] if not each.get("readOnly")]
                self.assertLessEqual(set(writable), self.WRITABLE)

    def test_memory_is_limited_and_cpu_is_not(self):
        limits = container()["resources"]["limits"]
        self.assertIn("memory", limits)
        self.assertNotIn("cpu", limits)


class Behaviour(unittest.TestCase):
    def test_it_runs_on_every_linux_node(self):
        self.assertEqual(pod()["tolerations"], [{"operator": "Exists"}])
        self.assertEqual(pod()["nodeSelector"], {"kubernetes.io/os": "linux"})
        self.assertIs(pod()["hostPID"], True)
        self.assertEqual(pod()["priorityClassName"], "system-node-critical")

    def test_probes_ask_where_metrics_are_served(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                agent = container(values)
                (port,) = [each["containerPort"] for each in agent["ports"] if each["name"] == "metrics"]
                self.assertTrue(options(values)["metrics-server"].endswith(f":{port}"))
                self.assertEqual(agent["livenessProbe"]["httpGet"], {"path": "/healthz", "port": "metrics"})
                self.assertEqual(agent["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "metrics"})

    def test_every_mount_has_its_volume(self):
        for name, values in VALUES.items():
            with self.subTest(name):
                volumes = [each["name"] for each in pod(values)["volumes"]]
                mounts = [each["name"] for each in container(values)["volumeMounts"]]
                self.assertEqual(sorted(volumes), sorted(mounts))
                self.assertEqual(len(volumes), len(set(volumes)))

    def test_files_that_options_name_are_mounted(self):
        mounts = [each["mountPath"] for each in container(VALUES["everything"])["volumeMounts"]]
        given = options(VALUES["everything"])
        paths = [given["export-filename"], given["server-tls-cert-file"], given["server-tls-client-ca-files"]]
        paths += [each.split("://")[1] for each in given["server-address"].split(",") if "://" in each]
        paths += [each.split(":")[1] for each in given["runtime-socket"].split(",")]
        for path in paths:
            self.assertTrue(any(path == mount or path.startswith(mount + "/") for mount in mounts), path)

    def test_options_come_as_they_are_written(self):
        given = options(VALUES["everything"])
        self.assertEqual(given["event-queue-size"], "20000000")
        self.assertEqual(given["table-budget"], "67108864")
        self.assertEqual(given["export-rate-limit"], "-1")
        self.assertEqual(given["enable-process-cred"], "true")
        self.assertEqual(given["metrics-label-filter"], "namespace,binary")
        denied = [json.loads(line) for line in given["export-denylist"].splitlines()]
        self.assertEqual(denied, VALUES["everything"]["config"]["export-denylist"])
        redacted = json.loads(given["redaction-filters"])
        self.assertEqual(redacted, {"redact": [r"--password[ =](\S+)"]})

    def test_exports_go_where_they_are_sent(self):
        self.assertEqual(options()["export-filename"], "-")
        self.assertEqual(options(VALUES["everything"])["export-filename"], "/var/log/procession/all.json")
        self.assertNotIn("export-filename", options({"export": {"to": "none"}}))

    def test_runtimes_are_asked_only_if_named(self):
        self.assertEqual(options()["no-runtimes"], "true")
        given = options(VALUES["everything"])
        self.assertNotIn("no-runtimes", given)
        self.assertEqual(given["runtime-socket"], ",".join(VALUES["everything"]["runtimes"]["sockets"]))
        mounted = [each["hostPath"] for each in pod(VALUES["everything"])["volumes"] if each["name"].startswith("runtime-")]
        self.assertEqual(
            mounted,
            [{"path": "/run/containerd", "type": "Directory"}, {"path": "/run/docker.sock", "type": "Socket"}],
        )

    def test_other_options_make_other_pods(self):
        def annotation(values):
            template = chart.of_kind(chart.objects(values), "DaemonSet")["spec"]["template"]
            return template["metadata"]["annotations"]["procession/options"]

        self.assertEqual(annotation({}), annotation({"podLabels": {"a": "b"}}))
        self.assertNotEqual(annotation({}), annotation({"config": {"log-level": "debug"}}))

    def test_notes_say_where_events_are(self):
        self.assertIn("logs --follow", chart.texts()["NOTES.txt"])
        self.assertIn("/var/log/lineage/all.json", chart.texts(VALUES["everything"])["NOTES.txt"])


class Refused(unittest.TestCase):
    def refused(self, values, why):
        with self.assertRaises(helm_python.HelmError) as caught:
            chart.texts(values)
        self.assertIn(why, str(caught.exception))

    def test_a_misspelt_option(self):
        self.refused({"config": {"enable-proces-cred": True}}, "enable-proces-cred")

    def test_a_misspelt_value(self):
        self.refused({"metrics": {"prot": 2112}}, "prot")

    def test_an_option_that_a_section_sets(self):
        self.refused({"config": {"export-filename": "/tmp/all.json"}}, "export-filename")

    def test_a_value_of_the_wrong_kind(self):
        self.refused({"config": {"enable-process-cred": "yes"}}, "enable-process-cred")

    def test_a_port_for_everybody(self):
        self.refused({"server": {"port": 54321}}, "server.tls.secretName")

    def test_two_servers_on_one_port(self):
        self.refused({"server": {"port": 2112, "tls": {"secretName": "tls"}}}, "metrics.port")

    def test_the_proc_connector_where_it_hears_nothing(self):
        self.refused({"config": {"source": "connector"}}, "hostNetwork")

    def test_a_policy_without_effect(self):
        self.refused({"hostNetwork": True, "networkPolicy": {"enabled": True}}, "networkPolicy.enabled")

    def test_a_profile_without_a_name(self):
        self.refused({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "localhostProfile")


if __name__ == "__main__":
    unittest.main()
