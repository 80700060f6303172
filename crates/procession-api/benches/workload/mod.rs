//! The events of the benchmark: made up, and the same in every run.
//!
//! Process number *i* is a child of a long-lived parent, runs one of 200 binaries in one of 64
//! containers, and has five arguments. In the variants with a pod its container belongs to one with
//! six labels, a workload, an image with a digest and a probe.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Context, Credentials, Event, EventKind, Exec,
    FactKind, Fork, Gid, LineageDetail, Namespaces, Pid, ProcessKey, Program, Running, Subject, Table,
    TableConfig, Uid, WallClock, WorkingDirectory,
};
use procession_api::messages::{AnnotationOptions, MessageEncoder};
use procession_api::proto::tetragon::GetEventsResponse;
use procession_api::users::Users;
use procession_kube::{Container, ContainerId, ContainerKind, Memory, Pod, PodIndex, Probe, Told, Whose};
use prost_reflect::DynamicMessage;

const SECOND: u64 = 1_000_000_000;
const CONTAINERS: u64 = 64;
const HOST: Namespaces = Namespaces {
    uts: 4_026_531_838,
    ipc: 4_026_531_839,
    mnt: 4_026_531_841,
    pid: 4_026_531_836,
    pid_for_children: 4_026_531_836,
    net: 4_026_531_840,
    time: 4_026_531_834,
    time_for_children: 4_026_531_834,
    cgroup: 4_026_531_835,
    user: 4_026_531_837,
};

/// Events of one variant, as what is told, as our messages, and as the baseline's.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) told: Vec<Told>,
    pub(crate) messages: Vec<GetEventsResponse>,
    pub(crate) records: Vec<DynamicMessage>,
    encoder: MessageEncoder,
    clock: WallClock,
    users: Users,
}

impl Load {
    fn new(name: &'static str, told: Vec<Told>, options: AnnotationOptions) -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let node_name = "worker-01.example.org".into();
        let mut load = Self {
            name,
            told,
            messages: Vec::new(),
            records: Vec::new(),
            encoder: MessageEncoder { node_name, cluster_name: String::new(), options },
            clock: WallClock::new(BootTime::ZERO, wall),
            users: Users::default(),
        };
        load.messages = (0..load.told.len()).map(|number| load.message(number)).collect();
        load.records = load.messages.iter().map(crate::record).collect();
        load
    }

    pub(crate) fn message(&self, number: usize) -> GetEventsResponse {
        let event = self.encoder.event(&self.told[number], &self.clock, &self.users);
        event.expect("an exec has a message")
    }
}

/// The variants.
pub(crate) struct Loads([Load; 3]);

impl Loads {
    pub(crate) fn new() -> Self {
        let plain = AnnotationOptions::default();
        let all = AnnotationOptions { credentials: true, namespaces: Some(HOST), ..plain };
        let bare = execs();
        let pods = pods();
        let with_pod = bare.iter().map(|told| {
            let ids = [Some(&told.fact.process), told.fact.parent()].into_iter().flatten();
            let mut ids: Vec<_> = ids.filter_map(ContainerId::of_process).collect();
            ids.dedup();
            let containers = ids.iter().filter_map(|id| pods.find(id)).map(Whose::Pod).collect();
            Told { containers, ..told.clone() }
        });
        let with_pod: Vec<_> = with_pod.collect();
        Self([
            Load::new("no pod", bare, plain),
            Load::new("pod", with_pod.clone(), plain),
            Load::new("pod + creds + ns", with_pod, all),
        ])
    }

    pub(crate) fn all(&self) -> [&Load; 3] {
        self.0.each_ref()
    }
}

