//! What was told of each act, against its plan: every image and every end once, in order, with the right
//! program, arguments, parent and outcome.
//!
//! Of an act that is told whole only a bit remains, so that the book does not grow with the run.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use procession::{Arguments, ProcessKey, text::to_valid_utf8};
use procession_api::proto::tetragon::{Process, ProcessExec, ProcessExit};

use crate::plan::{Counts, FIRST_HELD, FileKind, Image, Kind, Outcome, Plan, Reaper, Token};

/// How many of what was found wrong are kept word for word.
const KEPT: usize = 40;

/// Of so many acts one is sampled, and so many of these are kept.
const SAMPLED: u64 = 16;
const SAMPLES: usize = 5;

/// What was told, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Book {
    run: u32,
    seed: u64,
    /// Where the actor is: what images run.
    actor: String,
    open: HashMap<u64, Open>,
    done: Bits,
    done_held: HashSet<u64>,
    pub(crate) seen: Counts,
    pub(crate) kinds: BTreeMap<Kind, Counts>,
    /// Images that were told of because somebody looked for what was missed.
    pub(crate) found: u64,
    /// Whether the agent may tell twice what it told somebody before it was killed.
    pub(crate) tells_twice: bool,
    /// Some images that were told lately, and what the agent calls them.
    samples: VecDeque<(String, String)>,
    /// What is wrong whatever was lost.
    pub(crate) faults: Complaints,
    /// What a loss may explain.
    pub(crate) deviations: Complaints,
}

/// What is wrong, with examples.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    pub(crate) count: u64,
    pub(crate) examples: Vec<String>,
}

impl Complaints {
    pub(crate) fn add(&mut self, complaint: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < KEPT {
            self.examples.push(complaint());
        }
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// An act of which not all was told yet.
#[derive(Debug)]
struct Open {
    plan: Plan,
    /// By life: bit n for its image n.
    images: Vec<u64>,
    ended: Vec<bool>,
    /// What the agent calls a life after so many execs.
    names: HashMap<(usize, usize), String>,
}

impl Open {
    fn new(seed: u64, act: u64) -> Self {
        let plan = Plan::new(seed, act);
        let (images, ended) = (vec![0; plan.lives.len()], vec![false; plan.lives.len()]);
        Self { plan, images, ended, names: HashMap::new() }
    }

    fn missing(&self) -> Counts {
        let seen: u64 = self.images.iter().map(|bits| u64::from(bits.count_ones())).sum();
        let lives = self.ended.iter().filter(|ended| !**ended).count() as u64;
        Counts { lives, execs: self.plan.counts().execs.saturating_sub(seen) }
    }
}

/// What a checkpoint found missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    pub(crate) acts: u64,
    pub(crate) counts: Counts,
    pub(crate) examples: Vec<String>,
}

impl Book {
    pub(crate) fn new(run: u32, seed: u64, actor: String) -> Self {
        Self {
            run,
            seed,
            actor,
            open: HashMap::new(),
            done: Bits::default(),
            done_held: HashSet::new(),
            seen: Counts::default(),
            kinds: BTreeMap::new(),
            found: 0,
            tells_twice: false,
            samples: VecDeque::new(),
            faults: Complaints::default(),
            deviations: Complaints::default(),
        }
    }

    /// The token that these arguments begin with, if it is of this run.
    pub(crate) fn token(&self, arguments: &str) -> Option<Token> {
        let first = arguments.split([' ', '\n']).next()?;
        let token: Token = first.parse().ok()?;
        (token.run == self.run && token.seed == self.seed).then_some(token)
    }

