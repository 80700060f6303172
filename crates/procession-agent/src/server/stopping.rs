//! The word that the server stops, for all who do something for clients.

use tokio::sync::watch;

/// Hears that the server stops.
#[derive(Clone, Debug)]
pub(super) struct Stopping(watch::Receiver<bool>);

/// Says so.
#[derive(Debug)]
pub(super) struct Stop(watch::Sender<bool>);

pub(super) fn stop() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Waits for it. Whoever is gone without a word has stopped too.
    pub(super) async fn wait(&mut self) {
        let _ = self.0.wait_for(|stops| *stops).await;
    }
}
