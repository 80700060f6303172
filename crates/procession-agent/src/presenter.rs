//! From what the table knows to what leaves: messages, with secrets hidden.
//!
//! Everything that shows a process outside goes through here, so that nothing leaves unredacted.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use procession::{BootId, Entry, WallClock};
use procession_api::lineage;
use procession_api::messages::MessageEncoder;
use procession_api::proto::procession::v1;
use procession_api::proto::tetragon;
use procession_api::users::{PasswdFile, Users};
use procession_filter::Redaction;
use procession_kube::{ContainerId, Told};

use crate::clock::{renewed, wall_clock};
use crate::inventory::Inventory;
use crate::redaction::SharedRedaction;

/// Makes messages.
#[derive(Debug)]
pub struct Presenter {
    encoder: MessageEncoder,
    boot: Option<BootId>,
    redaction: SharedRedaction,
    surroundings: RwLock<Arc<Surroundings>>,
    /// `None`: what they were when something was recorded stays.
    refreshed: Option<Mutex<Refreshed>>,
}

/// What a process does not say itself, and how it is shown depends on.
#[derive(Debug)]
struct Surroundings {
    clock: WallClock,
    users: Users,
}

#[derive(Debug)]
struct Refreshed {
    at: Instant,
    passwd: PasswdFile,
}

/// How often clock and users are looked at.
const REFRESH: Duration = Duration::from_secs(1);

impl Presenter {
    /// Of processes that were started since the boot of this machine that is called `boot`.
    pub fn new(encoder: MessageEncoder, boot: Option<BootId>, redaction: impl Into<SharedRedaction>) -> Self {
        let mut passwd = PasswdFile::new("/etc/passwd");
        // Without the file nobody has a name.
        let _ = passwd.refresh();
        let surroundings = Surroundings { clock: wall_clock(), users: passwd.users().clone() };
        Self {
            encoder,
            boot,
            redaction: redaction.into(),
            surroundings: RwLock::new(Arc::new(surroundings)),
            refreshed: Some(Mutex::new(Refreshed { at: Instant::now(), passwd })),
        }
    }

    /// Of processes that were recorded: with the clock and the users of then. What was to be hidden was
    /// hidden before it was recorded.
    pub fn recorded(encoder: MessageEncoder, boot: Option<BootId>, clock: WallClock, users: Users) -> Self {
        Self {
            encoder,
            boot,
            redaction: SharedRedaction::default(),
            surroundings: RwLock::new(Arc::new(Surroundings { clock, users })),
            refreshed: None,
        }
    }

    /// The name of the node.
    pub fn node_name(&self) -> &str {
        &self.encoder.node_name
    }

    /// The name of the cluster. Empty: none was given.
    pub fn cluster_name(&self) -> &str {
        &self.encoder.cluster_name
    }

    /// Hides something else from now on.
    pub fn set_redaction(&self, redaction: Redaction) {
        self.redaction.set(redaction);
    }

    /// The event of what is told. `None`: the reference has none for it.
    pub fn event(&self, told: &Told) -> Option<tetragon::GetEventsResponse> {
        let surroundings = self.surroundings();
        let mut event = self.encoder.event(told, &surroundings.clock, &surroundings.users)?;
        self.redaction.get().apply(&mut event);
        Some(event)
    }

    /// A process with all that is known of it.
    pub fn entry(&self, entry: Entry<'_>, inventory: &dyn Inventory) -> v1::Process {
        let container = entry.image().and_then(|image| ContainerId::of_cgroup(image.cgroup_path()));
        let whose = container.and_then(|container| inventory.find(&container));
        let Surroundings { clock, users } = &*self.surroundings();
        let boot = self.boot.as_ref();
        let mut message = lineage::process(&self.encoder, entry, whose.as_ref(), boot, clock, users);
        if let Some(process) = &mut message.process {
            self.redaction.get().apply_process(process);
        }
        message
    }

    /// Looks at clock and users again when that is due.
    fn refresh(&self) {
        let Some(refreshed) = &self.refreshed else { return };
        let mut refreshed = refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        if refreshed.at.elapsed() < REFRESH {
            return;
        }
        refreshed.at = Instant::now();
        // A file that cannot be read now leaves the names that are known.
        let _ = refreshed.passwd.refresh();
        let clock = renewed(self.current().clock);
        let surroundings = Surroundings { clock, users: refreshed.passwd.users().clone() };
        *self.surroundings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(surroundings);
    }

    fn surroundings(&self) -> Arc<Surroundings> {
        self.refresh();
        self.current()
    }

    fn current(&self) -> Arc<Surroundings> {
        Arc::clone(&self.surroundings.read().unwrap_or_else(PoisonError::into_inner))
    }
}
