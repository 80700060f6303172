//! Says it when somebody has made the source see nothing, and that it is to be looked who was missed.

use std::time::{Duration, Instant};

use procession_sensor::Silencing;

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    known: Silencing,
    said: Option<Instant>,
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
        let Silencing { times, at_most, lasting } = &self.known;
        match lasting {
            Some(why) if known.lasting.is_none() => {
                self.said = Some(now);
                tracing::error!(
                    why,
                    "somebody has silenced the eBPF programs by their map `active`, and they cannot be put to \
                     work again: nothing is observed. Start the agent anew, which loads new ones; and find out \
                     who had CAP_BPF or could open the pins"
                );
                false
            }
            None if known.lasting.is_some() => {
                tracing::warn!(?at_most, "the eBPF programs work again; what was missed is looked for");
                true
            }
            None if *times > known.times => {
                let is_news = self.said.is_none_or(|said| now.saturating_duration_since(said) >= PAUSE);
                if is_news {
                    self.said = Some(now);
                    say_it_was(self.known.at_most.saturating_sub(known.at_most));
                }
                true
            }
            _ => false,
        }
    }
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
            "somebody had silenced the eBPF programs {times} times, for at most {:.1} s in all: what began and \
             ended meanwhile is not known, nor how much it was",
            at_most.as_secs_f64()
        )),
        None => None,
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
        let mut said = Vec::new();
        for second in 0..180_u64 {
            watch.note(found(second + 1, None), start + Duration::from_secs(second));
            said.extend(watch.said);
        }
        said.dedup();
        assert_eq!(said.len(), 3);
    }
}
