//! A short name that seldom needs the heap: a user, or a stream's key.
//!
//! A million users are a million names, most of them short. Kept in place they save a heap block each, and the
//! cache miss of following a pointer to it.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

/// As many bytes as fit beside the length and the tag in the 24 bytes that a `String` would take.
const INLINE: usize = 22;

/// A byte string: up to 22 bytes stand in place, longer ones in a box.
///
/// It compares and hashes as the bytes it holds, so a map of names is asked with a `&[u8]`.
#[derive(Clone)]
pub struct Name(Bytes);

impl Default for Name {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

#[derive(Clone)]
enum Bytes {
    /// The first `len` bytes are the name.
    Inline {
        len: u8,
        bytes: [u8; INLINE],
    },
    Boxed(Box<[u8]>),
}

impl Name {
    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Boxed(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        if name.len() > INLINE {
            return Self(Bytes::Boxed(name.into()));
        }
        let mut bytes = [0; INLINE];
        bytes[..name.len()].copy_from_slice(name);
        Self(Bytes::Inline { len: name.len() as u8, bytes })
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_length_and_takes_no_more_room_than_a_string() {
        for len in 0..100 {
            let bytes: Vec<u8> = (0..len).collect();
            assert_eq!(Name::from(&bytes[..]).as_bytes(), bytes);
        }
        assert_eq!(size_of::<Name>(), size_of::<String>());
    }

    #[test]
    fn is_found_by_its_bytes() {
        let long = [b'x'; INLINE + 1];
        let names: std::collections::HashSet<Name> = [Name::from(&b"ann"[..]), Name::from(&long[..])].into();
        for (bytes, there) in [(&b"ann"[..], true), (&long, true), (&long[1..], false), (b"", false)] {
            assert_eq!(names.contains(bytes), there, "{bytes:?}");
        }
    }
}
