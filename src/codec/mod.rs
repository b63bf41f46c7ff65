//! Encodings, each from its own specification: bytes in, bytes out.
//!
//! *Invariant:* nothing here knows HTTP, streams, sockets, files or the clock. (Tested by
//! `arrows_point_down_only`.)

pub mod base64;
pub mod decimal;
pub mod hex;
pub mod json;
pub mod jwt;
pub mod sha256;
pub mod template;
pub mod text;
pub mod urlencoded;

/// The text is not the encoding of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// What can be written behind other bytes. Text and bytes stand as they are, a number in decimal digits.
pub trait Append {
    fn append(self, out: &mut Vec<u8>);
}

/// Appends one thing behind the other: `append!(out, "\"count\":", 3, "}")`.
macro_rules! append {
    ($out:expr, $($part:expr),+ $(,)?) => {{ $($crate::codec::Append::append($part, $out);)+ }};
}
pub(crate) use append;

/// Makes an enum and the labels of its variants from one list, so that neither can lack what the other has.
macro_rules! labelled {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$note:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$note])* $variant,)+ }

        impl $name {
            /// Every one, in the order of the enum.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// Their labels.
            pub const LABELS: [&'static str; Self::ALL.len()] = [$($label),+];
        }
    };
}
pub(crate) use labelled;

impl Append for &[u8] {
    #[inline(always)]
    fn append(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Append for &str {
    #[inline(always)]
    fn append(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl Append for u64 {
    #[inline]
    fn append(self, out: &mut Vec<u8>) {
        decimal::write(self, out);
    }
}

impl Append for u32 {
    #[inline]
    fn append(self, out: &mut Vec<u8>) {
        decimal::write(self.into(), out);
    }
}