fn hex(number: u64) -> String {
    let [a, b, c, d] = [1, 2, 3, 4].map(|part: u64| (number * 4 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    format!("{a:016x}{b:016x}{c:016x}{d:016x}")
}

fn pods() -> PodIndex {
    let mut index = PodIndex::new(Memory::default());
    for number in 0..CONTAINERS {
        index.apply(&Arc::new(pod(number)), BootTime::ZERO);
    }
    index
}

fn pod(number: u64) -> Pod {
    let labels = [
        ("app.kubernetes.io/name", "checkout".to_owned()),
        ("app.kubernetes.io/instance", format!("checkout-{number}")),
        ("app.kubernetes.io/version", "1.42.0".to_owned()),
        ("app.kubernetes.io/component", "backend".to_owned()),
        ("team", "payments".to_owned()),
        ("pod-template-hash", "7d9c5b6f4d".to_owned()),
    ];
    let container = Container {
        id: ContainerId::parse(hex(number).as_bytes()).expect("64 hex digits"),
        runtime: "containerd".into(),
        name: "app".into(),
        image: "registry.example.org/payments/checkout:1.42.0".into(),
        image_id: format!("registry.example.org/payments/checkout@sha256:{}", hex(1_000 + number)).into(),
        kind: ContainerKind::Regular,
        is_running: true,
        started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        privileged: false,
        probes: [Probe::new(["/bin/grpc_health_probe", "-addr=:8080"])].into(),
    };
    Pod {
        namespace: "payments".into(),
        name: format!("checkout-7d9c5b6f4d-{number:05}").into(),
        uid: format!("0f9a2c1e-5b7d-4e3f-8a6b-{number:012}").into(),
        labels: labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        annotations: [].into_iter().collect(),
        workload: "checkout".into(),
        workload_kind: "Deployment".into(),
        static_uid: None,
        containers: [container].into(),
    }
}

/// What a table tells of so many execs as there are containers.
fn execs() -> Vec<Told> {
    let mut table = Table::new(TableConfig::default());
    let init = Running {
        process: Subject::exact(ProcessKey::new(Pid(1), BootTime::from_nanos(1)), BootTime::from_nanos(1)),
        program: Program { binary: b"/sbin/init", ..Program::default() },
        ..Running::default()
    };
    tell(&mut table, 2, EventKind::Running(init));
    (0..CONTAINERS).map(|number| exec_of(&mut table, number)).collect()
}

fn exec_of(table: &mut Table, number: u64) -> Told {
    let small = u32::try_from(number).expect("there are 64");
    let init = ProcessKey::new(Pid(1), BootTime::from_nanos(1));
    let parent = (Pid(100 + small), 99_000 * SECOND + number * 1_000);
    let child = (Pid(2_000 + small), 100_000 * SECOND + number * 1_000);
    run(table, init, parent, number, &format!("/usr/local/lib/app/bin/parent-{number:04}"));
    let parent = ProcessKey::new(parent.0, BootTime::from_nanos(parent.1 + 400));
    run(table, parent, child, number, &format!("/usr/local/lib/app/bin/svc-{number:03}"))
}

/// Forks a process and runs a program in it.
fn run(table: &mut Table, parent: ProcessKey, (pid, forked): (Pid, u64), number: u64, binary: &str) -> Told {
    let began = BootTime::from_nanos(forked);
    let fork = Fork {
        child: Subject::exact(ProcessKey::new(pid, began), began),
        parent: parent.into(),
        ..Fork::default()
    };
    tell(table, forked, EventKind::Fork(fork));
    let cgroup = format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{}.scope", hex(number));
    let file = number;
    let arguments = format!("{binary}\0--config\0/etc/app/{file:08}.yaml\0--verbose\0run job\0--once\0");
    let exec = Exec {
        process: Subject::exact(ProcessKey::new(pid, BootTime::from_nanos(forked + 400)), began),
        tid: pid,
        owner: parent.into(),
        context: Context {
            credentials: Some(credentials()),
            namespaces: Some(Namespaces { mnt: HOST.mnt + 1_000, pid: HOST.pid + 1_000, ..HOST }),
            cgroup: Some(Cgroup { id: 5_000 + number, path: cgroup.as_bytes() }),
            ns_pid: Some(Pid(7)),
            ..Context::default()
        },
        program: Program {
            binary: binary.as_bytes(),
            cwd: WorkingDirectory::Path(b"/var/lib/app/workdir-01"),
            arguments: Arguments::complete(arguments.as_bytes()),
            ..Program::default()
        },
        ..Exec::default()
    };
    tell(table, forked + 400, EventKind::Exec(exec))
}

fn credentials() -> Credentials {
    let (user, group) = (Uid(1_000), Gid(1_000));
    let set = CapabilitySet(0xa804_25fb);
    Credentials {
        uid: user,
        euid: user,
        suid: user,
        fsuid: user,
        gid: group,
        egid: group,
        sgid: group,
        fsgid: group,
        capabilities: Capabilities { permitted: set, effective: set, ..Capabilities::default() },
        ..Credentials::default()
    }
}

#[expect(clippy::large_types_passed_by_value, reason = "it is not measured")]
fn tell(table: &mut Table, time: u64, kind: EventKind<'_>) -> Told {
    let time = BootTime::from_nanos(time);
    let applied = table.apply(&Event { time, kind });
    let id = applied.process.expect("the event is about a process");
    let kind = FactKind::of(&kind).expect("it is");
    Told::from(table.fact(id, time, kind, LineageDetail::Parent).expect("it is there"))
}
