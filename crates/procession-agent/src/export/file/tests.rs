//! Opened, written and looked at without a thread: with a model of what must be there.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::io::Write as _;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::export::outbox::Content;

/// Opened, written and looked at without a thread.
struct Bench {
    directory: TempDir,
    file: Option<ExportFile>,
    config: FileConfig,
    outbox: Outbox,
    expected: String,
}

#[derive(Clone, Debug)]
enum Step {
    /// Lines of these lengths, at once.
    Write(Vec<usize>),
    Rotate,
    Reopen,
    /// The agent ends and begins again.
    Restart,
    /// An agent ends in the middle of a line, and another begins.
    Tear(String),
    SetMaxSize(u64),
}

impl Bench {
    fn new(max_size_bytes: u64, compress: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let rotation = Rotation { max_size_bytes, max_backups: 0, interval: None };
        let path = directory.path().join("events.log");
        let config = FileConfig { path, rotation, compress, mode: 0o600 };
        let file = ExportFile::open(config.clone(), Arc::default()).unwrap();
        let (outbox, expected) = (Outbox::default(), String::new());
        Self { directory, file: Some(file), config, outbox, expected }
    }

    fn file(&mut self) -> &mut ExportFile {
        self.file.as_mut().unwrap()
    }

    fn end(&mut self) {
        let patience = Instant::now() + Duration::from_mins(1);
        self.file.take().unwrap().finish(patience).unwrap();
    }

    fn begin(&mut self) {
        self.file = Some(ExportFile::open(self.config.clone(), Arc::default()).unwrap());
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write(lengths) => {
                for length in lengths {
                    let line = format!("{{{}\n", "x".repeat(length));
                    self.outbox.push(line.as_bytes(), Content::Event(None));
                    self.expected += &line;
                }
                let mut outbox = std::mem::take(&mut self.outbox);
                self.file().write(&mut outbox).unwrap();
            }
            Step::Rotate => {
                self.file().opened().unwrap();
                assert!(self.file().rotate());
            }
            Step::Reopen => self.file().reopen(),
            Step::Restart => {
                self.end();
                self.begin();
            }
            Step::Tear(piece) => {
                self.end();
                let mut file = OpenOptions::new().append(true).create(true).open(&self.config.path).unwrap();
                file.write_all(piece.as_bytes()).unwrap();
                self.begin();
            }
            Step::SetMaxSize(max_size_bytes) => {
                self.config.rotation.max_size_bytes = max_size_bytes;
                let rotation = self.config.rotation;
                self.file().set_rotation(rotation);
            }
        }
    }

    /// Backups in the order of their names, and the file.
    fn texts(&self) -> Vec<String> {
        let mut paths: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        // `events-…` is before `events.log`.
        paths.sort();
        let text = |path: &PathBuf| {
            let mut text = String::new();
            let file = File::open(path).unwrap();
            if path.extension().is_some_and(|extension| extension == "gz") {
                GzDecoder::new(file).read_to_string(&mut text).unwrap();
            } else {
                (&file).read_to_string(&mut text).unwrap();
            }
            text
        };
        paths.iter().map(text).collect()
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(prop_oneof![9 => 0_usize..60, 1 => 100_usize..3_000], 1..30)
            .prop_map(Step::Write),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reopen),
        1 => Just(Step::Restart),
        1 => "\\{[a-z]{0,40}".prop_map(Step::Tear),
        1 => (0_u64..500).prop_map(Step::SetMaxSize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn backups_and_the_file_together_are_all_lines_in_order(
        max_size in 1_u64..500,
        compress: bool,
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let mut bench = Bench::new(max_size, compress);
        let mut longest = max_size;
        for step in steps {
            if let Step::SetMaxSize(size) = step {
                longest = longest.max(if size == 0 { u64::MAX } else { size });
            }
            bench.take(step);
        }
        bench.end();
        let texts = bench.texts();
        prop_assert_eq!(texts.concat(), bench.expected.clone());
        for text in texts {
            let is_one_line = text.lines().count() <= 1;
            prop_assert!(text.len() as u64 <= longest || is_one_line, "{} > {longest}", text.len());
            prop_assert!(text.is_empty() || text.ends_with('\n'));
        }
    }
}

#[test]
fn a_piece_that_is_none_of_ours_stays_and_gets_an_end() {
    let mut bench = Bench::new(0, false);
    bench.end();
    fs::write(&bench.config.path, "kept\nsomething else").unwrap();
    bench.begin();
    bench.take(Step::Write(vec![1]));
    assert_eq!(bench.texts(), ["kept\nsomething else\n{x\n"]);
}

#[test]
fn a_long_piece_of_a_line_is_found_and_removed() {
    let mut bench = Bench::new(0, false);
    bench.take(Step::Write(vec![1]));
    bench.take(Step::Tear(format!("{{{}", "y".repeat(300_000))));
    assert_eq!(bench.texts(), ["{x\n"]);
}

#[test]
fn a_file_that_somebody_cut_is_measured_anew() {
    let mut bench = Bench::new(100, false);
    bench.take(Step::Write(vec![90]));
    OpenOptions::new().write(true).open(&bench.config.path).unwrap().set_len(0).unwrap();
    bench.file().check();
    bench.take(Step::Write(vec![90]));
    assert_eq!(bench.texts(), [format!("{{{}\n", "x".repeat(90))]);
}

#[test]
fn names_differ_in_the_same_millisecond() {
    let mut bench = Bench::new(1, false);
    bench.take(Step::Write(vec![0; 200]));
    assert_eq!(bench.texts().len(), 200);
}
