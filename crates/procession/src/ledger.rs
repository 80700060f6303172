//! The account of every event.

use crate::event::EventKind;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It changed the table.
    Applied,
    /// The table knew it already.
    Duplicate,
    /// It came after what it should have preceded; what could be learnt from it was.
    Late,
    /// It contradicts itself or what is known for certain, and changed nothing.
    Rejected,
}

/// The kinds of events that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// [`EventKind::Fork`].
    Fork,
    /// [`EventKind::Exec`].
    Exec,
    /// [`EventKind::Exit`].
    Exit,
    /// [`EventKind::Running`].
    Running,
    /// [`EventKind::Change`].
    Change,
    /// [`EventKind::Gone`].
    Gone,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Fork, Self::Exec, Self::Exit, Self::Running, Self::Change, Self::Gone];

    /// What it is called in accounts and metrics: `fork`, `exec`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Running => "running",
            Self::Change => "change",
            Self::Gone => "gone",
        }
    }

    /// The kind of `event`; `None` for a loss report, which is not an event of a process.
    pub const fn of(event: &EventKind<'_>) -> Option<Self> {
        match event {
            EventKind::Fork(_) => Some(Self::Fork),
            EventKind::Exec(_) => Some(Self::Exec),
            EventKind::Exit(_) => Some(Self::Exit),
            EventKind::Running(_) => Some(Self::Running),
            EventKind::Change(_) => Some(Self::Change),
            EventKind::Gone(_) => Some(Self::Gone),
            EventKind::Lost(_) => None,
        }
    }
}

/// Counts of one kind of event. `received = applied + duplicate + late + rejected`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Events handed to the table.
    pub received: u64,
    /// Of those, the ones that changed it.
    pub applied: u64,
    /// The ones it knew already.
    pub duplicate: u64,
    /// The ones that came too late to be applied in full.
    pub late: u64,
    /// The ones that contradict themselves or what is known for certain.
    pub rejected: u64,
}

/// The account of every event: what came, what became of it, what is known to be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: [Account; Counted::ALL.len()],
    lost: u64,
    inferred_processes: u64,
    inferred_exits: u64,
}

impl Account {
    /// An account of so many events of each outcome.
    pub const fn new(applied: u64, duplicate: u64, late: u64, rejected: u64) -> Self {
        let received = applied.saturating_add(duplicate).saturating_add(late).saturating_add(rejected);
        Self { received, applied, duplicate, late, rejected }
    }
}

impl Ledger {
    /// A ledger with these counts; `accounts` in the order of [`Counted::ALL`]. Received is the sum of
    /// what became of it, whatever they say.
    pub fn new(
        accounts: [Account; Counted::ALL.len()],
        lost: u64,
        inferred_processes: u64,
        inferred_exits: u64,
    ) -> Self {
        let accounts = accounts.map(|it| Account::new(it.applied, it.duplicate, it.late, it.rejected));
        Self { accounts, lost, inferred_processes, inferred_exits }
    }

    /// The account of one kind of event.
    pub const fn account(&self, kind: Counted) -> &Account {
        &self.accounts[kind as usize]
    }

    /// Events received, of all kinds.
    pub fn received(&self) -> u64 {
        self.accounts.iter().fold(0, |sum: u64, account| sum.saturating_add(account.received))
    }

    /// Events that the source said it lost.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Processes known only because other events speak of them.
    pub const fn inferred_processes(&self) -> u64 {
        self.inferred_processes
    }

    /// Exits concluded from the reuse of a pid.
    pub const fn inferred_exits(&self) -> u64 {
        self.inferred_exits
    }

    pub(crate) fn record(&mut self, kind: Counted, outcome: Outcome) {
        let account = &mut self.accounts[kind as usize];
        bump(&mut account.received);
        match outcome {
            Outcome::Applied => bump(&mut account.applied),
            Outcome::Duplicate => bump(&mut account.duplicate),
            Outcome::Late => bump(&mut account.late),
            Outcome::Rejected => bump(&mut account.rejected),
        }
    }

    pub(crate) fn record_lost(&mut self, count: u64) {
        self.lost = self.lost.saturating_add(count);
    }

    pub(crate) fn record_inferred_process(&mut self) {
        bump(&mut self.inferred_processes);
    }

    pub(crate) fn record_inferred_exit(&mut self) {
        bump(&mut self.inferred_exits);
    }
}

/// A checkpoint may have any count: it is not read by whoever made it alone.
const fn bump(count: &mut u64) {
    *count = count.saturating_add(1);
}
