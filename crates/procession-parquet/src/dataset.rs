//! A folder of parts, in the layout that Hive gave it: `node=NAME/day=YYYY-MM-DD/PART.parquet`.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use parquet::errors::Result;

use crate::part::{Form, Part, external};
use crate::row::Row;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Writes rows to the parts in which they belong.
pub(crate) struct Dataset {
    directory: PathBuf,
    form: Form,
    /// What the parts are called that are begun now.
    name: String,
    /// Those that are open, the one last written to at the end.
    open: Vec<(Partition, Part)>,
    /// About how many bytes those have in memory.
    buffered: usize,
    /// Parts with this name that were written already.
    finished: HashSet<PathBuf>,
    written: Written,
}

/// What the rows of a part have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    node: String,
    /// Since the epoch.
    day: i64,
}

/// Bytes that all open parts may have in memory; what Parquet's writer needs besides depends on the
/// longest column of one row group.
const MEMORY: usize = 48 << 20;

/// Parts that are open at a time, each with a file.
const OPEN: usize = 64;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// What Hive has in place of nothing.
const NOTHING: &str = "__HIVE_DEFAULT_PARTITION__";

impl Dataset {
    /// In `directory`, which is made, for its owner alone, if it is not there.
    pub(crate) fn create(directory: &Path, form: Form) -> Self {
        Self {
            directory: directory.to_owned(),
            form,
            name: String::new(),
            open: Vec::new(),
            buffered: 0,
            finished: HashSet::new(),
            written: Written::default(),
        }
    }

    /// From now on parts are called `name`; what was begun is completed.
    pub(crate) fn begin(&mut self, name: String) -> Result<()> {
        while let Some((_, part)) = self.open.pop() {
            self.complete(part)?;
        }
        self.finished.clear();
        self.name = name;
        Ok(())
    }

    /// Adds a row of what happened at `time`.
    pub(crate) fn push(&mut self, row: &Row<'_>, time: SystemTime) -> Result<()> {
        self.open_part(&row.recording.node_name, day(time))?;
        let Some((_, part)) = self.open.last_mut() else { return Ok(()) };
        self.buffered += part.push(row);
        if part.is_due() {
            self.buffered -= part.buffered();
            part.flush()?;
        } else if self.buffered > MEMORY {
            self.flush_longest()?;
        }
        Ok(())
    }

    /// Completes what was begun: all that was written.
    pub(crate) fn finish(mut self) -> Result<Written> {
        self.begin(String::new())?;
        Ok(self.written)
    }

    /// Brings a part to the end of those that are open.
    fn open_part(&mut self, node: &str, day: i64) -> Result<()> {
        let is_it = |(it, _): &(Partition, Part)| it.day == day && it.node == node;
        if self.open.last().is_some_and(is_it) {
            return Ok(());
        }
        if let Some(place) = self.open.iter().position(is_it) {
            self.open[place..].rotate_left(1);
            return Ok(());
        }
        if self.open.len() >= OPEN {
            let (_, oldest) = self.open.remove(0);
            self.complete(oldest)?;
        }
        let partition = Partition { node: node.to_owned(), day };
        let part = self.create_part(&partition)?;
        self.open.push((partition, part));
        Ok(())
    }

    fn create_part(&self, partition: &Partition) -> Result<Part> {
        make_private(&self.directory).map_err(external)?;
        let folder = self.directory.join(partition.folder());
        fs::create_dir_all(&folder).map_err(external)?;
        let names = (1..).map(|count| match count {
            1 => format!("{}.parquet", self.name),
            count => format!("{}-{count}.parquet", self.name),
        });
        let mut paths = names.map(|name| folder.join(name));
        let path = paths.find(|path| !self.finished.contains(path)).unwrap_or_default();
        Part::create(&self.form, path)
    }

    fn flush_longest(&mut self) -> Result<()> {
        let parts = self.open.iter_mut().map(|(_, part)| part);
        if let Some(longest) = parts.max_by_key(|part| part.buffered()) {
            self.buffered -= longest.buffered();
            longest.flush()?;
        }
        Ok(())
    }

    fn complete(&mut self, part: Part) -> Result<()> {
        self.buffered -= part.buffered();
        let (path, rows, bytes) = part.finish()?;
        self.finished.insert(path);
        self.written.rows += rows;
        self.written.files += 1;
        self.written.bytes += bytes;
        Ok(())
    }
}

impl Partition {
    fn folder(&self) -> PathBuf {
        let node = if self.node.is_empty() { NOTHING.to_owned() } else { escaped(&self.node) };
        PathBuf::from(format!("node={node}")).join(format!("day={}", date(self.day)))
    }
}

/// Arguments of programs are nobody else's business.
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Days since the epoch, UTC.
fn day(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs() / SECONDS_PER_DAY).unwrap_or(i64::MAX)
}

/// `YYYY-MM-DD`.
fn date(day: i64) -> String {
    let seconds = day.saturating_mul(SECONDS_PER_DAY.cast_signed());
    let date = Timestamp::from_second(seconds);
    date.map_or_else(|_| NOTHING.to_owned(), |date| date.strftime("%Y-%m-%d").to_string())
}

/// A value as part of a file's name: all but letters, digits and `-_.` as `%XX`, as URLs have it.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            escaped.push(byte.into());
        } else {
            let _infallible = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_folder_says_the_node_and_the_day() {
        let folder = |node: &str, seconds| {
            let day = day(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            Partition { node: node.to_owned(), day }.folder().display().to_string()
        };
        assert_eq!(folder("web-1.example", 1_700_000_000), "node=web-1.example/day=2023-11-14");
        assert_eq!(folder("a/../b=c%\u{e9}\n", 86_399), "node=a%2F..%2Fb%3Dc%25%C3%A9%0A/day=1970-01-01");
        assert_eq!(folder("", 86_400), "node=__HIVE_DEFAULT_PARTITION__/day=1970-01-02");
        assert_eq!(folder("far", 1 << 60), "node=far/day=__HIVE_DEFAULT_PARTITION__");
    }
}
