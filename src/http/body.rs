//! Request bodies: bytes in, the body at their front.
//!
//! ```text
//!             ┌─────────────────────────────────────────────── LF ───┐
//!             ▼                                                      │
//! Size ──▶ SizeDigits ──▶ [Extension] ──CR──▶ SizeEnd ──LF──▶ Data ──▶ DataCr ──CR──▶ DataLf
//!                                 └─ size 0 ──▶ Trailers ──empty line──▶ Done
//! ```
//!
//! *Invariant:* each byte is judged once and moved at most once, and nothing is read behind a limit.

use super::line::{Line, Lines, is_blank};
use super::{Framing, Refusal, limits, scan};
use crate::codec::hex;
use std::ops::Range;

/// Decodes the body of one message. Sans I/O: it borrows the bytes anew on each call.
#[derive(Clone, Copy, Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of the body that are decoded, at the front: `body <= at`.
    body: usize,
    /// Everything before this was decoded.
    at: usize,
    /// Bytes that carry nothing, of which [`limits::CHUNK_EXTRAS`] may come: extensions, trailers, and
    /// leading zeros of a size, without end.
    extras: usize,
}

/// A whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Length of the body, which stands at the front of the bytes.
    pub body: usize,
    /// Bytes that it took before it was decoded. The next request begins behind them.
    pub consumed: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A body of a known length.
    Length(usize),
    /// A chunk size, before its first digit.
    Size,
    /// Behind a digit of a chunk size, which is this so far.
    SizeDigits { size: u64 },
    /// The extensions of a chunk of this size.
    Extension { size: usize, place: Place },
    /// The LF behind a chunk size and its extensions.
    SizeEnd { size: usize },
    /// So many bytes of a chunk.
    Data { left: usize },
    /// The CR behind a chunk.
    DataCr,
    /// The LF behind that.
    DataLf,
    /// Trailer fields.
    Trailers(Lines),
    /// Nothing: the message is whole.
    Done,
    /// Nothing.
    Refused(Refusal),
}

/// Where in the extensions of a chunk the last byte was.
///
/// ```text
/// RFC 9112 section 7.1.1
/// chunk-ext      = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
/// chunk-ext-name = token
/// chunk-ext-val  = token / quoted-string
/// ```
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the BWS before a semicolon.
    Gap,
    /// At a semicolon or in the BWS behind it.
    Semicolon,
    /// In a name.
    Name,
    /// In the BWS behind a name.
    NameGap,
    /// At an equals sign or in the BWS behind it.
    Equals,
    /// In a value that is a token.
    Token,
    /// In a quoted string.
    Quoted,
    /// At a backslash in a quoted string.
    Escape,
    /// At the closing quote.
    Quote,
}

