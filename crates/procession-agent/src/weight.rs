//! About how many bytes facts take in memory while they wait.

use std::collections::HashSet;

use procession::{Fact, Image, Process, Spell};
use procession_kube::Told;

/// Bytes of a fact with all that it keeps in memory, of which it may share most with others.
pub(crate) fn of_all(fact: &Fact) -> usize {
    let processes = std::iter::once(&fact.process).chain(&fact.lineage);
    let images = processes.map(|process| size_of::<Process>() + process.image.as_ref().map_or(0, of_image));
    size_of::<Fact>() + images.sum::<usize>()
}

/// Bytes of a fact without its images.
pub(crate) fn of_one(told: &Told) -> usize {
    size_of::<Told>() + size_of_val(&*told.fact.lineage)
}

/// Images that count already, by where they are. Somebody has to keep them for as long as they are in here.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashSet<usize>);

impl Seen {
    /// The images of a fact that did not count yet, with how many bytes each takes.
    pub(crate) fn add(&mut self, told: &Told) -> Vec<(usize, usize)> {
        let Fact { process, lineage, .. } = &told.fact;
        let images = std::iter::once(process).chain(lineage).filter_map(|process| process.image.as_ref());
        let new = images.filter(|image| self.0.insert(image.address()));
        new.map(|image| (image.address(), of_image(image))).collect()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The image that was there counts no more.
    pub(crate) fn remove(&mut self, address: usize) {
        self.0.remove(&address);
    }
}

fn of_image(image: &Image) -> usize {
    // What every image has besides its texts, rounded up.
    const FIXED: usize = 512;
    let texts = [
        image.arguments().bytes,
        image.environment().bytes,
        image.binary(),
        image.executable(),
        image.cwd().as_bytes(),
        image.cgroup_path(),
    ];
    let past = image.past().iter().map(|spell| size_of::<Spell>() + spell.cgroup_path().len());
    FIXED + texts.iter().map(|text| text.len()).sum::<usize>() + past.sum::<usize>()
}
