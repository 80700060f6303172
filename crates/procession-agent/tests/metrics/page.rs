//! The page: everything that is declared is on it, and is what it says.

use std::collections::HashSet;

use procession::{BootTime, Table, TableConfig};
use procession_agent::metrics::{
    EventMetrics, EventMetricsConfig, Format, Group, Kind, LabelFilter, Measurements, families, render,
};
use procession_api::proto::tetragon::GetEventsResponse;
use proptest::prelude::*;

use crate::sample::{classic, event, exec, exit, hostile, measurements, samples, value};
use crate::support;

/// The metric that a sample is of.
fn name(series: &str) -> &str {
    series.split_once('{').map_or(series, |(name, _)| name)
}

#[test]
fn what_is_declared_is_on_the_page() {
    let fresh = classic(Measurements::default(), &EventMetrics::default());
    let filled = classic(measurements(), &hostile());
    for page in [&fresh, &filled] {
        for family in families() {
            let kind = if family.kind == Kind::Info { Kind::Gauge } else { family.kind };
            assert!(page.contains(&format!("# TYPE {} {}\n", family.name, kind.name())), "{}", family.name);
            assert!(
                page.contains(&format!("# HELP {} {}\n", family.name, family.meaning)),
                "{}",
                family.name
            );
        }
    }
    let names = |page: &'static str| -> HashSet<_> {
        samples(page).into_iter().map(|(series, _)| name(series)).collect()
    };
    let (fresh, filled) = (names(fresh.leak()), names(filled.leak()));
    for family in families() {
        assert!(filled.contains(family.name), "{} has no value", family.name);
        assert_eq!(fresh.contains(family.name), family.only.is_none(), "{} at the start", family.name);
    }
    let declared: HashSet<_> = families().map(|family| family.name).collect();
    assert_eq!(filled, declared);
    assert_eq!(declared.len(), families().count(), "a name stands for one metric");
}

