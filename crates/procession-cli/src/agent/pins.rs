//! Whether what shall outlast the agent is still there; and that none of it outlasts one that never started.

use std::path::{Path, PathBuf};

use procession_sensor::FreshPins;

/// Watches over the directory of pinned programs. The agent itself works without: it holds what it uses.
#[derive(Debug)]
pub(super) struct Pins {
    /// `None`: there are none, or they are gone, which is said once.
    directory: Option<PathBuf>,
}

impl Pins {
    /// Of an agent that has started.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self { directory: directory.filter(|directory| directory.exists()).map(Path::to_owned) }
    }

    /// Says it if somebody has removed them.
    pub(super) fn look(&mut self) {
        let Some(gone) = self.directory.take_if(|directory| !directory.exists()) else { return };
        let place = gone.display();
        tracing::warn!(
            "somebody has removed the pinned eBPF programs in {place}: this agent sees everything as before, \
             but what happens between its end and the next start will not be known"
        );
    }

    /// Says at the end of the agent what works on in the kernel. `is_named`: the directory is not the usual one.
    pub(super) fn tell_what_stays(&mut self, is_named: bool) {
        self.look();
        let Some(directory) = &self.directory else { return };
        let place = directory.display();
        let option = if is_named { format!(" --pin-dir {place}") } else { String::new() };
        tracing::info!(
            "its eBPF programs stay in {place} for the next agent; `procession agent --detach-all{option}` \
             removes them"
        );
    }
}

/// Removes the pins of a start that has failed: nobody would know that programs are at work.
pub(super) fn remove(pins: FreshPins) {
    let directory = pins.path().to_owned();
    let Err(error) = pins.remove() else { return };
    if directory.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let place = directory.display();
        tracing::warn!(
            "the eBPF programs in {place} stay, though the agent does not start: {:#}; `--detach-all` removes them",
            anyhow::Error::from(error)
        );
    }
}
