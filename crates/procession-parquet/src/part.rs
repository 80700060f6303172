//! One file of Parquet, which appears under its name when it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, TypePtr};

use crate::buffer::Buffer;
use crate::row::Row;
use crate::schema::{COLUMNS, Content, SCHEMA_VERSION, schema};
use crate::strings::Growth;

/// What all parts have in common.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    schema: TypePtr,
    properties: WriterPropertiesPtr,
}

/// A part that is being written.
pub(crate) struct Part {
    path: PathBuf,
    temporary: Temporary,
    writer: SerializedFileWriter<File>,
    buffers: Vec<Buffer>,
    /// Rows in the buffers.
    pending: usize,
    /// How long they are: in memory, and as readers will have them.
    size: Growth,
    /// Rows in all.
    rows: u64,
}

/// A file that goes unless it gets its name.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    has_name: bool,
}

/// Rows of a row group: readers share out row groups among their threads, and pass over those that cannot
/// have what they look for.
const ROW_GROUP: usize = 100_000;

/// Bytes of a row group as a reader will have it in memory.
const LONGEST_ROW_GROUP: usize = 256 << 20;

impl Form {
    /// `program` wrote it.
    pub(crate) fn new(program: &str) -> Result<Self> {
        let note = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let notes = vec![
            note("procession.schema_version", SCHEMA_VERSION.to_string()),
            note("procession.program", program.to_owned()),
        ];
        let properties = WriterProperties::builder()
            .set_created_by(program.to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(notes));
        // What only grows is told by its steps.
        let growing = COLUMNS.iter().filter(|column| {
            matches!(column.content, Content::Time(_)) || ["sequence", "boot_time_ns"].contains(&column.name)
        });
        let properties = growing.fold(properties, |properties, column| {
            let path = ColumnPath::from(column.name);
            properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        });
        Ok(Self { schema: schema()?, properties: Arc::new(properties.build()) })
    }
}

impl Part {
    /// Begins a part that will be at `path`, whose folder is there.
    pub(crate) fn create(form: &Form, path: PathBuf) -> Result<Self> {
        let temporary = Temporary::beside(&path);
        let file = File::create(&temporary.path).map_err(external)?;
        let writer = SerializedFileWriter::new(file, form.schema.clone(), form.properties.clone())?;
        let buffers = COLUMNS.iter().map(Buffer::new).collect();
        Ok(Self { path, temporary, writer, buffers, pending: 0, size: Growth::default(), rows: 0 })
    }

    /// Adds a row, and says by about how many bytes it grew in memory.
    pub(crate) fn push(&mut self, row: &Row<'_>) -> usize {
        let mut grown = Growth::default();
        for buffer in &mut self.buffers {
            grown += buffer.push(row);
        }
        self.pending += 1;
        self.rows += 1;
        self.size += grown;
        grown.memory
    }

    /// About how many bytes the rows take that wait in memory.
    pub(crate) fn buffered(&self) -> usize {
        self.size.memory
    }

    /// Whether there is enough for a row group.
    pub(crate) fn is_due(&self) -> bool {
        self.pending >= ROW_GROUP || self.size.length >= LONGEST_ROW_GROUP
    }

    /// Writes the rows that are in memory as a row group.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for buffer in &mut self.buffers {
            let Some(column) = group.next_column()? else { break };
            buffer.write(column)?;
        }
        group.close()?;
        (self.pending, self.size) = (0, Growth::default());
        Ok(())
    }

    /// Completes it, and gives it its name: that, its rows and its bytes.
    pub(crate) fn finish(mut self) -> Result<(PathBuf, u64, u64)> {
        self.flush()?;
        self.writer.finish()?;
        let file = self.writer.inner();
        file.sync_all().map_err(external)?;
        let bytes = file.metadata().map_err(external)?.len();
        self.temporary.rename(&self.path).map_err(external)?;
        Ok((self.path, self.rows, bytes))
    }
}

impl Temporary {
    /// With a name that no reader takes for a part.
    fn beside(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self { path: path.with_file_name(format!(".{name}{SUFFIX}")), has_name: false }
    }

    fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.has_name = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.has_name {
            let _best_effort = fs::remove_file(&self.path);
        }
    }
}

/// How the name ends of what is not whole.
pub(crate) const SUFFIX: &str = ".unfinished";

pub(crate) fn external(error: io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
