//! `procession replay`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use crossbeam_channel::{never, select};
use jiff::tz::TimeZone;
use procession::{BootId, Counted, Table};
use procession_agent::{
    Account, Observation, ObservationConfig, RecordedInventory, Replay, ReplayConfig, ReplaySource, Scope,
    Selection, Unread, WhenFull,
};
use procession_api::users::Users;
use procession_filter::Filter;
use procession_journal::{Content, Damage, Journal, JournalError, Piece, Recording, Restored};
use procession_sensor::SourceError;

use crate::args::{OutputArg, ReplayArgs, WrongOption};
use crate::display::{Accounts, Display, Looks};
use crate::journal;
use crate::output::Output;
use crate::signals::Signals;
use crate::summary::{self, Missing};
use crate::watch::{self, TICK};
use crate::when::{When, shown};

/// Said to who asks for changes where none was recorded.
const NO_CHANGES: &str = "no change of user, capabilities, namespaces or session is in the recording: there was \
                          none without an exec, or the kernel did not let the sensor see them (`record` says so)";

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let journal = Arc::new(journal::open_named(&args.journal)?);
    let accounts = Accounts::of(&journal.recording().node_name);
    let filter = watch::filter(&args.select, &accounts).map_err(WrongOption)?;
    let from = args.from.map(When::here_told).transpose()?;
    let to = args.to.map(When::here_told).transpose()?;
    check_span(&journal, args, from, to)?;

    let is_of_command = journal.recording().root.is_some() && !args.all;
    let is_for_programs = args.show.look.output == OutputArg::Json;
    let users = if is_for_programs { accounts.recorded_users() } else { accounts.users().clone() };
    let whole_file = |damage: &Damage| Unread { damage: damage.clone(), after: None, before: None };
    let mut performance = Performance {
        files: journal.unread().iter().map(whole_file).collect(),
        journal,
        args,
        is_of_command,
        filter,
        users,
        signals: None,
        from,
        to,
        unread: Vec::new(),
        is_left_out_told: false,
    };
    let mut next = Some(Start { boot: None, time: from });
    while let Some(start) = next {
        let told = performance.boot(&start)?;
        next = told
            .filter(|_| !performance.is_asked_to_stop())
            .map(|(boot, began)| Start { boot: Some(boot), time: Some(began) });
    }
    let unreadable = performance.files.into_iter().chain(performance.unread);
    let unreadable: Vec<_> = unreadable.filter(|part| !part.comes_again()).collect();
    journal::tell_unreadable(&unreadable, |part| unread(args, part), |part| part.damage.missing());
    Ok(ExitCode::SUCCESS)
}

/// Refuses times between which nothing can be.
fn check_span(
    journal: &Journal,
    args: &ReplayArgs,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
) -> anyhow::Result<()> {
    let (first, last) = journal.span();
    let zone = TimeZone::system();
    let is_reversed = from.zip(to).is_some_and(|(from, to)| from > to);
    if is_reversed {
        return Err(WrongOption(anyhow!("`--from` is later than `--to`")).into());
    }
    let is_outside = from.is_some_and(|from| from > last) || to.is_some_and(|to| to < first);
    anyhow::ensure!(
        !is_outside,
        "nothing was recorded then: {} is from {} to {}",
        args.journal.display(),
        shown(first, &zone),
        shown(last, &zone)
    );
    Ok(())
}

/// Where a boot begins to be shown.
struct Start {
    /// `None`: the first of which there is something.
    boot: Option<BootId>,
    /// `None`: with the first event.
    time: Option<SystemTime>,
}

/// All that is shown, one boot after the other.
struct Performance<'a> {
    journal: Arc<Journal>,
    args: &'a ReplayArgs,
    /// Only what the recorded command started is shown.
    is_of_command: bool,
    filter: Filter,
    users: Users,
    /// `None`: nothing was shown yet, and a signal simply ends the program, however long it takes to find out
    /// what there is to be shown.
    signals: Option<Signals>,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    /// Files that cannot be read. Nobody knows of which boot they are.
    files: Vec<Unread>,
    /// What cannot be read of the boots that were shown.
    unread: Vec<Unread>,
    /// Whether it was said which names are missing.
    is_left_out_told: bool,
}

