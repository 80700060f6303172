//! Too few file descriptors.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;
use std::{fs, io};

use crate::agent::{Agent, run_marked, wait_until};
use crate::site::{Site, Written, end, run, settle, without};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 2] = [
    ("files::few_from_the_start", Needs::Installed(|| without("prlimit")), few_from_the_start),
    ("files::none_in_mid_run", Needs::Installed(|| without("prlimit")), none_in_mid_run),
];

/// So many clients that say nothing.
fn flood(agent: &Agent, clients: usize) -> Vec<UnixStream> {
    (0..clients).map(|_| UnixStream::connect(agent.socket()).unwrap()).collect()
}

const TURNED_AWAY: &str = "clients are turned away";

/// Files that an agent may have open here, and how many of these clients leave to it.
const LIMIT: usize = 100;
const OWN: usize = 24;

/// Numbers of files that it has open, below the limit: it may have got others from who started it.
fn open_files(agent: &Agent) -> BTreeSet<usize> {
    let all = fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap();
    let number = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().to_str()?.parse().ok();
    all.filter_map(number).filter(|number| *number < LIMIT).collect()
}

/// Clients come until there is no room for the next. Those who say nothing have to go after a while.
fn fill(agent: &Agent, clients: &mut Vec<UnixStream>) {
    let refused = || agent.metric("procession_server_refused_connections_total").unwrap();
    let before = refused();
    for _ in 0..LIMIT {
        clients.extend(flood(agent, 1));
        if refused() > before {
            return;
        }
    }
}

/// Whoever comes, the agent keeps what it needs itself.
fn few_from_the_start() {
    let site = Site::new();
    let agent = site.setup().by(&["prlimit", &format!("--nofile={LIMIT}:{LIMIT}")]).start();
    // What it opens late, such as its export, it has by then.
    run_marked("before", 50);
    agent.wait_for_export("before-49");
    settle(&agent);
    let mut clients = flood(&agent, LIMIT + 50);
    agent.wait_for_word(TURNED_AWAY, 1);
    agent.wait_for_metric("procession_server_refused_connections_total", 50);
    assert_eq!(agent.metric("procession_server_accept_errors_total"), Some(0));
    // Clients take all that there is for them, and nothing else. One that is turned away has a file for a moment.
    let is_right = || {
        fill(&agent, &mut clients);
        open_files(&agent) == (0..LIMIT - OWN).collect()
    };
    wait_until(is_right, || format!("of {LIMIT} files {OWN} are the agent's: {:?}", open_files(&agent)));
    run_marked("flood", 50);
    agent.wait_for_export("flood-49");
    // It can still open files: its journal is another one now.
    fs::remove_dir_all(site.journal()).unwrap();
    agent.wait_for_word("the journal is written again", 1);
    run_marked("after", 50);
    agent.wait_for_export("after-49");
    drop(clients);
    wait_until(|| site.ask(&["status"]).is_given, || format!("nobody is served: {}", agent.errors()));
    let said = end(agent);
    assert_eq!(said.matches(TURNED_AWAY).count(), 1, "{said}");
    let written = Written::read(&site.journal(), "after");
    assert!(written.has_all(50) && written.is_closed, "{said}");
}

/// The limit is lowered below what is open already: nothing can be opened any more.
fn none_in_mid_run() {
    let site = Site::new();
    let agent = site.setup().start();
    let pid = agent.pid().to_string();
    let limit = |limit: &str| run(&["prlimit", "--pid", &pid, &format!("--nofile={limit}:4096")]);
    limit("10");
    let clients = flood(&agent, 20);
    run_marked("none", 50);
    agent.wait_for_export("none-49");
    agent.wait_for_word("clients must wait, because no connection can be taken: Too many open files", 1);
    // Long enough for what waits two seconds in the journal.
    thread::sleep(Duration::from_secs(3));
    limit("4096");
    drop(clients);
    wait_until(|| site.ask(&["status"]).is_given, || format!("nobody is served: {}", agent.errors()));
    assert!(agent.metric("procession_server_accept_errors_total").unwrap() > 0);
    assert_eq!(agent.metric("procession_journal_write_errors_total"), Some(0), "it has its file");
    let said = end(agent);
    assert_eq!(said.matches("clients must wait").count(), 1, "{said}");
    let written = Written::read(&site.journal(), "none");
    assert!(written.has_all(50) && written.missing() == 0 && written.lost_in_kernel == 0, "{said}");
}
