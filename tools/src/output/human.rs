//! Sizes, times and ids as people read and type them.

use crate::exit::{Failure, Outcome};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use ouroboros_engine::env::WallTime;
use ouroboros_engine::id::{BlobId, Hlc};

/// A number of bytes, to three digits or so: `1.50 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 and more would round up to 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A count with its thousands apart: `12,345`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// So many things, in words: `1 key`, `12,345 keys`.
pub(crate) fn count(count: u64, one: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    // `directory`, but `key`.
    match one.strip_suffix('y').filter(|stem| count != 1 && !stem.ends_with(['a', 'e', 'o', 'u'])) {
        Some(stem) => format!("{} {stem}ies", thousands(count)),
        None => format!("{} {one}{end}", thousands(count)),
    }
}

/// An id's first twelve digits: enough to name it again.
pub(crate) fn short(id: BlobId) -> String {
    id.to_string()[..12].to_owned()
}

fn timestamp(stamp: Hlc) -> Timestamp {
    let millis = i64::try_from(stamp.wall().unix_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// A time in the local zone, for people.
pub(crate) fn time(stamp: Hlc) -> String {
    timestamp(stamp).to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time for scripts: RFC 3339, UTC, milliseconds.
pub(crate) fn rfc3339(stamp: Hlc) -> String {
    format!("{:.3}", timestamp(stamp))
}

/// Reads a time as people type it: RFC 3339, a local date or date and time, `now`, or how long ago (`2h`, `3 days ago`).
pub(crate) fn parse_time(text: &str) -> Outcome<WallTime> {
    let now = Zoned::now();
    let wrong = || {
        Failure::usage(format!("'{text}' is no time"))
            .advise("write 2026-07-01, \"2026-07-01 12:30\", 2026-07-01T12:30:00Z, 2h, \"3 days ago\" or now")
    };
    let stamp = if text == "now" {
        now.timestamp()
    } else if let Ok(stamp) = text.parse::<Timestamp>() {
        end_of(text, stamp)
    } else if let Ok(zoned) = text.parse::<Zoned>() {
        end_of(text, zoned.timestamp())
    } else if let Ok(at) = text.parse::<DateTime>() {
        // A date alone means all of that day.
        let is_date = !text.contains([' ', 'T', 't']);
        let until = if is_date { at.date().at(23, 59, 59, 999_000_000) } else { at };
        end_of(text, until.to_zoned(TimeZone::system()).map_err(|_| wrong())?.timestamp())
    } else if let Ok(span) = text.parse::<Span>() {
        let back = if span.is_negative() { span } else { -span };
        now.checked_add(back).map_err(|_| wrong())?.timestamp()
    } else {
        return Err(wrong());
    };
    Ok(WallTime::from_unix_millis(u64::try_from(stamp.as_millisecond()).unwrap_or(0)))
}

/// The end of what a time says: one to the minute or second means all of it.
fn end_of(text: &str, stamp: Timestamp) -> Timestamp {
    let clock = text.split_once([' ', 'T', 't']).map_or("", |(_, clock)| clock);
    let clock = clock.split_once(['Z', 'z', '+', '-', '[']).map_or(clock, |(clock, _)| clock);
    if clock.contains(['.', ',']) {
        return stamp;
    }
    let more = match clock.bytes().filter(u8::is_ascii_digit).count() {
        0 => 0,
        1 | 2 => 3_599_999,
        3 | 4 => 59_999,
        _ => 999,
    };
    stamp.checked_add(SignedDuration::from_millis(more)).unwrap_or(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_048_575, "1.00 MiB"),
            (10 * 1024 * 1024, "10.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(count), text);
        }
    }

    #[test]
    fn one_is_one_and_others_are_many() {
        for (number, one, text) in [
            (1, "key", "1 key"),
            (0, "key", "0 keys"),
            (2, "directory", "2 directories"),
            (1000, "entry", "1,000 entries"),
        ] {
            assert_eq!(count(number, one), text);
        }
    }

    #[test]
    fn times_are_read_as_people_type_them() {
        let at = |text: &str| parse_time(text).unwrap().unix_millis();
        assert_eq!(at("2026-07-01T12:30:00Z"), 1_782_909_000_999);
        assert_eq!(at("2026-07-01T12:30:00.000Z"), 1_782_909_000_000);
        assert_eq!(at("2026-07-01T12:30:00-02:00"), 1_782_916_200_999);
        assert_eq!(at("20260701T123000Z"), 1_782_909_000_999);
        // As `log` shows them, and shorter.
        let midnight = at("2026-07-01T00:00:00.000");
        for (text, after) in [
            ("2026-07-01 12:30:05", 45_005_999),
            ("2026-07-01 12:30", 45_059_999),
            ("2026-07-01T12:30:05.25", 45_005_250),
            ("20260701T123005", 45_005_999),
            ("2026-07-01", 86_399_999),
            ("20260701", 86_399_999),
        ] {
            assert_eq!(at(text) - midnight, after, "{text}");
        }
        assert_eq!(at("2026-07-01T12:30:00.250+02:00"), 1_782_901_800_250);
        let now = at("now");
        assert!((now - at("2h")).abs_diff(7_200_000) < 5_000);
        assert!((now - at("2 hours ago")).abs_diff(7_200_000) < 5_000);
        assert!(at("2020-01-01") < at("2020-01-02"));
        assert!(parse_time("yesterdayish").is_err());
    }

    #[test]
    fn a_stamp_is_shown_for_scripts_to_the_millisecond() {
        assert_eq!(rfc3339(Hlc::at(WallTime::from_unix_millis(1_782_909_000_007))), "2026-07-01T12:30:00.007Z");
    }
}