    pub(crate) fn exec(&mut self, event: &ProcessExec) {
        let Some(process) = &event.process else { return };
        let Some(token) = self.token(&process.arguments) else { return };
        let is_found = process.flags.contains("procFS");
        self.found += u64::from(is_found);
        if self.is_done(token.act) {
            let complaint =
                || format!("{token}: told again, after all of its act was told ({})", process.flags);
            self.twice(is_found).add(complaint);
            return;
        }
        let open = self.open.entry(token.act).or_insert_with(|| Open::new(token.seed, token.act));
        let Some(image) = open.plan.lives.get(token.life).and_then(|life| life.images.get(token.image))
        else {
            self.faults.add(|| format!("{token}: no such image was planned"));
            return;
        };
        if self.tells_twice && image.has_pids && number_in(process, "pid=") != process.pid {
            // After a kill all that runs is told again, those too that run what they were forked with.
            return;
        }
        let bit = 1 << token.image;
        if open.images[token.life] & bit != 0 {
            self.twice(is_found).add(|| format!("{token}: its exec is told twice ({})", process.flags));
            return;
        }
        if open.images[token.life] & (bit - 1) != bit - 1 {
            self.deviations.add(|| format!("{token}: told before or without an earlier exec"));
        }
        if open.ended[token.life] {
            self.deviations.add(|| format!("{token}: its exec is told after its end"));
        }
        open.images[token.life] |= bit;
        self.seen.execs += 1;
        self.kinds.entry(open.plan.kind).or_default().execs += 1;
        let is_of_parent = token.image == 0 && open.plan.lives[token.life].reaper == Reaper::Parent;
        let wrong = wrong_program(&self.actor, token, image, process)
            .or_else(|| wrong_owner(token, image, process).filter(|_| is_of_parent));
        if let Some(complaint) = wrong {
            // What is found may show no more than its beginning, and arguments have less room than events.
            let may_be_cut = is_found || process.flags.contains("truncArgs");
            let complaints = if may_be_cut { &mut self.deviations } else { &mut self.faults };
            complaints.add(|| complaint);
        }
        if let Some(complaint) = wrong_parent(open, token, process, event.parent.as_ref()) {
            self.deviations.add(|| complaint);
        }
        if token.act.is_multiple_of(SAMPLED) && token.life == 0 {
            self.samples.truncate(SAMPLES - 1);
            self.samples.push_front((token.to_string(), process.exec_id.clone()));
        }
        self.close_if_whole(token.act);
    }

    /// Images that were told lately: tokens, and what the agent calls them.
    pub(crate) fn samples(&self) -> Vec<(String, String)> {
        self.samples.iter().cloned().collect()
    }

    /// What the agent calls the first image of a life, while its act is under way.
    pub(crate) fn name_of(&self, act: u64, life: usize) -> Option<String> {
        self.open.get(&act)?.names.get(&(life, 1)).cloned()
    }

    /// Where to complain of what is told twice.
    fn twice(&mut self, is_found: bool) -> &mut Complaints {
        if is_found || self.tells_twice { &mut self.deviations } else { &mut self.faults }
    }

    pub(crate) fn exit(&mut self, event: &ProcessExit) {
        let Some(process) = &event.process else { return };
        let Some(token) = self.token(&process.arguments) else { return };
        if self.is_done(token.act) {
            self.twice(false).add(|| format!("{token}: an end is told after all of its act was told"));
            return;
        }
        let open = self.open.entry(token.act).or_insert_with(|| Open::new(token.seed, token.act));
        let outcome = outcome(event);
        let Some(life) = whose_end(open, token, process, outcome) else {
            self.deviations.add(|| format!("{token}: {outcome:?} is the end of nobody who runs that"));
            return;
        };
        if open.ended[life] {
            self.twice(false).add(|| format!("{token}: the end of life {life} is told twice"));
            return;
        }
        let planned = told_outcome(&open.plan, life);
        if planned != outcome {
            // So the API tells of who was looked for and is gone: nobody knows how.
            let may_be_gone = outcome == Outcome::Code(0);
            let complaints = if may_be_gone { &mut self.deviations } else { &mut self.faults };
            complaints
                .add(|| format!("{token}: life {life} ended with {planned:?}, and {outcome:?} is told"));
        }
        if open.images[life].count_ones() as usize != open.plan.lives[life].images.len() {
            self.deviations
                .add(|| format!("{token}: the end of life {life} is told before or without an exec"));
        }
        if let Some(complaint) = wrong_forker(open, token, life, process) {
            self.deviations.add(|| complaint);
        }
        open.ended[life] = true;
        self.seen.lives += 1;
        self.kinds.entry(open.plan.kind).or_default().lives += 1;
        self.close_if_whole(token.act);
    }

