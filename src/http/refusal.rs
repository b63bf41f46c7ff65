//! Why a message is refused, before anything is known of what it asks.

use super::status::Status;

/// Makes [`Refusal`] from one list, so that no cause can lack what the others have.
macro_rules! refusals {
    ($($cause:ident, $status:ident, $detail:literal;)+) => {
        /// Why a message cannot be framed, or is not taken. After any of these the connection closes, and
        /// nothing that follows is read as a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Refusal { $(#[doc = $detail] $cause,)+ }

        impl Refusal {
            /// The status of the response to it (RFC 9110 section 15, RFC 6585 for 431).
            pub fn status(self) -> Status {
                match self { $(Self::$cause => Status::$status,)+ }
            }

            /// One sentence for the client: what was wrong and what to do.
            pub fn detail(self) -> &'static str {
                match self { $(Self::$cause => $detail,)+ }
            }
        }
    };
}

refusals! {
    RequestLine, BadRequest, "The request line is not `METHOD target HTTP/1.1` with single spaces; write it so.";
    SecondEmptyLine, BadRequest, "More than one empty line came before the request line; send at most one.";
    BareLineFeed, BadRequest, "A line ended in LF alone; end every line with CRLF.";
    BareCarriageReturn, BadRequest, "A CR came without its LF; end every line with CRLF.";
    Target, BadRequest, "The request target is malformed; percent-encode what a URI cannot hold.";
    Version, BadRequest, "The protocol version is malformed; send HTTP/1.1.";
    MajorVersion, VersionNotSupported, "Only HTTP/1.x is spoken here; send HTTP/1.1.";
    RequestLineTooLong, UriTooLong, "The request line is longer than 8192 bytes; send a shorter target.";
    FieldName, BadRequest, "A field name is empty or not a token; use letters, digits and hyphens.";
    FieldValue, BadRequest, "A field value holds a control character; remove it.";
    NoColon, BadRequest, "A field line has no colon; write `Name: value`.";
    SpaceBeforeColon, BadRequest, "A blank stands between a field name and its colon; remove it.";
    Folded, BadRequest, "A field line begins with a blank; folded lines are not accepted, use one line.";
    HeadTooLarge, FieldsTooLarge, "The head is larger than 16384 bytes; send fewer or shorter fields.";
    TooManyFields, FieldsTooLarge, "The head has more than 100 fields; send fewer.";
    RepeatedField, BadRequest, "A field that may come only once is repeated; send it once.";
    HostMissing, BadRequest, "HTTP/1.1 needs a Host field; send one.";
    HostRepeated, BadRequest, "There is more than one Host field; send one.";
    HostInvalid, BadRequest, "The host is not `host` or `host:port`; send a valid one.";
    ContentLength, BadRequest,
        "Content-Length is not a plain decimal number; send one without sign or leading zero.";
    ContentLengthRepeated, BadRequest, "There is more than one Content-Length; send one.";
    LengthAndCoding, BadRequest, "Content-Length and Transfer-Encoding exclude each other; send one of them.";
    TransferEncoding, BadRequest, "Transfer-Encoding must be `chunked`, once and last.";
    TransferEncodingOn10, BadRequest, "HTTP/1.0 has no Transfer-Encoding; send Content-Length.";
    UnknownCoding, NotImplemented,
        "Only the transfer coding `chunked` is implemented; send that or Content-Length.";
    Expectation, ExpectationFailed, "Only `Expect: 100-continue` can be met; send that or no Expect.";
    BodyTooLarge, ContentTooLarge, "The body is larger than 8192 bytes; send a smaller one.";
    ChunkSize, BadRequest,
        "A chunk size is not a hexadecimal number with CRLF or an extension behind it; send digits alone.";
    ChunkExtension, BadRequest, "A chunk extension is malformed; leave it out.";
    ChunkEnd, BadRequest, "A chunk is not followed by CRLF; send as many bytes as its size says.";
    Trailer, BadRequest, "A trailer field is malformed; leave it out.";
    ChunkExtrasTooLarge, FieldsTooLarge, "Chunk extensions and trailers exceed 4096 bytes; leave them out.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::limits;

    #[test]
    fn the_sentences_name_the_limits_that_hold() {
        for (refusal, limit) in [
            (Refusal::RequestLineTooLong, limits::REQUEST_LINE),
            (Refusal::HeadTooLarge, limits::HEAD),
            (Refusal::TooManyFields, limits::FIELDS),
            (Refusal::BodyTooLarge, limits::BODY),
            (Refusal::ChunkExtrasTooLarge, limits::CHUNK_EXTRAS),
        ] {
            assert!(refusal.detail().contains(&limit.to_string()), "{}", refusal.detail());
        }
    }
}
