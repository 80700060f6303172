//! Secrets everywhere, and nowhere in what comes out.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::Test;
use crate::agent::Place;

pub(crate) const TESTS: [Test; 2] = [
    ("secrets::are_hidden_everywhere", are_hidden_everywhere),
    ("secrets::of_the_configuration_are_not_told", of_the_configuration_are_not_told),
];

/// Each in another place.
const ARGUMENT: &str = "canary-argument-5Tz";
const ENVIRONMENT: &str = "canary-environment-9Kq";
const TOKEN: &str = "canary-token-3Xw";
const ADDRESS: &str = "canary-address-7Vb";

/// All that comes out of an agent: log, metrics, export, journal, and each command.
fn outputs(place: &Place, pid: u32) -> Vec<(String, Vec<u8>)> {
    let mut outputs = vec![
        ("log".to_owned(), fs::read(place.path("log")).unwrap()),
        ("metrics".to_owned(), place.metrics().unwrap().into_bytes()),
        ("export".to_owned(), fs::read(place.path("events.log")).unwrap()),
    ];
    let pid = pid.to_string();
    for command in [
        &["status", "-o", "json"][..],
        &["dump"],
        &["processes", "-o", "json"],
        &["tree", "--wide"],
        &["why", &pid],
        &["why", &pid, "-o", "json"],
    ] {
        let Output { stdout, stderr, .. } = place.ask(command);
        outputs.push((command.join(" "), [stdout, stderr].concat()));
    }
    let journal = place.path("journal").display().to_string();
    let history = Command::new(env!("CARGO_BIN_EXE_procession"))
        .args(["history", &pid, "--journal", &journal])
        .output()
        .unwrap();
    outputs.push(("history".to_owned(), [history.stdout, history.stderr].concat()));
    outputs.push(("replay".to_owned(), replayed(place)));
    outputs
}

/// All that is in the journal.
fn replayed(place: &Place) -> Vec<u8> {
    let mut replay = Command::new(env!("CARGO_BIN_EXE_procession"));
    replay.arg("replay").arg(place.path("journal"));
    replay.args(["--fork", "--exec", "--exit", "--change", "--running", "-o", "json"]);
    let Output { stdout, stderr, .. } = replay.output().unwrap();
    [stdout, stderr].concat()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn are_hidden_everywhere() {
    let place = Place::new();
    let mut command = place.command(&[
        r#"--redaction-filters={"redact": ["--password[= ](\\S+)"]}"#,
        "--log-level=trace",
        "--enable-process-cred",
        "--journal-fsync=always",
    ]);
    command.env("AGENT_SECRET", ENVIRONMENT);
    let agent = place.spawn(command);
    let mut sleep = Command::new("sh");
    sleep.args([
        "-c",
        "while :; do sleep 1; done",
        "sh",
        "--password",
        ARGUMENT,
        &format!("--password={ARGUMENT}"),
        "seen-mark",
    ]);
    let child = crate::agent::Running::start(sleep.env("SECRET", ENVIRONMENT));
    let exec = place.exec_with("seen-mark");
    assert!(exec["arguments"].as_str().unwrap().contains("*****"), "{exec}");
    place.until("the journal has it", || holds(&replayed(&place), "seen-mark"));
    let outputs = outputs(&place, child.0.id());
    for (name, bytes) in &outputs {
        for secret in [ARGUMENT, ENVIRONMENT] {
            assert!(!holds(bytes, secret), "{secret} is in {name}: {}", String::from_utf8_lossy(bytes));
        }
    }
    let shown = outputs.iter().filter(|(_, bytes)| holds(bytes, "seen-mark")).count();
    assert!(shown >= 6, "the process is in {shown} of them");
    agent.stop();
}

/// Neither the token of a kubeconfig, nor what an address has before its host, whatever goes wrong.
fn of_the_configuration_are_not_told() {
    for proxy in ["", ", proxy-url: 'http://user:canary-address-7Vb@127.0.0.1:10'"] {
        let place = Place::new();
        let kubeconfig = place.path("kubeconfig");
        let server = format!("server: 'https://user:{ADDRESS}@127.0.0.1:9'{proxy}");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, \
             user: u}}}}], clusters: [{{name: k, cluster: {{{server}}}}}], users: [{{name: u, user: {{token: \
             {TOKEN}}}}}]}}"
        );
        fs::write(&kubeconfig, text).unwrap();
        let mut command = place.command(&["--log-level=trace", "--kubernetes"]);
        command.arg("--kubeconfig").arg(&kubeconfig);
        // All that libraries say too.
        command.env("PROCESSION_LOG", "trace");
        let agent = place.spawn(command);
        place.until("the API server is missed", || place.log().contains("trying again"));
        let mut outputs = outputs(&place, std::process::id());
        assert!(outputs.iter().any(|(name, bytes)| name == "log" && holds(bytes, "TRACE")), "it is traced");
        // Only now: another command begins another log.
        let mut print = place.command(&["--print-config"]);
        let print = print.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        outputs.push(("print-config".to_owned(), [print.stdout, print.stderr].concat()));
        for (name, bytes) in &outputs {
            for secret in [TOKEN, ADDRESS] {
                assert!(!holds(bytes, secret), "{secret} is in {name}: {}", String::from_utf8_lossy(bytes));
            }
        }
        agent.stop();
    }
}