    /// For a record that has execs alone: its act is whole when all of these were seen.
    pub(crate) fn image(&mut self, token: Token) {
        if token.run != self.run || token.seed != self.seed {
            return;
        }
        if self.is_done(token.act) {
            self.faults.add(|| format!("{token}: recorded again"));
            return;
        }
        let open = self.open.entry(token.act).or_insert_with(|| Open::new(token.seed, token.act));
        let (Some(bits), bit) = (open.images.get_mut(token.life), 1 << token.image) else { return };
        if *bits & bit != 0 {
            self.faults.add(|| format!("{token}: recorded twice"));
        }
        *bits |= bit;
        self.seen.execs += 1;
        if open.missing().execs == 0 {
            self.close(token.act);
        }
    }

    fn close_if_whole(&mut self, act: u64) {
        if self.open.get(&act).is_some_and(|open| open.missing() == Counts::default()) {
            self.close(act);
        }
    }

    fn close(&mut self, act: u64) {
        self.open.remove(&act);
        if act < FIRST_HELD {
            self.done.set(act);
        } else {
            self.done_held.insert(act);
        }
    }

    pub(crate) fn is_done(&self, act: u64) -> bool {
        if act < FIRST_HELD { self.done.has(act) } else { self.done_held.contains(&act) }
    }

    /// Closes the books on all acts that were played: what is missing of them will not come. `held` are those
    /// of which processes live on; of their execs all should have been told.
    pub(crate) fn settle(&mut self, played: impl Iterator<Item = u64>, held: &[u64]) -> Missing {
        let mut missing = Missing::default();
        let untold: Vec<u64> =
            played.filter(|act| !self.is_done(*act) && !self.open.contains_key(act)).collect();
        for act in untold {
            self.open.insert(act, Open::new(self.seed, act));
        }
        let mut acts: Vec<u64> = self.open.keys().copied().collect();
        acts.sort_unstable();
        for act in acts {
            let open = &self.open[&act];
            let mut counts = open.missing();
            if held.contains(&act) {
                counts.lives = 0;
            }
            if counts != Counts::default() {
                missing.acts += 1;
                missing.counts.lives += counts.lives;
                missing.counts.execs += counts.execs;
                if missing.examples.len() < KEPT {
                    missing.examples.push(describe(act, open));
                }
            }
            if !held.contains(&act) {
                self.close(act);
            }
        }
        missing
    }

    /// The same for a record that has execs alone.
    pub(crate) fn settle_images(&mut self, played: impl Iterator<Item = u64>) -> Missing {
        for act in played.filter(|act| !self.is_done(*act)).collect::<Vec<_>>() {
            self.open.entry(act).or_insert_with(|| Open::new(self.seed, act));
        }
        for open in self.open.values_mut() {
            open.ended.fill(true);
        }
        self.settle(std::iter::empty(), &[])
    }

    /// Acts of which not all was told yet.
    pub(crate) fn waiting(&self, held: &[u64]) -> usize {
        self.open.keys().filter(|act| !held.contains(act)).count()
    }
}

fn describe(act: u64, open: &Open) -> String {
    let kind = open.plan.kind;
    let lives: Vec<usize> = (0..open.ended.len()).filter(|life| !open.ended[*life]).take(8).collect();
    let execs = open.plan.lives.iter().enumerate().filter_map(|(life, it)| {
        let seen = open.images[life].count_ones() as usize;
        (seen < it.images.len()).then_some(life)
    });
    let execs: Vec<usize> = execs.take(8).collect();
    format!("act {act} ({kind:?}): no end of lives {lives:?}, not all execs of lives {execs:?}")
}

fn outcome(event: &ProcessExit) -> Outcome {
    if event.signal.is_empty() {
        return Outcome::Code(u8::try_from(event.status).unwrap_or(u8::MAX));
    }
    Outcome::Signal(SIGNALS.iter().find(|(_, name)| *name == event.signal).map_or(0, |(number, _)| *number))
}

/// Those by which acts let processes end, as far as they have names.
const SIGNALS: [(i32, &str); 15] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (31, "SIGSYS"),
];

