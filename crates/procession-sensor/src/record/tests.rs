//! What the decoder makes of each kind of record.

use procession::{
    BootTime, Capabilities, CapabilitySet, Cgroup, Change, Context, Credentials, Event, EventKind, Exec,
    Exit, ExitStatus, FileIdentity, Fork, Gid, Namespaces, Nature, Pid, Precision, PrivilegeChange,
    ProcessKey, Program, Relative, Running, Subject, Uid, WorkingDirectory,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::build::{self, Choose, Image, block, components, part, process};
use super::layout::{self, Facts, FileFacts, ProcessRef, kind, text_state};
use super::{Decoder, Malformed, RecordId, identify};

/// Hands every record to a decoder, and the event of the last one to `check`.
#[track_caller]
fn decode_all(records: &[Vec<u8>], check: impl FnOnce(Event<'_>)) {
    let mut decoder = Decoder::default();
    let (last, before) = records.split_last().expect("there is a record");
    for record in before {
        let _ = decoder.decode(record).unwrap();
    }
    check(decoder.decode(last).unwrap().expect("an event"));
}

#[track_caller]
fn check_event(record: &[u8], kind: &EventKind<'_>) {
    decode_all(&[record.to_vec()], |event| {
        assert_eq!(event, Event { time: BootTime::from_nanos(1_000), kind: *kind });
    });
}

#[track_caller]
fn with_program(records: &[Vec<u8>], check: impl FnOnce(Program<'_>)) {
    decode_all(records, |event| match event.kind {
        EventKind::Exec(exec) => check(exec.program),
        EventKind::Running(running) => check(running.program),
        other => panic!("no program in {other:?}"),
    });
}

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(start))
}

/// One that began when all processes in these tests do.
fn relative(pid: u32, start: u64) -> Relative {
    Relative { key: key(pid, start), began: Some(BootTime::from_nanos(5)) }
}

fn subject(pid: u32, start: u64) -> Subject {
    let began = BootTime::from_nanos(5);
    Subject { key: key(pid, start), began, precision: Precision::Nanoseconds }
}

/// Another number in every field.
fn facts() -> Facts {
    Facts {
        creds: layout::Credentials {
            uid: 1,
            gid: 2,
            suid: 3,
            sgid: 4,
            euid: 5,
            egid: 6,
            fsuid: 7,
            fsgid: 8,
            securebits: 9,
            userns_level: 10,
            userns_uid: 11,
            userns_gid: 12,
        },
        caps: layout::Capabilities { permitted: 1, effective: 2, inheritable: 4, bounding: 8, ambient: 16 },
        ns: layout::Namespaces {
            uts: 21,
            ipc: 22,
            mnt: 23,
            pid: 24,
            pid_for_children: 25,
            net: 26,
            time: 27,
            time_for_children: 28,
            cgroup: 29,
            user: 30,
        },
        cgroup_id: 31,
        cgroup_hierarchy: 0,
        nspid: 32,
        pidns_level: 1,
        loginuid: 33,
        audit_session: 34,
        sid: 35,
        pgid: 36,
        task_flags: 0,
        no_new_privs: 0,
        seccomp: 0,
        comm: *b"comm\0leftover\0\0\0",
        tty: *b"pts0\0leftover\0\0\0",
    }
}

/// What [`facts`] says.
fn context(cgroup_path: &[u8]) -> Context<'_> {
    Context {
        ns_pid: Some(Pid(32)),
        session: Some(Pid(35)),
        credentials: Some(Credentials {
            uid: Uid(1),
            gid: Gid(2),
            suid: Uid(3),
            sgid: Gid(4),
            euid: Uid(5),
            egid: Gid(6),
            fsuid: Uid(7),
            fsgid: Gid(8),
            securebits: 9,
            login_uid: Some(Uid(33)),
            audit_session: Some(34),
            capabilities: Capabilities {
                permitted: CapabilitySet(1),
                effective: CapabilitySet(2),
                inheritable: CapabilitySet(4),
                bounding: CapabilitySet(8),
                ambient: CapabilitySet(16),
            },
        }),
        namespaces: Some(Namespaces {
            uts: 21,
            ipc: 22,
            mnt: 23,
            pid: 24,
            pid_for_children: 25,
            net: 26,
            time: 27,
            time_for_children: 28,
            cgroup: 29,
            user: 30,
        }),
        cgroup: Some(Cgroup { id: 31, path: cgroup_path }),
    }
}

