//! Too few file descriptors.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use crate::agent::{Agent, run_marked, wait_until};
use crate::site::{Site, Written, end, run, without};
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

/// Whoever comes, the agent keeps what it needs itself.
fn few_from_the_start() {
    let site = Site::new();
    let agent = site.setup().by(&["prlimit", "--nofile=100:100"]).start();
    let clients = flood(&agent, 150);
    agent.wait_for_word(TURNED_AWAY, 1);
    agent.wait_for_metric("procession_server_refused_connections_total", 50);
    assert_eq!(agent.metric("procession_server_accept_errors_total"), Some(0));
    let open = agent.metric("process_open_fds").unwrap();
    assert!(open < 90, "{open} files are open");
    run_marked("flood", 50);
    agent.wait_for_export("flood-49");
    // It can still open files: its journal is another one now.
    std::fs::remove_dir_all(site.journal()).unwrap();
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
