//! `procession replay`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use crossbeam_channel::{never, select};
use jiff::tz::TimeZone;
use procession::{BootId, Table};
use procession_agent::{
    Account, HoldConfig, Observation, ObservationConfig, RecordedInventory, Replay, ReplayConfig, Scope,
    Selection, Unread, WhenFull,
};
use procession_api::users::Users;
use procession_filter::Filter;
use procession_journal::{Content, Journal, Piece, Recording, Restored};

use crate::args::ReplayArgs;
use crate::display::{self, Display, Looks};
use crate::journal;
use crate::output::Output;
use crate::signals::Signals;
use crate::summary;
use crate::watch::{self, TICK};
use crate::when::{When, shown};

pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch()?;
    let journal = Arc::new(journal::open(&args.journal)?);
    let users = display::users_of(&journal.recording().node_name);
    let filter = watch::filter(&args.select, &users)?;
    let from = args.from.map(When::here).transpose()?;
    let to = args.to.map(When::here).transpose()?;
    check_span(&journal, args, from, to)?;

    let mut performance = Performance { journal, args, filter, users, signals, from, to, unread: Vec::new() };
    let mut next = Some(Start { boot: None, time: from });
    while let Some(start) = next {
        let told = performance.boot(&start)?;
        next = told
            .filter(|_| !performance.signals.is_any())
            .map(|(boot, began)| Start { boot: Some(boot), time: Some(began) });
    }
    for part in &performance.unread {
        summary::tell(format_args!("{}", unread(args, part)));
    }
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
    anyhow::ensure!(!is_reversed, "`--from` is later than `--to`");
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
    filter: Filter,
    users: Users,
    signals: Signals,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    unread: Vec<Unread>,
}

impl Performance<'_> {
    /// Shows the events of one boot. The one that comes next, and when.
    fn boot(&mut self, start: &Start) -> anyhow::Result<Option<(BootId, SystemTime)>> {
        let known = self.known(start);
        let recording = known.as_ref().map_or(self.journal.recording(), |it| &it.recording).clone();
        let config = ReplayConfig {
            from: self.from,
            to: self.to,
            known: known.as_ref().map(|restored| restored.table.now()),
            boot: start.boot,
            speed: self.args.speed,
        };
        let (source, mut replay) = Replay::new(Arc::clone(&self.journal), config);
        let inventory = RecordedInventory::new(self.journal.names()?);
        let scope = self.scope(&recording);
        let selection =
            Selection { scope, filter: self.filter.clone(), lineage: self.args.show.detail().lineage() };
        let config = ObservationConfig {
            hold: HoldConfig::default(),
            when_full: WhenFull::Wait,
            table: recording.table,
            resume: known,
            ..ObservationConfig::new(selection)
        };
        let mut observation = Observation::start(Box::new(source), config, Box::new(inventory))
            .context("cannot show the recording")?;
        let looks = Looks {
            select: &self.args.select,
            show: &self.args.show,
            node_name: recording.node_name.clone(),
        };
        let host = recording.host_namespaces.or(observation.host_namespaces());
        let clocks = (recording.clock, replay.clock());
        let mut output = Output::new(Display::recorded(looks, self.users.clone(), host, clocks));
        let is_whole = self.present(&mut observation, &mut replay, &mut output)?;
        let next = replay.next_boot().filter(|_| is_whole);
        self.unread.extend(replay.unread());
        let account = observation.join().context("the recording cannot be read any further")?;
        if is_whole {
            tell(&account, &recording, scope);
        }
        Ok(next)
    }

    /// What is known before the first event: the checkpoint with which a journal begins whose oldest files
    /// have gone, or what came before the time that is asked for.
    fn known(&self, start: &Start) -> Option<Restored> {
        let time = match start.time {
            Some(time) => time,
            None if self.begins_with_a_checkpoint() => self.journal.span().0,
            None => return None,
        };
        let restored = self.journal.at(time).ok()?;
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
            Piece::Event(_) => false,
        });
        read.is_ok() && before > 0
    }

    /// What the recorded command started, or everything.
    fn scope(&self, recording: &Recording) -> Scope {
        match recording.root.filter(|_| !self.args.all) {
            Some(root) => Scope::DescendantsOf { pid: root.pid, pid_namespace: None },
            None => Scope::Everything,
        }
    }

    /// Shows what is told until the end. Whether that was the end of all.
    fn present(
        &self,
        observation: &mut Observation,
        replay: &mut Replay,
        output: &mut Output,
    ) -> anyhow::Result<bool> {
        let goes_on = |_| !self.signals.is_any();
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
            if is_whole && (self.signals.is_any() || output.is_unread() || failed.is_err()) {
                is_whole = false;
                replay.stop();
            }
        }
        failed.map(|()| is_whole)
    }
}

/// What there was, in one line.
fn tell(account: &Account, recording: &Recording, scope: Scope) {
    if scope != Scope::Everything {
        return summary::replayed_command(&account.tally);
    }
    summary::replayed(account, &recording.node_name);
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
