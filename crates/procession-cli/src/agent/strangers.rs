//! Names that no option has: what may have been meant.

use super::catalogue::Catalogue;

/// What there is in place of options of the reference system that we do not have.
const REFERENCE: [(&str, &str); 37] = [
    ("process-cache-size", "`table-budget` says how much memory there is for processes"),
    ("process-cache-gc-interval", "what has ended goes by itself; `table-budget` limits the memory"),
    ("disable-process-cache", "processes are always known; `table-budget` limits the memory"),
    ("execve-map-entries", "`table-budget` limits the memory for processes"),
    ("execve-map-size", "`table-budget` limits the memory for processes"),
    ("data-cache-size", "arguments of any size need no cache; leave it out"),
    ("event-cache-retries", "`pod-wait` says how long events wait for their pod"),
    ("event-cache-retry-delay", "`pod-wait` says how long events wait for their pod"),
    ("rb-size", "use `ring-size`, which is for all processors together"),
    ("rb-size-total", "use `ring-size`"),
    ("rb-queue-size", "`event-queue-size` and `event-queue-bytes` limit what waits for readers"),
    ("use-perf-ring-buffer", "there is one kind of ring; leave it out"),
    ("enable-k8s-api", "use `kubernetes`"),
    ("k8s-kubeconfig-path", "use `kubeconfig`"),
    ("k8s-controlplane-retry", "the Kubernetes API is asked again by itself; leave it out"),
    ("enable-pod-annotations", "use `pod-annotations`"),
    ("deleted-pod-cache-size", "deleted pods are remembered by themselves; leave it out"),
    ("enable-cri", "runtimes are asked anyway, unless `no-runtimes` is set"),
    ("cri-endpoint", "use `runtime-socket`, as in cri:/run/containerd/containerd.sock"),
    ("enable-cgidmap", "container ids are found without it; leave it out"),
    ("enable-cgtrackerid", "container ids are found without it; leave it out"),
    ("username-metadata", "names of users are added anyway; leave it out"),
    ("health-server-interval", "health is what it is when it is asked for; leave it out"),
    ("enable-export-aggregation", "events are not aggregated; leave it out"),
    ("export-aggregation-window-size", "events are not aggregated; leave it out"),
    ("export-aggregation-buffer-size", "events are not aggregated; leave it out"),
    ("enable-msg-handling-latency", "there is no such metric; leave it out"),
    ("keep-sensors-on-exit", "nothing stays in the kernel after the end; leave it out"),
    ("bpf-lib", "the BPF programs are part of this program; leave it out"),
    ("bpf-dir", "nothing is pinned in the BPF file system; leave it out"),
    ("btf", "the kernel's own BTF is used; leave it out"),
    ("debug", "use `log-level`, as in debug"),
    ("config-file", "use `config`"),
    ("tracing-policy", "tracing policies are not supported"),
    ("tracing-policy-dir", "tracing policies are not supported"),
    ("enable-process-environment-variables", "environments of processes are not observed"),
    ("filter-environment-variables", "environments of processes are not observed"),
];

/// What to do about `name`, as the end of a sentence.
pub(super) fn hint(name: &str, catalogue: &Catalogue) -> Option<String> {
    if let Some(advice) = in_reference(name) {
        return Some(advice.to_owned());
    }
    near(name, catalogue).map(|option| format!("did you mean `{option}`?"))
}

/// What we have in place of an option of the reference system.
pub(crate) fn in_reference(name: &str) -> Option<&'static str> {
    REFERENCE.iter().find(|(known, _)| *known == name).map(|(_, advice)| *advice)
}

/// The option whose name looks most like `name`.
fn near<'a>(name: &str, catalogue: &'a Catalogue) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    let likeness = |option: &str| strsim::jaro_winkler(&name, option);
    let options = catalogue.options.iter().map(|option| option.name.as_str());
    options
        .map(|option| (likeness(option), option))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, option)| option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let catalogue = Catalogue::new();
        for (typo, meant) in [
            ("ring-sizes", Some("ring-size")),
            ("ring_size", Some("ring-size")),
            ("RING-SIZE", Some("ring-size")),
            ("export-file", Some("export-filename")),
            ("server-adress", Some("server-address")),
            ("exporter-allowlist", Some("export-allowlist")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(near(typo, &catalogue), meant, "{typo}");
        }
    }

    #[test]
    fn advice_is_about_names_that_we_do_not_have_and_names_that_we_have() {
        let catalogue = Catalogue::new();
        for (name, advice) in REFERENCE {
            assert!(catalogue.find(name).is_none(), "{name}");
            for quoted in advice.split('`').skip(1).step_by(2).filter(|quoted| *quoted != "config") {
                assert!(catalogue.find(quoted).is_some(), "{name}: {quoted}");
            }
        }
    }
}
