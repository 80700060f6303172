"""The chart, rendered; run as a program it writes the plain manifest."""

import re
from pathlib import Path

import helm_python
import yaml

DEPLOY = Path(__file__).resolve().parent.parent
CHART = DEPLOY / "chart" / "procession"
MANIFEST = DEPLOY / "kubernetes" / "daemonset.yaml"

HEADER = """\
# Procession on each node of a cluster (Kubernetes 1.30 or later): the chart with its defaults.
# Written by deploy/tests/check --update. Name your image before you apply it:
#
#   sed 's,localhost/procession:,registry.example.org/procession:,' deploy/kubernetes/daemonset.yaml | kubectl apply -f -
"""
# In the order in which they are needed.
ORDER = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Service", "DaemonSet"]
# Said of what Helm manages.
HELMS = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)


def texts(values=None, chart=CHART, name="procession", namespace="kube-system"):
    """What the chart makes of these values: YAML by template, without what is empty."""
    rendered = helm_python.Chart.load(str(chart)).render(values=values or {}, name=name, namespace=namespace)
    return {Path(path).name: text for path, text in rendered.items() if text.strip()}


def objects(values=None, **options):
    """The same, parsed: a list of Kubernetes objects."""
    files = texts(values, **options)
    files.pop("NOTES.txt", None)
    return [found for text in files.values() for found in yaml.safe_load_all(text) if found]


def of_kind(found, kind):
    """The one object of this kind."""
    (only,) = [each for each in found if each["kind"] == kind]
    return only


def manifest():
    """The plain manifest, as it has to be."""
    documents = []
    for name, text in texts().items():
        if name != "NOTES.txt":
            documents += re.split(r"^---\n", text, flags=re.MULTILINE)
    documents.sort(key=lambda text: ORDER.index(yaml.safe_load(text)["kind"]))
    return HEADER + "".join("---\n" + HELMS.sub("", text.strip("\n") + "\n") for text in documents)


if __name__ == "__main__":
    MANIFEST.write_text(manifest())
