//! Stands in for the library's comparison until that is there.

use std::collections::HashMap;

use procession::{BootTime, Entry, Precision, Subject, Table};

pub(crate) struct Survey {
    began: BootTime,
    seen: Vec<Subject>,
}

pub(crate) struct Suspects {
    pub(crate) missing: Vec<Subject>,
    pub(crate) gone: Vec<Subject>,
}

impl Survey {
    pub(crate) fn new(began: BootTime) -> Self {
        Self { began, seen: Vec::new() }
    }

    pub(crate) fn saw(&mut self, subject: Subject) {
        self.seen.push(subject);
    }
}

pub(crate) trait Compare {
    fn suspects(&self, survey: &Survey) -> Suspects;
}

impl Compare for Table {
    fn suspects(&self, survey: &Survey) -> Suspects {
        let seen: HashMap<_, _> = survey.seen.iter().map(|subject| (subject.key.pid, subject)).collect();
        let missing = survey.seen.iter().filter(|subject| {
            self.get(subject.key).is_none()
                && !self.get_live(subject.key.pid).is_some_and(|entry| {
                    entry.began() == subject.began && entry.key().start >= subject.key.start
                })
        });
        let gone = self.entries().filter(|entry| entry.is_running() && entry.began() < survey.began);
        let gone = gone.filter(|entry| seen.get(&entry.key().pid).is_none_or(|it| it.began != entry.began()));
        Suspects { missing: missing.copied().collect(), gone: gone.map(subject).collect() }
    }
}

fn subject(entry: Entry<'_>) -> Subject {
    Subject { key: entry.key(), began: entry.began(), precision: Precision::Nanoseconds }
}
