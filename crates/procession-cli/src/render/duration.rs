//! Spans of time for people.

use std::fmt::{self, Display};
use std::time::Duration;

/// `span` in the unit that suits it, never rounded up: `850µs`, `5.1ms`, `1m15s`, `3d04h`.
pub(crate) fn duration(span: Duration) -> impl Display {
    Human(span)
}

struct Human(Duration);

impl Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        if nanos < 1_000 {
            write!(f, "{nanos}ns")
        } else if nanos < 1_000_000 {
            write!(f, "{}µs", nanos / 1_000)
        } else if seconds == 0 {
            write!(f, "{}.{}ms", nanos / 1_000_000, nanos / 100_000 % 10)
        } else if minutes == 0 {
            write!(f, "{seconds}.{}s", self.0.subsec_millis() / 100)
        } else if hours == 0 {
            write!(f, "{minutes}m{:02}s", seconds % 60)
        } else if days == 0 {
            write!(f, "{hours}h{:02}m", minutes % 60)
        } else {
            write!(f, "{days}d{:02}h", hours % 24)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_has_its_unit() {
        for (span, text) in [
            (Duration::ZERO, "0ns"),
            (Duration::from_nanos(999), "999ns"),
            (Duration::from_nanos(1_999), "1µs"),
            (Duration::from_micros(999), "999µs"),
            (Duration::from_micros(5_190), "5.1ms"),
            (Duration::from_micros(999_999), "999.9ms"),
            (Duration::from_secs(1), "1.0s"),
            (Duration::from_millis(59_999), "59.9s"),
            (Duration::from_mins(1), "1m00s"),
            (Duration::from_secs(3_599), "59m59s"),
            (Duration::from_mins(123), "2h03m"),
            (Duration::from_hours(24 * 400 + 1), "400d01h"),
        ] {
            assert_eq!(duration(span).to_string(), text);
        }
    }
}
