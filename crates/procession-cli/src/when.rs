//! Times, as people type them: `14:03`, `2026-11-29 14:03:07`, `-5m`.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

use crate::summary;

/// What to type, for errors and helps.
pub(crate) const FORMS: &str =
    "`2026-11-29 14:03:07`, `14:03` (the last one), RFC 3339 as in events, `now`, `5m ago`, or `-1h30m`";

/// The end of the help of commands that take times.
macro_rules! times {
    () => {
        "\
Times:
  14:03, 14:03:07          the last time that the clock showed that, here
  '2026-11-29 14:03:07'    that day, in the time zone here
  2026-11-29T14:03:07Z     as events have it (RFC 3339)
  '5m ago', -5m, -1h30m    so long before now: ms, s, m, h, d, w
  now"
    };
}
pub(crate) use times;

/// A time, before it is known what now is and in which zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// One moment everywhere.
    At(Timestamp),
    /// In the zone of whoever typed it.
    Local(DateTime),
    /// Of the last day that had it by now.
    Today(Time),
    /// So long before now.
    Ago(Duration),
}

/// What there is to say of a text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as {FORMS}")]
pub(crate) struct NotATime;

impl FromStr for When {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let text = text.trim();
        if text == "now" {
            return Ok(Self::Ago(Duration::ZERO));
        }
        let ago = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago"));
        if let Some(span) = ago {
            return span_of(span.trim()).map(Self::Ago).ok_or(NotATime);
        }
        let at = text.parse().map(Self::At).ok();
        // It would take a time alone for one of today.
        let is_date = text.contains('-');
        let local = || text.parse().ok().filter(|_| is_date).map(Self::Local);
        let today = || text.parse().ok().filter(|_| text.contains(':')).map(Self::Today);
        at.or_else(local).or_else(today).ok_or(NotATime)
    }
}

/// `5m`, `1h30m`, `2 days`.
pub(crate) fn span_of(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 15] = [
        ("ms", 0.001),
        ("s", 1.0),
        ("sec", 1.0),
        ("second", 1.0),
        ("m", 60.0),
        ("min", 60.0),
        ("minute", 60.0),
        ("h", 3_600.0),
        ("hour", 3_600.0),
        ("d", 86_400.0),
        ("day", 86_400.0),
        ("w", 604_800.0),
        ("week", 604_800.0),
        ("mins", 60.0),
        ("secs", 1.0),
    ];
    let mut rest = text;
    let mut all = Duration::ZERO;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        let after = rest[unit_at..].trim_start();
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, more) = after.split_at(unit_end);
        let is_it = |name: &str| unit == name || (name.len() > 2 && unit.strip_suffix('s') == Some(name));
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| is_it(name))?;
        all = all.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = more.trim_start();
    }
    (!text.is_empty()).then_some(all)
}

impl When {
    /// The moment that is meant, if it is `now` in `zone`.
    pub(crate) fn resolve(self, now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
        let moment = match self {
            Self::At(time) => return Ok(time),
            Self::Local(local) => zone.to_timestamp(local),
            Self::Ago(span) => now.checked_sub(span),
            Self::Today(time) => {
                let today = zone.to_datetime(now).date();
                let moment = zone.to_timestamp(today.to_datetime(time));
                match moment {
                    // It is after midnight, and before midnight is meant.
                    Ok(later) if later > now => {
                        today.yesterday().and_then(|day| zone.to_timestamp(day.to_datetime(time)))
                    }
                    moment => moment,
                }
            }
        };
        moment.context("that time is beyond what a calendar has")
    }

    /// The same, as of now and here.
    pub(crate) fn here(self) -> anyhow::Result<SystemTime> {
        let time = self.resolve(Timestamp::now(), &TimeZone::system())?;
        SystemTime::try_from(time).context("that time is beyond what the clock has")
    }
}

impl When {
    /// The same, and says which day was taken if that is not today though no day was named.
    pub(crate) fn here_told(self) -> anyhow::Result<SystemTime> {
        let time = self.here()?;
        if self.is_of_another_day(time, Timestamp::now(), &TimeZone::system()) {
            let time = shown(time, &TimeZone::system());
            summary::tell(format_args!("that time is still to come today, so {time} is taken"));
        }
        Ok(time)
    }

    fn is_of_another_day(self, time: SystemTime, now: Timestamp, zone: &TimeZone) -> bool {
        let day = |time| zone.to_datetime(time).date();
        matches!(self, Self::Today(_)) && Timestamp::try_from(time).is_ok_and(|time| day(time) != day(now))
    }
}

/// `2026-11-29 14:03:07`, for people in this zone.
pub(crate) fn shown(time: SystemTime, zone: &TimeZone) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => zone.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "an impossible time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Option<String> {
        let now = "2026-11-29T14:03:07Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        Some(text.parse::<When>().ok()?.resolve(now, &zone).unwrap().to_string())
    }

    #[test]
    fn times_as_people_type_them() {
        for (text, meant) in [
            ("2026-11-29 14:03:07", "2026-11-29T12:03:07Z"),
            ("2026-11-29T14:03:07", "2026-11-29T12:03:07Z"),
            ("2026-11-29 14:03:07.25", "2026-11-29T12:03:07.25Z"),
            ("2026-11-29 14:03", "2026-11-29T12:03:00Z"),
            ("2026-11-29", "2026-11-28T22:00:00Z"),
            ("2026-11-29T14:03:07.123456789Z", "2026-11-29T14:03:07.123456789Z"),
            ("2026-11-29T14:03:07+01:00", "2026-11-29T13:03:07Z"),
            ("14:03", "2026-11-29T12:03:00Z"),
            ("14:03:09.5", "2026-11-29T12:03:09.5Z"),
            // That is still to come today.
            ("23:59", "2026-11-28T21:59:00Z"),
            ("-5m", "2026-11-29T13:58:07Z"),
            ("5m ago", "2026-11-29T13:58:07Z"),
            ("5 minutes ago", "2026-11-29T13:58:07Z"),
            ("-1h30m", "2026-11-29T12:33:07Z"),
            ("-1.5h", "2026-11-29T12:33:07Z"),
            ("2 days ago", "2026-11-27T14:03:07Z"),
            ("-250ms", "2026-11-29T14:03:06.75Z"),
            (" now ", "2026-11-29T14:03:07Z"),
        ] {
            assert_eq!(resolved(text).as_deref(), Some(meant), "{text}");
        }
    }

    #[test]
    fn another_day_is_told() {
        let now: Timestamp = "2026-11-29T21:00:00Z".parse().unwrap();
        let is_told = |text: &str| {
            let when: When = text.parse().unwrap();
            let time = when.resolve(now, &TimeZone::UTC).unwrap();
            when.is_of_another_day(time.try_into().unwrap(), now, &TimeZone::UTC)
        };
        assert!(is_told("23:00"));
        assert!(!is_told("20:00") && !is_told("2026-11-28 23:00") && !is_told("2 days ago"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-",
            "ago",
            " ago",
            "5m",
            "-5",
            "-5x",
            "-m",
            "14",
            "25:00",
            "2026-13-01",
            "1700000000",
            "-1e9h",
            "-.m",
        ] {
            assert_eq!(text.parse::<When>(), Err(NotATime), "{text}");
        }
        let error = NotATime.to_string();
        assert!(error.contains("-1h30m") && error.contains("2026-"), "{error}");
    }

    #[test]
    fn what_no_calendar_has_is_told() {
        let now = "2026-11-29T14:03:07Z".parse().unwrap();
        let when: When = "-999999999w".parse().unwrap();
        assert!(when.resolve(now, &TimeZone::UTC).is_err());
    }
}
