//! Owns numbers as people read them: lengths of time, round trips, loss, sizes.

/// Returns a length of time in its two largest units, such as `3m12s` or `4d7h`.
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let pair = |large: u64, unit: char, small: u64, smaller: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit}{small}{smaller}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => pair(minutes, 'm', seconds % 60, 's'),
        3_600..86_400 => pair(hours, 'h', minutes % 60, 'm'),
        86_400..864_000 => pair(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

/// Returns how long ago something was, or `-`.
pub fn since(then_unix_seconds: Option<u64>, now_unix_seconds: u64) -> String {
    then_unix_seconds.map_or_else(dash, |then| duration(now_unix_seconds.saturating_sub(then)))
}

/// Returns a round trip in milliseconds, or `-`.
pub fn round_trip(microseconds: Option<u64>) -> String {
    microseconds.map_or_else(dash, |us| {
        let (whole, rest) = (us / 1_000, us % 1_000);
        match us {
            0..10_000 => format!("{whole}.{:02} ms", rest / 10),
            10_000..100_000 => format!("{whole}.{} ms", rest / 100),
            _ => format!("{whole} ms"),
        }
    })
}

/// Returns a share of lost packets in percent, or `-`.
pub fn loss(permille: Option<u16>) -> String {
    permille.map_or_else(dash, |lost| match lost % 10 {
        0 => format!("{}%", lost / 10),
        tenth => format!("{}.{tenth}%", lost / 10),
    })
}

/// Returns a size in binary units, such as `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut unit, mut size, mut rest) = ("B", count, 0);
    for next in UNITS {
        if size < 1_024 {
            break;
        }
        (unit, rest, size) = (next, size % 1_024, size / 1_024);
    }
    if unit == "B" || size >= 100 {
        return format!("{size} {unit}");
    }
    format!("{size}.{} {unit}", rest * 10 / 1_024)
}

/// Returns a number or `-`.
pub fn number(value: Option<impl ToString>) -> String {
    value.map_or_else(dash, |value| value.to_string())
}

/// Returns what stands where nothing is known.
pub fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_show_two_units() {
        let shown: Vec<String> =
            [0, 59, 60, 192, 3_600, 18_420, 86_400, 370_000, 864_000].map(duration).into();
        assert_eq!(shown, ["0s", "59s", "1m", "3m12s", "1h", "5h7m", "1d", "4d6h", "10d"]);
    }

    #[test]
    fn round_trips_are_milliseconds_with_three_digits_that_matter() {
        let shown: Vec<String> =
            [412, 9_999, 12_345, 250_400].map(|us| round_trip(Some(us))).into();
        assert_eq!(shown, ["0.41 ms", "9.99 ms", "12.3 ms", "250 ms"]);
        assert_eq!(round_trip(None), "-");
    }

    #[test]
    fn loss_and_sizes_read_as_people_say_them() {
        assert_eq!([Some(0), Some(3), Some(1000), None].map(loss), ["0%", "0.3%", "100%", "-"]);
        assert_eq!([17, 1_536, 5_368_709_120].map(bytes), ["17 B", "1.5 KiB", "5.0 GiB"]);
    }
}