#[test]
fn the_begin_of_every_record_tells_what_it_is_about() {
    let mut record = build::exit();
    record.header.cpu = 3;
    record.header.seq = 4;
    record.subject = ProcessRef { tid: 12, ..process(10, 30) };
    let id = RecordId {
        kind: kind::EXIT,
        len: 128,
        cpu: 3,
        seq: 4,
        time: BootTime::from_nanos(1_000),
        subject: key(10, 30),
        began: BootTime::from_nanos(5),
    };
    assert_eq!(identify(record.as_bytes()), Ok(id));
    assert_eq!(identify(&[record.as_bytes(), b"the next one"].concat()), Ok(id));
    assert_eq!(identify(&record.as_bytes()[..127]), Err(Malformed));
}

#[test]
fn a_kind_that_does_not_exist_is_malformed() {
    for unknown in [0, kind::CHANGE + 1, u16::MAX] {
        let record = Image::full().with(|record| record.header.kind = unknown).bytes();
        assert_eq!(Decoder::default().decode(&record), Err(Malformed), "{unknown}");
    }
}

#[test]
fn fork_is_decoded_field_by_field() {
    let mut record = build::fork();
    record.subject = process(11, 5);
    record.creator = ProcessRef { tid: 13, ..process(10, 30) };
    record.owner = process(9, 40);
    record.facts = facts();
    let fork = Fork {
        child: subject(11, 5),
        parent: relative(10, 30),
        parent_tid: Pid(13),
        owner: relative(9, 40),
        context: context(b""),
    };
    check_event(record.as_bytes(), &EventKind::Fork(fork));
}

#[test]
fn change_is_decoded_field_by_field() {
    let mut record = build::change();
    record.subject = ProcessRef { tid: 12, ..process(10, 30) };
    record.facts = facts();
    let change = Change { process: subject(10, 30), context: context(b"") };
    check_event(record.as_bytes(), &EventKind::Change(change));
}

#[test]
fn a_leader_that_has_ended_does_not_take_the_namespaces_with_it() {
    let mut record = build::change();
    record.subject = process(10, 30);
    record.facts = facts();
    record.facts.ns = layout::Namespaces::new_zeroed();
    let context = Context { namespaces: None, ..context(b"") };
    check_event(record.as_bytes(), &EventKind::Change(Change { process: subject(10, 30), context }));
}

#[test]
fn exit_is_decoded_field_by_field() {
    let mut record = build::exit();
    record.subject = ProcessRef { tid: 12, ..process(10, 30) };
    record.owner = process(9, 40);
    record.status = 0x8b;
    record.comm = *b"fifteen letters\0";
    let exit = Exit {
        process: subject(10, 30),
        tid: Pid(12),
        owner: relative(9, 40),
        status: Some(ExitStatus::from_raw(0x8b)),
        comm: b"fifteen letters",
    };
    check_event(record.as_bytes(), &EventKind::Exit(exit));
}

/// Regression: the name went on into whatever followed the record's last field.
#[test]
fn the_name_in_an_exit_ends_where_its_field_ends() {
    let mut record = build::exit();
    record.comm = *b"without its NUL!";
    record.header.len += 4;
    let bytes = [record.as_bytes(), b"more"].concat();
    decode_all(&[bytes], |event| match event.kind {
        EventKind::Exit(exit) => assert_eq!(exit.comm, b"without its NUL!"),
        other => panic!("{other:?}"),
    });
}

/// [`Image::full`] with all numbers filled in.
fn image(base: Image) -> Image {
    base.with(|record| {
        record.owner = process(9, 40);
        record.facts = facts();
        record.file = FileFacts {
            inode: 41,
            size: 42,
            fs_magic: 43,
            device: 44,
            links: 45,
            mode: 46,
            uid: 47,
            gid: 48,
            mount_flags: 49,
        };
    })
}

