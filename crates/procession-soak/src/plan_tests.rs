//! Acts are sound: what their performers rely on.

use std::collections::BTreeSet;

use crate::plan::{FIRST_CONTAINER, FIRST_HELD, Made, Plan, Reaper, Token, Wave};

fn acts() -> impl Iterator<Item = u64> {
    (0..3_000).chain(FIRST_HELD..FIRST_HELD + 3).chain([FIRST_CONTAINER])
}

#[test]
fn parents_come_before_their_children_and_have_run_what_they_need() {
    for act in acts() {
        let plan = Plan::new(1, act);
        assert!(plan.lives[0].parent.is_none());
        for (life, it) in plan.lives.iter().enumerate().skip(1) {
            let (parent, execs) = it.parent.unwrap();
            assert!(parent < life && execs <= plan.lives[parent].images.len(), "{act}: {it:?}");
            assert!(it.images.len() <= 64, "a bit for each");
            if matches!(it.made, Made::Vfork | Made::Spawn) {
                assert!(!it.images.is_empty() && it.steps.is_empty(), "{act}: it execs at once");
            }
        }
    }
}

#[test]
fn everybody_is_waited_for_by_exactly_one() {
    for act in acts() {
        let plan = Plan::new(1, act);
        let mut waited: Vec<u32> = vec![0; plan.lives.len()];
        for (life, it) in plan.lives.iter().enumerate() {
            for execs in 0..=it.images.len() {
                if it.wave != Wave::Leaves {
                    plan.wards(life, execs).into_iter().for_each(|ward| waited[ward] += 1);
                }
            }
            waited[life] += u32::from(it.reaper == Reaper::Performer);
        }
        assert!(waited.iter().all(|times| *times == 1), "{act}: {waited:?} {plan:#?}");
    }
}

#[test]
fn the_same_seed_plays_the_same_and_another_another() {
    let text = |seed| (0..50).map(|act| format!("{:?}", Plan::new(seed, act))).collect::<Vec<_>>();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn all_kinds_are_played() {
    let kinds: BTreeSet<_> = acts().map(|act| Plan::new(1, act).kind).collect();
    assert_eq!(kinds.len(), 20);
}

#[test]
fn tokens_are_read_back() {
    let token = Token { run: 1, seed: u64::MAX, act: FIRST_HELD, life: 146, image: 7 };
    assert_eq!(token.to_string().parse(), Ok(token));
    for bad in ["", "soak:", "soak:1:2:3.4", "soak:1:2:3.4.5.6", "soak:1:2:3.4.x", "x:1:2:3.4.5"] {
        assert_eq!(bad.parse::<Token>(), Err(()), "{bad}");
    }
}
