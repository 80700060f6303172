//! Options from everywhere, and what comes of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use proptest::prelude::*;
use tempfile::TempDir;

use super::args::Typed;
use super::catalogue::{Catalogue, Kind};
use super::config::{AgentConfig, Destination, RateLimit};
use super::layers::{Layers, Places, Problems, Reading};
use super::print::print;
use super::reload::{self, Reloader};
use super::settings::Origin;
use crate::args::{Cli, Command};

/// A machine with all places, empty at first.
struct Machine {
    root: TempDir,
    environment: Vec<(String, String)>,
    typed: Vec<String>,
}

impl Machine {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), environment: Vec::new(), typed: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file below the root, and the directories on the way.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn typed(mut self, args: &[&str]) -> Self {
        self.typed.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    fn layers(&self) -> Layers {
        let environment = self.environment.iter().map(|(name, value)| (name.into(), value.into()));
        Layers {
            places: Places {
                vendor: [self.path("lib"), self.path("local")],
                file: self.path("agent.toml"),
                drop_ins: self.path("etc"),
            },
            environment: environment.collect(),
            typed: typed(&self.typed),
        }
    }

    fn read(&self) -> Result<Reading, Problems> {
        self.layers().read()
    }

    /// What is wrong, with the machine's root as `/`.
    fn problems(&self) -> Vec<String> {
        let root = self.root.path().display().to_string();
        self.read().unwrap_err().0.iter().map(|problem| problem.replace(&root, "")).collect()
    }
}

fn typed(args: &[String]) -> Typed {
    let args = ["procession", "agent"].into_iter().chain(args.iter().map(String::as_str));
    match Cli::try_parse_from(args).unwrap().command {
        Command::Agent(typed) => typed,
        other => panic!("{other:?}"),
    }
}

/// What options mean where nothing else is configured.
pub(super) fn config(typed: &[&str]) -> AgentConfig {
    Machine::new().typed(typed).read().unwrap().config
}

fn values<'r>(reading: &'r Reading, name: &str) -> &'r [String] {
    &reading.settings.get(name).unwrap().values
}

fn origin(reading: &Reading, name: &str) -> Origin {
    reading.settings.get(name).unwrap().origin.clone()
}

/// A machine on which the layers of `ranks`, of 0 to 6, give `name` the value of that rank.
fn layered(name: &str, by_rank: &[&str; 7], ranks: impl Iterator<Item = usize>) -> (Machine, Vec<Origin>) {
    let variable = format!("PROCESSION_{}", name.to_uppercase().replace('-', "_"));
    let mut machine = Machine::new();
    let config_dir = machine.path("dir").display().to_string();
    fs::create_dir(&config_dir).unwrap();
    machine = machine.typed(&["--config-dir", &config_dir]);
    for rank in ranks {
        let value = by_rank[rank];
        match rank {
            0 => machine.write(&format!("lib/{name}"), value),
            1 => machine.write(&format!("local/{name}"), &format!("{value}\n")),
            2 => machine.write("agent.toml", &format!("# First.\n{name} = '{value}'\n")),
            3 => machine.write(&format!("etc/{name}"), value),
            4 => machine.write(&format!("dir/{name}"), value),
            5 => machine = machine.variable(&variable, value),
            _ => machine = machine.typed(&[&format!("--{name}={value}")]),
        }
    }
    let drop_in = |place: &str| Origin::DropIn(machine.path(&format!("{place}/{name}")));
    let origins = vec![
        drop_in("lib"),
        drop_in("local"),
        Origin::File { path: machine.path("agent.toml"), line: 2 },
        drop_in("etc"),
        drop_in("dir"),
        Origin::Environment(variable),
        Origin::CommandLine,
    ];
    (machine, origins)
}

