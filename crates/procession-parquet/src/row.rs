//! A fact, with all that a row tells of it.

use std::borrow::Cow;
use std::time::SystemTime;

use procession::text::to_valid_utf8;
use procession::{BootTime, FactKind, Image, Process, ProcessKey};
use procession_journal::{Container, Pod, Recording};

/// What is told in one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// Its place in the journal: the events up to it, itself included.
    pub(crate) sequence: u64,
    /// When it happened.
    pub(crate) time: BootTime,
    /// What happened. `None`: nothing, it was known before.
    pub(crate) kind: Option<FactKind>,
    /// To whom, as it was then.
    pub(crate) process: &'a Process,
    /// Its parent by the reference system's rule.
    pub(crate) parent: Option<&'a Process>,
    /// How deep it lies below the first process that was not seen starting.
    pub(crate) depth: u16,
    /// Where that was.
    pub(crate) recording: &'a Recording,
    /// Which container it is in.
    pub(crate) container_id: Option<&'a str>,
    /// What is known of that.
    pub(crate) container: Option<&'a Container>,
}

impl<'a> Row<'a> {
    /// The day and the time of a moment of its boot.
    pub(crate) fn at(&self, time: BootTime) -> SystemTime {
        self.recording.clock.at(time)
    }

    pub(crate) fn exec_id(&self, key: ProcessKey) -> Cow<'a, str> {
        Cow::Owned(key.exec_id(&self.recording.node_name))
    }

    pub(crate) fn image(&self) -> Option<&'a Image> {
        self.process.image.as_ref()
    }

    pub(crate) fn pod(&self) -> Option<&'a Pod> {
        self.container?.pod.as_ref()
    }
}

/// Bytes of the kernel as text. Empty: unknown.
pub(crate) fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    (!bytes.is_empty()).then(|| to_valid_utf8(bytes))
}

/// What was told as text. Empty: unknown.
pub(crate) fn told(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}
