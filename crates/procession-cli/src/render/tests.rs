//! Exact lines for facts that a real table made, and what no line may hold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use procession::{
    Arguments, BootTime, Capabilities, CapabilitySet, Cgroup, Change, Context, Credentials, Event, EventKind,
    Exec, Exit, ExitStatus, Fact, FactKind, FileIdentity, Fork, Gid, LineageDetail, Namespaces, Nature, Pid,
    PrivilegeChange, ProcessKey, Program, Running, Subject, Table, TableConfig, Uid, WallClock,
    WorkingDirectory,
};
use procession_agent::Told;
use procession_api::json::{AnnotationOptions, JsonEncoder};
use procession_api::users::Users;
use procession_kube::{ContainerId, ContainerInfo, RuntimePod, Whose};
use proptest::prelude::*;

use super::{Compact, Form, Palette, Renderer, Surroundings, Text, TextOptions};

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;

const INIT: u32 = 1;
const SHELL: u32 = 100;
const CHILD: u32 = 101;

/// A table with init, and a login shell that init forked.
struct Scene {
    table: Table,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self { table: Table::new(TableConfig::default()) };
        scene.found(INIT, program(b"/sbin/init", b"init\0"), context(0));
        scene.fork(SHELL, INIT);
        scene.exec(SHELL, program(b"/bin/sh", b"-sh\0"), context(0));
        scene
    }

    fn fork(&mut self, pid: u32, parent: u32) -> Fact {
        let parent = self.key_of(parent);
        let child = subject(pid, pid_time(pid));
        let context = Context::default();
        let fork =
            Fork { child, parent: parent.into(), parent_tid: parent.pid, owner: parent.into(), context };
        self.apply(pid_time(pid), EventKind::Fork(fork))
    }

    fn exec(&mut self, pid: u32, program: Program<'_>, context: Context<'_>) -> Fact {
        let start = self.key_of(pid).start.as_nanos() + MILLI;
        let process = subject(pid, start);
        let (tid, owner) = (process.key.pid, ProcessKey::NONE);
        self.apply(
            start,
            EventKind::Exec(Exec { process, replaces: None, tid, owner: owner.into(), context, program }),
        )
    }

    fn found(&mut self, pid: u32, program: Program<'_>, context: Context<'_>) -> Fact {
        let process = subject(pid, pid_time(pid));
        let running = Running { process, owner: ProcessKey::NONE.into(), context, program, gap: None };
        self.apply(pid_time(pid), EventKind::Running(running))
    }

    /// The end of a process, `after` nanoseconds from its start.
    fn exit(&mut self, pid: u32, after: u64, status: Option<u32>) -> Fact {
        let exit = Exit {
            process: subject(pid, self.key_of(pid).start.as_nanos()),
            tid: Pid(pid),
            owner: ProcessKey::NONE.into(),
            status: status.map(ExitStatus::from_raw),
            comm: b"comm\n",
        };
        self.apply(pid_time(pid) + after, EventKind::Exit(exit))
    }

    /// A change, `after` nanoseconds from the process's start.
    fn change(&mut self, pid: u32, after: u64, context: Context<'_>) -> Fact {
        let process = subject(pid, self.key_of(pid).start.as_nanos());
        self.apply(pid_time(pid) + after, EventKind::Change(Change { process, context }))
    }

    #[expect(clippy::large_types_passed_by_value, reason = "reads better, and only tests pay")]
    fn apply(&mut self, time: u64, kind: EventKind<'_>) -> Fact {
        let time = BootTime::from_nanos(time);
        let id = self.table.apply(&Event { time, kind }).process.expect("the event is about a process");
        self.table.fact(id, time, FactKind::of(&kind).unwrap(), LineageDetail::Full).unwrap()
    }

    fn key_of(&self, pid: u32) -> ProcessKey {
        let live = self.table.get_live(Pid(pid)).map(procession::Entry::snapshot);
        live.map_or_else(|| subject(pid, pid_time(pid)).key, |process| process.key)
    }
}