#[test]
fn later_layers_win_whatever_the_kind_of_option() {
    for (name, by_rank) in [
        ("kubernetes", ["true", "false", "true", "false", "true", "false", "true"]),
        ("enable-event-metrics", ["false", "true", "false", "true", "false", "true", "false"]),
        ("server-address", ["a", "b,b2", "c", "d", "e,e2", "f", "g"]),
        ("runtime-socket", ["cri:/a", "cri:/b", "cri:/c", "cri:/d", "cri:/e", "cri:/f", "cri:/g"]),
        ("event-queue-size", ["1", "2", "3", "4", "5", "6", "7"]),
        ("ring-size", ["1M", "2M", "3M", "4M", "5M", "6M", "7M"]),
        ("pod-wait", ["1s", "2s", "3s", "4s", "5s", "6s", "7s"]),
        ("log-level", ["error", "warn", "debug", "trace", "error", "warn", "debug"]),
        ("node-name", ["a", "b", "c", "d", "e", "f", "g"]),
        ("export-rate-limit", ["1", "0", "-1", "2", "3", "-1", "4"]),
    ] {
        for top in 0..by_rank.len() {
            let (machine, origins) = layered(name, &by_rank, 0..=top);
            let reading = machine.read().unwrap_or_else(|problems| {
                // That needs a file to say something about.
                assert_eq!(name, "export-rate-limit", "{problems}");
                machine.write("lib/export-filename", "/x");
                machine.read().unwrap()
            });
            assert_eq!(values(&reading, name).join(","), by_rank[top], "{name} {top}");
            assert_eq!(origin(&reading, name), origins[top], "{name} {top}");
        }
    }
}

#[test]
fn the_highest_of_any_layers_wins() {
    let by_rank = ["a", "b", "c", "d", "e", "f", "g"];
    for subset in 0_u32..1 << by_rank.len() {
        let ranks = (0..by_rank.len()).filter(|rank| subset & 1 << rank != 0);
        let (machine, origins) = layered("cluster-name", &by_rank, ranks);
        let reading = machine.read().unwrap();
        let highest = subset.checked_ilog2().map(|rank| usize::try_from(rank).unwrap());
        assert_eq!(reading.config.cluster_name, highest.map_or("", |rank| by_rank[rank]));
        assert_eq!(
            origin(&reading, "cluster-name"),
            highest.map_or(Origin::Default, |rank| origins[rank].clone())
        );
    }
}

/// A value for each option, other than its default and than [`with_everything`] has it.
const SAMPLES: [(&str, &str); 49] = [
    ("source", "polling"),
    ("ring-size", "1M"),
    ("table-budget", "9M"),
    ("journal-dir", "/other"),
    ("journal-max-size-mb", "5"),
    ("journal-max-age", "2d"),
    ("journal-fsync", "always"),
    ("pin-dir", "/pins"),
    ("no-pin", "true"),
    ("keep-privileges", "true"),
    ("kubernetes", "true"),
    ("kubeconfig", "/k"),
    ("node-name", "n"),
    ("pod-wait", "1s"),
    ("runtime-socket", "cri:/run/a.sock,docker:/run/b.sock"),
    ("no-runtimes", "true"),
    ("pod-annotations", "true"),
    ("cluster-name", "c"),
    ("server-address", "localhost,unix:///a"),
    ("server-tls-cert-file", "/cert2"),
    ("server-tls-key-file", "/key2"),
    ("server-tls-client-ca-files", "/ca2,/ca3"),
    ("server-tls-require-client-cert", "true"),
    ("server-max-connections", "2"),
    ("event-queue-size", "3"),
    ("event-queue-bytes", "2M"),
    ("metrics-server", ":2112"),
    ("metrics-label-filter", "pod,binary"),
    ("enable-event-metrics", "false"),
    ("health-server-address", ":6789"),
    ("enable-process-cred", "true"),
    ("enable-process-ns", "true"),
    ("enable-ancestors", "true"),
    ("export-filename", "/other"),
    ("export-file-max-size-mb", "4"),
    ("export-file-rotation-interval", "1h"),
    ("export-file-max-backups", "6"),
    ("export-file-compress", "true"),
    ("export-file-perm", "640"),
    ("export-rate-limit", "7"),
    ("export-allowlist", "{\"pid\":[1]}"),
    ("export-denylist", "{\"pid\":[2]}"),
    ("field-filters", "{\"fields\":\"process.pod\"}"),
    ("redaction-filters", "{\"redact\":[\"a\"]}"),
    ("log-level", "debug"),
    ("log-format", "json"),
    // Twice, as lists may be typed.
    ("server-address", "a"),
    ("runtime-socket", "podman:/c"),
    ("export-rate-limit", "-1"),
];

