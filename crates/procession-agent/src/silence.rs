//! Says it when somebody has made the source see nothing, and that it is to be looked who was missed.

use std::fmt;
use std::time::{Duration, Instant};

use procession_sensor::Silencing;

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    known: Silencing,
    /// When it was last said, of one that was put right.
    said: Option<Instant>,
    /// When it was last said, of one that lasts.
    said_lasting: Option<Instant>,
    /// It was said of the one that lasts now.
    is_lasting_said: bool,
    /// What was silence in all when it was last said how much.
    said_at_most: Duration,
}

/// Whoever does it again and again does not fill the log: the metrics have how often.
const PAUSE: Duration = Duration::from_mins(1);

impl Watch {
    pub(crate) fn known(&self) -> &Silencing {
        &self.known
    }

    /// Takes note of how it is at `now`. Returns whether the source observes again, and has missed what
    /// nobody has counted.
    pub(crate) fn note(&mut self, found: Silencing, now: Instant) -> bool {
        let known = std::mem::replace(&mut self.known, found);
        if let Some(why) = &self.known.lasting {
            if !self.is_lasting_said && is_time(self.said_lasting, now) {
                self.said_lasting = Some(now);
                self.is_lasting_said = true;
                say_it_lasts(why);
            }
            return false;
        }
        let has_ended = known.lasting.is_some();
        let is_new = self.known.times > known.times;
        if std::mem::take(&mut self.is_lasting_said) {
            let at_most = self.news_of_time();
            tracing::warn!(?at_most, "the eBPF programs work again; what was missed is looked for");
        } else if (has_ended || is_new) && is_time(self.said, now) {
            self.said = Some(now);
            say_it_was(self.news_of_time());
        }
        has_ended || is_new
    }

    /// How long it was since that was last said.
    fn news_of_time(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.said_at_most, self.known.at_most);
        self.known.at_most.saturating_sub(before)
    }
}

/// Whether enough time has passed since it was `said`.
fn is_time(said: Option<Instant>, now: Instant) -> bool {
    said.is_none_or(|said| now.saturating_duration_since(said) >= PAUSE)
}

fn say_it_lasts(why: &str) {
    tracing::error!(
        why,
        "somebody has silenced the eBPF programs by their map `active`, and they cannot be put to work again: \
         nothing is observed. Start the agent anew, which loads new ones; and find out who had CAP_BPF or could \
         open the pins"
    );
}

fn say_it_was(at_most: Duration) {
    tracing::error!(
        ?at_most,
        "somebody had silenced the eBPF programs by their map `active`; they were put to work again. What began \
         and ended meanwhile is not known, nor how much it was; what still runs is looked for. Find out who had \
         CAP_BPF or could open the pins"
    );
}

/// What there is to say of it, for those who ask how the agent does. `None`: nobody did.
pub(crate) fn sentence(silencing: &Silencing) -> Option<String> {
    let Silencing { times, at_most, lasting } = silencing;
    match lasting {
        Some(why) => Some(format!(
            "somebody has silenced the eBPF programs, and they cannot be put to work again ({why}): nothing is \
             observed until the agent is started anew"
        )),
        None if *times > 0 => Some(format!(
            "somebody had silenced the eBPF programs {}, for at most {:.1} s in all: what began and \
             ended meanwhile is not known, nor how much it was",
            Times(*times),
            at_most.as_secs_f64()
        )),
        None => None,
    }
}

/// How often, in words.
struct Times(u64);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("once"),
            times => write!(f, "{times} times"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(times: u64, lasting: Option<&str>) -> Silencing {
        let at_most = Duration::from_millis(500 * times);
        Silencing { times, at_most, lasting: lasting.map(str::to_owned) }
    }

    #[test]
    fn it_is_looked_who_was_missed_when_the_source_observes_again() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        assert!(!watch.note(found(0, None), now) && sentence(watch.known()).is_none());
        assert!(watch.note(found(1, None), now));
        assert!(sentence(watch.known()).unwrap().contains("programs once, for at most 0.5 s"));
        assert!(!watch.note(found(1, None), now), "once");
        assert!(watch.note(found(2, None), now), "each time, whether it is said or not");
        assert!(sentence(watch.known()).unwrap().contains("2 times, for at most 1.0 s"));

        assert!(!watch.note(found(3, Some("frozen")), now), "there is nothing to look with yet");
        assert!(!watch.note(found(3, Some("frozen")), now));
        assert!(sentence(watch.known()).unwrap().contains("(frozen): nothing is observed"));
        assert!(watch.note(found(3, None), now));
        assert!(!watch.note(found(3, None), now));
    }

    #[test]
    fn the_log_is_not_filled() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let (mut said, mut times) = (Vec::new(), Vec::new());
        for second in 0..180_u64 {
            watch.note(found(second + 1, None), start + Duration::from_secs(second));
            said.extend(watch.said);
            times.push(watch.said_at_most);
        }
        said.dedup();
        times.dedup();
        assert_eq!(said.len(), 3);
        // What was not said then is part of what is said next.
        assert_eq!(times, [1, 61, 121].map(|times| Duration::from_millis(500 * times)));
    }

    /// One that comes and goes and one that stays: the second is said, if not at once.
    #[test]
    fn what_lasts_is_said_though_it_came_and_went_before() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut said = Vec::new();
        for second in 0..180_u64 {
            let lasting = (second >= 90 || second % 2 == 0).then_some("frozen");
            watch.note(found(second.min(90) + 1, lasting), start + Duration::from_secs(second));
            said.extend(watch.said_lasting);
        }
        said.dedup();
        assert_eq!(said, [0, 60, 120].map(|second| start + Duration::from_secs(second)));
        assert!(watch.is_lasting_said);
    }
}
