//! Points in time, lengths of time, and the two ways the server writes a date.
//!
//! *Invariant:* nothing here reads a clock. The worker does, and hands the reading down as [`Now`].
//! (Tested by `only_the_server_and_the_program_touch_the_world`.)

use std::fmt;
use std::ops::Add;

/// The clocks as a turn finds them at its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For leases and deadlines: it never jumps, and counts from some fixed but unknown moment.
    pub steady: Timestamp,
    /// For `Date`, the log and the expiry of tokens: it counts from the Unix epoch and may be set at any time.
    pub wall: Timestamp,
}

/// A point in time in milliseconds: since the Unix epoch for wall time, since any fixed origin for steady time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Later than anything that happens: the deadline of what has none.
    pub const MAX: Self = Self(u64::MAX);

    /// Where a lease clock begins that goes on from nothing: a day after its origin, so that what was a minute ago has a
    /// time too.
    pub const BEGINNING: Self = Self(Millis::DAY.0);

    /// The point `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the origin, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long it is from here until `later`: nothing when `later` has passed already.
    pub const fn until(self, later: Self) -> Millis {
        Millis(later.0.saturating_sub(self.0))
    }
}

/// The point so much later, at most [`Timestamp::MAX`].
impl Add<Millis> for Timestamp {
    type Output = Self;

    fn add(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

/// The units of a length of time, longest first, and how many milliseconds each is.
const UNITS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

impl Millis {
    pub const ZERO: Self = Self(0);

    const DAY: Self = Self(UNITS[0].1);

    /// `secs` seconds, at most what fits into 64 bits of milliseconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The length in whole seconds, rounded up: a client that waits so long has not come too early.
    pub const fn secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// Reads a whole number with its unit: `500ms`, `90s`, `5m`, `24h` or `7d`. A number alone counts seconds, as
    /// in `Retry-After` and most programs' flags.
    /// An error is a sentence that says what to write instead, for anything else and for what 64 bits of milliseconds cannot
    /// hold.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = if unit.is_empty() { "s" } else { unit };
        let unit = UNITS.iter().find(|(name, _)| *name == unit).filter(|_| digits > 0);
        let Some((_, millis)) = unit else {
            return Err(format!(
                "{text:?} is not a length of time; write a whole number and a unit: 500ms, 90s, 5m, 24h or 7d"
            ));
        };
        // Nothing but digits is left, so that the only way to fail is to be too large.
        let length = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*millis));
        length
            .map(Self)
            .ok_or_else(|| format!("{text:?} is longer than can be counted; write a shorter time"))
    }
}

/// The shortest exact form that [`Millis::parse`] reads: `90s`, `5m`, `24h`. Days are used from two on only, because
/// people write `24h`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |&&(_, millis): &&(&str, u64)| self.0.is_multiple_of(millis);
        let (unit, millis) = match *self {
            Self::ZERO => ("s", 1000),
            Self::DAY => ("h", 60 * 60 * 1000),
            _ => UNITS.iter().find(exact).copied().unwrap_or(("ms", 1)),
        };
        write!(f, "{}{unit}", self.0 / millis)
    }
}

/// Appends a date as HTTP wants it: `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// ```text
/// IMF-fixdate = day-name "," SP date1 SP time-of-day SP GMT      ; RFC 9110 section 5.6.7
/// date1       = day SP month SP year                             ; 2DIGIT, Jan to Dec, 4DIGIT
/// ```
///
/// The year has four digits, so that a time after 9999 is written as its last second.
pub fn http_date(wall: Timestamp, out: &mut Vec<u8>) {
    let civil = Civil::of(wall);
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[0..3].copy_from_slice(DAYS[civil.weekday as usize]);
    put(&mut date[5..7], civil.day);
    date[8..11].copy_from_slice(MONTHS[civil.month as usize - 1]);
    put(&mut date[12..16], civil.year);
    put_clock(&mut date[17..25], &civil);
    out.extend_from_slice(&date);
}