/// Each process begins at a time that its pid tells.
fn pid_time(pid: u32) -> u64 {
    u64::from(pid) * SECOND
}

fn subject(pid: u32, start: u64) -> Subject {
    let key = ProcessKey::new(Pid(pid), BootTime::from_nanos(start));
    Subject { key, began: BootTime::from_nanos(pid_time(pid)), precision: procession::Precision::default() }
}

fn program<'a>(binary: &'a [u8], arguments: &'a [u8]) -> Program<'a> {
    let cwd = WorkingDirectory::Path(b"/tmp");
    Program { binary, cwd, arguments: Arguments::complete(arguments), ..Program::default() }
}

fn context(euid: u32) -> Context<'static> {
    let credentials = Credentials { uid: Uid(euid), euid: Uid(euid), ..Credentials::default() };
    Context { credentials: Some(credentials), ..Context::default() }
}

fn ls() -> Program<'static> {
    program(b"/bin/ls", b"ls\0-l\0a b\0")
}

/// A shell's child that ran `program`.
fn child(program: Program<'_>, context: Context<'_>) -> (Scene, Fact) {
    let mut scene = Scene::new();
    scene.fork(CHILD, SHELL);
    let fact = scene.exec(CHILD, program, context);
    (scene, fact)
}

fn renderer(form: Form) -> Renderer {
    let boot = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let surroundings = Surroundings {
        clock: WallClock::new(BootTime::ZERO, boot),
        zone: TimeZone::UTC,
        users: Users::parse(b"root:x:0:0\nalice:x:1000:1000\nsystemd-network:x:998:998\nab\x01:x:5:5"),
    };
    Renderer::new(form, surroundings)
}

fn rendered(form: Form, fact: &Fact) -> String {
    rendered_as_told(form, &Told::from(fact.clone()))
}

fn rendered_as_told(form: Form, told: &Told) -> String {
    let mut out = Vec::new();
    renderer(form).render(told, &mut out);
    String::from_utf8(out).unwrap()
}

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The control group of [`CONTAINER`].
fn cgroup_of_container() -> Cgroup<&'static [u8]> {
    const PATH: &[u8] = b"/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/inside";
    Cgroup { id: 7, path: PATH }
}

/// [`CONTAINER`] as a runtime tells of it, perhaps in a pod of the namespace `shop`.
fn whose(name: &str, pod: Option<&str>) -> Whose {
    let pod = pod.map(|name| RuntimePod {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        ..RuntimePod::default()
    });
    Whose::Runtime(Arc::new(ContainerInfo {
        name: name.to_owned(),
        image: name.to_owned(),
        pod,
        runtime: "docker".to_owned(),
        ..ContainerInfo::of(ContainerId::parse(CONTAINER.as_bytes()).unwrap())
    }))
}

#[track_caller]
fn check_text(options: TextOptions, fact: &Fact, line: &str) {
    assert_eq!(rendered(Form::Text(Text::new(options)), fact), format!("{line}\n"));
}

#[track_caller]
fn check(fact: &Fact, line: &str) {
    check_text(TextOptions::default(), fact, line);
}

#[test]
fn an_exec_and_its_end() {
    let (mut scene, exec) = child(ls(), context(1000));
    check(&exec, "22:15:01.001     101 alice    exec /bin/ls -l 'a b'");
    let exit = scene.exit(CHILD, 6_190_000, Some(0));
    check(&exit, "22:15:01.006     101 alice    end  /bin/ls -l 'a b'  exit 0  6.1ms");
}

#[test]
fn every_way_to_end() {
    for (status, shown) in [
        (Some(3 << 8), "exit 3"),
        (Some(9), "SIGKILL"),
        (Some(0x80 | 6), "SIGABRT (core dumped)"),
        (Some(40), "signal 40"),
        (None, "gone"),
    ] {
        let (mut scene, _) = child(ls(), context(0));
        let exit = scene.exit(CHILD, 75 * SECOND, status);
        check(&exit, &format!("22:16:16.000     101 root     end  /bin/ls -l 'a b'  {shown}  1m15s"));
    }
}

