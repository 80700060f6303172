//! The log: nobody waits for another, and every event is read or counted as lost.

use std::ops::Range;
use std::time::Duration;

use procession_api::proto::tetragon::GetEventsResponse;
use proptest::prelude::*;

use super::*;

fn event(sequence: u64) -> Event {
    Event::new(sequence, GetEventsResponse::default())
}

fn log(events: usize) -> EventLog {
    EventLog::new(LogConfig { events, ..LogConfig::default() })
}

fn sequences(batch: &Batch) -> Vec<u64> {
    batch.events.iter().map(|event| event.sequence()).collect()
}

fn numbers(range: Range<u64>) -> Vec<u64> {
    range.collect()
}

fn read(reader: &mut Reader) -> Batch {
    reader.next_within(Duration::ZERO).unwrap()
}

#[test]
fn a_slow_reader_loses_its_own_events_and_is_told_how_many() {
    let log = log(10);
    let (mut fast, mut slow) = (log.reader(ReaderKind::Client), log.reader(ReaderKind::Export));
    for round in 0..3 {
        log.append((0..10).map(|i| event(round * 10 + i)));
        assert_eq!(sequences(&read(&mut fast)), numbers(round * 10..round * 10 + 10));
    }
    let expected = ReaderCounts { readers: 1, read: 0, lost: 20, waiting: 10 };
    assert_eq!(log.counts(ReaderKind::Export), expected, "it is known before the reader notices");
    let batch = read(&mut slow);
    assert_eq!((batch.lost, sequences(&batch)), (20, numbers(20..30)));
    let batch = read(&mut slow);
    assert_eq!((batch.lost, batch.events.len()), (0, 0), "a loss is told once");
    drop(slow);
    let expected = ReaderCounts { readers: 0, read: 10, lost: 20, waiting: 0 };
    assert_eq!(log.counts(ReaderKind::Export), expected, "counts outlive their readers");
    assert_eq!(log.counts(ReaderKind::Client).read, 30);
}

#[test]
fn a_reader_reads_from_where_it_came_to_the_end() {
    let log = log(10);
    log.append([event(1)]);
    let mut reader = log.reader(ReaderKind::Client);
    log.append([event(2)]);
    log.close();
    assert_eq!(sequences(&read(&mut reader)), [2]);
    assert!(reader.next_within(Duration::from_mins(1)).is_none(), "who reads a closed log does not wait");
}

#[test]
fn a_log_keeps_as_many_bytes_as_it_may() {
    let bytes = event(0).bytes();
    let log = EventLog::new(LogConfig { events: 100, bytes: 3 * bytes });
    log.append((0..10).map(event));
    assert_eq!(log.kept(), (3, 3 * bytes));
}

/// An event with a name so long.
fn long_event(sequence: u64, length: usize) -> Event {
    let message = GetEventsResponse { node_name: "x".repeat(length), ..GetEventsResponse::default() };
    Event::new(sequence, message)
}

#[test]
fn an_event_larger_than_the_log_is_read_by_who_keeps_up() {
    let log = EventLog::new(LogConfig { events: 100, bytes: 3 * event(0).bytes() });
    let mut reader = log.reader(ReaderKind::Client);
    log.append([event(0), event(1)]);
    assert_eq!(sequences(&read(&mut reader)), [0, 1]);
    let large = long_event(2, 10_000);
    let bytes = large.bytes();
    assert!(bytes > log.config().bytes);
    log.append([large]);
    assert_eq!(log.kept(), (1, bytes), "it alone is kept");
    let batch = read(&mut reader);
    assert_eq!((batch.lost, sequences(&batch)), (0, vec![2]));
    log.append([event(3)]);
    assert_eq!(log.kept(), (1, event(3).bytes()), "it makes room for the next");
    let batch = read(&mut reader);
    assert_eq!((batch.lost, sequences(&batch)), (0, vec![3]));
    let expected = ReaderCounts { readers: 1, read: 4, lost: 0, waiting: 0 };
    assert_eq!(log.counts(ReaderKind::Client), expected);
}

