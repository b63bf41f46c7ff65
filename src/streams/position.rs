//! Where in a video a stream is: whole seconds, below 100 hours.
//!
//! *Invariant:* a `Position` is always one that can be written back as it was read.

/// Whole seconds from the beginning, below [`Position::END`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

impl Position {
    /// The first position that is too far: 100 hours.
    pub const END: u32 = 100 * 3600;

    /// From seconds; None from 100 hours on.
    pub fn from_secs(secs: u32) -> Option<Self> {
        (secs < Self::END).then_some(Self(secs))
    }

    /// Whole seconds from the beginning.
    pub fn secs(self) -> u32 {
        self.0
    }

    /// From `M:SS`, `MM:SS` or `H:MM:SS` (hours up to 99); None for anything else.
    pub fn parse(clock: &[u8]) -> Option<Self> {
        let (rest, seconds) = split_last(clock)?;
        match split_last(rest) {
            None => Self::from_secs(one_or_two_digits(rest)? * 60 + seconds),
            Some((hours, minutes)) => {
                Self::from_secs(one_or_two_digits(hours)? * 3600 + minutes * 60 + seconds)
            }
        }
    }

    /// From a JSON number of seconds; a fraction, as players report it, is cut off. None when negative or too far.
    pub fn parse_secs(number: &str) -> Option<Self> {
        let secs: f64 = number.parse().ok()?;
        (0.0..f64::from(Self::END)).contains(&secs).then_some(Self(secs as u32))
    }

    /// Appends it as `M:SS`, from an hour on as `H:MM:SS`.
    pub fn write(self, out: &mut Vec<u8>) {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        if hours > 0 {
            write_digits(hours, hours > 9, out);
            out.push(b':');
        }
        write_digits(minutes, hours > 0 || minutes > 9, out);
        out.push(b':');
        write_digits(seconds, true, out);
    }
}

/// Splits `…:NN` with NN from 00 to 59.
fn split_last(clock: &[u8]) -> Option<(&[u8], u32)> {
    let (rest, [b':', tens @ b'0'..=b'5', ones @ b'0'..=b'9']) = clock.split_last_chunk()? else {
        return None;
    };
    Some((rest, u32::from(tens - b'0') * 10 + u32::from(ones - b'0')))
}

fn one_or_two_digits(text: &[u8]) -> Option<u32> {
    match text {
        [ones @ b'0'..=b'9'] => Some(u32::from(ones - b'0')),
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
        }
        _ => None,
    }
}

fn write_digits(n: u32, two: bool, out: &mut Vec<u8>) {
    if two {
        out.push(b'0' + (n / 10) as u8);
    }
    out.push(b'0' + (n % 10) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(position: Option<Position>, expected: &str) {
        let mut out = Vec::new();
        match position {
            Some(position) => position.write(&mut out),
            None => out.extend(b"refused"),
        }
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn reads_the_three_forms_and_writes_the_normal_one() {
        for (clock, expected) in [
            ("0:00", "0:00"),
            ("1:00", "1:00"),
            ("01:00", "1:00"),
            ("12:34", "12:34"),
            ("59:59", "59:59"),
            ("60:00", "1:00:00"),
            ("90:05", "1:30:05"),
            ("99:59", "1:39:59"),
            ("1:02:03", "1:02:03"),
            ("0:02:03", "2:03"),
            ("00:00:00", "0:00"),
            ("12:00:00", "12:00:00"),
            ("99:59:59", "99:59:59"),
        ] {
            check(Position::parse(clock.as_bytes()), expected);
        }
    }

    #[test]
    fn refuses_every_other_form() {
        for clock in [
            "",
            ":",
            "1",
            "60",
            "1:0",
            "1:60",
            "1:000",
            "100:00",
            ":00",
            "1:00:",
            "-1:00",
            "+1:00",
            "1:+1",
            " 1:00",
            "1:00 ",
            "1:60:00",
            "1:0:00",
            "1:00:60",
            "100:00:00",
            "1:2:3:4",
            "a:00",
            "1:0a",
            "1.5",
            "١:٠٠",
        ] {
            check(Position::parse(clock.as_bytes()), "refused");
        }
    }

    #[test]
    fn reads_seconds_and_cuts_the_fraction() {
        for (number, expected) in [
            ("0", "0:00"),
            ("-0", "0:00"),
            ("75", "1:15"),
            ("75.999", "1:15"),
            ("1e2", "1:40"),
            ("359999", "99:59:59"),
            ("359999.9", "99:59:59"),
            ("360000", "refused"),
            ("1e400", "refused"),
            ("-1", "refused"),
            ("-0.5", "refused"),
        ] {
            check(Position::parse_secs(number), expected);
        }
    }
}