/// A machine on which every option makes sense.
fn with_everything() -> Machine {
    let machine = Machine::new();
    for (name, value) in [
        ("export-filename", "/file"),
        ("export-rate-limit", "9"),
        ("journal-dir", "/journal"),
        ("server-tls-cert-file", "/cert"),
        ("server-tls-key-file", "/key"),
        ("server-tls-client-ca-files", "/ca"),
    ] {
        machine.write(&format!("lib/{name}"), value);
    }
    machine
}

#[test]
fn every_option_can_be_given_in_every_way_and_does_something() {
    let catalogue = Catalogue::new();
    for option in &catalogue.options {
        assert!(SAMPLES.iter().any(|(name, _)| *name == option.name), "{} has no sample", option.name);
    }
    let usual = with_everything().read().unwrap().config;
    for (name, value) in SAMPLES {
        let option = catalogue.find(name).unwrap_or_else(|| panic!("there is no {name}"));
        let typed = with_everything().typed(&[&format!("--{name}"), value]);
        let typed = if option.kind == Kind::Switch {
            with_everything().typed(&[&format!("--{name}={value}")])
        } else {
            typed
        };
        let variable = with_everything().variable(&option.variable(), value);
        let (file, drop_in) = (with_everything(), with_everything());
        file.write(
            "agent.toml",
            &match option.kind {
                Kind::Switch => format!("{name} = {value}"),
                Kind::Number if value.parse::<i64>().is_ok() => format!("{name} = {value}"),
                Kind::List => format!("{name} = [\"{}\"]", value.replace(',', "\", \"")),
                Kind::Number | Kind::Text => format!("{name} = '{value}'"),
            },
        );
        drop_in.write(&format!("etc/{name}"), &format!("{}\n", value.replace(',', "\n")));
        if option.kind != Kind::List {
            drop_in.write(&format!("etc/{name}"), &format!("{value}\n"));
        }
        let readings = [typed, variable, file, drop_in].map(|machine| machine.read().unwrap());
        for reading in &readings {
            assert_ne!(reading.config, usual, "{name} from {}", origin(reading, name));
            assert_eq!(reading.config, readings[0].config, "{name} from {}", origin(reading, name));
            assert_ne!(origin(reading, name), Origin::Default, "{name}");
        }
    }
}

#[test]
fn the_journal_is_where_the_service_manager_says_unless_somebody_says_otherwise() {
    let directory = |machine: &Machine| machine.read().unwrap().config.journal.map(|journal| journal.path);
    let unit = || Machine::new().variable("STATE_DIRECTORY", "/var/lib/procession:/var/lib/other");
    assert_eq!(directory(&Machine::new()), None, "no place, no journal");
    assert_eq!(directory(&unit()).unwrap(), Path::new("/var/lib/procession/journal"));
    let origin = origin(&unit().read().unwrap(), "journal-dir");
    assert_eq!(origin, Origin::Environment("STATE_DIRECTORY".into()));
    assert_eq!(directory(&unit().typed(&["--journal-dir="])), None, "turned off");
    let elsewhere = unit();
    elsewhere.write("lib/journal-dir", "/else");
    assert_eq!(directory(&elsewhere).unwrap(), Path::new("/else"));
}

#[test]
fn programs_are_pinned_only_with_a_journal() {
    let pins = |typed: &[&str]| Machine::new().typed(typed).read().unwrap().config.pin_dir;
    assert_eq!(pins(&[]), None);
    assert_eq!(pins(&["--journal-dir", "/j"]).unwrap(), Path::new("/sys/fs/bpf/procession"));
    assert_eq!(pins(&["--journal-dir", "/j", "--no-pin"]), None);
    let problems = Machine::new().typed(&["--pin-dir", "/p", "--no-pin"]).problems();
    assert!(problems[0].ends_with("contradict each other: remove one"), "{problems:?}");
}

