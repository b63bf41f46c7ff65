//! Status codes (RFC 9110 section 15, RFC 6585 for 431), the ones that this server sends.
//!
//! *Invariant:* a status is in the table once; its line, its code and its reason come from there.

/// A status that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is its own reason phrase")]
pub enum Status {
    Ok,
    Created,
    NoContent,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    Gone,
    ContentTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    ExpectationFailed,
    FieldsTooLarge,
    NotImplemented,
    ServiceUnavailable,
    VersionNotSupported,
}

/// Every status and its line, in the order of the enum.
const LINES: [(Status, &str); Status::COUNT] = [
    (Status::Ok, "HTTP/1.1 200 OK\r\n"),
    (Status::Created, "HTTP/1.1 201 Created\r\n"),
    (Status::NoContent, "HTTP/1.1 204 No Content\r\n"),
    (Status::BadRequest, "HTTP/1.1 400 Bad Request\r\n"),
    (Status::Unauthorized, "HTTP/1.1 401 Unauthorized\r\n"),
    (Status::Forbidden, "HTTP/1.1 403 Forbidden\r\n"),
    (Status::NotFound, "HTTP/1.1 404 Not Found\r\n"),
    (Status::MethodNotAllowed, "HTTP/1.1 405 Method Not Allowed\r\n"),
    (Status::RequestTimeout, "HTTP/1.1 408 Request Timeout\r\n"),
    (Status::Conflict, "HTTP/1.1 409 Conflict\r\n"),
    (Status::Gone, "HTTP/1.1 410 Gone\r\n"),
    (Status::ContentTooLarge, "HTTP/1.1 413 Content Too Large\r\n"),
    (Status::UriTooLong, "HTTP/1.1 414 URI Too Long\r\n"),
    (Status::UnsupportedMediaType, "HTTP/1.1 415 Unsupported Media Type\r\n"),
    (Status::ExpectationFailed, "HTTP/1.1 417 Expectation Failed\r\n"),
    (Status::FieldsTooLarge, "HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    (Status::NotImplemented, "HTTP/1.1 501 Not Implemented\r\n"),
    (Status::ServiceUnavailable, "HTTP/1.1 503 Service Unavailable\r\n"),
    (Status::VersionNotSupported, "HTTP/1.1 505 HTTP Version Not Supported\r\n"),
];

impl Status {
    /// How many there are: `status as usize` is below it.
    pub const COUNT: usize = 19;

    /// Every status, in the order of their codes.
    pub fn all() -> impl Iterator<Item = Self> {
        LINES.iter().map(|(status, _)| *status)
    }

    /// The three digits of every status, in the order of the enum.
    pub const DIGITS: [&str; Self::COUNT] = {
        let mut digits = [""; Self::COUNT];
        let mut i = 0;
        while i < digits.len() {
            digits[i] = LINES[i].1.split_at(9).1.split_at(3).0;
            i += 1;
        }
        digits
    };

    /// The status line, with its CRLF.
    pub fn line(self) -> &'static str {
        LINES[self as usize].1
    }

    /// The three digits.
    pub fn digits(self) -> &'static str {
        Self::DIGITS[self as usize]
    }

    /// The reason phrase.
    pub fn reason(self) -> &'static str {
        self.line()[13..].trim_end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum_and_of_the_codes() {
        for (i, status) in Status::all().enumerate() {
            assert_eq!(status as usize, i);
            assert!(status.line().starts_with("HTTP/1.1 ") && status.line().ends_with("\r\n"));
        }
        assert!(LINES.is_sorted_by(|(_, a), (_, b)| a < b));
        assert_eq!((Status::FieldsTooLarge.digits(), Status::Ok.reason()), ("431", "OK"));
    }
}
