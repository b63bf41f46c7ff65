//! Request bodies: bytes in, the body at their front.
//!
//! ```text
//!             ┌─────────────────────────────────────────────── LF ───┐
//!             ▼                                                      │
//! Size ──▶ SizeDigits ──▶ [Extension] ──CR──▶ SizeEnd ──LF──▶ Data ──▶ DataCr ──CR──▶ DataLf
//!                                 └─ size 0 ──▶ Trailers ──empty line──▶ Done
//! ```
//!
//! *Invariant:* each byte is judged once and moved at most once, and nothing is read behind a limit. (Not tested.)

use super::line::{FieldLine, Lines, is_blank};
use super::{Framing, Refusal, limits, scan};
use crate::codec::hex;
use std::ops::Range;

/// Decodes the body of one message. Sans I/O: it borrows the bytes anew on each call.
#[derive(Clone, Copy, Debug)]
pub struct BodyDecoder {
    state: DecoderState,
    /// Bytes of the body that are decoded, at the front: `body <= at`.
    body: usize,
    /// Everything before this was decoded.
    at: usize,
    /// Bytes that carry nothing, of which [`limits::CHUNK_EXTRAS`] may come: extensions, trailers, and
    /// leading zeros of a size, without end.
    extras: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeBody {
    /// Length of the body, which stands at the front of the bytes.
    pub body: usize,
    /// Bytes that it took before it was decoded. The next request begins behind them.
    pub consumed: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum DecoderState {
    /// A body of a known length.
    Length(usize),
    /// A chunk size, before its first digit.
    Size,
    /// Behind a digit of a chunk size, which is this so far.
    SizeDigits {
        size: u64,
    },
    /// The extensions of a chunk of this size.
    Extension {
        size: usize,
        place: Within,
    },
    /// The LF behind a chunk size and its extensions.
    SizeEnd {
        size: usize,
    },
    /// So many bytes of a chunk.
    Data {
        left: usize,
    },
    /// The CR behind a chunk.
    DataCr,
    /// The LF behind that.
    DataLf,
    /// Trailer fields.
    Trailers(Lines),
    /// Nothing: the message is whole.
    Done,
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
enum Within {
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
            Framing::Length(length) => DecoderState::Length(length),
            Framing::Chunked => DecoderState::Size,
        };
        Self { state, body: 0, at: 0, extras: 0 }
    }

    /// Goes on with `bytes`, which begin right behind the head and may only have grown since the last call.
    /// What was decoded stands at their front from then on. `None` asks for more of them.
    /// An error is the first fault in byte order. The decoder stays at it.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Option<WholeBody>, Refusal> {
        loop {
            let next = match self.state {
                DecoderState::Length(length) if bytes.len() < length => return Ok(None),
                DecoderState::Length(length) => {
                    (self.body, self.at) = (length, length);
                    Ok(Some(DecoderState::Done))
                }
                DecoderState::Data { left } => Ok(self.data(left, bytes)),
                DecoderState::Trailers(lines) => self.trailer(lines, bytes),
                DecoderState::Done => return Ok(Some(WholeBody { body: self.body, consumed: self.at })),
                DecoderState::Refused(refusal) => return Err(refusal),
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
                Err(refusal) => self.state = DecoderState::Refused(refusal),
            }
        }
    }

