//! What the documentation says, to be held against what is so.

/// The blocks of code for an engine, each with the table that follows it, if one does.
pub(crate) fn examples<'d>(document: &'d str, engine: &str) -> Vec<(&'d str, &'d str)> {
    let opening = format!("\n```sql {engine}\n");
    let mut parts = document.split(&opening);
    let _before = parts.next();
    let example = |part: &'d str| {
        let (code, after) = part.split_once("\n```\n").unwrap_or_else(|| panic!("a block has no end"));
        (code.trim_end_matches(';'), table(after.trim_start()))
    };
    parts.map(example).collect()
}

/// The table with which a text begins; empty when it begins with none.
fn table(text: &str) -> &str {
    let lines = text.split_inclusive('\n').take_while(|line| line.starts_with('|'));
    &text[..lines.map(str::len).sum()]
}

/// The names and the types of the columns, from all tables that begin with `| Column | Type |`.
pub(crate) fn columns(document: &str) -> Vec<(String, String)> {
    let mut columns = Vec::new();
    for part in document.split("| Column | Type |").skip(1) {
        let rows = part.lines().skip(2).take_while(|line| line.starts_with('|'));
        columns.extend(rows.map(|row| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
            (cells[1].clone(), cells[2].clone())
        }));
    }
    columns
}