/// What is shown of the change from `before` to `after`.
fn change_shown(before: Context<'_>, after: Context<'_>) -> String {
    let (mut scene, _) = child(program(b"/bin/x", b"x\0"), before);
    let fact = scene.change(CHILD, SECOND, after);
    let line = rendered(Form::Text(Text::new(TextOptions::default())), &fact);
    let (_, shown) = line.split_once(" set  /bin/x").expect("it is a change");
    shown.trim_end().to_owned()
}

fn credentials(credentials: Credentials) -> Context<'static> {
    Context { credentials: Some(credentials), ..Context::default() }
}

#[test]
fn a_change_of_ids_says_what_became_of_which() {
    let user = |[uid, euid, suid, fsuid]: [u32; 4]| Credentials {
        uid: Uid(uid),
        euid: Uid(euid),
        suid: Uid(suid),
        fsuid: Uid(fsuid),
        ..Credentials::default()
    };
    for (before, after, shown) in [
        ([1000; 4], [0; 4], "  uid 1000 → 0"),
        ([0; 4], [0, 5, 0, 5], "  euid 0 → 5"),
        ([0; 4], [0, 5, 5, 5], "  euid 0 → 5, suid 0 → 5"),
        ([5, 0, 0, 0], [5; 4], "  euid 0 → 5, suid 0 → 5"),
        ([0; 4], [0, 0, 0, 5], "  fsuid 0 → 5"),
        ([1, 2, 3, 2], [1, 2, 2, 2], "  suid 3 → 2"),
    ] {
        assert_eq!(change_shown(credentials(user(before)), credentials(user(after))), shown);
    }
    let group = |gid| Credentials { gid: Gid(gid), egid: Gid(gid), securebits: gid, ..user([0; 4]) };
    let shown = change_shown(credentials(group(0)), credentials(group(16)));
    assert_eq!(shown, "  gid 0 → 16, securebits 0x0 → 0x10");
    let login = Credentials { login_uid: Some(Uid(7)), ..user([0; 4]) };
    assert_eq!(change_shown(credentials(user([0; 4])), credentials(login)), "  login uid 7");
}

#[test]
fn a_change_of_capabilities_names_the_few_and_counts_the_many() {
    let sets = |effective, permitted, bounding| {
        let set = CapabilitySet;
        let capabilities = Capabilities {
            effective: set(effective),
            permitted: set(permitted),
            bounding: set(bounding),
            ..Capabilities::default()
        };
        credentials(Credentials { capabilities, ..Credentials::default() })
    };
    let all = (1 << 41) - 1;
    for (before, after, shown) in [
        (sets(1 << 13, 1 << 13, 0), sets(1 << 21, 1 << 21, 0), "  caps +sys_admin -net_raw"),
        (sets(all, all, all), sets(0, 0, all), "  caps none"),
        (sets(all, all, all), sets(0, all, all), "  caps none"),
        (sets(0, 3, all), sets(all, all, all), "  caps +41 of them, permitted +39 of them"),
        (sets(1, 1, 3), sets(1, 1, 1), "  bounding -dac_override"),
        (sets(1, 1, 1), sets(1 | 1 << 50, 1, 1), "  caps +50"),
    ] {
        assert_eq!(change_shown(before, after), shown);
    }
}

#[test]
fn a_change_of_place_says_from_where_to_where() {
    let namespaces = |mnt, uts| Some(Namespaces { mnt, uts, ..Namespaces::default() });
    let at = |mnt, uts| Context { namespaces: namespaces(mnt, uts), ..Context::default() };
    assert_eq!(change_shown(at(40, 50), at(41, 50)), "  mnt ns 40 → 41");
    assert_eq!(change_shown(at(40, 50), at(42, 52)), "  mnt ns 40 → 42, uts ns 50 → 52");

    let cgroup = |id| Context { cgroup: Some(Cgroup { id, path: b"/x" }), ..Context::default() };
    assert_eq!(change_shown(cgroup(1), cgroup(2)), "  cgroup");
    let session = |pid| Context { session: Some(Pid(pid)), ..context(0) };
    assert_eq!(change_shown(session(SHELL), session(CHILD)), "  session 101");
    assert_eq!(change_shown(Context::default(), context(0)), "", "nobody knows what was before");
}