/// Which life ended, of those that run the image of the token.
fn whose_end(open: &Open, token: Token, process: &Process, outcome: Outcome) -> Option<usize> {
    let image = (token.life, token.image);
    let own = open.names.get(&(token.life, token.image + 1));
    if own == Some(&process.exec_id) {
        return Some(token.life);
    }
    let runs_it = |life: &usize| {
        let is_self = *life == token.life && own.is_some();
        !is_self && !open.ended[*life] && open.plan.last_image(*life) == Some(image)
    };
    let mut candidates = (0..open.plan.lives.len()).filter(runs_it);
    candidates.find(|life| told_outcome(&open.plan, *life) == outcome)
}

/// What is wrong with who forked a life that ran nothing of its own, where its end tells it from others.
fn wrong_forker(open: &mut Open, token: Token, life: usize, process: &Process) -> Option<String> {
    let outcome = told_outcome(&open.plan, life);
    let is_alike = |other: &usize| {
        open.plan.lives[*other].images.is_empty() && told_outcome(&open.plan, *other) == outcome
    };
    let it = &open.plan.lives[life];
    if !it.images.is_empty() || (0..open.plan.lives.len()).filter(is_alike).count() > 1 {
        return None;
    }
    let parent = it.parent?;
    let of_itself = name_is_another(&mut open.names, (life, 0), &process.exec_id);
    let of_parent = name_is_another(&mut open.names, parent, &process.parent_exec_id);
    let (name, known, told) = match (of_itself, of_parent) {
        (Some(known), _) => ("it", known, &process.exec_id),
        (None, Some(known)) => ("its parent", known, &process.parent_exec_id),
        (None, None) => return None,
    };
    Some(format!("{token}: {name}, of life {life}, is {}; {} is told", decoded(&known), decoded(told)))
}

/// How the end of a life is told: the API has no name for real-time signals.
fn told_outcome(plan: &Plan, life: usize) -> Outcome {
    match plan.lives[life].end.outcome() {
        Outcome::Signal(signal) if !SIGNALS.iter().any(|(number, _)| *number == signal) => Outcome::Code(0),
        outcome => outcome,
    }
}

/// What is wrong with what it runs.
fn wrong_program(actor: &str, token: Token, image: &Image, process: &Process) -> Option<String> {
    if token.act >= crate::plan::FIRST_CONTAINER {
        return None;
    }
    let beside = |name: &str| {
        let folder = actor.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{name}-{}-{}", token.act, token.life)
    };
    let binary = match image.file {
        FileKind::Actor => actor.to_owned(),
        FileKind::True => "/bin/true".to_owned(),
        FileKind::Memory => "/memfd:soak".to_owned(),
        FileKind::Deleted => beside("deleted"),
        FileKind::Script => beside("script"),
    };
    if process.binary != binary {
        return Some(format!("{token}: it ran {binary}, and {} is told", process.binary));
    }
    let (pid, owner) = (number_in(process, "pid="), number_in(process, "owner="));
    if image.has_pids && process.pid != pid {
        return Some(format!("{token}: its pid was {pid:?}, and {:?} is told", process.pid));
    }
    let mut words: Vec<Vec<u8>> = vec![image.name.clone(), token.to_string().into_bytes()];
    if image.file == FileKind::Script {
        words.push(binary.into_bytes());
    }
    words.push(format!("pid={}", pid.unwrap_or(0)).into_bytes());
    words.push(format!("owner={}", owner.unwrap_or(0)).into_bytes());
    words.extend(image.extra.iter().cloned());
    let block: Vec<u8> = words.into_iter().flat_map(|word| [word, vec![0]].concat()).collect();
    let is_in_root = process.cwd.is_empty() || process.cwd == "/";
    let joined = Arguments::complete(&block).joined(!is_in_root);
    let expected = to_valid_utf8(&joined).into_owned();
    (process.arguments != expected).then(|| {
        let (told, expected) = (shortened(&process.arguments), shortened(&expected));
        format!("{token}: its arguments were {expected:?}, and {told:?} is told")
    })
}

