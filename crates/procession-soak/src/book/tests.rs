//! A book that is told of acts by an agent without faults, and with each fault that it has to notice.

use std::collections::HashMap;

use procession::{Arguments, BootTime, Pid, ProcessKey, text::to_valid_utf8};
use procession_api::proto::tetragon::{Process, ProcessExec, ProcessExit};

use super::{Book, SIGNALS, told_outcome};
use crate::plan::{FileKind, Kind, Outcome, Plan, Token};

const RUN: u32 = 7;
const SEED: u64 = 42;
const ACTOR: &str = "/stage/actor";

/// What is told.
#[derive(Clone, Debug)]
enum Told {
    Exec(Box<ProcessExec>),
    Exit(Box<ProcessExit>),
}

/// An agent without faults.
struct Teller {
    act: u64,
    plan: Plan,
    told: Vec<Told>,
    /// What a life is after so many execs.
    processes: HashMap<(usize, usize), Process>,
}

impl Teller {
    fn new(act: u64) -> Self {
        Self { act, plan: Plan::new(SEED, act), told: Vec::new(), processes: HashMap::new() }
    }

    /// In a thread with room for the deepest chain.
    fn tell(mut self) -> Vec<Told> {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let thread = thread.spawn(move || {
            self.live(0);
            self.told
        });
        thread.unwrap().join().unwrap()
    }

    fn live(&mut self, life: usize) {
        let it = self.plan.lives[life].clone();
        let pid = u32::try_from(100 + life).unwrap();
        let parent = it.parent.map_or_else(performer, |parent| self.processes[&parent].clone());
        let forked =
            Process { exec_id: name(pid, 0), parent_exec_id: parent.exec_id.clone(), ..parent.clone() };
        self.processes.insert((life, 0), Process { pid: Some(pid), ..forked });
        self.make_children(life, 0);
        for (number, image) in it.images.iter().enumerate() {
            let token = Token { run: RUN, seed: SEED, act: self.act, life, image: number };
            let folder = format!("/stage/{{}}-{}-{life}", self.act);
            let binary = match image.file {
                FileKind::Actor => ACTOR.to_owned(),
                FileKind::True => "/bin/true".to_owned(),
                FileKind::Memory => "/memfd:soak".to_owned(),
                FileKind::Deleted => folder.replace("{}", "deleted"),
                FileKind::Script => folder.replace("{}", "script"),
            };
            let mut words = vec![image.name.clone(), token.to_string().into_bytes()];
            words.extend((image.file == FileKind::Script).then(|| binary.clone().into_bytes()));
            let owner = parent.pid.unwrap();
            let (pid_word, owner) = if image.has_pids { (pid, owner) } else { (0, 0) };
            words.extend([format!("pid={pid_word}").into_bytes(), format!("owner={owner}").into_bytes()]);
            words.extend(image.extra.iter().cloned());
            let block: Vec<u8> = words.into_iter().flat_map(|word| [word, vec![0]].concat()).collect();
            let arguments = to_valid_utf8(&Arguments::complete(&block).joined(true)).into_owned();
            let replaced = (number > 0).then(|| self.processes[&(life, number)].exec_id.clone());
            let process = Process {
                exec_id: name(pid, number as u64 + 1),
                pid: Some(pid),
                parent_exec_id: replaced.unwrap_or_else(|| parent.exec_id.clone()),
                binary,
                arguments,
                cwd: "/stage".to_owned(),
                ..Process::default()
            };
            self.processes.insert((life, number + 1), process.clone());
            let exec = ProcessExec {
                process: Some(process),
                parent: Some(parent.clone()),
                ..ProcessExec::default()
            };
            self.told.push(Told::Exec(Box::new(exec)));
            self.make_children(life, number + 1);
        }
        self.end(life, it.images.len());
    }

    fn make_children(&mut self, life: usize, execs: usize) {
        for child in 0..self.plan.lives.len() {
            if self.plan.lives[child].parent == Some((life, execs)) {
                self.live(child);
            }
        }
    }

    fn end(&mut self, life: usize, execs: usize) {
        let process = Some(self.processes[&(life, execs)].clone());
        let exit = match told_outcome(&self.plan, life) {
            Outcome::Code(code) => ProcessExit { process, status: code.into(), ..ProcessExit::default() },
            Outcome::Signal(signal) => {
                let name = SIGNALS.iter().find(|(number, _)| *number == signal).unwrap().1;
                ProcessExit { process, signal: name.to_owned(), ..ProcessExit::default() }
            }
        };
        self.told.push(Told::Exit(Box::new(exit)));
    }
}

fn performer() -> Process {
    Process {
        exec_id: name(50, 1),
        pid: Some(50),
        binary: ACTOR.to_owned(),
        arguments: format!("soak {RUN} {SEED} 0 4"),
        cwd: "/stage".to_owned(),
        ..Process::default()
    }
}

fn name(pid: u32, image: u64) -> String {
    ProcessKey::new(Pid(pid), BootTime::from_nanos(u64::from(pid) * 1_000 + image)).exec_id("soak")
}