#[test]
fn a_change_of_a_process_that_was_never_heard_of_is_no_more_than_that() {
    let mut scene = Scene::new();
    let fact = scene.change(7, 20, Context { session: Some(Pid(7)), ..context(0) });
    check(&fact, "22:13:27.000       7 root     set  ? (inferred)");
    // What was there before the second one is known.
    let fact = scene.change(7, 40, context(1000));
    check(&fact, "22:13:27.000       7 alice    set  ? (inferred)  uid 0 → 1000");
    for form in [Form::Compact(compact(Palette::plain())), json()] {
        assert_eq!(rendered(form, &fact), "");
    }
}

#[test]
fn users_without_a_name_and_with_a_long_or_a_hostile_one() {
    for (euid, shown) in [(998, "systemd+"), (65_534, "65534   "), (u32::MAX, "4294967+"), (5, "ab\\x01  ")] {
        let (_, exec) = child(ls(), context(euid));
        check(&exec, &format!("22:15:01.001     101 {shown} exec /bin/ls -l 'a b'"));
    }
    let (_, exec) = child(ls(), Context::default());
    check(&exec, "22:15:01.001     101 ?        exec /bin/ls -l 'a b'");
}

#[test]
fn a_container_is_named_and_its_user_is_not() {
    let path = format!("/docker/{}", "0123456789abcdef".repeat(4));
    let cgroup = Some(Cgroup { id: 7, path: path.as_bytes() });
    let (_, exec) = child(ls(), Context { cgroup, ..context(1000) });
    check(&exec, "22:15:01.001     101 1000     exec [0123456789ab] /bin/ls -l 'a b'");
}

#[test]
fn what_deserves_a_second_look_is_marked() {
    let unlinked = Some(FileIdentity { inode: 5, ..FileIdentity::default() });
    let raised = PrivilegeChange { setuid: true, setuid_root: true, ..PrivilegeChange::default() };
    let capable = PrivilegeChange { setgid: true, file_capabilities: true, ..PrivilegeChange::default() };
    let cut = Arguments { bytes: b"ls\0-l", total_len: 517 };
    for (program, shown) in [
        (Program { privileges: raised, ..ls() }, "/bin/ls -l 'a b' (setuid)"),
        (Program { privileges: capable, ..ls() }, "/bin/ls -l 'a b' (setgid) (file capabilities)"),
        (Program { file: unlinked, ..ls() }, "/bin/ls -l 'a b' (deleted)"),
        (Program { executable: b"/bin/ls (deleted)", ..ls() }, "/bin/ls -l 'a b' (deleted)"),
        (
            Program { file: unlinked, executable: b"/memfd:x (deleted)", ..program(b"/dev/fd/3", b"") },
            "/dev/fd/3 (memfd)",
        ),
        (Program { arguments: cut, ..ls() }, "/bin/ls -l (512 argument bytes missing)"),
    ] {
        let (_, exec) = child(program, context(0));
        check(&exec, &format!("22:15:01.001     101 root     exec {shown}"));
    }
}

#[test]
fn hostile_names_are_shown_and_do_nothing() {
    let (_, exec) = child(program(b"/tmp/\x1b]0;x\x07", b"a\0it's\0\n\0\xff\0\0"), context(0));
    check(&exec, "22:15:01.001     101 root     exec $'/tmp/\\x1b]0;x\\x07' $'it\\'s' $'\\n' $'\\xff' ''");
}

#[test]
fn a_kernel_thread_and_a_process_that_is_only_inferred() {
    let mut scene = Scene::new();
    let thread = Program { nature: Nature::KernelThread, binary: b"[kworker/0:1]", ..Program::default() };
    check(&scene.found(2, thread, context(0)), "22:13:22.000       2 root     live [kworker/0:1]");
    let exit = scene.exit(7, 20, Some(0));
    check(&exit, "22:13:27.000       7 ?        end  comm\\n (inferred)  exit 0  20ns");
}