#[test]
fn a_switch_needs_no_value_where_it_is_named() {
    let machine = Machine::new().typed(&["--enable-ancestors"]);
    machine.write("etc/enable-process-ns", "");
    machine.write("etc/enable-process-cred", "\n");
    let detail = machine.read().unwrap().config.detail;
    assert!(detail.ancestors && detail.namespaces && detail.credentials);
    let problems = Machine::new().variable("PROCESSION_ENABLE_ANCESTORS", "").problems();
    assert!(problems[0].starts_with("$PROCESSION_ENABLE_ANCESTORS: invalid value ''"), "{problems:?}");
}

#[test]
fn a_later_layer_can_take_back_what_an_earlier_one_gave() {
    let machine = with_everything()
        .typed(&["--server-address=", "--enable-ancestors=false", "--metrics-label-filter="])
        .variable("PROCESSION_SERVER_TLS_CERT_FILE", "")
        .variable("PROCESSION_SERVER_TLS_KEY_FILE", "")
        .variable("PROCESSION_RUNTIME_SOCKET", "")
        .variable("PROCESSION_EXPORT_FILENAME", "");
    machine.write(
        "agent.toml",
        "enable-ancestors = true\nruntime-socket = 'cri:/x'\nserver-tls-client-ca-files = []\nexport-file-perm = 0o644",
    );
    let config = machine.read().unwrap().config;
    assert_eq!(config.server.addresses, [""; 0]);
    assert_eq!(config.metrics.labels, [""; 0]);
    assert_eq!(config.server.tls, None);
    assert_eq!(config.containers.runtime_socket, []);
    assert_eq!(config.export, None);
    assert!(!config.detail.ancestors);
}

#[test]
fn numbers_in_files_mean_what_they_mean_in_toml() {
    let machine = Machine::new();
    machine.write(
        "agent.toml",
        "event-queue-size = 0x10\nserver-max-connections = 1_000\npod-wait = 1.5\nexport-filename = 'x'\nexport-file-perm = 0o640",
    );
    let config = machine.read().unwrap().config;
    assert_eq!((config.queue.events, config.server.max_connections), (16, 1000));
    assert_eq!(config.containers.pod_wait.as_millis(), 1500);
    assert!(matches!(config.export.unwrap().destination, Destination::File(file) if file.mode == 0o640));
}

#[test]
fn filters_may_be_many_strings() {
    let machine = Machine::new();
    machine.write(
        "agent.toml",
        "export-filename = '-'\nexport-allowlist = ['{\"pid\":[1,2]}', '{\"pid\":[3]}']",
    );
    let export = machine.read().unwrap().config.export.unwrap();
    assert_eq!(export.allowlist, "{\"pid\":[1,2]}\n{\"pid\":[3]}");
    assert_eq!((export.destination, export.rate_limit), (Destination::Stdout, RateLimit::Unlimited));
}