    /// Which of the bytes carry nothing any more: they stand between the body as far as it is decoded and what is not
    /// decoded. They have to be taken out of the bytes before the next call.
    pub fn close_gap(&mut self) -> Range<usize> {
        let gap = self.body..self.at;
        if let DecoderState::Trailers(lines) = &mut self.state {
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
    fn framing(&mut self, state: DecoderState, byte: u8) -> Result<DecoderState, Refusal> {
        match state {
            DecoderState::Size => match hex::digit(byte) {
                Some(digit) => Ok(DecoderState::SizeDigits { size: digit.into() }),
                None if byte == b'\n' => Err(Refusal::BareLineFeed),
                None => Err(Refusal::ChunkSize),
            },
            DecoderState::SizeDigits { size } => self.size(size, byte),
            DecoderState::Extension { size, place } => self.extension(size, place, byte),
            DecoderState::SizeEnd { size } => match (byte, size) {
                (b'\n', 0) => Ok(DecoderState::Trailers(Lines::starting(self.at))),
                (b'\n', _) => Ok(DecoderState::Data { left: size }),
                _ => Err(Refusal::BareCarriageReturn),
            },
            DecoderState::DataCr if byte == b'\r' => Ok(DecoderState::DataLf),
            DecoderState::DataLf if byte == b'\n' => Ok(DecoderState::Size),
            _ => Err(Refusal::ChunkEnd),
        }
    }

    /// One more byte of a chunk size, or the one behind it. What is announced is compared with the limit once it
    /// is whole.
    ///
    /// RFC 9112 section 7.1: a recipient must "anticipate potentially large hexadecimal numerals and prevent
    /// parsing errors due to integer conversion overflows". A size above 64 bits is refused as no size; zeros in
    /// front of one only count as bytes that carry nothing, of which a size may have as many as fit (a 400: 431 is for fields).
    fn size(&mut self, size: u64, byte: u8) -> Result<DecoderState, Refusal> {
        if let Some(digit) = hex::digit(byte) {
            if size == 0 {
                self.extra().map_err(|_| Refusal::ChunkSize)?;
            }
            let size = size.checked_mul(16).ok_or(Refusal::ChunkSize)? | u64::from(digit);
            return Ok(DecoderState::SizeDigits { size });
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
            b'\r' => Ok(DecoderState::SizeEnd { size }),
            _ => self.extension(size, Within::Gap, byte),
        }
    }

    /// One byte of the extensions, which are checked and ignored.
    fn extension(&mut self, size: usize, place: Within, byte: u8) -> Result<DecoderState, Refusal> {
        if byte == b'\r' && matches!(place, Within::Name | Within::Token | Within::Quote) {
            return Ok(DecoderState::SizeEnd { size });
        }
        self.extra()?;
        let place = match (place, byte) {
            (Within::Quoted, b'"') => Within::Quote,
            (Within::Quoted, b'\\') => Within::Escape,
            (Within::Quoted | Within::Escape, _) if scan::is_text(byte) => Within::Quoted,
            (_, b'\n') => return Err(Refusal::BareLineFeed),
            (Within::Gap | Within::Name | Within::NameGap | Within::Token | Within::Quote, b';') => {
                Within::Semicolon
            }
            (Within::Name | Within::NameGap, b'=') => Within::Equals,
            (Within::Name | Within::NameGap, _) if is_blank(byte) => Within::NameGap,
            (Within::Gap | Within::Token | Within::Quote, _) if is_blank(byte) => Within::Gap,
            (Within::Semicolon | Within::Equals, _) if is_blank(byte) => place,
            (Within::Equals, b'"') => Within::Quoted,
            (Within::Semicolon | Within::Name, _) if scan::is_tchar(byte) => Within::Name,
            (Within::Equals | Within::Token, _) if scan::is_tchar(byte) => Within::Token,
            _ => return Err(Refusal::ChunkExtension),
        };
        Ok(DecoderState::Extension { size, place })
    }

    /// Counts one byte that carries nothing.
    fn extra(&mut self) -> Result<(), Refusal> {
        self.extras += 1;
        if self.extras > limits::CHUNK_EXTRAS { Err(Refusal::ChunkExtrasTooLarge) } else { Ok(()) }
    }

    /// Moves what has arrived of a chunk to the body before it.
    fn data(&mut self, left: usize, bytes: &mut [u8]) -> Option<DecoderState> {
        let arrived = left.min(bytes.len() - self.at);
        bytes.copy_within(self.at..self.at + arrived, self.body);
        self.body += arrived;
        self.at += arrived;
        self.state = DecoderState::Data { left: left - arrived };
        (arrived == left).then_some(DecoderState::DataCr)
    }

    /// One trailer field: checked like a field of a head and dropped, whatever its name. RFC 9110 section
    /// 6.5.1: it must not be merged into the head unless its definition permits that, and of no field that is
    /// read here it does.
    ///
    /// ```text
    /// RFC 9112 section 7.1.2
    /// trailer-section = *( field-line CRLF )
    /// ```
    fn trailer(&mut self, mut lines: Lines, bytes: &[u8]) -> Result<Option<DecoderState>, Refusal> {
        // The empty line is no extra.
        let is_field = bytes.get(self.at).is_some_and(|&byte| byte != b'\r');
        let limit = if is_field { self.at + limits::CHUNK_EXTRAS - self.extras } else { usize::MAX };
        let line = lines.next(&bytes[..bytes.len().min(limit)]);
        self.state = DecoderState::Trailers(lines);
        match line.map_err(|_| Refusal::Trailer)? {
            FieldLine::Incomplete if bytes.len() >= limit => Err(Refusal::ChunkExtrasTooLarge),
            FieldLine::Incomplete => Ok(None),
            FieldLine::Field(_) => {
                self.extras += lines.start - self.at;
                self.at = lines.start;
                Ok(Some(self.state))
            }
            FieldLine::End(behind) => {
                self.at = behind;
                Ok(Some(DecoderState::Done))
            }
        }
    }
}

#[cfg(test)]
mod tests;
