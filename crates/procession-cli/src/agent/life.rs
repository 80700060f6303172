//! The agent's life as the system sees it: signals, and what the service manager is told.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::mem;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::config::AgentConfig;
use super::reload::Reloader;

/// How often health is looked at when nothing asks for more.
const TICK: Duration = Duration::from_secs(1);

/// How long a service manager that does not read is waited for, with what it is told once: much less than it
/// waits for us.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens to the agent from outside.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Time has passed. Who is well says so with [`Life::is_well`].
    Tick,
    /// Files are to be opened anew, and live options changed if there are some here: all others are as
    /// they were.
    Reload(Option<Box<AgentConfig>>),
    /// It shall stop.
    Stop,
}

/// From the first signal handler to the last word to the service manager.
#[derive(Debug)]
pub(crate) struct Life {
    requests: Requests,
    reloader: Reloader,
    tick: Duration,
    is_watched: bool,
    /// The service manager waits for the word that everything serves, as after a reload.
    owes_ready: bool,
}

impl Life {
    /// From now on signals are requests.
    pub(crate) fn begin(reloader: Reloader) -> anyhow::Result<Self> {
        let requests = Requests::catch().context("cannot catch signals")?;
        let watchdog = sd_notify::watchdog_enabled();
        let tick = watchdog.map_or(TICK, |within| TICK.min(within / 2)).max(Duration::from_millis(10));
        Ok(Self { requests, reloader, tick, is_watched: watchdog.is_some(), owes_ready: true })
    }

    /// Tells the service manager's watchdog that all is well.
    pub(crate) fn is_well(&self) {
        if self.is_watched {
            // The next one comes soon: this one waits for nobody.
            tell(&[NotifyState::Watchdog], None);
        }
    }

    /// Waits for what comes next, a tick at most. Who calls this serves, with what the turn before
    /// said, and that is what the service manager is told.
    pub(crate) fn next(&mut self) -> anyhow::Result<Turn> {
        if mem::take(&mut self.owes_ready) {
            tell(&[NotifyState::Ready], Some(PATIENCE));
        }
        match self.requests.next(self.tick).context("cannot wait for signals")? {
            Some(Request::Stop) => {
                tell(&[NotifyState::Stopping], Some(PATIENCE));
                Ok(Turn::Stop)
            }
            Some(Request::Reload) => Ok(self.reload()),
            None => Ok(Turn::Tick),
        }
    }

    fn reload(&mut self) -> Turn {
        // systemd wants to know when: its own notes from before may be older.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now], Some(PATIENCE));
        }
        self.owes_ready = true;
        match self.reloader.reload() {
            Ok(config) => Turn::Reload(config.map(Box::new)),
            Err(problems) => {
                for problem in &problems.0 {
                    tracing::error!("{problem}");
                }
                tracing::error!("the options are wrong now, so nothing changes");
                Turn::Tick
            }
        }
    }
}

/// Without a service manager this does nothing, and one that does not listen is no reason to stop.
fn tell(states: &[NotifyState<'_>], wait: Option<Duration>) {
    if let Err(error) = notify(states, wait) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// What `sd_notify::notify` does, which waits without end when the socket is full: signals would wait, too.
fn notify(states: &[NotifyState<'_>], wait: Option<Duration>) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(wait.is_none())?;
    socket.set_write_timeout(wait)?;
    socket.connect(path)?;
    let text = states.iter().fold(String::new(), |mut text, state| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{state}");
        text
    });
    loop {
        match socket.send(text.as_bytes()) {
            // A signal that came meanwhile has its turn after this.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent.map(drop),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Stop,
    Reload,
}

/// Signals, as requests.
#[derive(Debug)]
struct Requests {
    /// A byte for each signal.
    bell: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Requests {
    /// The first SIGTERM or SIGINT is a request. A second one ends the program at once, whatever it
    /// waits for.
    fn catch() -> io::Result<Self> {
        let (bell, ring) = UnixStream::pair()?;
        let requests = Self { bell, stop: Arc::default(), reload: Arc::default() };
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag unset, and sets it. Not the default action,
            // which does nothing to the first process of a container.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&requests.stop))?;
            flag::register(signal, Arc::clone(&requests.stop))?;
            low_level::pipe::register(signal, ring.try_clone()?)?;
        }
        flag::register(SIGHUP, Arc::clone(&requests.reload))?;
        low_level::pipe::register(SIGHUP, ring)?;
        Ok(requests)
    }

    /// The next request, or `None` when there is none within `wait`.
    fn next(&mut self, wait: Duration) -> io::Result<Option<Request>> {
        if self.pending().is_none() {
            self.bell.set_read_timeout(Some(wait))?;
            match self.bell.read(&mut [0; 64]) {
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        let request = self.pending();
        if request == Some(Request::Reload) {
            // Before the files are read: a signal from now on is about what is written from now on.
            self.reload.store(false, Ordering::SeqCst);
        }
        Ok(request)
    }

    fn pending(&self) -> Option<Request> {
        if self.stop.load(Ordering::SeqCst) {
            Some(Request::Stop)
        } else {
            self.reload.load(Ordering::SeqCst).then_some(Request::Reload)
        }
    }
}
