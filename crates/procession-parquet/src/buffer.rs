//! The rows of a row group, column by column, until they are written.

use std::borrow::Cow;
use std::time::SystemTime;

use parquet::data_type::{BoolType, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::writer::SerializedColumnWriter;

use crate::row::Row;
use crate::schema::{Column, Content};
use crate::strings::{Growth, Strings};

/// What the rows have in one column.
#[derive(Debug)]
pub(crate) struct Buffer {
    values: Values,
    levels: Levels,
}

/// The values, and where they come from.
#[derive(Debug)]
enum Values {
    Bools(Of<bool>, Vec<bool>),
    U32s(Of<u32>, Vec<i32>),
    I64s(Of<i64>, Vec<i64>),
    U64s(Of<u64>, Vec<i64>),
    Times(Of<SystemTime>, Vec<i64>),
    Texts(for<'a> fn(&Row<'a>) -> Option<Cow<'a, str>>, Strings),
    Lists(for<'a> fn(&Row<'a>) -> Option<Vec<Cow<'a, str>>>, Strings),
}

type Of<T> = for<'a> fn(&Row<'a>) -> Option<T>;

/// Which rows have a value.
#[derive(Debug)]
struct Levels {
    is_optional: bool,
    /// How much is there: for each value, and each row without one.
    definitions: Vec<i16>,
    /// Of lists: 0 where a row begins, 1 within it.
    repetitions: Vec<i16>,
}

impl Buffer {
    pub(crate) fn new(column: &Column) -> Self {
        let values = match column.content {
            Content::Bool(of) => Values::Bools(of, Vec::new()),
            Content::U32(of) => Values::U32s(of, Vec::new()),
            Content::I64(of) => Values::I64s(of, Vec::new()),
            Content::U64(of) => Values::U64s(of, Vec::new()),
            Content::Time(of) => Values::Times(of, Vec::new()),
            Content::Text(of) => Values::Texts(of, Strings::default()),
            Content::Texts(of) => Values::Lists(of, Strings::default()),
        };
        let levels =
            Levels { is_optional: column.is_optional, definitions: Vec::new(), repetitions: Vec::new() };
        Self { values, levels }
    }

    /// Adds what `row` has in this column, and says by how much the buffer grew.
    pub(crate) fn push(&mut self, row: &Row<'_>) -> Growth {
        let levels = &mut self.levels;
        match &mut self.values {
            Values::Bools(of, values) => levels.push(of(row), values),
            Values::U32s(of, values) => levels.push(of(row).map(u32::cast_signed), values),
            Values::I64s(of, values) => levels.push(of(row), values),
            Values::U64s(of, values) => levels.push(of(row).map(u64::cast_signed), values),
            Values::Times(of, values) => levels.push(of(row).map(micros), values),
            Values::Texts(of, strings) => levels.push_text(of(row), strings),
            Values::Lists(of, strings) => levels.push_list(of(row).as_deref(), strings),
        }
    }

    /// Writes all of it, and forgets it.
    pub(crate) fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<()> {
        let levels = &mut self.levels;
        match &mut self.values {
            Values::Bools(_, values) => levels.write::<BoolType>(&mut writer, values)?,
            Values::U32s(_, values) => levels.write::<Int32Type>(&mut writer, values)?,
            Values::I64s(_, values) | Values::U64s(_, values) | Values::Times(_, values) => {
                levels.write::<Int64Type>(&mut writer, values)?;
            }
            Values::Texts(_, strings) | Values::Lists(_, strings) => {
                levels.write::<ByteArrayType>(&mut writer, &mut strings.take())?;
            }
        }
        writer.close()
    }
}

impl Levels {
    /// Notes what there is for a row: a value, or none.
    fn define(&mut self, is_there: bool) {
        debug_assert!(is_there || self.is_optional, "a column that is always there has a value");
        if self.is_optional {
            self.definitions.push(i16::from(is_there));
        }
    }

    fn push<T: Default>(&mut self, value: Option<T>, values: &mut Vec<T>) -> Growth {
        let value = if self.is_optional { value } else { value.or_else(|| Some(T::default())) };
        self.define(value.is_some());
        values.extend(value);
        Growth { memory: size_of::<T>() + size_of::<i16>(), length: size_of::<T>() }
    }

    fn push_text(&mut self, value: Option<Cow<'_, str>>, strings: &mut Strings) -> Growth {
        let value = if self.is_optional { value } else { value.or(Some(Cow::Borrowed(""))) };
        self.define(value.is_some());
        let mut growth = Growth { memory: size_of::<i16>(), length: 0 };
        growth += value.map(|text| strings.push(&text)).unwrap_or_default();
        growth
    }

    /// Definitions of a list: 0, there is none; 1, it is empty; 2, an element.
    fn push_list(&mut self, list: Option<&[Cow<'_, str>]>, strings: &mut Strings) -> Growth {
        let before = self.definitions.len();
        let mut growth = Growth::default();
        for text in list.unwrap_or_default() {
            self.repetitions.push(i16::from(self.definitions.len() > before));
            self.definitions.push(2);
            growth += strings.push(text);
        }
        if self.definitions.len() == before {
            self.repetitions.push(0);
            self.definitions.push(i16::from(list.is_some()));
        }
        growth.memory += (self.definitions.len() - before) * 2 * size_of::<i16>();
        growth
    }

    fn write<T: DataType>(
        &mut self,
        writer: &mut SerializedColumnWriter<'_>,
        values: &mut Vec<T::T>,
    ) -> Result<()> {
        let definitions = (!self.definitions.is_empty()).then_some(&self.definitions[..]);
        let repetitions = (!self.repetitions.is_empty()).then_some(&self.repetitions[..]);
        writer.typed::<T>().write_batch(values, definitions, repetitions)?;
        values.clear();
        self.definitions.clear();
        self.repetitions.clear();
        Ok(())
    }
}

/// Microseconds since the epoch.
fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
