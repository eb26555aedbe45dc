//! Owns the one place where the broker reads the wall clock, and how times look on the wire.
//! Does not own what a time means: callers pass Unix seconds around.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix seconds; zero when the clock stands before 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// RFC 3339 in UTC with whole seconds, as Kubernetes writes `metadata.creationTimestamp`.
pub(crate) fn rfc3339(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

/// Unix seconds of an RFC 3339 time; `None` when it is not one or lies before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_second()).ok())
}

/// An age as `kubectl` prints it: two units while they matter (`3m20s`, `4h7m`, `12d`, `2y30d`).
pub(crate) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds.is_multiple_of(60) => format!("{minutes}m"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes.is_multiple_of(60) => format!("{hours}h"),
        10_800..28_800 => format!("{hours}h{}m", minutes % 60),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours.is_multiple_of(24) => format!("{days}d"),
        172_800..691_200 => format!("{days}d{}h", hours % 24),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2_920 && !days.is_multiple_of(365) => format!("{}y{}d", days / 365, days % 365),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let printed: Vec<String> =
            [5, 119, 200, 180, 3_000, 10_980, 90_000, 200_000, 864_000, 64_000_000]
                .into_iter()
                .map(age)
                .collect();
        assert_eq!(
            printed,
            ["5s", "119s", "3m20s", "3m", "50m", "3h3m", "25h", "2d7h", "10d", "2y10d"]
        );
    }

    #[test]
    fn times_survive_the_wire() {
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(parse_rfc3339("2023-11-14T22:13:20Z"), Some(1_700_000_000));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
