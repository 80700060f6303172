//! One line of styled text, which can be made to fit a width.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::ops::Range;

use anstyle::Style;

/// Columns of the elastic part that are kept while anything else can be cut.
const ELASTIC_MINIMUM: usize = 16;
const ELLIPSIS: &str = "…";

/// A line in the making. Reused, so that lines cost no allocation once the longest has been seen.
///
/// A character counts as one column. Wide ones make a line longer than asked for; to know them
/// takes a table that changes with every version of Unicode, and terminals do not agree on it.
#[derive(Debug, Default)]
pub(super) struct Line {
    text: String,
    /// Where each span of one style ends.
    spans: Vec<(usize, Style)>,
    /// The part that is cut first when the line is too long.
    elastic: Range<usize>,
}

impl Line {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.elastic = 0..0;
    }

    /// Appends `content`, which holds no control characters.
    pub(super) fn put(&mut self, style: Style, content: impl Display) {
        // Only a `Display` that fails could make this fail, and none of ours does.
        let _ = write!(self.text, "{content}");
        self.spans.push((self.text.len(), style));
    }

    /// Appends text in no particular style.
    pub(super) fn plain(&mut self, content: impl Display) {
        self.put(Style::new(), content);
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Makes all from `start` on the part that is cut first.
    pub(super) fn elastic_from(&mut self, start: usize) {
        self.elastic = start..self.text.len();
    }

    /// Cuts the line to `width` columns: the elastic part first, so that what follows it stays.
    pub(super) fn fit(&mut self, width: usize) {
        let excess = columns(&self.text).saturating_sub(width);
        if excess == 0 {
            return;
        }
        let elastic = columns(&self.text[self.elastic.clone()]);
        let kept = elastic.saturating_sub(excess + 1).max(ELASTIC_MINIMUM);
        if kept < elastic {
            self.cut(self.column(self.elastic.start, kept)..self.elastic.end);
        }
        if columns(&self.text) > width {
            self.cut(self.column(0, width.saturating_sub(1))..self.text.len());
        }
    }

    /// The place that is `count` columns after `start`.
    fn column(&self, start: usize, count: usize) -> usize {
        let mut places = self.text[start..].char_indices();
        places.nth(count).map_or(self.text.len(), |(place, _)| start + place)
    }

    /// Puts an ellipsis in the place of `range`.
    fn cut(&mut self, range: Range<usize>) {
        self.text.replace_range(range.clone(), ELLIPSIS);
        let cut_end = range.start + ELLIPSIS.len();
        for (end, _) in &mut self.spans {
            if *end >= range.end {
                *end = *end - range.end + cut_end;
            } else if *end > range.start {
                *end = cut_end;
            }
        }
    }

    /// Appends the line to `out`, with escape sequences where a style has any, and a line feed.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut start = 0;
        for &(end, style) in &self.spans {
            if start < end {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{style}{}{style:#}", &self.text[start..end]);
            }
            start = end;
        }
        out.push(b'\n');
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;

    fn line(parts: [&str; 3]) -> Line {
        let mut line = Line::default();
        line.plain(parts[0]);
        let start = line.len();
        line.put(AnsiColor::Red.on_default(), parts[1]);
        line.elastic_from(start);
        line.plain(parts[2]);
        line
    }

    fn written(line: &Line) -> String {
        let mut out = Vec::new();
        line.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_elastic_part_is_cut_first_and_the_end_only_when_that_is_not_enough() {
        for (width, shown) in [
            (40, "head -\x1b[31m0123456789äöü3456789\x1b[0m- tail\n"),
            (32, "head -\x1b[31m0123456789äöü3456789\x1b[0m- tail\n"),
            (31, "head -\x1b[31m0123456789äöü34567…\x1b[0m- tail\n"),
            (28, "head -\x1b[31m0123456789äöü345…\x1b[0m- ta…\n"),
            (7, "head -\x1b[31m…\x1b[0m\n"),
            (4, "hea…\n"),
            (0, "…\n"),
        ] {
            let mut line = line(["head -", "0123456789äöü3456789", "- tail"]);
            line.fit(width);
            assert_eq!(written(&line), shown, "{width}");
        }
    }
}