/// Appends a date as logs want it, in milliseconds: `1994-11-06T08:49:37.123Z`.
///
/// ```text
/// date-time = full-date "T" full-time                            ; RFC 3339 section 5.6
/// full-time = 2DIGIT ":" 2DIGIT ":" 2DIGIT "." 1*DIGIT "Z"
/// ```
///
/// The year has four digits, so that a time after 9999 is written as its last millisecond.
pub fn rfc3339(wall: Timestamp, out: &mut Vec<u8>) {
    let civil = Civil::of(wall);
    let mut date = *b"1970-01-01T00:00:00.000Z";
    put(&mut date[0..4], civil.year);
    put(&mut date[5..7], civil.month);
    put(&mut date[8..10], civil.day);
    put_clock(&mut date[11..19], &civil);
    put(&mut date[20..23], civil.millis);
    out.extend_from_slice(&date);
}

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// 9999-12-31T23:59:59.999Z, the last moment that four digits of a year can name.
const LAST: Timestamp = Timestamp(253_402_300_799_999);

/// A moment as the calendar and the clock on the wall in Greenwich show it.
struct Civil {
    year: u64,
    /// 1 to 12.
    month: u64,
    /// 1 to 31.
    day: u64,
    /// 0 is Sunday.
    weekday: u64,
    /// 0 to 86,399: seconds since midnight. Unix time has no leap seconds.
    second: u64,
    /// 0 to 999.
    millis: u64,
}

impl Civil {
    /// `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms", without its years before
    /// the epoch. A year begins in March, so that the leap day comes last, and an era is 400 years, after which the
    /// calendar repeats.
    fn of(wall: Timestamp) -> Self {
        let millis = wall.min(LAST).millis();
        let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);

        let from_march_of_year_0 = days + 719_468;
        let (era, day_of_era) = (from_march_of_year_0 / 146_097, from_march_of_year_0 % 146_097);
        let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Counted from March, the lengths of the months follow a straight line: 153 days every five months.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let (month, next_year) =
            if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };

        let year = 400 * era + year_of_era + next_year;
        // The epoch was a Thursday.
        Self { year, month, day, weekday: (days + 4) % 7, second, millis: millis % 1000 }
    }
}

/// Fills `HH:MM:SS`, whose colons stand already.
fn put_clock(field: &mut [u8], civil: &Civil) {
    put(&mut field[0..2], civil.second / 3600);
    put(&mut field[3..5], civil.second / 60 % 60);
    put(&mut field[6..8], civil.second % 60);
}

