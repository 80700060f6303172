//! Exports that were written for a storm that was never played: whole ones, and with each fault that has to be noticed.

use std::fs;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use super::{Exported, read};
use crate::book::Book;
use crate::kept::Reading;
use crate::pages::{Page, Stretch};
use crate::plan::{FIRST_HELD, Plan, Token};

const RUN: u32 = 7;
const SEED: u64 = 42;
const ACTS: u64 = 20;

/// When the storm began.
const BEGIN: SystemTime = SystemTime::UNIX_EPOCH;

/// An act takes a second, and so does a page; what is held began with the first.
fn stretch() -> Stretch {
    let page = |act| Page::at(BEGIN + Duration::from_secs(act), act);
    Stretch { pages: (0..ACTS).map(page).collect(), held: FIRST_HELD, end: (ACTS, 0) }
}

/// What an agent without faults exports of it, begun some time before the storm.
fn lines() -> Vec<String> {
    let stranger = |args: &str| json!({"process": {"arguments": args}});
    let at = |offset: i64| Timestamp::from_second(offset).unwrap().to_string();
    let mut lines = vec![json!({"process_exec": stranger("x"), "time": at(-9)}).to_string()];
    for act in std::iter::once(FIRST_HELD).chain(0..ACTS) {
        let (plan, time) = (Plan::new(SEED, act), at(i64::try_from(act % FIRST_HELD).unwrap()));
        for (life, it) in plan.lives.iter().enumerate() {
            for image in 0..it.images.len() {
                let token = Token { run: RUN, seed: SEED, act, life, image };
                let exec = stranger(&format!("{token} pid=1"));
                lines.push(json!({"process_exec": exec, "time": time}).to_string());
            }
            let token = Token { run: RUN, seed: SEED, act, life: 0, image: 0 };
            let end = json!({"process_exit": stranger(&token.to_string()), "time": time});
            lines.extend((act != FIRST_HELD).then(|| end.to_string()));
        }
    }
    lines
}

fn exported(lines: &[String]) -> Exported {
    let (folder, stretch) = (TempDir::new().unwrap(), stretch());
    fs::write(folder.path().join("events.log"), lines.join("\n")).unwrap();
    let book = Book::new(RUN, SEED, "/stage/actor".to_owned());
    read(folder.path(), Reading::new(&stretch, book)).unwrap()
}

fn is_sound(it: &Exported) -> bool {
    it.kept.execs > 0 && it.kept.is_sound(0) && it.kept.missing_ends(SEED) == 0
}

#[test]
fn a_whole_export_is_compared_wholly() {
    let it = exported(&lines());
    assert!(is_sound(&it), "{it:#?}");
    assert!(it.kept.part.is_whole());
    let planned: u64 = (0..ACTS).map(|act| Plan::new(SEED, act).counts().execs).sum();
    assert_eq!(it.kept.execs, planned + Plan::new(SEED, FIRST_HELD).counts().execs);
}

#[test]
fn whatever_line_is_left_out_is_missing() {
    let lines = lines();
    for out in 1..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(out);
        assert!(!is_sound(&exported(&fewer)), "{}", lines[out]);
    }
    let every_second: Vec<String> = lines.iter().step_by(2).cloned().collect();
    assert!(!is_sound(&exported(&every_second)));
}

#[test]
fn a_line_that_is_there_twice_is_a_fault() {
    let mut lines = lines();
    let exec = lines.iter().position(|line| line.contains("process_exec") && line.contains("soak:")).unwrap();
    lines.insert(exec, lines[exec].clone());
    assert!(!is_sound(&exported(&lines)));
}

/// What was removed is not missed; all that follows is.
#[test]
fn what_is_left_after_retention_is_compared() {
    let lines = lines();
    for from in (1..lines.len()).step_by(13) {
        let left = &lines[from..];
        let it = exported(left);
        let part = &it.kept.part;
        assert!(!part.is_whole() && part.acts.end == ACTS, "{part:?}");
        let Some(first) = left.iter().find(|line| line.contains("process_exec")) else { break };
        let first: serde_json::Value = serde_json::from_str(first).unwrap();
        let time: Timestamp = first["time"].as_str().unwrap().parse().unwrap();
        let second = u64::try_from(time.as_second()).unwrap();
        assert_eq!(
            part.acts.start,
            (second + 2).min(ACTS),
            "the first page that is more than a margin later"
        );
        assert!(part.acts.is_empty() || is_sound(&it), "{from}: {it:#?}");
        let every_second: Vec<String> = left.iter().step_by(2).cloned().collect();
        assert!(part.acts.is_empty() || !is_sound(&exported(&every_second)), "{from}");
    }
}

#[test]
fn nothing_left_is_not_sound() {
    assert!(!is_sound(&exported(&[])));
    let lines = lines();
    assert!(!is_sound(&exported(&lines[lines.len() - 3..])));
}
