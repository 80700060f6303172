//! What holds for records of any bytes.

use procession::Event;
use proptest::prelude::*;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::build::{self, Choose, Image, part, process};
use super::decode::{ARGUMENTS_MAX, KEPT_CAPACITY};
use super::layout::{ArgsRecord, ImageRecord, Text};
use super::{Decoder, Malformed, identify};

/// Decodes `bytes` and then a valid record, which must come out as ever.
fn check(decoder: &mut Decoder, bytes: &[u8]) -> Result<(), Malformed> {
    let result = decoder.decode(bytes).map(drop);
    // Of the texts of a record, three are paths, each of which may claim the same bytes. The binary
    // is the directory and the file name. A vector that grows may take twice of what it needs.
    let texts = 2 * (5 * bytes.len() + 100);
    assert!(decoder.allocated() <= texts + KEPT_CAPACITY, "{} bytes", decoder.allocated());

    let record = Image::full().bytes();
    assert_eq!(describe(&decoder.decode(&record)), describe(&Decoder::default().decode(&record)));
    result
}

/// A copy that does not borrow from the decoder.
fn describe(event: &Result<Option<Event<'_>>, Malformed>) -> String {
    format!("{event:?}")
}

/// One valid record of each kind.
fn valid() -> [Vec<u8>; 6] {
    let walk = Image::walk().arguments(b"init\0");
    let (fork, exit, change) = (build::fork(), build::exit(), build::change());
    [
        fork.as_bytes().to_vec(),
        Image::full().bytes(),
        exit.as_bytes().to_vec(),
        part(0, process(10, 30), 0, b"part"),
        walk.bytes(),
        change.as_bytes().to_vec(),
    ]
}

#[test]
fn a_record_that_is_cut_off_is_malformed_at_every_length() {
    let mut decoder = Decoder::default();
    for record in valid() {
        assert_eq!(check(&mut decoder, &record), Ok(()));
        for len in 0..record.len() {
            assert_eq!(check(&mut decoder, &record[..len]), Err(Malformed), "{len} of {record:?}");
        }
    }
}

/// The same, when the header knows of the cut.
#[test]
fn a_record_that_says_that_it_is_short_is_survived_at_every_length() {
    let mut decoder = Decoder::default();
    for mut record in valid() {
        for len in (0..record.len()).rev() {
            record.truncate(len);
            let claim = u32::try_from(len).unwrap().to_ne_bytes();
            if let Some(field) = record.get_mut(4..8) {
                field.copy_from_slice(&claim);
            }
            let _ = check(&mut decoder, &record);
        }
    }
}

#[test]
fn every_change_of_one_byte_is_survived() {
    let mut decoder = Decoder::default();
    for record in valid() {
        let mut changed = record.clone();
        for at in 0..record.len() {
            for value in [0x00, 0xff, record[at] ^ 0x01, record[at] ^ 0x80, record[at].wrapping_add(1)] {
                changed[at] = value;
                let _ = check(&mut decoder, &changed);
            }
            changed[at] = record[at];
        }
    }
}

#[test]
fn what_lies_outside_of_the_record_is_not_read() {
    // Nothing reads the name of the interpreter, only whether there is one.
    let texts: [Choose; 4] = [
        |record| &mut record.filename,
        |record| &mut record.exe,
        |record| &mut record.cwd,
        |record| &mut record.cgroup,
    ];
    let len = u32::try_from(Image::full().bytes().len() - size_of::<ImageRecord>()).unwrap();
    let outside = [(u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX), (0, len + 1), (len, 1), (len + 1, 0)];
    let mut decoder = Decoder::default();
    for (offset, len) in outside {
        for text in texts {
            let image = Image::full()
                .with(|record| *text(record) = Text { offset, len, state: text(record).state, flags: 0 });
            assert_eq!(check(&mut decoder, &image.bytes()), Err(Malformed), "{offset} {len}");
        }
        let image = Image::full().with(|record| (record.args.offset, record.args.len) = (offset, len));
        assert_eq!(check(&mut decoder, &image.bytes()), Err(Malformed), "arguments, {offset} {len}");
    }
}

#[test]
fn sizes_that_cannot_be_are_survived() {
    let mut decoder = Decoder::default();
    let mut cut_off = ArgsRecord::new_zeroed();
    cut_off.header.kind = super::layout::kind::ARGS;
    cut_off.header.len = 72;
    cut_off.len = u32::MAX;
    assert_eq!(check(&mut decoder, cut_off.as_bytes()), Err(Malformed));

    for offset in [u64::MAX, u64::MAX - 1, 1] {
        assert_eq!(check(&mut decoder, &part(0, process(10, 30), offset, b"part")), Ok(()));
        // Twice: the second one follows the end of the first.
        let _ = decoder.decode(&part(0, process(11, 30), offset, b"part"));
        assert_eq!(check(&mut decoder, &part(0, process(11, 30), offset.wrapping_add(4), b"part")), Ok(()));
    }
    let total = Image::full().with(|record| (record.args.total, record.args.chunked) = (u64::MAX, u64::MAX));
    assert_eq!(check(&mut decoder, &total.bytes()), Ok(()));
}

#[test]
fn parts_without_end_are_kept_up_to_the_limit() {
    let mut decoder = Decoder::default();
    let bytes = vec![b'x'; 28 << 10];
    for number in 0..1_000 {
        let record = part(0, process(10, 30), number * bytes.len() as u64, &bytes);
        assert_eq!(decoder.decode(&record), Ok(None));
        assert!(decoder.allocated() <= 2 * ARGUMENTS_MAX);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..1_024)) {
        let _ = identify(&bytes);
        let _ = check(&mut Decoder::default(), &bytes);
    }

    /// Any bytes that get past the checks of the header.
    #[test]
    fn any_bytes_behind_a_header_are_survived(
        kind in 1_u16..=6,
        mut bytes in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 72..1_024),
    ) {
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[0..2].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&len.to_ne_bytes());
        let _ = check(&mut Decoder::default(), &bytes);
    }

    #[test]
    fn any_texts_are_survived(
        texts: [(u8, u8, u8, bool); 5],
        arguments: (u8, u8),
        data in proptest::collection::vec(prop_oneof![Just(0), Just(b'/'), Just(b'.'), any::<u8>()], 0..256),
    ) {
        let image = Image::exec().arguments(&data).with(|record| {
            let fields =
                [&mut record.filename, &mut record.interp, &mut record.exe, &mut record.cwd, &mut record.cgroup];
            for (field, (offset, len, state, deleted)) in fields.into_iter().zip(texts) {
                let state = u32::from(state % 6);
                *field = Text { offset: offset.into(), len: len.into(), state, flags: deleted.into() };
            }
            (record.args.offset, record.args.len) = (arguments.0.into(), arguments.1.into());
        });
        let _ = check(&mut Decoder::default(), &image.bytes());
    }

    /// What a decoder went through has no influence on records that do not belong together.
    #[test]
    fn records_of_different_processes_do_not_mix(
        order in proptest::collection::vec((0_u32..3, 0_u32..2, any::<bool>()), 0..20),
    ) {
        let mut decoder = Decoder::default();
        for (pid, cpu, is_part) in order {
            let record = if is_part {
                part(cpu, process(pid, 30), 3, b"part")
            } else {
                // No part ever begins at the end of these arguments.
                Image::exec().arguments(b"0\x001\0").with(|record| {
                    (record.subject, record.header.cpu) = (process(pid, 30), cpu);
                }).bytes()
            };
            let alone = describe(&Decoder::default().decode(&record));
            prop_assert_eq!(describe(&decoder.decode(&record)), alone);
        }
    }
}