fn program() -> Program<'static> {
    Program {
        nature: Nature::User,
        binary: b"/home/me/ls",
        executable: b"/usr/bin/ls",
        comm: b"comm",
        cwd: WorkingDirectory::Path(b"/home/me"),
        environment: procession::Arguments::default(),
        arguments: procession::Arguments::complete(b"ls\0-l\0\0"),
        file: Some(FileIdentity { inode: 41, device: 44, links: 45, mode: 46, uid: 47, gid: 48 }),
        privileges: PrivilegeChange::default(),
    }
}

#[test]
fn exec_is_decoded_field_by_field() {
    let record = image(Image::full()).with(|record| record.old_tid = 12);
    let exec = Exec {
        process: subject(10, 30),
        replaces: Some(key(10, 5)),
        tid: Pid(12),
        owner: relative(9, 40),
        context: context(b"/a.slice/b.scope"),
        program: program(),
    };
    check_event(&record.bytes(), &EventKind::Exec(exec));
}

#[test]
fn walk_is_decoded_field_by_field() {
    let record = image(Image::full()).with(|record| {
        record.header.kind = kind::WALK;
        // A walk does not know which image a parent runs.
        record.owner.image_start = 0;
        record.filename = layout::Text::new_zeroed();
        record.interp = layout::Text::new_zeroed();
    });
    let running = Running {
        process: subject(10, 30),
        owner: relative(9, 5),
        context: context(b"/a.slice/b.scope"),
        program: Program { binary: b"/usr/bin/ls", ..program() },
        gap: None,
    };
    check_event(&record.bytes(), &EventKind::Running(running));
}

#[test]
fn what_is_not_there_is_none() {
    let record = Image::walk().with(|record| {
        record.facts.loginuid = u32::MAX;
        record.facts.audit_session = u32::MAX;
        record.facts.nspid = 10;
    });
    decode_all(&[record.bytes()], |event| {
        let EventKind::Running(running) = event.kind else { panic!("{event:?}") };
        assert_eq!(running.program, Program::default());
        assert_eq!(running.context.ns_pid, None, "the host's own pid namespace");
        assert_eq!(running.context.session, None, "there is no process 0");
        let credentials = running.context.credentials.unwrap();
        assert_eq!((credentials.login_uid, credentials.audit_session), (None, None));
    });
}

#[track_caller]
fn check_path(state: u32, components: &[u8], expected: WorkingDirectory<'_>) {
    let choose: [Choose; 2] = [|record| &mut record.cwd, |record| &mut record.exe];
    let record = choose.into_iter().fold(Image::walk(), |image, text| image.text(text, state, components));
    with_program(&[record.bytes()], |program| {
        assert_eq!(program.cwd, expected);
        assert_eq!(program.executable, expected.as_bytes(), "every path is put together alike");
    });
}

#[test]
fn paths_are_put_together_from_their_components() {
    use WorkingDirectory::{Path, Tail, Unknown};
    let deep = "/d".repeat(2_000);
    for (state, path, expected) in [
        (text_state::COMPLETE, "/", Path(b"/")),
        (text_state::COMPLETE, "/usr", Path(b"/usr")),
        (text_state::COMPLETE, "/usr/bin/ls", Path(b"/usr/bin/ls")),
        (text_state::COMPLETE, &deep, Path(deep.as_bytes())),
        (text_state::TRUNCATED, "b/c", Tail(b"b/c")),
        (text_state::TRUNCATED, "c", Tail(b"c")),
        (text_state::TRUNCATED, "", Tail(b"")),
        (text_state::NAME_ONLY, "memfd:x", Path(b"/memfd:x")),
        (text_state::UNREACHABLE, "/a/b", Path(b"(unreachable)/a/b")),
        (text_state::UNREACHABLE, "/", Path(b"(unreachable)/")),
        (text_state::ABSENT, "/left/over", Unknown),
        (9, "/a/state/of/the/future", Path(b"/a/state/of/the/future")),
    ] {
        check_path(state, &components(path), expected);
    }
    check_path(text_state::COMPLETE, b"\xff \n\0\xfe\0", Path(b"/\xfe/\xff \n"));
    check_path(text_state::COMPLETE, b"cut off\0us", Path(b"/us/cut off"));
}

