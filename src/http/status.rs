//! Status codes (RFC 9110 section 15, RFC 6585 for 431), the ones that this server sends.
//!
//! *Invariant:* a status is in the list once; its line, its code and its reason come from there. (Tested by
//! `statuses_are_in_the_order_of_their_codes`.)

use crate::codec::labelled;

labelled! {
    /// A status that this server sends.
    #[derive(PartialOrd, Ord)]
    pub enum Status {
        Ok = "HTTP/1.1 200 OK",
        Created = "HTTP/1.1 201 Created",
        NoContent = "HTTP/1.1 204 No Content",
        BadRequest = "HTTP/1.1 400 Bad Request",
        Unauthorized = "HTTP/1.1 401 Unauthorized",
        Forbidden = "HTTP/1.1 403 Forbidden",
        NotFound = "HTTP/1.1 404 Not Found",
        MethodNotAllowed = "HTTP/1.1 405 Method Not Allowed",
        RequestTimeout = "HTTP/1.1 408 Request Timeout",
        Conflict = "HTTP/1.1 409 Conflict",
        Gone = "HTTP/1.1 410 Gone",
        PreconditionFailed = "HTTP/1.1 412 Precondition Failed",
        ContentTooLarge = "HTTP/1.1 413 Content Too Large",
        UriTooLong = "HTTP/1.1 414 URI Too Long",
        UnsupportedMediaType = "HTTP/1.1 415 Unsupported Media Type",
        ExpectationFailed = "HTTP/1.1 417 Expectation Failed",
        FieldsTooLarge = "HTTP/1.1 431 Request Header Fields Too Large",
        NotImplemented = "HTTP/1.1 501 Not Implemented",
        ServiceUnavailable = "HTTP/1.1 503 Service Unavailable",
        VersionNotSupported = "HTTP/1.1 505 HTTP Version Not Supported",
    }
}

impl Status {
    /// The three digits of every status, in the order of the enum.
    pub const DIGITS: [&str; Self::ALL.len()] = {
        let mut digits = Self::LABELS;
        let mut i = 0;
        while i < digits.len() {
            digits[i] = digits[i].split_at(9).1.split_at(3).0;
            i += 1;
        }
        digits
    };

    /// The status line.
    pub fn line(self) -> &'static str {
        Self::LABELS[self as usize]
    }

    pub fn digits(self) -> &'static str {
        Self::DIGITS[self as usize]
    }

    pub fn reason(self) -> &'static str {
        &self.line()[13..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_in_the_order_of_their_codes() {
        assert!(Status::LABELS.is_sorted_by(|a, b| a < b));
        assert_eq!((Status::FieldsTooLarge.digits(), Status::Ok.reason()), ("431", "OK"));
    }
}
