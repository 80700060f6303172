//! Turns for others, in work whose length clients choose.

use std::time::{Duration, Instant};

/// How long a task works before others have their turn.
const TURN: Duration = Duration::from_millis(1);

/// When the task had its turn last.
#[derive(Debug)]
pub(super) struct Pace(Instant);

impl Default for Pace {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Pace {
    /// To be called between pieces of work: lets others go on if the turn is over.
    pub(super) async fn keep(&mut self) {
        // What is ready at once always would never wait otherwise.
        tokio::task::coop::consume_budget().await;
        if self.0.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.0 = Instant::now();
        }
    }
}
