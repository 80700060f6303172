//! What a pod is an instance of, guessed from its owner as the reference system guesses it.
//!
//! The API names only a pod's direct owner. A Deployment owns its pods through a ReplicaSet, and a
//! CronJob through a Job, so both are known by the form of their child's name.

/// The owner of a pod that manages it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `ReplicaSet`.
    pub kind: &'a str,
    /// `web-7c5ddbdf54`.
    pub name: &'a str,
}

/// What there is to know of a pod before its workload is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership<'a> {
    /// The pod's own name.
    pub pod: &'a str,
    /// Whether the API server made the name. It does so for pods that a controller makes.
    pub name_is_generated: bool,
    /// The first owner that says that it manages the pod.
    pub controller: Option<Controller<'a>>,
    /// The label `pod-template-hash`: what a ReplicaSet of a Deployment ends its name with.
    pub template_hash: Option<&'a str>,
    /// The label `deploymentconfig`: the name of OpenShift's older kind of Deployment.
    pub deployment_config: Option<&'a str>,
}

/// What a pod is an instance of. It lives in the pod's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload<'a> {
    /// `batch/v1`. For a CronJob, whose version its pods do not show, `batch/v1beta1`.
    pub api_version: &'a str,
    /// `Deployment`, `DaemonSet`, `CronJob`; `Pod` for one that nothing manages.
    pub kind: &'a str,
    /// Never empty when the pod has a name.
    pub name: &'a str,
}

impl<'a> Workload<'a> {
    /// The workload of a pod.
    ///
    /// ```
    /// use procession_kube::{Controller, Ownership, Workload};
    ///
    /// let workload = Workload::of(&Ownership {
    ///     pod: "web-7c5ddbdf54-x2x9p",
    ///     name_is_generated: true,
    ///     controller: Some(Controller { api_version: "apps/v1", kind: "ReplicaSet", name: "web-7c5ddbdf54" }),
    ///     template_hash: Some("7c5ddbdf54"),
    ///     deployment_config: None,
    /// });
    /// assert_eq!((workload.kind, workload.name), ("Deployment", "web"));
    /// ```
    pub fn of(pod: &Ownership<'a>) -> Self {
        let alone = Self { api_version: "v1", kind: "Pod", name: pod.pod };
        // A static pod has its node as controller, yet nobody generated its name: it stands alone.
        let Some(controller) = pod.controller.filter(|_| pod.name_is_generated) else { return alone };
        let workload = Self::of_controller(&controller, pod);
        if workload.name.is_empty() { Self { name: pod.pod, ..workload } } else { workload }
    }

    fn of_controller(controller: &Controller<'a>, pod: &Ownership<'a>) -> Self {
        let &Controller { api_version, kind, name } = controller;
        let given = Self { api_version, kind, name };
        match kind {
            "ReplicaSet" => match pod.template_hash.filter(|hash| !hash.is_empty()) {
                Some(hash) if name.ends_with(hash) => {
                    Self { kind: "Deployment", name: before_hash(name, hash), ..given }
                }
                _ => given,
            },
            "ReplicationController" => match pod.deployment_config.filter(|name| !name.is_empty()) {
                Some(name) => Self { kind: "DeploymentConfig", name, ..given },
                None => given,
            },
            "Job" => match before_schedule(name) {
                Some(name) => Self { api_version: "batch/v1beta1", kind: "CronJob", name },
                None => given,
            },
            _ => given,
        }
    }
}

/// A ReplicaSet's name without `-<hash>`.
fn before_hash<'a>(name: &'a str, hash: &str) -> &'a str {
    name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')).unwrap_or(name)
}

/// A Job's name without `-<time>`. `None`: it does not end in 8 to 10 digits.
fn before_schedule(name: &str) -> Option<&str> {
    let (rest, time) = name.rsplit_once('-')?;
    let is_time = (8..=10).contains(&time.len()) && time.bytes().all(|digit| digit.is_ascii_digit());
    (is_time && !rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::{Controller, Ownership, Workload};

    fn check(ownership: Ownership<'_>, name: &str, kind: &str, api_version: &str) {
        assert_eq!(Workload::of(&ownership), Workload { api_version, kind, name }, "{ownership:?}");
    }

    fn managed<'a>(api_version: &'a str, kind: &'a str, name: &'a str) -> Ownership<'a> {
        Ownership {
            pod: "the-pod",
            name_is_generated: true,
            controller: Some(Controller { api_version, kind, name }),
            ..Ownership::default()
        }
    }

    #[test]
    fn a_pod_that_nothing_manages_is_its_own_workload() {
        check(Ownership { pod: "alone", ..Ownership::default() }, "alone", "Pod", "v1");
        check(
            Ownership { pod: "alone", name_is_generated: true, ..Ownership::default() },
            "alone",
            "Pod",
            "v1",
        );
        let fixed = Ownership { name_is_generated: false, ..managed("v1", "Node", "worker-1") };
        check(fixed, "the-pod", "Pod", "v1");
    }

    #[test]
    fn a_replica_set_with_a_template_hash_belongs_to_a_deployment() {
        let set = |name, hash| Ownership { template_hash: hash, ..managed("apps/v1", "ReplicaSet", name) };
        check(set("web-7c5d", Some("7c5d")), "web", "Deployment", "apps/v1");
        check(set("a-7c5d-7c5d", Some("7c5d")), "a-7c5d", "Deployment", "apps/v1");
        check(set("web7c5d", Some("7c5d")), "web7c5d", "Deployment", "apps/v1");
        check(set("-7c5d", Some("7c5d")), "the-pod", "Deployment", "apps/v1");
        check(set("web-7c5d", Some("")), "web-7c5d", "ReplicaSet", "apps/v1");
        check(set("web-7c5d", Some("other")), "web-7c5d", "ReplicaSet", "apps/v1");
        check(set("web-7c5d", None), "web-7c5d", "ReplicaSet", "apps/v1");
    }

    #[test]
    fn a_job_named_after_a_time_belongs_to_a_cron_job() {
        for (job, name, kind, version) in [
            ("backup-12345678", "backup", "CronJob", "batch/v1beta1"),
            ("backup-1234567890", "backup", "CronJob", "batch/v1beta1"),
            ("a-b-123456789", "a-b", "CronJob", "batch/v1beta1"),
            ("backup-1234567", "backup-1234567", "Job", "batch/v1"),
            ("backup-12345678901", "backup-12345678901", "Job", "batch/v1"),
            ("backup-1234567x", "backup-1234567x", "Job", "batch/v1"),
            ("12345678", "12345678", "Job", "batch/v1"),
            ("-12345678", "-12345678", "Job", "batch/v1"),
        ] {
            check(managed("batch/v1", "Job", job), name, kind, version);
        }
    }

    #[test]
    fn other_controllers_are_taken_at_their_word() {
        check(managed("apps/v1", "DaemonSet", "agent"), "agent", "DaemonSet", "apps/v1");
        check(managed("example.com/v2", "Database", "db"), "db", "Database", "example.com/v2");
        check(managed("apps/v1", "StatefulSet", ""), "the-pod", "StatefulSet", "apps/v1");
        let old = managed("v1", "ReplicationController", "web-3");
        check(old, "web-3", "ReplicationController", "v1");
        check(Ownership { deployment_config: Some("web"), ..old }, "web", "DeploymentConfig", "v1");
        check(Ownership { deployment_config: Some(""), ..old }, "web-3", "ReplicationController", "v1");
    }
}
