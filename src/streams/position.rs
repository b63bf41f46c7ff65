//! Where in a video a stream is: whole seconds, up to 4,294,967,295.
//!
//! Live players report what they have: seconds since 1970, offsets below zero, fractions. None of that may cost a viewer
//! the lease, so that every number is taken for the nearest position there is.
//!
//! *Invariant:* a `Position` can be written, and is read back as itself. (Tested by
//! `reads_clocks_and_writes_the_normal_form`.)

use crate::codec::{append, decimal};

/// Whole seconds from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

impl Position {
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// Whole seconds from the beginning.
    pub const fn secs(self) -> u32 {
        self.0
    }

    /// From `M:SS`, `H:MM:SS` or a number of seconds; None for anything else.
    ///
    /// ```text
    /// position = [ "-" ] ( clock / number )
    /// clock    = 1*DIGIT 1*2( ":" 2DIGIT ) [ "." 1*DIGIT ]    ; the two digits up to 59
    /// number   = 1*DIGIT [ "." *DIGIT ] [ ( "e" / "E" ) [ "+" / "-" ] 1*DIGIT ]
    /// ```
    ///
    /// A fraction is cut off, below zero is zero, and above the last position is the last.
    pub fn parse(text: &str) -> Option<Self> {
        let magnitude = text.strip_prefix('-').unwrap_or(text);
        let secs = match magnitude.as_bytes().contains(&b':') {
            true => clock(magnitude.as_bytes())?,
            false => decimal::whole(magnitude)?,
        };
        Some(if magnitude.len() < text.len() { Self(0) } else { Self(secs.try_into().unwrap_or(u32::MAX)) })
    }

    /// Appends it as `M:SS`, from an hour on as `H:MM:SS`.
    pub fn write(self, out: &mut Vec<u8>) {
        let (hours, minutes, seconds) = (self.0 / 3600, self.0 / 60 % 60, self.0 % 60);
        let two = |n: u32| [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        if hours > 0 {
            append!(out, hours, ":");
        }
        let minutes = &two(minutes)[usize::from(hours == 0 && minutes < 10)..];
        append!(out, minutes, ":", &two(seconds)[..]);
    }
}

/// In seconds.
fn clock(text: &[u8]) -> Option<u64> {
    let text = match text.iter().position(|&byte| byte == b'.') {
        Some(point) if are_digits(&text[point + 1..]) => &text[..point],
        Some(_) => return None,
        None => text,
    };
    let (rest, seconds) = split_last(text)?;
    let (first, rest, unit) = match split_last(rest) {
        Some((hours, minutes)) => (hours, minutes * 60 + seconds, 3600),
        None => (rest, seconds, 60),
    };
    // Of digits, only a number above all can be none.
    let first = are_digits(first).then(|| decimal::parse(first).unwrap_or(u64::MAX))?;
    Some(first.saturating_mul(unit).saturating_add(rest))
}

/// Splits `…:NN` with NN from 00 to 59.
fn split_last(clock: &[u8]) -> Option<(&[u8], u64)> {
    let (rest, [b':', tens @ b'0'..=b'5', ones @ b'0'..=b'9']) = clock.split_last_chunk()? else {
        return None;
    };
    Some((rest, u64::from(tens - b'0') * 10 + u64::from(ones - b'0')))
}

fn are_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut out = Vec::new();
        match Position::parse(text) {
            Some(position) => position.write(&mut out),
            None => out.extend(b"refused"),
        }
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
        if expected != "refused" {
            assert_eq!(Position::parse(expected), Position::parse(text));
        }
    }

    #[test]
    fn reads_clocks_and_writes_the_normal_form() {
        for (clock, expected) in [
            ("0:00", "0:00"),
            ("1:00", "1:00"),
            ("01:00", "1:00"),
            ("12:34", "12:34"),
            ("59:59", "59:59"),
            ("60:00", "1:00:00"),
            ("90:05", "1:30:05"),
            ("100:00", "1:40:00"),
            ("1:02:03", "1:02:03"),
            ("0:02:03", "2:03"),
            ("00:00:00", "0:00"),
            ("12:00:00", "12:00:00"),
            ("100:00:00", "100:00:00"),
            ("00000001:00", "1:00"),
            ("00:01:00.000", "1:00"),
            ("1:00.9", "1:00"),
            ("-1:00", "0:00"),
            ("1193046:28:15", "1193046:28:15"),
            ("1193046:28:16", "1193046:28:15"),
            ("71582788:16", "1193046:28:15"),
            ("99999999999999999999:00", "1193046:28:15"),
            ("99999999999999999999:00:00", "1193046:28:15"),
        ] {
            check(clock, expected);
        }
    }

    #[test]
    fn reads_numbers_and_takes_the_nearest_position() {
        for (number, expected) in [
            ("0", "0:00"),
            ("-0", "0:00"),
            ("60", "1:00"),
            ("75", "1:15"),
            ("75.999", "1:15"),
            ("007", "0:07"),
            ("1e2", "1:40"),
            ("1E+2", "1:40"),
            ("1e-9", "0:00"),
            ("360000", "100:00:00"),
            ("917302", "254:48:22"),
            ("1558804912.387", "433001:21:52"),
            ("4294967295", "1193046:28:15"),
            ("4294967295.9", "1193046:28:15"),
            ("4294967296", "1193046:28:15"),
            ("1e400", "1193046:28:15"),
            ("-0.04", "0:00"),
            ("-1", "0:00"),
            ("-1e400", "0:00"),
        ] {
            check(number, expected);
        }
    }

    #[test]
    fn refuses_what_is_no_position() {
        for text in [
            "",
            "-",
            ":",
            "1:0",
            "1:60",
            "1:000",
            ":00",
            "1:00:",
            "--1:00",
            "+1:00",
            "1:+1",
            " 1:00",
            "1:00 ",
            "1:60:00",
            "1:0:00",
            "1:00:60",
            "1:2:3:4",
            "1:00:00:00",
            "a:00",
            "1:0a",
            "1:00.",
            "1:00.x",
            "1.5:00",
            "1:00.0.0",
            "١:٠٠",
            "abc",
            "NaN",
            "inf",
            "-inf",
            "infinity",
            "+5",
            ".5",
            "1e",
            "0x5",
            "5s",
            "5 ",
            "€",
        ] {
            check(text, "refused");
        }
    }
}