/// What a process was told about itself in its arguments.
fn number_in(process: &Process, name: &str) -> Option<u32> {
    process.arguments.split(' ').find_map(|word| word.strip_prefix(name))?.parse().ok()
}

/// What is wrong with the pid of its parent, who owned it when it ran that.
fn wrong_owner(token: Token, image: &Image, process: &Process) -> Option<String> {
    let owner = number_in(process, "owner=");
    let told = ProcessKey::parse_exec_id(&process.parent_exec_id).map(|(_, key)| key.pid.0);
    (image.has_pids && owner != told)
        .then(|| format!("{token}: its parent's pid was {owner:?}, and {told:?} is told"))
}

fn shortened(text: &str) -> String {
    let start: String = text.chars().take(200).collect();
    if start.len() < text.len() { format!("{start}… ({} bytes)", text.len()) } else { start }
}

/// What is wrong with who is its parent.
fn wrong_parent(
    open: &mut Open,
    token: Token,
    process: &Process,
    parent: Option<&Process>,
) -> Option<String> {
    let own = (token.life, token.image + 1);
    if let Some(known) = name_is_another(&mut open.names, own, &process.exec_id) {
        return Some(format!("{token}: it is called {}, and was {known}", decoded(&process.exec_id)));
    }
    let told = &process.parent_exec_id;
    let shown = parent.filter(|parent| parent.exec_id == *told);
    let Some((life, execs)) = expected_parent(&open.plan, token) else {
        return wrong_performer(open.plan.kind, token, shown);
    };
    if let Some(known) = name_is_another(&mut open.names, (life, execs), told) {
        let (told, known) = (decoded(told), decoded(&known));
        let complaint =
            format!("{token}: its parent is {known}, life {life} after {execs} execs; {told} is told");
        return Some(complaint);
    }
    let is_its = |parent: &Process| {
        let shown = parent.arguments.split(' ').next().and_then(|word| word.parse::<Token>().ok());
        let expected = open.plan.image_at(life, execs);
        shown.map(|shown| (shown.act, Some((shown.life, shown.image)))) == Some((token.act, expected))
    };
    (!shown.is_none_or(is_its)).then(|| {
        let shown = shown.map(|shown| shortened(&shown.arguments));
        format!("{token}: its parent, life {life}, is told to run {shown:?}")
    })
}

/// What is wrong with the parent of an act's root: who performs acts, or a runtime of containers.
fn wrong_performer(kind: Kind, token: Token, shown: Option<&Process>) -> Option<String> {
    let performer = format!("soak {} {} ", token.run, token.seed);
    let is_performer = |parent: &Process| parent.arguments.starts_with(&performer);
    (kind != Kind::Container && !shown.is_some_and(is_performer)).then(|| {
        let shown = shown.map(|shown| shortened(&shown.arguments));
        format!("{token}: its parent performs acts, and is told to run {shown:?}")
    })
}

fn decoded(exec_id: &str) -> String {
    ProcessKey::parse_exec_id(exec_id).map_or_else(|| format!("{exec_id:?}"), |(_, key)| key.to_string())
}

/// The name by which it is known, if that is another.
fn name_is_another(
    names: &mut HashMap<(usize, usize), String>,
    of: (usize, usize),
    name: &str,
) -> Option<String> {
    let known = names.entry(of).or_insert_with(|| name.to_owned());
    (known != name).then(|| known.clone())
}

/// Whom the reference system's rule makes the parent: the image that was replaced, or for the first one
/// who forked the process, whoever owns it by then. `None`: who performs acts.
fn expected_parent(plan: &Plan, token: Token) -> Option<(usize, usize)> {
    if token.image > 0 { Some((token.life, token.image)) } else { plan.lives[token.life].parent }
}

/// A set of numbers from 0 on.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, number: u64) {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place(number: u64) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

#[cfg(test)]
mod tests;
