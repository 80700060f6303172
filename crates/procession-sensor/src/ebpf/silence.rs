//! What looks at the programs tell of somebody who makes them do nothing.

use std::time::Duration;

use crate::source::Silencing;

/// What a look has found, and what came of it.
#[derive(Debug)]
pub(super) enum Look {
    /// They work.
    Awake,
    /// They did nothing, and do work now.
    Woken,
    /// They do nothing, and stay so: why.
    Asleep(String),
}

/// What all looks so far have found.
#[derive(Debug, Default)]
pub(super) struct Silence {
    known: Silencing,
    /// The last look has found that they did nothing, whatever came of it.
    was_asleep: bool,
}

impl Silence {
    pub(super) fn known(&self) -> &Silencing {
        &self.known
    }

    /// Takes note of a look, `since` after the one before.
    pub(super) fn note(&mut self, look: Look, since: Duration) {
        let Silencing { times, at_most, lasting } = &mut self.known;
        let is_asleep = !matches!(look, Look::Awake);
        let was_asleep = std::mem::replace(&mut self.was_asleep, is_asleep);
        // If somebody else has put it right, that may have been a moment ago.
        if is_asleep || lasting.is_some() {
            *at_most += since;
        }
        *times += u64::from(is_asleep && lasting.is_none());
        *lasting = match look {
            Look::Asleep(why) => Some(why),
            // What is found so each time is so nearly all the time, however well it was put right.
            Look::Woken if was_asleep => Some("somebody does it again after each time".to_owned()),
            Look::Woken | Look::Awake => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETWEEN: Duration = Duration::from_millis(500);

    fn after(looks: impl IntoIterator<Item = Look>) -> Silencing {
        let mut silence = Silence::default();
        for look in looks {
            silence.note(look, BETWEEN);
        }
        silence.known
    }

    fn frozen() -> Look {
        Look::Asleep("frozen".to_owned())
    }

    #[test]
    fn what_is_put_right_at_once_does_not_last() {
        assert_eq!(after([Look::Awake, Look::Awake]), Silencing::default());
        let once = Silencing { times: 1, at_most: BETWEEN, lasting: None };
        assert_eq!(after([Look::Awake, Look::Woken, Look::Awake]), once);
        let twice = Silencing { times: 2, at_most: 2 * BETWEEN, lasting: None };
        assert_eq!(after([Look::Woken, Look::Awake, Look::Woken]), twice);
    }

    /// Nobody knows when it has ended, so all the time until the look that finds it so counts.
    #[test]
    fn it_may_last_until_the_look_that_finds_it_over() {
        let ended = after([frozen(), frozen(), Look::Awake, Look::Awake]);
        assert_eq!(ended, Silencing { times: 1, at_most: 3 * BETWEEN, lasting: None });
        let still = after([frozen(), frozen()]);
        assert_eq!((still.at_most, still.lasting.as_deref()), (2 * BETWEEN, Some("frozen")));
    }

    /// Who does it in a loop is found at each look, though each look puts it right.
    #[test]
    fn what_is_found_at_each_look_lasts() {
        let loops = after([Look::Woken, Look::Woken, Look::Woken]);
        assert!(loops.lasting.is_some_and(|why| why.contains("again")));
        assert_eq!((loops.times, loops.at_most), (2, 3 * BETWEEN));
        let ended = after([Look::Woken, Look::Woken, Look::Awake]);
        assert_eq!(ended, Silencing { times: 2, at_most: 3 * BETWEEN, lasting: None });
        assert!(after([frozen(), Look::Woken]).lasting.is_some(), "only just: the next look decides");
    }
}