impl Performance<'_> {
    /// Shows the events of one boot. The one that comes next, and when.
    fn boot(&mut self, start: &Start) -> anyhow::Result<Option<(BootId, SystemTime)>> {
        let is_of_command = self.is_of_command;
        // What a command has started is known only to who has seen it from the beginning.
        let known = if is_of_command { None } else { self.known(start) };
        let hidden_until = self.from.filter(|_| is_of_command);
        let recording = known.as_ref().map_or(self.journal.recording(), |it| &it.recording).clone();
        let config = ReplayConfig {
            from: self.from.filter(|_| !is_of_command),
            to: self.to,
            known: known.as_ref().map(|restored| restored.table.now()),
            boot: start.boot,
            speed: self.args.speed,
            hurry_until: hidden_until,
        };
        let (source, mut replay) = Replay::new(Arc::clone(&self.journal), config);
        let scope = self.scope(&recording);
        let Some(mut observation) = self.observe(source, &recording, scope, known)? else {
            return self.all_of(start);
        };
        let signals = match self.signals.take() {
            Some(signals) => signals,
            None => Signals::catch()?,
        };
        let mut output = self.output(&observation, &replay, &recording, hidden_until);
        let is_whole = present(&mut observation, &mut replay, &mut output, &signals);
        self.signals = Some(signals);
        let is_whole = is_whole?;
        let next = replay.next_boot().filter(|_| is_whole);
        let unread = replay.unread();
        let account = observation.join().context("the recording cannot be read any further")?;
        if is_whole {
            let missing = Missing::of(self.files.iter().chain(&unread), account.malformed);
            tell(&account, &recording, scope, &missing);
            if self.args.select.change && account.ledger.account(Counted::Change).received == 0 {
                summary::tell(format_args!("{NO_CHANGES}"));
            }
        }
        self.unread.extend(unread);
        Ok(next)
    }

    /// Shows everything, because the command itself is not among what can be read.
    fn all_of(&mut self, start: &Start) -> anyhow::Result<Option<(BootId, SystemTime)>> {
        summary::tell(format_args!(
            "what the command started cannot be told apart, because the part of the recording that tells of it \
             is damaged: everything is shown"
        ));
        self.is_of_command = false;
        self.boot(start)
    }

    fn is_asked_to_stop(&self) -> bool {
        self.signals.as_ref().is_some_and(Signals::is_any)
    }

    /// `None`: what the scope is about is not among what can be read.
    fn observe(
        &mut self,
        source: ReplaySource,
        recording: &Recording,
        scope: Scope,
        known: Option<Restored>,
    ) -> anyhow::Result<Option<Observation>> {
        let lineage = self.args.show.detail().lineage();
        let config = ObservationConfig {
            when_full: WhenFull::Wait,
            table: recording.table,
            resume: known,
            ..ObservationConfig::new(Selection { scope, filter: self.filter.clone(), lineage })
        };
        let names = self.journal.names()?;
        // Those are the names of the whole journal, whichever boot is shown.
        if !std::mem::replace(&mut self.is_left_out_told, true) {
            journal::tell_left_out(names.left_out());
        }
        let inventory = RecordedInventory::new(names);
        match Observation::start(Box::new(source), config, Box::new(inventory)) {
            Err(SourceError::RootNotFound) => Ok(None),
            observation => Ok(Some(observation.context("cannot show the recording")?)),
        }
    }

    /// Where it is shown, as it looked then.
    fn output(
        &self,
        observation: &Observation,
        replay: &Replay,
        recording: &Recording,
        hidden_until: Option<SystemTime>,
    ) -> Output {
        let (select, show) = (&self.args.select, &self.args.show);
        let looks = Looks { select, show, node_name: recording.node_name.clone() };
        let host = recording.host_namespaces.or(observation.host_namespaces());
        let clocks = (recording.clock, replay.clock());
        Output::new(Display::recorded(looks, self.users.clone(), host, clocks, hidden_until))
    }

    /// What is known before the first event: the checkpoint with which a journal begins whose oldest files
    /// have gone, or what came before the time that is asked for.
    fn known(&self, start: &Start) -> Option<Restored> {
        let mut time = match start.time {
            Some(time) => time,
            None if self.begins_with_a_checkpoint() => self.journal.span().0,
            None => return None,
        };
        let restored = loop {
            match self.journal.at(time) {
                // Before the journal; or in it by what its files say, which is since when their agent has been at work,
                // while what was then has gone.
                Err(JournalError::OutOfRange { first, .. }) if first > time => time = first,
                restored => break restored.ok()?,
            }
        };
        let is_same = start.boot.is_none_or(|boot| boot == restored.recording.boot_id);
        Some(restored).filter(|it| is_same && !Table::is_empty(&it.table))
    }

    /// Whether events came before the first that is there.
    fn begins_with_a_checkpoint(&self) -> bool {
        let mut before = 0;
        let read = self.journal.read(None, &mut |piece| match piece {
            Piece::Block(block) => {
                before = block.sequence;
                !matches!(block.content, Content::Events(_))
            }
            Piece::Event(_) | Piece::PassedOver(_) => false,
        });
        read.is_ok() && before > 0
    }

    /// What the recorded command started, or everything.
    fn scope(&self, recording: &Recording) -> Scope {
        match recording.root.filter(|_| self.is_of_command) {
            Some(root) => Scope::DescendantsOf { pid: root.pid, pid_namespace: None },
            None => Scope::Everything,
        }
    }
}