#[test]
fn filters_that_cannot_be_used_are_named() {
    let machine = Machine::new().typed(&["--redaction-filters={} {"]);
    machine.write("agent.toml", "export-filename = '-'\nexport-denylist = '''{\"pid\":[1]}\n[1]'''");
    let problems = machine.problems();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].starts_with("command line: `redaction-filters` cannot be used"), "{problems:?}");
    assert!(
        problems[1].starts_with("/agent.toml:2: `export-denylist` cannot be used: line 2:"),
        "{problems:?}"
    );
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line() {
    let machine = Machine::new();
    machine.write(
        "agent.toml",
        "ring-sise = '8M'\n\
         rb-size = 3\n\
         log-level = 'loud'\n\
         \n\
         ring-size = '1K'\n\
         server-address = [['a']]\n\
         cluster-name = ['a']\n\
         enable-ancestors = 2\n\
         config-dir = '/x'\n\
         pod_wait = 1\n\
         export-rate-limit = -2\n\
         export-file-rotation-interval = '-1s'\n\
         [export]\n\
         filename = 'x'\n",
    );
    let problems = machine.problems();
    for (line, what) in [
        (1, "there is no option `ring-sise`: did you mean `ring-size`?"),
        (2, "there is no option `rb-size`: use `ring-size`"),
        (
            3,
            "invalid value 'loud' for '--log-level <LEVEL>'; [possible values: error, warn, info, debug, trace]",
        ),
        (5, "invalid value '1K' for '--ring-size <SIZE>': expected a size from 64K to 1G"),
        (6, "`server-address` takes an array of plain values"),
        (7, "`cluster-name` takes one value, not an array"),
        (8, "invalid value '2' for '--enable-ancestors[=<BOOL>]'"),
        (9, "`config-dir` can only be given on the command line"),
        (10, "there is no option `pod_wait`: did you mean `pod-wait`?"),
        (11, "invalid value '-2' for '--export-rate-limit <NUMBER>'"),
        (12, "invalid value '-1s' for '--export-file-rotation-interval <TIME>': a time cannot be negative"),
        (13, "there are no tables: write options as NAME = VALUE, without [export]"),
    ] {
        let place = format!("/agent.toml:{line}: {what}");
        assert!(problems.iter().any(|problem| problem.starts_with(&place)), "{place} in {problems:#?}");
    }
    assert_eq!(problems.len(), 12, "{problems:#?}");
}

#[test]
fn broken_toml_is_named_with_its_line() {
    for (text, place) in [
        ("a = \n", "/agent.toml:1:"),
        ("ring-size = '8M'\ncluster-name = 'x\n", "/agent.toml:2:"),
        ("ring-size = '8M'\nring-size = '9M'\n", "/agent.toml:2:1:"),
        ("# ü\nring-size 8M\n", "/agent.toml:2:"),
    ] {
        let machine = Machine::new();
        machine.write("agent.toml", text);
        let problems = machine.problems();
        assert!(
            problems[0].starts_with(place) && problems[0].contains("cannot be understood"),
            "{problems:?}"
        );
    }
}

#[test]
fn what_is_named_must_be_there_and_what_is_usual_need_not() {
    assert!(Machine::new().read().is_ok());
    let machine = Machine::new();
    let (file, dir) = (machine.path("no.toml"), machine.path("no"));
    let (file, dir) = (file.display().to_string(), dir.display().to_string());
    let typed = machine.typed(&["--config", &file, "--config-dir", &dir]);
    let problems = typed.problems();
    assert_eq!(problems.len(), 2);
    assert!(problems[0].starts_with("/no.toml: cannot be read: No such file"), "{problems:?}");
    assert!(problems[1].starts_with("/no: cannot be read: No such file"), "{problems:?}");
    let from_environment =
        Machine::new().variable("PROCESSION_CONFIG", &file).variable("PROCESSION_CONFIG_DIR", &dir);
    assert_eq!(from_environment.read().unwrap_err().0.len(), 2);
}

#[test]
fn a_named_file_stands_in_the_place_of_the_usual_one() {
    let machine = Machine::new();
    machine.write("agent.toml", "banana = 1");
    machine.write("own.toml", "cluster-name = 'own'\nnode-name = 'own'");
    machine.write("etc/node-name", "etc");
    let own = machine.path("own.toml").display().to_string();
    let config = machine.typed(&["--config", &own]).read().unwrap().config;
    assert_eq!(config.cluster_name, "own");
    assert_eq!(config.containers.node_name.as_deref(), Some("etc"));
}