#[test]
fn a_deleted_working_directory_is_marked() {
    let deleted = |state, path| {
        let image = Image::walk().path(|record| &mut record.cwd, state, path);
        image.with(|record| record.cwd.flags = layout::TEXT_DELETED).bytes()
    };
    for (state, path, expected) in [
        (text_state::COMPLETE, "/tmp/x", WorkingDirectory::Path(b"/tmp/x (deleted)")),
        (text_state::TRUNCATED, "y/x", WorkingDirectory::Tail(b"y/x (deleted)")),
        (text_state::ABSENT, "", WorkingDirectory::Unknown),
    ] {
        with_program(&[deleted(state, path)], |program| assert_eq!(program.cwd, expected));
    }
}

/// `cwd` is a path, `cut off: PATH`, `unreachable: PATH` or empty for unknown.
fn in_directory(cwd: &str) -> Image {
    let (state, path) = match cwd.split_once(": ") {
        Some(("cut off", path)) => (text_state::TRUNCATED, path),
        Some((_, path)) => (text_state::UNREACHABLE, path),
        None if cwd.is_empty() => (text_state::ABSENT, ""),
        None => (text_state::COMPLETE, cwd),
    };
    Image::exec().path(|record| &mut record.exe, text_state::COMPLETE, "/loaded").path(
        |record| &mut record.cwd,
        state,
        path,
    )
}

#[track_caller]
fn check_binary(image: &Image, expected: &str) {
    with_program(&[image.bytes()], |program| {
        assert_eq!(String::from_utf8_lossy(program.binary), expected, "{image:?}");
    });
}

#[test]
fn binary_is_the_named_file_seen_from_the_root() {
    for (cwd, name, expected) in [
        ("/home/me", "/bin/sh", "/bin/sh"),
        ("/home/me", "/bin/../a//b", "/bin/../a//b"),
        ("/home/me", "prog", "/home/me/prog"),
        ("/home/me", "./prog", "/home/me/prog"),
        ("/home/me", "bin//./prog", "/home/me/bin/prog"),
        ("/home/me", "../you/prog", "/home/you/prog"),
        ("/home/me", "../../../../prog", "/prog"),
        ("/home/me", "a/b/../../prog", "/home/me/prog"),
        ("/", "prog", "/prog"),
        ("/", "./a/prog", "/a/prog"),
        ("/", "../prog", "/prog"),
        ("", "./a/../prog", "./a/../prog"),
        ("", "prog", "prog"),
        ("cut off: b/c", "prog", "b/c/prog"),
        ("cut off: b/c", "../prog", "b/prog"),
        ("unreachable: /b/c", "prog", "(unreachable)/b/c/prog"),
        ("unreachable: /", "./prog", "(unreachable)/prog"),
        ("unreachable: /b", "../prog", "(unreachable)/prog"),
        // Nothing is known above.
        ("cut off: b/c", "../../prog", "/loaded"),
        ("cut off: b/c", "../../../prog", "/loaded"),
        ("unreachable: /b", "../../prog", "(unreachable)/prog"),
        // No file is named.
        ("/home/me", "", "/loaded"),
        ("/home/me", "/dev/fd/3", "/loaded"),
        ("/home/me", "/dev/fd/3/prog", "/loaded"),
        ("/home/me", "/dev/fdx", "/dev/fdx"),
    ] {
        check_binary(&in_directory(cwd).filename(name), expected);
    }
}

#[test]
fn binary_of_a_script_is_the_script_even_when_it_is_named_by_a_descriptor() {
    let interpreter: Choose = |record| &mut record.interp;
    for (name, expected) in [("/dev/fd/3", "/dev/fd/3"), ("run.sh", "/home/me/run.sh")] {
        let image = in_directory("/home/me").filename(name);
        check_binary(&image.text(interpreter, text_state::COMPLETE, b"/bin/sh\0"), expected);
    }
}