impl BodyDecoder {
    /// A decoder for a body that is framed so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
        };
        Self { state, body: 0, at: 0, extras: 0 }
    }

    /// Goes on with `bytes`, which begin right behind the head and may only have grown since the last call.
    /// What was decoded stands at their front from then on. `None` asks for more of them.
    ///
    /// # Errors
    ///
    /// The first fault in byte order. The decoder stays at it.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Option<Decoded>, Refusal> {
        loop {
            let next = match self.state {
                State::Length(length) if bytes.len() < length => return Ok(None),
                State::Length(length) => {
                    (self.body, self.at) = (length, length);
                    Ok(Some(State::Done))
                }
                State::Data { left } => Ok(self.data(left, bytes)),
                State::Trailers(lines) => self.trailer(lines, bytes),
                State::Done => return Ok(Some(Decoded { body: self.body, consumed: self.at })),
                State::Refused(refusal) => return Err(refusal),
                state => match bytes.get(self.at) {
                    None => Ok(None),
                    Some(&byte) => {
                        self.at += 1;
                        self.framing(state, byte).map(Some)
                    }
                },
            };
            match next {
                Ok(Some(state)) => self.state = state,
                Ok(None) => return Ok(None),
                Err(refusal) => self.state = State::Refused(refusal),
            }
        }
    }

    /// Which of the bytes carry nothing any more: they stand between the body as far as it is decoded and what is not
    /// decoded. They have to be taken out of the bytes before the next call.
    pub fn close_gap(&mut self) -> Range<usize> {
        let gap = self.body..self.at;
        if let State::Trailers(lines) = &mut self.state {
            lines.move_up(gap.len());
        }
        self.at = self.body;
        gap
    }

    /// One byte between two chunks.
    ///
    /// ```text
    /// RFC 9112 section 7.1
    /// chunked-body = *chunk last-chunk trailer-section CRLF
    /// chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
    /// chunk-size   = 1*HEXDIG
    /// last-chunk   = 1*("0") [ chunk-ext ] CRLF
    /// ```
    ///
    /// Every line end is CRLF. Parsers that took a bare LF or CR here, or any two bytes behind a chunk, were
    /// smuggled past.
    fn framing(&mut self, state: State, byte: u8) -> Result<State, Refusal> {
        match state {
            State::Size => match hex::digit(byte) {
                Some(digit) => Ok(State::SizeDigits { size: digit.into() }),
                None if byte == b'\n' => Err(Refusal::BareLineFeed),
                None => Err(Refusal::ChunkSize),
            },
            State::SizeDigits { size } => self.size(size, byte),
            State::Extension { size, place } => self.extension(size, place, byte),
            State::SizeEnd { size } => match (byte, size) {
                (b'\n', 0) => Ok(State::Trailers(Lines::starting(self.at))),
                (b'\n', _) => Ok(State::Data { left: size }),
                _ => Err(Refusal::BareCarriageReturn),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size),
            _ => Err(Refusal::ChunkEnd),
        }
    }

    /// One more byte of a chunk size, or the one behind it. What is announced is compared with the limit once it
    /// is whole.
    ///
    /// RFC 9112 section 7.1: a recipient must "anticipate potentially large hexadecimal numerals and prevent
    /// parsing errors due to integer conversion overflows". A size above 64 bits is refused as no size; zeros in
    /// front of one only count as bytes that carry nothing.
    fn size(&mut self, size: u64, byte: u8) -> Result<State, Refusal> {
        if let Some(digit) = hex::digit(byte) {
            if size == 0 {
                self.extra()?;
            }
            let size = size.checked_mul(16).ok_or(Refusal::ChunkSize)? | u64::from(digit);
            return Ok(State::SizeDigits { size });
        }
        match byte {
            b'\n' => return Err(Refusal::BareLineFeed),
            b'\r' | b';' | b' ' | b'\t' => {}
            _ => return Err(Refusal::ChunkSize),
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > limits::BODY - self.body {
            return Err(Refusal::BodyTooLarge);
        }
        match byte {
            b'\r' => Ok(State::SizeEnd { size }),
            _ => self.extension(size, Place::Gap, byte),
        }
    }

    /// One byte of the extensions, which are checked and ignored.
    fn extension(&mut self, size: usize, place: Place, byte: u8) -> Result<State, Refusal> {
        if byte == b'\r' && matches!(place, Place::Name | Place::Token | Place::Quote) {
            return Ok(State::SizeEnd { size });
        }
        self.extra()?;
        let place = match (place, byte) {
            (Place::Quoted, b'"') => Place::Quote,
            (Place::Quoted, b'\\') => Place::Escape,
            (Place::Quoted | Place::Escape, _) if scan::is_text(byte) => Place::Quoted,
            (_, b'\n') => return Err(Refusal::BareLineFeed),
            (Place::Gap | Place::Name | Place::NameGap | Place::Token | Place::Quote, b';') => {
                Place::Semicolon
            }
            (Place::Name | Place::NameGap, b'=') => Place::Equals,
            (Place::Name | Place::NameGap, _) if is_blank(byte) => Place::NameGap,
            (Place::Gap | Place::Token | Place::Quote, _) if is_blank(byte) => Place::Gap,
            (Place::Semicolon | Place::Equals, _) if is_blank(byte) => place,
            (Place::Equals, b'"') => Place::Quoted,
            (Place::Semicolon | Place::Name, _) if scan::is_tchar(byte) => Place::Name,
            (Place::Equals | Place::Token, _) if scan::is_tchar(byte) => Place::Token,
            _ => return Err(Refusal::ChunkExtension),
        };
        Ok(State::Extension { size, place })
    }

    /// Counts one byte that carries nothing.
    fn extra(&mut self) -> Result<(), Refusal> {
        self.extras += 1;
        if self.extras > limits::CHUNK_EXTRAS { Err(Refusal::ChunkExtrasTooLarge) } else { Ok(()) }
    }

    /// Moves what has arrived of a chunk to the body before it.
    fn data(&mut self, left: usize, bytes: &mut [u8]) -> Option<State> {
        let arrived = left.min(bytes.len() - self.at);
        bytes.copy_within(self.at..self.at + arrived, self.body);
        self.body += arrived;
        self.at += arrived;
        self.state = State::Data { left: left - arrived };
        (arrived == left).then_some(State::DataCr)
    }

    /// One trailer field: checked like a field of a head and dropped, whatever its name. RFC 9110 section
    /// 6.5.1: it must not be merged into the head unless its definition permits that, and of no field that is
    /// read here it does.
    ///
    /// ```text
    /// RFC 9112 section 7.1.2
    /// trailer-section = *( field-line CRLF )
    /// ```
    fn trailer(&mut self, mut lines: Lines, bytes: &[u8]) -> Result<Option<State>, Refusal> {
        // The empty line is no extra.
        let is_field = bytes.get(self.at).is_some_and(|&byte| byte != b'\r');
        let limit = if is_field { self.at + limits::CHUNK_EXTRAS - self.extras } else { usize::MAX };
        let line = lines.next(&bytes[..bytes.len().min(limit)]);
        self.state = State::Trailers(lines);
        match line.map_err(|_| Refusal::Trailer)? {
            Line::Incomplete if bytes.len() >= limit => Err(Refusal::ChunkExtrasTooLarge),
            Line::Incomplete => Ok(None),
            Line::Field(_) => {
                self.extras += lines.start() - self.at;
                self.at = lines.start();
                Ok(Some(self.state))
            }
            Line::End(behind) => {
                self.at = behind;
                Ok(Some(State::Done))
            }
        }
    }
}

#[cfg(test)]
mod tests;