#[test]
fn the_page_says_what_was_measured() {
    let page = classic(measurements(), &EventMetrics::default());
    let expected = [
        ("tetragon_process_cache_size", 54_321.0),
        ("tetragon_process_cache_capacity_evictions_total", 707.0),
        (r#"tetragon_handler_errors_total{opcode="0",error="event_handler_failed"}"#, 71.0),
        ("tetragon_event_cache_entries", 25.0),
        ("tetragon_event_cache_inserts_total", 51.0),
        (r#"tetragon_event_cache_fetch_failures_total{entry_type="pod_info"}"#, 21.0),
        (r#"tetragon_bpf_missed_events_total{msg_op="5",error="ENOSPC"}"#, 2.0),
        (r#"tetragon_bpf_missed_events_total{msg_op="7",error="ENOSPC"}"#, 3.0),
        (r#"tetragon_bpf_missed_events_total{msg_op="23",error="ENOSPC"}"#, 1.0),
        (r#"tetragon_bpf_missed_events_total{msg_op="24",error="ENOSPC"}"#, 5.0),
        ("tetragon_observer_ringbuf_events_received_total", 1_500.0),
        ("tetragon_observer_ringbuf_queue_events_lost_total", 91.0),
        ("tetragon_notify_overflowed_events_total", 3_004.0),
        ("tetragon_events_exported_total", 3_001.0),
        ("tetragon_events_exported_bytes_total", 3_002.0),
        ("tetragon_events_last_exported_timestamp", 1_700_000_000.5),
        ("tetragon_export_ratelimit_events_dropped_total", 3_003.0),
        (r#"tetragon_watcher_errors_total{watcher="k8s",error="failed_to_get_pod"}"#, 163.0),
        (r#"procession_source_info{source="eBPF"}"#, 1.0),
        (r#"procession_capability_info{capability="CAP_SYS_PTRACE"}"#, 1.0),
        (r#"procession_table_bytes{kind="shared"}"#, 405.0),
        (r#"procession_table_evictions_total{kind="folded"}"#, 70.0),
        (r#"procession_released_facts_total{outcome="expired"}"#, 7.0),
        (r#"procession_pod_watch_state{state="synced"}"#, 1.0),
        (r#"procession_pod_watch_state{state="degraded"}"#, 0.0),
        (r#"procession_reader_lost_events_total{kind="export"}"#, 2_002.0),
        (r#"procession_reader_waiting_events{kind="client"}"#, 1_003.0),
        ("procession_export_lost_events_total", 3_007.0),
        ("procession_filter_errors_total", 31.0),
        ("procession_observation_start_time_seconds", 1_700_000_000.5),
    ];
    for (series, expected) in expected {
        assert!((value(&page, series) - expected).abs() < 1e-3, "{series} in\n{page}");
    }
}

#[test]
fn both_forms_say_the_same() {
    let (now, events) = (measurements(), hostile());
    let open = render(now.clone(), &events, Format::OpenMetrics);
    assert!(open.ends_with("\n# EOF\n"));
    let parse = |page: &'static str| -> HashSet<_> {
        let is_steady = |series: &str| !series.contains("silence");
        samples(page).into_iter().map(|(series, _)| series).filter(|series| is_steady(series)).collect()
    };
    assert_eq!(parse(open.leak()), parse(classic(now, &events).leak()));
}

#[test]
fn names_say_whose_they_are() {
    for family in families() {
        let prefix = match family.group {
            Group::Reference => "tetragon_",
            Group::Own => "procession_",
            Group::Process => "process_",
            Group::Events => continue,
        };
        assert!(family.name.starts_with(prefix), "{}", family.name);
    }
}

#[test]
fn events_are_counted_by_process() {
    let events = EventMetrics::default();
    events.observe(&exec("space", "pod", "/bin/sh"));
    events.observe(&exec("space", "pod", "/bin/sh"));
    events.observe(&exit("/bin/true"));
    events.observe(&GetEventsResponse::default());
    let page = classic(measurements(), &events);
    let of = |labels: &str| value(&page, &format!("tetragon_events_total{{{labels}}}"));
    assert!(
        (of(
            r#"namespace="space",workload="work",pod="pod",binary="/bin/sh",node_name="",type="PROCESS_EXEC""#
        ) - 2.0)
            .abs()
            < 0.1
    );
    let host = r#"namespace="",workload="",pod="",binary="/bin/true",node_name="",type="PROCESS_EXIT""#;
    assert!((of(host) - 1.0).abs() < 0.1);
    let nothing = r#"namespace="",workload="",pod="",binary="",node_name="",type="unhandled""#;
    assert!((of(nothing) - 1.0).abs() < 0.1);
    assert!((value(&page, "tetragon_events_missing_process_info_total") - 1.0).abs() < 0.1);
    assert!((value(&page, r#"tetragon_watcher_events_total{watcher="k8s"}"#) - 2.0).abs() < 0.1);
}

#[test]
fn labels_that_are_not_asked_for_are_there_and_empty() {
    let labels: LabelFilter = "node_name, pod,nonsense,".parse().unwrap();
    let events = EventMetrics::new(EventMetricsConfig { labels, ..EventMetricsConfig::default() });
    events.observe(&exec("space", "pod", "/bin/sh"));
    events.observe(&exec("space", "pod", "/bin/true"));
    let page = classic(Measurements::default(), &events);
    let series = r#"tetragon_events_total{namespace="",workload="",pod="pod",binary="",node_name="node-1",type="PROCESS_EXEC"}"#;
    assert!((value(&page, series) - 2.0).abs() < 0.1);
}

#[test]
fn counts_by_process_can_be_switched_off() {
    let events = EventMetrics::new(EventMetricsConfig { is_enabled: false, ..EventMetricsConfig::default() });
    events.observe(&GetEventsResponse::default());
    let page = classic(Measurements::default(), &events);
    for family in families() {
        assert_eq!(
            page.contains(&format!("# TYPE {} ", family.name)),
            family.group != Group::Events,
            "{}",
            family.name
        );
    }
    assert!((value(&page, "tetragon_events_missing_process_info_total") - 1.0).abs() < 0.1);
}

#[test]
fn hostile_names_make_no_more_series_than_there_may_be() {
    let events = EventMetrics::default();
    for number in 0..100_000_u32 {
        // One pod with many binaries, and many pods.
        let (pod, binary) = if number % 2 == 0 { (0, number) } else { (number, 0) };
        events.observe(&exec(&format!("space{}", pod % 7), &format!("pod{pod}"), &format!("/{binary}")));
    }
    let page = classic(Measurements::default(), &events);
    let counted: Vec<_> =
        samples(&page).into_iter().filter(|(series, _)| name(series) == "tetragon_events_total").collect();
    // What found no room is one series more.
    assert!(counted.len() <= 2_001, "{}", counted.len());
    assert!((counted.iter().map(|(_, count)| count).sum::<f64>() - 100_000.0).abs() < 0.1);
    let other = r#"tetragon_events_total{namespace="space0",workload="work",pod="pod0",binary="other",node_name="",type="PROCESS_EXEC"}"#;
    assert!(value(&page, other) > 40_000.0);
}

#[test]
fn label_values_stay_within_their_quotes() {
    let events = EventMetrics::default();
    events.observe(&exec("n", "p", "a\"} 7\nb\\"));
    let page = classic(Measurements::default(), &events);
    let series = r#"tetragon_events_total{namespace="n",workload="work",pod="p",binary="a\"} 7\nb\\",node_name="",type="PROCESS_EXEC"}"#;
    assert!((value(&page, series) - 1.0).abs() < 0.1);
}

#[test]
fn every_kind_of_event_has_a_name() {
    use procession_api::proto::tetragon::get_events_response::Event;
    use procession_api::proto::tetragon::{ProcessThrottle, RateLimitInfo};
    let events = EventMetrics::default();
    events.observe(&event(Event::ProcessThrottle(ProcessThrottle::default())));
    events.observe(&event(Event::RateLimitInfo(RateLimitInfo::default())));
    let page = classic(Measurements::default(), &events);
    for kind in ["PROCESS_THROTTLE", "RATE_LIMIT_INFO"] {
        let series = format!(
            r#"tetragon_events_total{{namespace="",workload="",pod="",binary="",node_name="",type="{kind}"}}"#
        );
        assert!((value(&page, &series) - 1.0).abs() < 0.1);
    }
}

proptest! {
    /// The reference counts what was added, and calls it the size.
    #[test]
    fn the_size_is_that_of_the_table(steps in prop::collection::vec((1..30_u32, 0..5_u8), 0..200)) {
        let mut table = Table::new(TableConfig::default());
        for (time, (pid, step)) in (1..).zip(steps) {
            match step {
                0 => _ = table.apply(&support::fork(pid, pid % 29 + 1)),
                1 => _ = table.apply(&support::exec(pid, 1)),
                2 => _ = table.apply(&support::exec(pid, 2)),
                3 => _ = table.apply(&support::exit(pid, 0)),
                _ => table.advance(BootTime::from_nanos(time * 1_000_000_000)),
            }
            let now = Measurements { table: table.explain(), ..Measurements::default() };
            let page = classic(now, &EventMetrics::default());
            let size = format!("\ntetragon_process_cache_size {}\n", table.len());
            prop_assert!(page.contains(&size), "{size} in {page}");
        }
    }
}