/// Shows what is told until the end. Whether that was the end of all.
fn present(
    observation: &mut Observation,
    replay: &mut Replay,
    output: &mut Output,
    signals: &Signals,
) -> anyhow::Result<bool> {
    let goes_on = |_| !signals.is_any();
    let mut found = observation.take_found().into_iter();
    while let Some(first) = found.next() {
        output.write(&first, found.by_ref(), &goes_on)?;
    }
    let (told, ended, nothing) = (observation.told().clone(), replay.ended().clone(), never());
    let mut ended = &ended;
    let mut is_whole = true;
    let mut failed = Ok(());
    loop {
        select! {
            recv(told) -> first => match first {
                Ok(first) if is_whole => failed = output.write(&first, told.try_iter(), &goes_on),
                Ok(_) => {}
                Err(_) => break,
            },
            recv(ended) -> _ => {
                ended = &nothing;
                observation.stop();
            }
            default(TICK) => {}
        }
        if is_whole && (signals.is_any() || output.is_unread() || failed.is_err()) {
            is_whole = false;
            replay.stop();
        }
    }
    failed.map(|()| is_whole)
}

/// What there was, in one line.
fn tell(account: &Account, recording: &Recording, scope: Scope, missing: &Missing) {
    if scope != Scope::Everything {
        return summary::replayed_command(&account.tally, missing);
    }
    summary::replayed(account, &recording.node_name, missing);
}

/// `4096 bytes at 128 of FILE cannot be read (why): up to 12 events are missing between … and …`.
fn unread(args: &ReplayArgs, part: &Unread) -> String {
    let zone = TimeZone::system();
    let text = journal::unreadable(&args.journal, &part.damage);
    match (part.after, part.before) {
        (Some(after), Some(before)) => {
            format!("{text} between {} and {}", shown(after, &zone), shown(before, &zone))
        }
        (Some(after), None) => format!("{text} after {}", shown(after, &zone)),
        (None, Some(before)) => format!("{text} before {}", shown(before, &zone)),
        (None, None) => text,
    }
}