#[test]
fn binary_of_a_deleted_directory_without_a_name_is_not_made_up() {
    let image = in_directory("").filename("prog").with(|record| record.cwd.flags = layout::TEXT_DELETED);
    check_binary(&image, "prog");
}

#[test]
fn a_kernel_thread_has_its_name_in_brackets() {
    let image = Image::walk().with(|record| {
        record.facts.task_flags = 0x0020_0000 | 0x40;
        record.facts.comm = *b"kworker/0:1\0\0\0\0\0";
    });
    with_program(&[image.bytes()], |program| {
        assert_eq!(program.nature, Nature::KernelThread);
        assert_eq!(program.binary, b"[kworker/0:1]");
        assert_eq!(program.executable, b"");
        assert_eq!(program.file, None);
    });
}

/// Bytes that the exec record holds itself.
const INLINE: usize = layout::EXEC_ARGS_INLINE;

/// A block whose bytes differ from their neighbours.
fn long_block(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// The exec of process 10 with the begin of `block` in it.
fn exec_with(block: &[u8]) -> Vec<u8> {
    let total = block.len() as u64;
    let image = Image::exec().arguments(&block[..INLINE.min(block.len())]);
    image.with(|record| record.args.total = total).bytes()
}

fn part_of(subject: ProcessRef, block: &[u8], range: std::ops::Range<usize>) -> Vec<u8> {
    part(0, subject, range.start as u64, &block[range])
}

#[track_caller]
fn check_arguments(records: &[Vec<u8>], captured: &[u8], missing: usize) {
    with_program(records, |program| {
        // Not assert_eq: nobody wants to read that many bytes.
        assert!(program.arguments.bytes == captured, "{} bytes", program.arguments.bytes.len());
        assert_eq!(program.arguments.total_len, captured.len() + missing);
    });
}

#[test]
fn arguments_that_fit_are_in_the_record() {
    for arguments in [&[][..], &[""], &["ls"], &["", "a b", "\n"]] {
        check_arguments(&[exec_with(&block(arguments))], &block(arguments), 0);
    }
    check_arguments(&[exec_with(&long_block(INLINE))], &long_block(INLINE), 0);
}

#[test]
fn arguments_in_parts_are_put_together() {
    let (me, other) = (process(10, 30), process(11, 31));
    let all = long_block(100_000);
    let first = part_of(me, &all, INLINE..45_056);
    let second = part_of(me, &all, 45_056..73_728);
    let third = part_of(me, &all, 73_728..100_000);
    let exec = exec_with(&all);
    let check = |before: &[&Vec<u8>], captured: usize| {
        let records: Vec<_> = before.iter().copied().chain([&exec]).cloned().collect();
        check_arguments(&records, &all[..captured], all.len() - captured);
    };

    check(&[&first, &second, &third], 100_000);
    check(&[&first, &second], 73_728);
    check(&[&first], 45_056);
    check(&[], INLINE);
    // What comes after a gap cannot be placed.
    check(&[&first, &third], 45_056);
    check(&[&second, &third], INLINE);
    check(&[&first, &first, &second], 73_728);
    // What another exec on this CPU left behind, whose own record was lost.
    let leftover = part_of(other, &all, INLINE..45_056);
    check(&[&leftover], INLINE);
    check(&[&leftover, &first, &second, &third], 100_000);
    let other_image = part_of(process(10, 29), &all, INLINE..45_056);
    check(&[&other_image], INLINE);
    check(&[&other_image, &first], 45_056);
    // What happens on another CPU meanwhile.
    let elsewhere = part(1, other, INLINE as u64, &all[INLINE..45_056]);
    check(&[&first, &elsewhere, &second, &third], 100_000);
}

#[test]
fn parts_are_used_once() {
    let all = long_block(20_000);
    let records = [part_of(process(10, 30), &all, INLINE..20_000), exec_with(&all), exec_with(&all)];
    check_arguments(&records, &all[..INLINE], 20_000 - INLINE);
}

/// Regression: any image record of the CPU took the parts, also one that can have none.
#[test]
fn a_walk_leaves_parts_to_their_exec() {
    let all = long_block(20_000);
    let records = [part_of(process(10, 30), &all, INLINE..20_000), Image::walk().bytes(), exec_with(&all)];
    check_arguments(&records, &all, 0);
}

#[test]
fn parts_without_their_begin_are_not_taken_for_it() {
    let all = long_block(20_000);
    let exec = Image::exec().with(|record| record.args.total = 20_000).bytes();
    check_arguments(&[part_of(process(10, 30), &all, INLINE..20_000), exec], b"", 20_000);
}

#[test]
fn a_size_that_is_too_small_yields_to_what_was_captured() {
    let exec = Image::exec().arguments(&block(&["ls", "-l"])).with(|record| record.args.total = 1);
    check_arguments(&[exec.bytes()], &block(&["ls", "-l"]), 0);
}

/// Regression: the longest argument block that was ever seen stayed in memory for good.
#[test]
fn a_long_block_is_not_kept() {
    let all = long_block(1 << 20);
    let mut decoder = Decoder::default();
    for record in [part_of(process(10, 30), &all, INLINE..all.len()), exec_with(&all), Image::full().bytes()]
    {
        let _ = decoder.decode(&record).unwrap();
    }
    assert!(decoder.allocated() < 200_000, "{} bytes are kept", decoder.allocated());
}

/// Who the process is after the exec, and what kind of file it ran.
#[derive(Clone, Copy, Default)]
struct Raise {
    uid: u32,
    euid: u32,
    gid: u32,
    egid: u32,
    permitted: u64,
    ambient: u64,
    mode: u32,
}

#[track_caller]
fn check_privileges(per_clear: u32, raise: Raise, expected: PrivilegeChange) {
    let image = Image::exec().with(|record| {
        record.per_clear = per_clear;
        record.file.mode = 0o100_755 | raise.mode;
        let (creds, caps) = (&mut record.facts.creds, &mut record.facts.caps);
        (creds.uid, creds.euid) = (raise.uid, raise.euid);
        (creds.gid, creds.egid) = (raise.gid, raise.egid);
        (caps.permitted, caps.ambient) = (raise.permitted, raise.ambient);
    });
    with_program(&[image.bytes()], |program| assert_eq!(program.privileges, expected));
}

#[test]
fn privileges_are_those_that_came_with_the_file() {
    const RAISED: u32 = 0x0bd4_0000;
    let none = PrivilegeChange::default();
    let user = Raise { uid: 1_000, euid: 1_000, gid: 1_000, egid: 1_000, ..Raise::default() };
    let to_root = Raise { euid: 0, permitted: u64::MAX, mode: 0o4000, ..user };
    let to_user = Raise { euid: 8, mode: 0o4000, ..user };
    let to_group = Raise { egid: 8, mode: 0o2000, ..user };
    let to_root_group = Raise { egid: 0, mode: 0o2000, ..user };
    let capable = Raise { permitted: 1 << 13, ..user };
    for (per_clear, raise, expected) in [
        (RAISED, to_root, PrivilegeChange { setuid: true, setuid_root: true, ..none }),
        (RAISED, to_user, PrivilegeChange { setuid: true, ..none }),
        (RAISED, to_group, PrivilegeChange { setgid: true, ..none }),
        (RAISED, to_root_group, PrivilegeChange { setgid: true, setgid_root: true, ..none }),
        (
            RAISED,
            Raise { egid: 0, mode: 0o6000, ..to_root },
            PrivilegeChange { setuid: true, setuid_root: true, setgid: true, setgid_root: true, ..none },
        ),
        (RAISED, capable, PrivilegeChange { file_capabilities: true, ..none }),
        // The set-user-id file of the user itself.
        (RAISED, Raise { mode: 0o4000, ..user }, none),
        (RAISED, Raise { mode: 0o4000, ..capable }, none),
        (RAISED, Raise { ambient: 1 << 13, ..capable }, none),
        (RAISED, user, none),
        // Nothing was raised: what differs had differed before.
        (0, to_root, none),
        (0, to_group, none),
        (0, capable, none),
        (0, Raise::default(), none),
    ] {
        check_privileges(per_clear, raise, expected);
    }
}
