//! Two agents that want the same: one serves, and the other says what it cannot have, who has it, and what to do.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::agent::{Agent, run_marked, wait_until};
use crate::site::{Answer, Running, Site, Written, end};
use crate::{Needs, Test};

pub(crate) const TESTS: [Test; 3] = [
    ("two::want_the_same", Needs::Nothing, want_the_same),
    ("two::start_at_the_same_moment", Needs::Nothing, start_at_the_same_moment),
    ("two::record_into_one_file", Needs::Nothing, record_into_one_file),
];

/// The other ends, and says what it cannot have, who has it, and what to do.
fn check_refused(other: &Answer, agent: &Agent, words: &[&str]) {
    assert!(!other.is_given, "{other:?}");
    for word in words {
        assert!(other.err.contains(word), "{word} in {}", other.err);
    }
    assert!(other.err.contains(&format!("(it is pid {}, procession)", agent.pid())), "{}", other.err);
}

/// Programs of an agent that cannot start do not stay; those that an earlier one left do.
fn check_no_pins_left(site: &Site, elsewhere: &str, socket: &str) {
    let place = PathBuf::from(format!("{}-own", site.pins().display()));
    let own = format!("--pin-dir={}", place.display());
    let other = site.another(&[elsewhere, socket, &own]);
    assert!(!other.is_given && other.err.contains("another agent listens there"), "{other:?}");
    assert!(!place.exists(), "{other:?}");
}

fn want_the_same() {
    let site = Site::new();
    let agent = site.setup().start();
    run_marked("first", 20);
    agent.wait_for_export("first-19");
    let exported = agent.exported();
    let elsewhere = format!("--journal-dir={}", site.path("elsewhere").display());

    let socket = format!("--server-address=unix://{}", agent.socket().display());
    let other = site.another(&[&elsewhere, &socket]);
    check_refused(
        &other,
        &agent,
        &["cannot listen on unix://", "another agent listens there", "another path"],
    );

    let port = format!("--server-address=localhost:{}", agent.port());
    let other = site.another(&[&elsewhere, &port]);
    check_refused(
        &other,
        &agent,
        &["cannot listen on localhost:", "another program listens", "another port"],
    );

    let web = format!("--metrics-server=localhost:{}", agent.web());
    let other = site.another(&[&elsewhere, &web]);
    check_refused(&other, &agent, &["cannot serve metrics at", "another program listens", "another port"]);

    let other = site.another(&[]);
    check_refused(&other, &agent, &["another program writes the journal in", "choose another directory"]);

    let export = format!("--export-filename={}", agent.export().display());
    let other = site.another(&[&elsewhere, &export]);
    check_refused(&other, &agent, &["another program exports to it", "export to another file"]);

    let pins = format!("--pin-dir={}", site.pins().display());
    let other = site.another(&[&elsewhere, &pins]);
    check_refused(&other, &agent, &["another process reads what is pinned in", "use another directory"]);

    check_no_pins_left(&site, &elsewhere, &socket);

    let other = site.another(&[&socket, &port, &web, &export, &pins]);
    assert!(!other.is_given, "{other:?}");

    // And none of it has harmed the first one.
    assert!(agent.exported().starts_with(&exported));
    run_marked("second", 20);
    agent.wait_for_export("second-19");
    assert!(site.ask(&["status"]).is_given && agent.get("/readyz").is_some());
    let said = end(agent);
    let written = Written::read(&site.journal(), "second");
    assert!(written.is_closed && written.has_all(20) && written.missing() == 0, "{said}");
}

/// At the very same moment, for everything: one serves.
fn start_at_the_same_moment() {
    for _ in 0..3 {
        let site = Site::new();
        let port = std::net::TcpListener::bind("localhost:0").unwrap().local_addr().unwrap().port();
        let mut agents: Vec<_> = (0..4)
            .map(|number| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
                command.args(["agent", "--no-runtimes", "--config", "/dev/null"]);
                command.arg(format!("--server-address=unix://{}", site.path("socket").display()));
                command.arg(format!("--metrics-server=localhost:{port}"));
                command.arg(format!("--journal-dir={}", site.journal().display()));
                command.arg(format!("--pin-dir={}", site.pins().display()));
                command.arg(format!("--export-filename={}", site.path("events.log").display()));
                let log = fs::File::create(site.path(&format!("log-{number}"))).unwrap();
                Running::start(command.stdin(Stdio::null()).stderr(log))
            })
            .collect();
        let mut ended = 0;
        wait_until(
            || {
                agents.retain_mut(|agent| match agent.0.try_wait().unwrap() {
                    Some(status) => {
                        assert_eq!(status.code(), Some(1));
                        ended += 1;
                        false
                    }
                    None => true,
                });
                ended == 3
            },
            || "more than one goes on".to_owned(),
        );
        wait_until(|| site.ask(&["status"]).is_given, || "the one that is left does not serve".to_owned());
        run_marked("one", 20);
        let agent = &mut agents[0].0;
        rustix::process::kill_process(crate::agent::pid(agent), rustix::process::Signal::TERM).unwrap();
        assert!(agent.wait().unwrap().success());
        let written = Written::read(&site.journal(), "one");
        assert!(written.is_closed && written.has_all(20) && written.missing() == 0, "{written:?}");
        let all: String =
            (0..4).map(|at| fs::read_to_string(site.path(&format!("log-{at}"))).unwrap()).collect();
        assert_eq!(all.matches("another program writes the journal").count(), 3, "{all}");
    }
}

/// The second leaves alone what the first has recorded.
fn record_into_one_file() {
    let site = Site::new();
    let file = site.path("recording");
    let mut command = Command::new(env!("CARGO_BIN_EXE_procession"));
    // It reads until nobody can write any more.
    command.arg("record").arg(&file).args(["--", "cat", "/dev/stdin"]);
    let mut first = Running::start(command.stdin(Stdio::piped()).stderr(Stdio::null()));
    wait_until(|| file.metadata().is_ok_and(|it| it.len() > 0), || "nothing is recorded".to_owned());
    let other = site.ask(&["record", "--force", file.to_str().unwrap(), "--", "true"]);
    assert!(!other.is_given, "{other:?}");
    assert!(other.err.contains("another program writes"), "{}", other.err);
    assert!(other.err.contains(&format!("(it is pid {}", first.pid())), "{}", other.err);
    assert!(first.0.try_wait().unwrap().is_none(), "the first goes on");
    drop(first.0.stdin.take());
    assert!(first.0.wait().unwrap().success());
    let replayed = site.ask(&["replay", file.to_str().unwrap()]);
    assert!(replayed.is_given && replayed.out.contains("/dev/stdin"), "{replayed:?}");
}
