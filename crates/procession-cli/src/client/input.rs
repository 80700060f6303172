//! Events from a file rather than from an agent.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use flate2::bufread::MultiGzDecoder;
use jiff::tz::TimeZone;
use procession_api::proto::tetragon::GetEventsResponse;
use procession_filter::{EventFilter, FieldFilters};
use procession_journal::SYNC;

use super::args::EventsArgs;
use super::events::{Presenter, Request, Told};
use super::filter::EVERYTHING;
use super::screen::{Reader, Screen};
use super::{TICK, json};
use crate::args::WrongOption;
use crate::signals::Signals;
use crate::summary;

/// The longest line that is taken for an event, as in the reference client.
const LONGEST_LINE: u64 = 10 << 20;

/// Lines that may wait.
const QUEUE: usize = 1_024;

pub(super) fn run(path: &Path, args: &EventsArgs, signals: &Signals) -> anyhow::Result<ExitCode> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let request = Request::new(args).map_err(WrongOption)?;
    let mut filter = EventFilter::new(&request.allow, &[], EVERYTHING)?;
    let fields = FieldFilters::new(&request.fields)?;
    let lines = open(path).with_context(|| format!("cannot read {name}"))?;
    let mut presenter = Presenter::new(args, TimeZone::system());
    let mut screen = Screen::new(signals);
    let (mut events, mut unreadable) = (0_u64, 0_u64);
    let mut reader = Reader::Reads;
    while reader == Reader::Reads && !signals.is_any() {
        let line = match lines.recv_timeout(TICK) {
            Ok(line) => line.with_context(|| format!("cannot read {name}"))?,
            Err(RecvTimeoutError::Timeout) => {
                reader = screen.write()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let event = json::parse::<GetEventsResponse>(&line);
        events += u64::from(event.is_some());
        match event {
            Some(event) if filter.admits(&event) => {
                let event = if fields.is_empty() { event } else { fields.apply(&event)? };
                presenter.show(&Told::Event(event), screen.lines());
                presenter.notes.drain(..).for_each(|note| summary::tell(format_args!("{note}")));
            }
            Some(_) => {}
            None => unreadable += u64::from(!line.trim_ascii().is_empty()),
        }
        reader = screen.write_some()?;
    }
    screen.write()?;
    if unreadable > 0 {
        let unreadable = summary::thousands(unreadable);
        summary::tell(format_args!("lines of {name} that are no events, and were skipped: {unreadable}"));
    }
    Ok(if events == 0 && unreadable > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Lines, read by a thread of its own: who waits for a pipe cannot look for signals.
pub(crate) fn open(path: &Path) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, lines) = bounded(QUEUE);
    let file: Box<dyn Read + Send> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    if path.is_dir() {
        return Err(io::Error::other("that is a directory; events are read from a file"));
    }
    let shown = if path == Path::new("-") { "FILE".to_owned() } else { path.display().to_string() };
    thread::Builder::new().name("input".into()).spawn(move || match uncompressed(file, &shown) {
        Ok(text) => read(text, &sender),
        Err(error) => {
            let _ = sender.send(Err(error));
        }
    })?;
    Ok(lines)
}

/// What is in a file, which may be compressed. A recording has no lines.
fn uncompressed(file: impl Read + Send + 'static, shown: &str) -> io::Result<Box<dyn BufRead>> {
    const GZIP: &[u8] = &[0x1f, 0x8b];
    let mut file = BufReader::new(file);
    if file.fill_buf()?.starts_with(&SYNC) {
        return Err(io::Error::other(format!("that is a recording: `procession replay {shown}` shows it")));
    }
    Ok(if file.fill_buf()?.starts_with(GZIP) {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    })
}

fn read(mut file: impl BufRead, sender: &Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut line = Vec::new();
        let read = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        let is_over = !matches!(read, Ok(1..));
        if let Err(error) = read {
            let _ = sender.send(Err(error));
        } else if !is_over && sender.send(Ok(line)).is_err() {
            return;
        }
        if is_over {
            return;
        }
    }
}