#[tokio::test]
async fn a_task_is_woken() {
    let log = log(10);
    let mut reader = log.reader(ReaderKind::Client);
    let task = tokio::spawn(async move {
        let mut read = Vec::new();
        while let Some(batch) = reader.next().await {
            read.extend(sequences(&batch));
        }
        read
    });
    for sequence in 0..5 {
        log.append([event(sequence)]);
        tokio::task::yield_now().await;
    }
    log.close();
    assert_eq!(task.await.unwrap(), [0, 1, 2, 3, 4]);
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Read(usize),
    Join,
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..400_usize).prop_map(Step::Append),
        4 => any::<usize>().prop_map(Step::Read),
        1 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
    ]
}

proptest! {
    /// Each reader gets, in order, all that was appended since it came, but for the oldest that it is
    /// told it lost; and the counts say the same, whoever has left.
    #[test]
    fn every_event_is_read_or_lost(capacity in 1..300_usize, steps in prop::collection::vec(step(), 1..60)) {
        let log = log(capacity);
        let (mut appended, mut read_by_all, mut lost_by_all) = (0_u64, 0_u64, 0_u64);
        // A reader, and the next event that it should get.
        let mut readers: Vec<(Reader, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Append(count) => {
                    log.append((appended..appended + count as u64).map(event));
                    appended += count as u64;
                }
                Step::Join => readers.push((log.reader(ReaderKind::Client), appended)),
                Step::Leave(which) if !readers.is_empty() => {
                    let (reader, next) = readers.swap_remove(which % readers.len());
                    let kept_from = appended.saturating_sub(capacity as u64);
                    lost_by_all += kept_from.saturating_sub(next);
                    drop(reader);
                }
                Step::Read(which) if !readers.is_empty() => {
                    let which = which % readers.len();
                    let (reader, next) = &mut readers[which];
                    let batch = read(reader);
                    let kept_from = appended.saturating_sub(capacity as u64);
                    prop_assert_eq!(batch.lost, kept_from.saturating_sub(*next));
                    *next += batch.lost;
                    let count = batch.events.len() as u64;
                    prop_assert_eq!(sequences(&batch), numbers(*next..*next + count));
                    prop_assert!(count > 0 || *next == appended);
                    *next += count;
                    (read_by_all, lost_by_all) = (read_by_all + count, lost_by_all + batch.lost);
                }
                Step::Read(_) | Step::Leave(_) => {}
            }
            prop_assert!(log.kept().0 <= capacity);
        }
        drop(readers.drain(..).map(|(reader, next)| {
            lost_by_all += appended.saturating_sub(capacity as u64).saturating_sub(next);
            drop(reader);
        }).collect::<Vec<_>>());
        let counts = log.counts(ReaderKind::Client);
        prop_assert_eq!((counts.read, counts.lost), (read_by_all, lost_by_all));
    }

    /// Whatever they take: the newest that fit, and always the last.
    #[test]
    fn bytes_that_are_kept_are_those_of_the_newest_events(
        room in 0..20_000_usize,
        rounds in prop::collection::vec((prop::collection::vec(0..6_000_usize, 0..5), any::<bool>()), 1..30),
    ) {
        let log = EventLog::new(LogConfig { events: 6, bytes: room });
        let mut reader = log.reader(ReaderKind::Client);
        let (mut sizes, mut taken) = (Vec::new(), 0);
        for (lengths, is_read) in rounds {
            let first = sizes.len();
            let events: Vec<_> = (first..).zip(lengths).map(|(i, length)| long_event(i as u64, length)).collect();
            sizes.extend(events.iter().map(Event::bytes));
            log.append(events);
            let fits = |kept: &usize| {
                let bytes: usize = sizes[sizes.len() - kept..].iter().sum();
                *kept <= 1 || (*kept <= 6 && bytes <= room)
            };
            let kept = (0..=sizes.len()).take_while(fits).last().unwrap_or_default();
            let start = sizes.len() - kept;
            prop_assert_eq!(log.kept(), (kept, sizes[start..].iter().sum()));
            if is_read {
                let batch = read(&mut reader);
                let lost = start.saturating_sub(taken);
                prop_assert_eq!(batch.lost, lost as u64);
                let next = taken + lost + batch.events.len();
                prop_assert_eq!(sequences(&batch), numbers((taken + lost) as u64..next as u64));
                taken = next;
            }
            prop_assert_eq!(log.counts(ReaderKind::Client).waiting, (sizes.len() - taken.max(start)) as u64);
        }
    }
}