/// Fills the whole field with the digits of `number`, zeros first.
fn put(field: &mut [u8], mut number: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_dates(millis: u64, http: &str, log: &str) {
        let mut out = Vec::new();
        http_date(Timestamp(millis), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), http);
        let mut out = b"kept ".to_vec();
        rfc3339(Timestamp(millis), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("kept {log}"));
    }

    #[test]
    fn writes_dates() {
        check_dates(0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z");
        check_dates(999, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.999Z");
        check_dates(86_399_999, "Thu, 01 Jan 1970 23:59:59 GMT", "1970-01-01T23:59:59.999Z");
        check_dates(86_400_000, "Fri, 02 Jan 1970 00:00:00 GMT", "1970-01-02T00:00:00.000Z");
        check_dates(784_111_777_123, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.123Z");
        check_dates(1_234_567_890_000, "Fri, 13 Feb 2009 23:31:30 GMT", "2009-02-13T23:31:30.000Z");
    }

    #[test]
    fn knows_leap_years() {
        check_dates(68_169_600_000, "Tue, 29 Feb 1972 00:00:00 GMT", "1972-02-29T00:00:00.000Z");
        check_dates(951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00.000Z");
        check_dates(951_868_800_000, "Wed, 01 Mar 2000 00:00:00 GMT", "2000-03-01T00:00:00.000Z");
        check_dates(978_220_800_000, "Sun, 31 Dec 2000 00:00:00 GMT", "2000-12-31T00:00:00.000Z");
        check_dates(1_709_164_800_000, "Thu, 29 Feb 2024 00:00:00 GMT", "2024-02-29T00:00:00.000Z");
        check_dates(1_740_787_200_000, "Sat, 01 Mar 2025 00:00:00 GMT", "2025-03-01T00:00:00.000Z");
    }

    #[test]
    fn knows_that_2100_is_no_leap_year() {
        check_dates(4_107_456_000_000, "Sun, 28 Feb 2100 00:00:00 GMT", "2100-02-28T00:00:00.000Z");
        check_dates(4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.000Z");
        check_dates(13_574_563_200_000, "Tue, 29 Feb 2400 00:00:00 GMT", "2400-02-29T00:00:00.000Z");
    }

    #[test]
    fn stays_at_the_end_of_9999() {
        check_dates(LAST.0 - 999, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.000Z");
        for millis in [LAST.0, LAST.0 + 1, u64::MAX] {
            check_dates(millis, "Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59.999Z");
        }
    }

    /// Walks every day of four centuries and more beside a calendar that only knows the lengths of the months.
    #[test]
    fn agrees_with_a_calendar_that_counts() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..200_000 {
            let civil = Civil::of(Timestamp(days * 86_400_000));
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (month, day) = if day < length { (month, day + 1) } else { (month + 1, 1) };
            (year, month) = if month <= 12 { (year, month) } else { (year + 1, 1) };
        }
    }

    #[test]
    fn reads_lengths_and_writes_them_shortest() {
        #[track_caller]
        fn check(text: &str, millis: u64, shown: &str) {
            let length = Millis::parse(text).unwrap();
            assert_eq!((length.millis(), length.to_string().as_str()), (millis, shown));
            assert_eq!(Millis::parse(shown), Ok(length));
        }
        check("0", 0, "0s");
        check("0ms", 0, "0s");
        check("1ms", 1, "1ms");
        check("500ms", 500, "500ms");
        check("1000ms", 1000, "1s");
        check("1500ms", 1500, "1500ms");
        check("7", 7000, "7s");
        check("90", 90_000, "90s");
        check("90s", 90_000, "90s");
        check("007s", 7000, "7s");
        check("60s", 60_000, "1m");
        check("5m", 300_000, "5m");
        check("90m", 5_400_000, "90m");
        check("60m", 3_600_000, "1h");
        check("24h", 86_400_000, "24h");
        check("1d", 86_400_000, "24h");
        check("36h", 129_600_000, "36h");
        check("7d", 604_800_000, "7d");
        check("18446744073709551615ms", u64::MAX, "18446744073709551615ms");
        check("213503982334d", 18_446_744_073_657_600_000, "213503982334d");
    }

    #[test]
    fn refuses_what_is_no_length() {
        for text in [
            "", "s", "ms", "+5s", "-5s", "5 s", " 5s", "5s ", "5S", "5x", "1.5h", "1h30m", "0x5s", "٣s", "5é",
        ] {
            let said = Millis::parse(text).unwrap_err();
            let expected = format!(
                "{text:?} is not a length of time; write a whole number and a unit: 500ms, 90s, 5m, 24h or 7d"
            );
            assert_eq!(said, expected);
        }
        for text in ["18446744073709551616ms", "18446744073709552s", "213503982335d", "99999999999999999999"]
        {
            let expected = format!("{text:?} is longer than can be counted; write a shorter time");
            assert_eq!(Millis::parse(text), Err(expected));
        }
    }

    #[test]
    fn saturates() {
        let (early, late) = (Timestamp::from_millis(1500), Timestamp::from_millis(4000));
        assert_eq!(early.until(late), Millis::from_millis(2500));
        assert_eq!(late.until(early), Millis::ZERO);
        assert_eq!(early + Millis::from_secs(2), Timestamp::from_millis(3500));
        assert_eq!(Timestamp::MAX + Millis::from_millis(1), Timestamp::MAX);
        assert_eq!(Millis::from_secs(u64::MAX).millis(), u64::MAX);
    }

    #[test]
    fn rounds_points_down_and_lengths_up() {
        assert_eq!([0, 999, 1000, 1999].map(|n| Timestamp(n).secs()), [0, 0, 1, 1]);
        assert_eq!([0, 1, 1000, 1001].map(|n| Millis(n).secs_ceil()), [0, 1, 1, 2]);
        assert_eq!(Millis(u64::MAX).secs_ceil(), u64::MAX / 1000 + 1);
    }
}