#[test]
fn drop_ins_that_are_none_are_named() {
    let machine = Machine::new();
    machine.write("etc/ring-size~", "8M");
    machine.write("etc/process-cache-size", "65536");
    machine.write("etc/cluster-name/x", "");
    machine.write("etc/log-level", "loud");
    machine.write("etc/.ring-size.swp", "junk");
    fs::write(machine.path("etc/node-name"), b"\xff").unwrap();
    symlink("nowhere", machine.path("etc/pod-wait")).unwrap();
    let problems = machine.problems();
    for (problem, start) in problems.iter().zip([
        "/etc/cluster-name: cannot be read: it is not a file",
        "/etc/log-level: invalid value 'loud'",
        "/etc/node-name: cannot be read: it is not UTF-8 text",
        "/etc/pod-wait: cannot be read: No such file",
        "/etc/process-cache-size: there is no option `process-cache-size`: `table-budget` says",
        "/etc/ring-size~: there is no option `ring-size~`: did you mean `ring-size`?",
    ]) {
        assert!(problem.starts_with(start), "{problem}");
    }
    assert_eq!(problems.len(), 6, "{problems:?}");
}

#[test]
fn a_kubernetes_config_map_is_a_directory_of_options() {
    let machine = Machine::new();
    machine.write("map/..2026_11_24/cluster-name", "blue\n");
    machine.write("map/..2026_11_24/server-address", "localhost\n:54322\n");
    symlink("..2026_11_24", machine.path("map/..data")).unwrap();
    for name in ["cluster-name", "server-address"] {
        symlink(format!("..data/{name}"), machine.path(&format!("map/{name}"))).unwrap();
    }
    let map = machine.path("map").display().to_string();
    let machine = machine.typed(&["--config-dir", &map]);
    let config = machine.read().unwrap().config;
    assert_eq!(config.cluster_name, "blue");
    assert_eq!(config.server.addresses, ["localhost", ":54322"]);
}

#[test]
fn unknown_variables_are_warned_of() {
    let machine = Machine::new()
        .variable("PROCESSION_RING_SIEZ", "8M")
        .variable("PROCESSION_RB_SIZE", "8M")
        .variable("PROCESSION_LOG", "debug")
        .variable("PROCESSION_SERVICE_HOST", "10.0.0.1")
        .variable("PROCESSION_PORT_2112_TCP", "tcp://10.0.0.1:2112")
        .variable("OTHER", "x");
    let reading = machine.read().unwrap();
    assert_eq!(
        reading.warnings,
        [
            "$PROCESSION_RING_SIEZ: no option is set by it: did you mean `PROCESSION_RING_SIZE`?",
            "$PROCESSION_RB_SIZE: no option is set by it: use `ring-size`, which is for all processors together",
        ]
    );
    assert!(print(&reading).contains("# $PROCESSION_LOG wins over log-level: debug\n"));
}

#[test]
fn contradictions_name_both_sides_and_a_way_out() {
    for (args, said) in [
        (
            &["--server-tls-cert-file=/c"][..],
            "`server-tls-cert-file` (command line) needs `server-tls-key-file` too",
        ),
        (
            &["--server-tls-key-file=/k"],
            "`server-tls-key-file` (command line) needs `server-tls-cert-file` too",
        ),
        (&["--server-tls-client-ca-files=/a"], "`server-tls-client-ca-files` (command line) needs TLS"),
        (
            &["--server-tls-require-client-cert"],
            "`server-tls-require-client-cert` (command line) needs `server-tls-client-ca-files`",
        ),
        (
            &["--no-runtimes", "--runtime-socket=cri:/x"],
            "`runtime-socket` (command line) and `no-runtimes` (command line) contradict each other",
        ),
        (&["--export-file-compress"], "`export-file-compress` (command line) needs an export"),
        (&["--export-allowlist={}"], "`export-allowlist` (command line) needs an export"),
        (
            &["--export-filename=-", "--export-file-compress"],
            "`export-file-compress` (command line) is about a file, but `export-filename` is `-`",
        ),
    ] {
        let problems = Machine::new().typed(args).problems();
        assert!(problems.len() == 1 && problems[0].starts_with(said), "{problems:?}");
    }
    // Off on purpose: the rest may stay.
    for args in [
        &["--export-filename=", "--export-file-compress"][..],
        &["--export-filename=-", "--export-file-perm=600"],
        &["--no-runtimes=false", "--runtime-socket=cri:/x"],
    ] {
        Machine::new().typed(args).read().unwrap();
    }
}

