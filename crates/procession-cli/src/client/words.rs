//! Times, sizes and processes in words.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use procession_api::proto::tetragon::Process;

use crate::render::{Name, Place, Visible, name_of, place_of, user_of, words_of};

/// A command line longer than this is cut, in characters: the story is told in sentences.
const LONGEST_COMMAND: usize = 300;

/// When something is told, and in which zone its reader lives.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

impl Moment {
    /// `12:03:07`, with the date if that is another.
    pub(super) fn at(&self, time: Timestamp) -> String {
        let [then, now] = [time, self.now].map(|time| self.zone.to_datetime(time));
        let format = if then.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        then.strftime(format).to_string()
    }

    /// `4 minutes ago`.
    pub(super) fn ago(&self, time: Timestamp) -> String {
        match self.since(time).as_secs() {
            0 => "just now".to_owned(),
            seconds => format!("{} ago", span(seconds)),
        }
    }

    /// `12:03:07, 4 minutes ago`.
    pub(super) fn at_and_ago(&self, time: Timestamp) -> String {
        format!("{}, {}", self.at(time), self.ago(time))
    }

    /// Nothing if that is in the future: clocks of two machines differ.
    pub(super) fn since(&self, time: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(time)).unwrap_or_default()
    }
}

fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let (number, unit) = match seconds {
        0..MINUTE => (seconds, "second"),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        // A day and a half is better told in hours.
        HOUR..172_800 => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// `12.3 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.into_iter().find(|(unit, _)| count >= *unit) {
        // In integers: a count may be larger than a float is exact.
        Some((unit, name)) => format!("{}.{} {name}", count / unit, count % unit * 10 / unit),
        None => format!("{count} bytes"),
    }
}

/// `bash (pid 4700)`. Where the program is not known, `comm` is the name.
pub(super) fn called(process: &Process, comm: &str) -> String {
    let pid = process.pid.unwrap_or_default();
    match name_of(process, comm) {
        Name::Unknown => format!("process {pid}"),
        name => format!("{} (pid {pid})", name.short()),
    }
}

/// `/bin/bash -c 'run cart'`.
pub(super) fn command(process: &Process, comm: &str) -> String {
    let mut text = match name_of(process, comm) {
        Name::Unknown if process.arguments.is_empty() => "a program that nobody saw".to_owned(),
        Name::Unknown => "a program that nobody saw, with".to_owned(),
        name => name.to_string(),
    };
    words_of(process, &mut |word| {
        // Writing to a text cannot fail.
        let _ = write!(text, " {word}");
    });
    if let Some((cut, _)) = text.char_indices().nth(LONGEST_COMMAND) {
        let more = text[cut..].chars().count();
        text.truncate(cut);
        let _ = write!(text, "… ({more} more characters)");
    }
    text
}

/// `www-data`, `user 1000`.
pub(super) fn user(process: &Process) -> Option<String> {
    let user = user_of(process)?;
    Some(match (user.name, user.id) {
        (Some(name), _) => Visible(name.as_bytes()).to_string(),
        // Everywhere.
        (None, 0) => "root".to_owned(),
        (None, id) => format!("user {id}"),
    })
}

/// `in pod shop/cart-0 (container app)`.
pub(super) fn place(process: &Process) -> Option<String> {
    let place = place_of(process)?;
    let container = process.pod.as_ref().and_then(|pod| pod.container.as_ref());
    Some(match (place, container.filter(|container| !container.name.is_empty())) {
        (Place::Pod { .. }, Some(container)) => {
            format!("in pod {place} (container {})", Visible(container.name.as_bytes()))
        }
        (Place::Pod { .. }, None) => format!("in pod {place}"),
        _ => format!("in container {place}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_with_the_date_when_that_is_another() {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let moment = Moment { now, zone: TimeZone::UTC };
        for (time, told) in [
            ("2026-11-24T12:00:00Z", "12:00:00, just now"),
            ("2026-11-24T12:00:09Z", "12:00:09, just now"),
            ("2026-11-24T11:59:59Z", "11:59:59, 1 second ago"),
            ("2026-11-24T11:56:00Z", "11:56:00, 4 minutes ago"),
            ("2026-11-24T10:59:00Z", "10:59:00, 1 hour ago"),
            ("2026-11-23T12:00:00Z", "2026-11-23 12:00:00, 24 hours ago"),
            ("2026-11-21T12:00:00Z", "2026-11-21 12:00:00, 3 days ago"),
        ] {
            assert_eq!(moment.at_and_ago(time.parse().unwrap()), told);
        }
    }

    #[test]
    fn sizes() {
        for (count, told) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_536, "1.5 KiB"),
            (48 << 20, "48.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(count), told);
        }
    }

    #[test]
    fn a_long_command_is_cut() {
        let process =
            Process { binary: "/bin/x".into(), arguments: "é".repeat(1_000), ..Process::default() };
        assert_eq!(command(&process, ""), format!("/bin/x {}… (707 more characters)", "é".repeat(293)));
    }

    #[test]
    fn a_program_that_nobody_saw_goes_by_the_name_of_its_thread() {
        let process = Process { pid: Some(7), ..Process::default() };
        assert_eq!(called(&process, "worker"), "worker (pid 7)");
        assert_eq!(command(&process, "worker"), "worker");
        assert_eq!(called(&process, ""), "process 7");
        assert_eq!(command(&process, ""), "a program that nobody saw");
    }
}
