//! Standard output: lines in batches, never waiting for a reader longer than the program should.

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use procession_agent::Told;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::display::Display;

/// Lines that are rendered before they are written.
const BATCH: usize = 1_024;

/// What can be written without waiting when `poll` says that there is room in a pipe (`PIPE_BUF`).
const PIECE: usize = 4_096;

/// How long to wait for room before asking again whether to go on.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a reader may stand still when everything else is over.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Where lines go.
pub(crate) struct Output {
    display: Display,
    lines: Vec<u8>,
    is_unread: bool,
}

impl Output {
    pub(crate) fn new(display: Display) -> Self {
        Self { display, lines: Vec::new(), is_unread: false }
    }

    /// Whether nobody reads the output any more.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Writes `first`, and with it what else is ready by now, for as long as `go_on` says so.
    pub(crate) fn write(
        &mut self,
        first: &Told,
        more: impl Iterator<Item = Told>,
        go_on: &dyn Fn(Duration) -> bool,
    ) -> anyhow::Result<()> {
        self.display.refresh();
        self.display.render(first, &mut self.lines);
        for told in more.take(BATCH) {
            self.display.render(&told, &mut self.lines);
        }
        let written = write_patiently(&self.lines, go_on);
        self.lines.clear();
        match written {
            Ok(is_written) => {
                self.is_unread |= !is_written;
                Ok(())
            }
            // `procession watch | head` is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_unread = true;
                Ok(())
            }
            Err(error) => Err(cannot_write(error)),
        }
    }

    /// Writes what is left when the observation has stopped, to a reader who goes on reading.
    pub(crate) fn write_rest(
        &mut self,
        rest: &Receiver<Told>,
        is_asked_to_stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<()> {
        while let Ok(told) = rest.recv() {
            if !self.is_unread {
                let go_on = |waited| waited < LAST_PATIENCE && !is_asked_to_stop();
                self.write(&told, rest.try_iter(), &go_on)?;
            }
        }
        Ok(())
    }
}

/// That nobody can read it there.
pub(crate) fn cannot_write(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot write to standard output")
}

/// Writes all of `bytes` to standard output, however long that takes. Who stops reading has seen enough.
pub(crate) fn write_whole(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(cannot_write(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes `lines` to standard output. `go_on` is asked whether to wait longer for a reader, with the time
/// waited. `false`: it was not to.
pub(crate) fn write_patiently(lines: &[u8], go_on: &dyn Fn(Duration) -> bool) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    for piece in lines.chunks(PIECE) {
        let began_to_wait = Instant::now();
        // A pipe that nobody reads, or a terminal that is stopped, must not hold the program.
        while !has_room()? {
            if !go_on(began_to_wait.elapsed()) {
                return Ok(false);
            }
        }
        stdout.write_all(piece)?;
        stdout.flush()?;
    }
    Ok(true)
}

fn has_room() -> io::Result<bool> {
    let stdout = io::stdout();
    let mut descriptors = [PollFd::new(&stdout, PollFlags::OUT)];
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    match poll(&mut descriptors, Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