#[test]
fn a_tree_shows_a_subshell_once_and_marks_its_end() {
    let mut scene = Scene::new();
    scene.fork(CHILD, SHELL);
    scene.fork(102, CHILD);
    scene.fork(103, CHILD);
    let first = scene.exec(102, ls(), context(0));
    let second = scene.exec(103, ls(), context(0));
    let end = scene.exit(CHILD, 5 * SECOND, Some(0));
    let mut renderer = renderer(Form::Text(Text::new(TextOptions { tree: true, ..TextOptions::default() })));
    let mut out = Vec::new();
    for fact in [first, second, end] {
        renderer.render(&Told { fact, containers: Vec::new(), is_complete: true }, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().map(|line| line[21..].trim_end()).collect();
    assert_eq!(
        lines,
        [
            "root     fork └─/bin/sh",
            "root     exec │ └─/bin/ls -l 'a b'",
            "root     exec │ └─/bin/ls -l 'a b'",
            "root     end  └─/bin/sh (fork)  exit 0  5.0s",
        ],
        "{text}"
    );
}

#[test]
fn forks_are_shown_on_demand() {
    let fork = Scene::new().fork(CHILD, SHELL);
    assert_eq!(rendered(Form::Text(Text::new(TextOptions::default())), &fork), "");
    let options = TextOptions { forks: true, ..TextOptions::default() };
    check_text(options, &fork, "22:15:01.000     101 root     fork /bin/sh");
}

#[test]
fn a_tree_is_indented_by_depth_to_a_limit() {
    let tree = TextOptions { tree: true, ..TextOptions::default() };
    let (_, mut exec) = child(ls(), context(0));
    for (depth, guides) in [
        (0, String::new()),
        (1, "└─".into()),
        (3, "│ │ └─".into()),
        (32, "│ ".repeat(31) + "└─"),
        (u16::MAX, "│ ".repeat(31) + "└─"),
    ] {
        exec.depth = depth;
        let line = format!("22:15:01.001     101 root     exec {guides}/bin/ls -l 'a b'");
        check_text(tree.clone(), &exec, &line);
    }
}

#[test]
fn ancestors_follow_on_demand() {
    let options = TextOptions { ancestors: true, ..TextOptions::default() };
    let (_, mut exec) = child(ls(), context(0));
    let line = "22:15:01.001     101 root     exec /bin/ls -l 'a b' ← sh(100) ← init(1)";
    check_text(options.clone(), &exec, line);

    let init = exec.lineage[1].clone();
    let other_init = |n| procession::Process { began: BootTime::from_nanos(n), ..init.clone() };
    exec.lineage = (0..40).map(other_init).collect();
    let line = rendered(Form::Text(Text::new(options)), &exec);
    assert!(line.ends_with(" ← init(1) ← init(1) ← 8 more\n"), "{line}");

    // An image that the process itself replaced is not its parent.
    let past = procession::Process { began: exec.process.began, key: exec.process.key, ..init };
    exec.lineage = vec![past];
    let line =
        rendered(Form::Text(Text::new(TextOptions { ancestors: true, ..TextOptions::default() })), &exec);
    assert!(!line.contains('←'), "{line}");
}

#[test]
fn a_narrow_line_keeps_the_outcome() {
    let (mut scene, _) = child(program(b"/usr/bin/find", b"find\0/\0-name\0needle\0-print\0"), context(0));
    let exit = scene.exit(CHILD, 2 * SECOND, Some(1 << 8));
    let options = TextOptions { width: Some(70), ..TextOptions::default() };
    check_text(options, &exit, "22:15:03.000     101 root     end  /usr/bin/find / -nam…  exit 1  2.0s");
}

#[test]
fn colours_surround_the_parts() {
    let (mut scene, _) = child(ls(), context(0));
    let options = TextOptions { palette: Palette::coloured(), ..TextOptions::default() };
    let line = "\x1b[2m22:15:02.000\x1b[0m     101 \x1b[36mroot    \x1b[0m \x1b[2mend \x1b[0m \
                \x1b[1m/bin/ls\x1b[0m -l 'a b'  \x1b[31mSIGTERM\x1b[0m\x1b[2m  1.0s\x1b[0m";
    check_text(options, &scene.exit(CHILD, SECOND, Some(15)), line);
}

fn compact(palette: Palette) -> Compact {
    Compact { node_name: "node1".into(), timestamps: false, capabilities: true, palette }
}

#[test]
fn compact_lines_of_the_reference_client() {
    let check = |fact: &Fact, line: &str| {
        assert_eq!(rendered(Form::Compact(compact(Palette::plain())), fact), format!("{line}\n"));
    };
    let (mut scene, exec) = child(ls(), context(0));
    check(&exec, "🚀 process node1 /bin/ls -l \"a b\"");
    check(&scene.exit(CHILD, SECOND, Some(0)), "💥 exit    node1 /bin/ls -l \"a b\" 0");
    for (status, shown) in [(Some(3 << 8), "3"), (Some(0x80 | 6), "SIGABRT"), (Some(40), "0"), (None, "?")] {
        let (mut scene, exec) = child(program(b"/bin/true", b"true\0"), context(0));
        check(&exec, "🚀 process node1 /bin/true ");
        check(&scene.exit(CHILD, SECOND, status), &format!("💥 exit    node1 /bin/true  {shown}"));
    }
    let (_, exec) = child(program(b"/bin/echo", b"echo\0\x1b[0m\0\"\0"), context(0));
    check(&exec, r#"🚀 process node1 /bin/echo "\x1b[0m \"""#);
    assert_eq!(rendered(Form::Compact(compact(Palette::plain())), &Scene::new().fork(CHILD, SHELL)), "");
}

#[test]
fn compact_time_and_marker() {
    let effective = CapabilitySet(1 << 21);
    let credentials = Credentials {
        capabilities: Capabilities { effective, ..Capabilities::default() },
        ..Credentials::default()
    };
    let (_, exec) = child(ls(), Context { credentials: Some(credentials), ..Context::default() });
    let form = Compact { timestamps: true, ..compact(Palette::plain()) };
    // 120, less the 35 bytes before, for the 15 characters of the marker.
    let padding = " ".repeat(120 - 35 - 15);
    let line = "2023-11-14T22:15:01.001000000Z 🚀 process node1 /bin/ls -l \"a b\"";
    assert_eq!(rendered(Form::Compact(form), &exec), format!("{line} {padding}🛑 CAP_SYS_ADMIN\n"));
}

#[test]
fn compact_colours_pad_an_absent_marker() {
    let (_, exec) = child(program(b"/bin/true", b"true\0"), context(0));
    let line = "\x1b[34m🚀 process\x1b[0m \x1b[32mnode1\x1b[0m \x1b[35m/bin/true\x1b[0m \x1b[36m\x1b[0m";
    let padding = " ".repeat(120 - line.len() - "\x1b[35m\x1b[0m".len());
    let expected = format!("{line} {padding}\x1b[35m\x1b[0m\n");
    assert_eq!(rendered(Form::Compact(compact(Palette::coloured())), &exec), expected);
}

#[test]
fn a_container_is_shown_by_its_pod_or_else_by_its_name_or_else_by_its_id() {
    let (_, exec) = child(ls(), Context { cgroup: Some(cgroup_of_container()), ..context(1000) });
    let told = |containers| Told { containers, ..Told::from(exec.clone()) };
    let text = || Form::Text(Text::new(TextOptions::default()));
    let compact = || Form::Compact(compact(Palette::plain()));
    let begin = "22:15:01.001     101 1000     exec ";
    for (told, in_text, in_compact) in [
        (told(vec![whose("web", Some("cart-0"))]), "[shop/cart-0] /bin/ls -l 'a b'", "shop/cart-0"),
        (told(vec![whose("we\x1bb", None)]), r"[we\x1bb] /bin/ls -l 'a b'", "node1"),
        (told(vec![]), "[0123456789ab] /bin/ls -l 'a b'", "node1"),
        (
            Told { is_complete: false, ..told(vec![]) },
            "[0123456789ab] /bin/ls -l 'a b' (unknown container)",
            "node1",
        ),
    ] {
        assert_eq!(rendered_as_told(text(), &told), format!("{begin}{in_text}\n"));
        let line = rendered_as_told(compact(), &told);
        assert_eq!(line, format!("🚀 process {in_compact} /bin/ls -l \"a b\"\n"));
    }
}

#[test]
fn clock_and_users_can_be_renewed() {
    let (_, exec) = child(ls(), context(1000));
    let mut renderer = renderer(Form::Text(Text::new(TextOptions::default())));
    renderer.surroundings_mut().users = Users::parse(b"bob:x:1000:1000");
    renderer.surroundings_mut().clock = WallClock::new(BootTime::ZERO, SystemTime::UNIX_EPOCH);
    let mut out = Vec::new();
    renderer.render(&Told::from(exec), &mut out);
    assert_eq!(out, b"00:01:41.001     101 bob      exec /bin/ls -l 'a b'\n");
}

/// Every form, plain and coloured, with all that can be shown.
fn all_forms() -> Vec<Form> {
    let text = |palette, width| {
        let options = TextOptions { forks: true, tree: true, ancestors: true, width, palette };
        Form::Text(Text::new(options))
    };
    let options = AnnotationOptions { credentials: true, ancestors: true, ..AnnotationOptions::default() };
    vec![
        text(Palette::plain(), None),
        text(Palette::plain(), Some(60)),
        text(Palette::coloured(), None),
        text(Palette::coloured(), Some(60)),
        Form::Compact(compact(Palette::plain())),
        Form::Compact(compact(Palette::coloured())),
        Form::Json(JsonEncoder { node_name: "node1".into(), options }),
    ]
}

fn json() -> Form {
    Form::Json(JsonEncoder { node_name: "node1".into(), options: AnnotationOptions::default() })
}

/// `line` without the sequences that set colours.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (codes, rest) = part.split_once('m').expect("a sequence that sets a colour");
        assert!(codes.bytes().all(|code| code.is_ascii_digit() || code == b';'), "{codes:?}");
        text.push_str(rest);
    }
    text
}

/// Any characters, of which many control something.
pub(crate) fn hostile_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![any::<char>(), (0_u32..0xa0).prop_map(|code| char::from_u32(code).unwrap())];
    prop::collection::vec(character, 0..12).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn no_line_holds_a_raw_control_character(
        binary in any::<Vec<u8>>(),
        arguments in any::<Vec<u8>>(),
        cwd in any::<Vec<u8>>(),
        comm in any::<Vec<u8>>(),
        executable in any::<Vec<u8>>(),
        is_kernel_thread in any::<bool>(),
        name in hostile_text(),
        pod in prop::option::of(hostile_text()),
    ) {
        let program = Program {
            nature: if is_kernel_thread { Nature::KernelThread } else { Nature::User },
            binary: &binary,
            executable: &executable,
            comm: &comm,
            cwd: WorkingDirectory::Path(&cwd),
            arguments: Arguments::complete(&arguments),
            ..Program::default()
        };
        let (mut scene, exec) = child(program, Context { cgroup: Some(cgroup_of_container()), ..context(0) });
        let fork = scene.fork(102, CHILD);
        let change = scene.change(CHILD, SECOND / 2, context(1000));
        let exit = scene.exit(CHILD, SECOND, Some(0));
        for form in all_forms() {
            let mut renderer = renderer(form);
            for fact in [&exec, &fork, &change, &exit] {
                let mut out = Vec::new();
                let told = Told {
                    containers: vec![whose(&name, pod.as_deref())],
                    ..Told::from(fact.clone())
                };
                renderer.render(&told, &mut out);
                let line = String::from_utf8(out).expect("lines are UTF-8");
                let text = without_colours(line.strip_suffix('\n').unwrap_or_default());
                prop_assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
            }
        }
    }
}
