//! A terminal that the program may take for a person's.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Runs the program with its standard error on a terminal that has so many columns: its status, and what was to be
/// seen there.
pub(crate) fn on_terminal(mut command: Command, columns: u16) -> (Option<i32>, String) {
    // It becomes nobody's controlling terminal, also where these tests lead a session.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master: OwnedFd = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(terminal).env("NO_COLOR", "1").spawn().unwrap();
    // With it goes the last that has the terminal open here.
    drop(command);
    let mut seen = Vec::new();
    // It fails when nobody has the terminal open any more: that is its end.
    let _ = File::from(master).read_to_end(&mut seen);
    (child.wait().unwrap().code(), String::from_utf8(seen).unwrap().replace('\r', ""))
}
