//! What is written about the metrics elsewhere: documentation, dashboard, alerts. It speaks only of
//! metrics that there are.
//!
//! `PROCESSION_UPDATE_EXPECTED=1` writes the table of the documentation.

use std::collections::HashSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use procession_agent::metrics::{Family, Group, families};
use serde_json::Value;

use crate::peers::{has, promtool};

const BEGIN: &str = "<!-- Made of the code. `PROCESSION_UPDATE_EXPECTED=1 cargo test -p procession-agent --test metrics` -->\n";
const END: &str = "<!-- To here. -->\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn family(name: &str) -> Option<&'static Family> {
    families().find(|family| family.name == name)
}

/// The table of all metrics.
fn table() -> String {
    let mut table = String::from("| metric | type | labels | meaning | reference |\n|---|---|---|---|---|\n");
    for family in families() {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let only = family.only.map_or(String::new(), |when| format!(". Only when {when}"));
        let reference = match (family.group, family.name.starts_with("tetragon_")) {
            (Group::Process, _) => "the same; every client of Prometheus has it",
            (_, true) => "the same",
            (_, false) => "-",
        };
        writeln!(
            table,
            "| `{}` | {} | {} | {}{only} | {reference} |",
            family.name,
            family.kind.name(),
            labels.join(", "),
            family.meaning
        )
        .unwrap();
    }
    table
}

#[test]
fn the_documentation_has_every_metric() {
    let page = read("docs/metrics.md");
    let (before, rest) = page.split_once(BEGIN).expect("the table's begin");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let expected = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if env::var_os("PROCESSION_UPDATE_EXPECTED").is_some() {
        fs::write(root().join("docs/metrics.md"), &expected).unwrap();
        return;
    }
    assert!(page == expected, "docs/metrics.md is out of date: run this with PROCESSION_UPDATE_EXPECTED=1");
}

/// What the name of a metric has in it that tells of something missing, turned away or failed.
const TROUBLE: [&str; 16] = [
    "lost",
    "missed",
    "dropped",
    "refused",
    "errors",
    "failed",
    "failures",
    "failing",
    "skipped",
    "evict",
    "overflowed",
    "displaced",
    "inferred",
    "incomplete",
    "unplaced",
    "released",
];

#[test]
fn the_guide_for_operators_says_of_every_trouble_what_to_do() {
    let page = read("docs/operators.md");
    let named: HashSet<_> = metrics(&page).into_iter().collect();
    let troubles =
        families().map(|family| family.name).filter(|name| TROUBLE.iter().any(|it| name.contains(it)));
    let troubles: Vec<_> = troubles.collect();
    assert!(troubles.len() > 30, "{troubles:?}");
    let missing: Vec<_> = troubles.iter().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/operators.md does not say what to do about these: {missing:#?}");
    let unknown = named.iter().filter(|name| !name.starts_with("process_") && family(name).is_none());
    let unknown: Vec<_> = unknown.collect();
    assert!(unknown.is_empty(), "docs/operators.md has metrics that there are not: {unknown:#?}");
}

/// The words of an expression that may be metrics.
fn metrics(expression: &str) -> Vec<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let prefixes = ["tetragon_", "procession_", "process_"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).collect()
}

/// What is wrong with an expression.
fn defects(expression: &str) -> Vec<String> {
    let metrics = metrics(expression);
    let mut defects = Vec::new();
    if metrics.is_empty() && !expression.contains("up{") {
        defects.push(format!("no metric in {expression}"));
    }
    for metric in &metrics {
        match family(metric) {
            None => defects.push(format!("no such metric: {metric}")),
            Some(family) => {
                let unknown =
                    labels_of(expression, metric).into_iter().filter(|label| !is_label(family, label));
                defects.extend(unknown.map(|label| format!("no such label: {metric}{{{label}}}")));
            }
        }
    }
    defects
}

/// Whether samples have this label, from us or from Prometheus.
fn is_label(family: &Family, label: &str) -> bool {
    family.labels.contains(&label) || ["job", "instance"].contains(&label)
}

/// The labels by which an expression picks samples of a metric.
fn labels_of<'e>(expression: &'e str, metric: &str) -> HashSet<&'e str> {
    let picked =
        expression.split(metric).skip(1).filter_map(|rest| rest.strip_prefix('{')?.split('}').next());
    let label = |matcher: &'e str| matcher.split(['=', '!']).next().unwrap().trim();
    picked.flat_map(|matchers| matchers.split(',')).map(label).collect()
}

/// Every expression of a dashboard, wherever it is.
fn expressions(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "expr") {
                    Some(expression) => out.push(expression.to_owned()),
                    None => expressions(member, out),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| expressions(element, out)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/procession.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    assert!(found.len() > 10, "{found:?}");
    let defects: Vec<_> = found.iter().flat_map(|expression| defects(expression)).collect();
    assert!(defects.is_empty(), "{defects:#?}");
    if !has("promtool") {
        return;
    }
    // As rules they can be checked; what Grafana fills in is filled in.
    let rules = found.iter().enumerate().map(|(number, expression)| {
        let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
        format!("  - {{ record: 'a:{number}', expr: {} }}\n", Value::from(expression))
    });
    let rules: String = rules.collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{rules}")).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "").unwrap();
}

#[test]
fn panels_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/procession.json")).unwrap();
    let mut cells = HashSet::new();
    let mut ids = HashSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            assert!(cells.insert((at("x") + x, at("y") + y)), "{}", panel["title"]);
        }
    }
}

#[test]
fn alerts_watch_what_there_is() {
    let rules = read("deploy/prometheus/alerts.yaml");
    let defects: Vec<_> =
        metrics(&rules).into_iter().filter(|name| family(name).is_none()).map(str::to_owned).collect();
    assert!(defects.is_empty(), "no such metrics: {defects:?}");
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let expressions: Vec<_> = expressions.collect();
    assert!(expressions.len() >= 8, "{expressions:?}");
    let defects: Vec<_> = expressions.iter().flat_map(|expression| self::defects(expression)).collect();
    assert!(defects.is_empty(), "{defects:#?}");
    if has("promtool") {
        let file = root().join("deploy/prometheus/alerts.yaml");
        promtool(&["check", "rules", file.to_str().unwrap()], "").unwrap();
    }
}

#[test]
fn a_wrong_expression_is_noticed() {
    assert_eq!(defects("sum(rate(tetragon_no_such_total[5m]))").len(), 1);
    assert_eq!(defects(r#"tetragon_events_total{pod="a", colour!="b"}"#).len(), 1);
    assert_eq!(defects("1 + 1").len(), 1);
    assert_eq!(defects(r#"rate(tetragon_events_total{pod=~"a", job="b"}[5m])"#).len(), 0);
}