fn book_of(told: &[Told]) -> Book {
    let mut book = Book::new(RUN, SEED, ACTOR.to_owned());
    for it in told {
        match it {
            Told::Exec(exec) => book.exec(exec),
            Told::Exit(exit) => book.exit(exit),
        }
    }
    book
}

fn first_act(kind: Kind) -> u64 {
    (0..10_000).find(|act| Plan::new(SEED, *act).kind == kind).unwrap()
}

#[test]
fn acts_of_every_kind_that_are_told_well_leave_nothing_to_say() {
    let mut kinds = std::collections::BTreeSet::new();
    for act in (0..400).chain([crate::plan::FIRST_HELD]) {
        let mut book = book_of(&Teller::new(act).tell());
        let plan = Plan::new(SEED, act);
        kinds.insert(plan.kind);
        assert_eq!((book.faults.count, book.deviations.count), (0, 0), "{act}: {book:#?}");
        assert!(book.is_done(act), "{act}");
        assert_eq!(book.seen, plan.counts(), "{act}");
        let played = if act == crate::plan::FIRST_HELD { 0..0 } else { act..act + 1 };
        assert_eq!(book.settle(played, &[]).acts, 0);
    }
    assert_eq!(kinds.len(), 19, "all but containers: {kinds:?}");
}

#[test]
fn whatever_is_left_out_is_missing() {
    let act = first_act(Kind::Execs);
    let told = Teller::new(act).tell();
    for out in 0..told.len() {
        let mut fewer = told.clone();
        fewer.remove(out);
        let mut book = book_of(&fewer);
        assert!(!book.is_done(act), "{out}");
        let missing = book.settle(act..act + 1, &[]);
        assert_eq!(missing.acts, 1);
        assert_eq!(missing.counts.lives + missing.counts.execs, 1, "{out}: {missing:?}");
        assert_eq!(book.faults.count, 0, "{out}: {book:#?}");
    }
    let untold = book_of(&[]).settle(act..act + 1, &[]).counts;
    assert_eq!(untold, Plan::new(SEED, act).counts());
}

#[test]
fn whatever_is_told_twice_is_a_fault() {
    for kind in [Kind::Execs, Kind::Signals, Kind::ExecChain] {
        let told = Teller::new(first_act(kind)).tell();
        for again in 0..told.len() {
            for at in [again, told.len() - 1] {
                let mut more = told.clone();
                more.insert(at + 1, told[again].clone());
                let book = book_of(&more);
                assert!(book.faults.count + book.deviations.count > 0, "{kind:?} {again} {at}");
            }
        }
    }
}

#[test]
fn what_is_told_wrongly_is_noticed() {
    let wrongs: [(&str, fn(&mut Told) -> bool); 6] = [
        ("binary", |told| change(told, |process| process.binary.push('x'))),
        ("arguments", |told| change(told, |process| process.arguments.push('x'))),
        ("pid", |told| change(told, |process| process.pid = Some(1))),
        ("parent", |told| change(told, |process| process.parent_exec_id = name(1, 1))),
        ("status", |told| end(told, |exit| exit.status ^= 1)),
        ("signal", |told| end(told, |exit| exit.signal = "SIGHUP".to_owned())),
    ];
    for kind in [Kind::Execs, Kind::Arguments, Kind::Credentials, Kind::Chain] {
        let told = Teller::new(first_act(kind)).tell();
        for (what, wrong) in wrongs {
            for at in 0..told.len() {
                let mut wrongly = told.clone();
                if !wrong(&mut wrongly[at]) {
                    continue;
                }
                let mut book = book_of(&wrongly);
                let act = first_act(kind);
                let missing = book.settle(act..act + 1, &[]).acts;
                let noticed = book.faults.count + book.deviations.count + missing;
                assert!(noticed > 0, "{kind:?}: another {what} of {:?}", told[at]);
            }
        }
    }
}

/// Changes the process of an exec, if it is one of which its pid is in its arguments.
fn change(told: &mut Told, change: fn(&mut Process)) -> bool {
    let Told::Exec(exec) = told else { return false };
    let Some(process) = &mut exec.process else { return false };
    let is_told_its_pid = !process.arguments.contains("pid=0");
    change(process);
    is_told_its_pid
}

fn end(told: &mut Told, change: fn(&mut ProcessExit)) -> bool {
    let Told::Exit(exit) = told else { return false };
    change(exit);
    true
}

#[test]
fn an_exec_after_its_end_and_images_out_of_order_are_noticed() {
    let told = Teller::new(first_act(Kind::ExecChain)).tell();
    for at in 1..told.len() {
        let mut swapped = told.clone();
        swapped.swap(at - 1, at);
        let is_about_one = |told: &Told| match told {
            Told::Exec(exec) => exec.process.clone().unwrap().pid,
            Told::Exit(exit) => exit.process.clone().unwrap().pid,
        };
        if is_about_one(&told[at - 1]) == is_about_one(&told[at]) {
            assert!(book_of(&swapped).deviations.count > 0, "{at}");
        }
    }
}
