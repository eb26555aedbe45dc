//! Owns the wall clock of the program and how points in time are written. Nothing else reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use sealane_api::time::UnixTime;

/// Returns the time of day; a clock before 1970 counts as 1970.
pub fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Returns a time as people read it, such as `2026-11-28 13:40 UTC`; one beyond the calendar as `never`.
pub fn date(time: UnixTime) -> String {
    i64::try_from(time.0).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).map_or_else(
        || "never".to_owned(),
        |timestamp| timestamp.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

/// A length of time on the command line, such as `7d`, `12h` or `1w 2d`. Unit inside: seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub u64);

impl std::str::FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The library's words for this are its own.
        let odd =
            |_| "expected weeks, days, hours, minutes or seconds, such as 7d or 12h".to_owned();
        let span: Span = text.parse().map_err(odd)?;
        let length: SignedDuration =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(odd)?;
        u64::try_from(length.as_secs())
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Self)
            .ok_or_else(|| "must be longer than nothing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        assert_eq!("7d".parse(), Ok(Length(604_800)));
        assert_eq!("1w 2d".parse(), Ok(Length(777_600)));
        assert_eq!("12h".parse(), Ok(Length(43_200)));
        for bad in ["", "7", "-3d", "0s", "1month", "soon"] {
            assert!(bad.parse::<Length>().is_err(), "{bad:?} was taken for a length");
        }
        for bad in ["7", "1y", "1month", "soon"] {
            let told = bad.parse::<Length>().unwrap_err();
            assert!(told.contains("such as 7d") && !told.contains("jiff"), "{told}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_never() {
        assert_eq!(date(UnixTime(1_780_000_000)), "2026-05-28 20:26 UTC");
        assert_eq!(date(UnixTime(u64::MAX)), "never");
    }
}
