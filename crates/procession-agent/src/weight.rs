//! About how many bytes facts take in memory while they wait.

use procession::{Fact, FactKind, Image, Process, Spell};
use procession_kube::Told;

/// Bytes of a fact with all that it keeps in memory, of which it may share most with others.
pub(crate) fn of_all(fact: &Fact) -> usize {
    let processes = std::iter::once(&fact.process).chain(&fact.lineage);
    let images = processes.map(|process| size_of::<Process>() + process.image.as_ref().map_or(0, of_image));
    size_of::<Fact>() + images.sum::<usize>()
}

/// Bytes of one fact among others that came before it. An image counts with the fact that was the first to tell of
/// it. Later ones keep it too, but what they keep that its first fact does not any more was all in the table at one
/// time, so that it is never more than the table's budget.
pub(crate) fn of_one(told: &Told) -> usize {
    let Fact { kind, process, lineage, .. } = &told.fact;
    let is_first = matches!(kind, FactKind::Exec | FactKind::Running);
    let image = process.image.as_ref().filter(|_| is_first);
    size_of::<Told>() + size_of_val(&**lineage) + image.map_or(0, of_image)
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