/// Any text that can be typed.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z/.\"'\\\\#= \n\t]{0,12}",
        "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{202e}\u{feff}a]{0,6}",
    ]
}

fn item() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace([',', '\n'], "").trim().to_owned())
}

/// A regular expression that matches `text`. What hides nothing else hides nothing, and is allowed.
fn quoted(text: &str) -> String {
    let text: String = text.chars().take(500).collect();
    format!("\\Q{}\\E", text.replace('\\', ""))
}

fn addresses(sockets: &[String]) -> String {
    let sockets: Vec<_> = sockets.iter().map(|socket| format!("unix:///run/{socket}.sock")).collect();
    sockets.join(",")
}

prop_compose! {
    /// A command line of options in which nothing contradicts.
    fn command_line()(
        texts in proptest::collection::vec(text(), 4),
        sockets in proptest::collection::vec(item(), 0..4),
        switches in proptest::collection::vec(any::<bool>(), 4),
        numbers in (1_u32.., -1_i64..=i64::from(u32::MAX), 0_u32..=0o777, any::<u32>()),
        labels in proptest::sample::subsequence(vec!["namespace", "workload", "pod", "binary"], 0..=4),
        export in proptest::sample::select(vec!["", "-", "/var/log/it's \"x\"\\.log"]),
        level in proptest::sample::select(vec!["error", "warn", "warning", "info", "trace"]),
    ) -> Vec<String> {
        let mut args = vec![
            format!("--cluster-name={}", texts[0]),
            format!("--node-name={}", texts[1]),
            format!("--redaction-filters={}", serde_json::json!({ "redact": [quoted(&texts[2])] })),
            format!("--export-denylist={0}\n{0} ", serde_json::json!({ "namespace": [texts[3], "it's"] })),
            format!("--export-filename={export}"),
            format!("--server-address={}", addresses(&sockets)),
            format!("--metrics-label-filter={}", labels.join(",")),
            format!("--event-queue-size={}", numbers.0),
            format!("--export-rate-limit={}", numbers.1),
            format!("--pod-wait={}ms", numbers.3 % 3_600_000),
            format!("--log-level={level}"),
        ];
        if !matches!(export, "-") {
            args.push(format!("--export-file-perm={:o}", numbers.2));
        }
        for (name, is_on) in ["kubernetes", "enable-event-metrics", "no-runtimes", "enable-ancestors"].iter().zip(switches) {
            args.push(format!("--{name}={is_on}"));
        }
        args
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_can_be_read_back(args in command_line()) {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let reading = Machine::new().typed(&args).read().unwrap();
        let text = print(&reading);
        prop_assert!(!text.replace('\n', "").contains(crate::render::is_deceptive), "{}", text);
        let copy = Machine::new();
        copy.write("agent.toml", &text);
        let again = copy.read().map_err(|problems| TestCaseError::fail(format!("{problems}\n{text}")))?;
        prop_assert_eq!(&again.config, &reading.config, "{}", text);
        prop_assert!(reload::changes(&reading.settings, &again.settings).is_empty());
    }

    #[test]
    fn no_file_makes_it_panic(text in text(), name in proptest::sample::select(SAMPLES.to_vec())) {
        let machine = Machine::new();
        machine.write("agent.toml", &format!("{} = {text}", name.0));
        machine.write(&format!("etc/{}", name.0), &text);
        let _ = machine.read();
    }
}

#[test]
fn everything_is_printed_with_its_origin() {
    let machine = with_everything().typed(&["--node-name", "n"]).variable("PROCESSION_LOG_LEVEL", "warn");
    machine.write("agent.toml", "\nring-size = '16M'\n");
    let reading = machine.read().unwrap();
    let text = print(&reading).replace(&machine.root.path().display().to_string(), "");
    for option in &Catalogue::new().options {
        let is_there = |line: &str| line.trim_start_matches('#').split(' ').next() == Some(&option.name);
        assert!(text.lines().any(is_there), "{}", option.name);
    }
    let line = |name: &str| {
        let line = text.lines().find(|line| line.trim_start_matches('#').starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("ring-size"), "ring-size = \"16M\" # /agent.toml:2");
    assert_eq!(line("node-name"), "node-name = \"n\" # command line");
    assert_eq!(line("log-level"), "log-level = \"warn\" # $PROCESSION_LOG_LEVEL");
    assert_eq!(line("export-filename"), "export-filename = \"/file\" # /lib/export-filename");
    assert_eq!(line("table-budget"), "table-budget = \"48M\" # default");
    assert_eq!(line("kubeconfig"), "#kubeconfig = # not set");
    assert!(text.contains("# Read: /lib\n# Read: /agent.toml\n"), "{text}");
}

fn reloader(machine: &Machine) -> Reloader {
    let layers = machine.layers();
    let reading = layers.read().unwrap();
    Reloader::new(layers, &reading)
}

#[test]
fn a_reload_changes_what_is_live_and_nothing_else() {
    let machine = Machine::new();
    machine.write("agent.toml", "log-level = 'info'\nring-size = '8M'\nexport-filename = '-'");
    let mut reloader = reloader(&machine);
    assert!(reloader.reload().unwrap().is_none());
    machine.write(
        "agent.toml",
        "log-level = 'debug'\nring-size = '16M'\nexport-filename = '/x'\nexport-file-compress = true\nexport-rate-limit = 5",
    );
    let config = reloader.reload().unwrap().unwrap();
    assert_eq!(config.log.level, crate::log::Level::Debug);
    assert_eq!(config.ring_size, 8 << 20);
    let export = config.export.unwrap();
    assert_eq!(export.destination, Destination::Stdout);
    assert_eq!(export.rate_limit, RateLimit::PerMinute(5.try_into().unwrap()));
    // What is live has been taken over.
    assert!(reloader.reload().unwrap().is_none());
}

#[test]
fn a_broken_file_changes_nothing() {
    let machine = Machine::new();
    machine.write("agent.toml", "log-level = 'info'");
    let mut reloader = reloader(&machine);
    machine.write("agent.toml", "log-level = 'debug'\nbanana = 1");
    assert!(reloader.reload().unwrap_err().0[0].contains("agent.toml:2"));
    machine.write("agent.toml", "log-level = 'debug'");
    assert_eq!(reloader.reload().unwrap().unwrap().log.level, crate::log::Level::Debug);
}

#[test]
fn another_origin_is_no_change() {
    let machine = Machine::new();
    let before = machine.read().unwrap().settings;
    machine.write("etc/log-level", "info");
    machine.write("etc/ring-size", "9M");
    let after = machine.read().unwrap().settings;
    let changes = reload::changes(&before, &after);
    assert_eq!(changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["ring-size"]);
    let mut running = before.clone();
    reload::apply(&mut running, &changes);
    assert_eq!(running, before);
}

#[test]
fn what_is_live_is_an_option() {
    let catalogue = Catalogue::new();
    assert!(reload::LIVE.iter().all(|name| catalogue.find(name).is_some()));
}

#[test]
fn help_fits_its_lines() {
    let mut command = <Cli as clap::CommandFactory>::command();
    let help = command.find_subcommand_mut("agent").unwrap().render_long_help().to_string();
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    let places = Places::default();
    for path in places.vendor.iter().chain([&places.file, &places.drop_ins]) {
        assert!(help.contains(&Path::new(path).display().to_string()), "{}", path.display());
    }
}

#[test]
fn what_the_journal_keeps_is_told() {
    for (options, kept) in [
        (&[][..], "at most 1 GiB and 7 days"),
        (&["--journal-max-age=30m", "--journal-max-size-mb=1500"], "at most 1500 MiB and 30m00s"),
        (&["--journal-max-age=1d"], "at most 1 GiB and 1 day"),
        (&["--journal-max-age=0"], "at most 1 GiB"),
    ] {
        let journal = config(&[&["--journal-dir=/j"], options].concat()).journal.unwrap();
        assert_eq!(super::kept(&journal), format!("keeping a journal in /j: {kept}"));
    }
}
