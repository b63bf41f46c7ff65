//! Whatever is no token of ours is refused, and whatever the claims are, only good ones let a user in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer::app::auth::keys::Keys;
use streamer::app::auth::signed::{LastToken, Signed};
use streamer::app::auth::{Asking, Credentials, Mode};
use streamer::codec::text;
use streamer::streams::arena::Arena;
use streamer::time::Timestamp;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Who gets in with this field.
fn check(credentials: &Credentials, field: &[u8], last: &mut LastToken) -> Option<Vec<u8>> {
    let mut arena = Arena::default();
    let wall = Timestamp::from_millis(1_700_000_000_000);
    let asking = Asking { wall, limits: 3.into(), last, arena: &mut arena };
    credentials.check(field, asking).ok().map(|user| arena.get(user.name()).to_vec())
}

fuzz_target!(|input: &[u8]| {
    let Ok(keys) = Keys::read(KEY) else { panic!("it is a key") };
    let mut signed = b"Bearer ".to_vec();
    keys.write(|out| out.extend_from_slice(input), &mut signed);
    let credentials: Credentials = Mode::Signed(Signed::new(keys, None)).into();

    // Unsigned: as a field, as a token, as a pair. Nobody can have guessed a signature.
    let mut last = LastToken::default();
    for before in [&b""[..], b"Bearer ", b"Basic "] {
        assert_eq!(check(&credentials, &[before, input].concat(), &mut last), None);
    }
    // Signed, it is as good as its claims; and remembered it is the same.
    let user = check(&credentials, &signed, &mut last);
    assert_eq!(check(&credentials, &signed, &mut last), user);
    assert_eq!(check(&credentials, &signed, &mut LastToken::default()), user);
    if let Some(user) = &user {
        assert!(text::is_user_id(user));
        let at = signed.len() - 1 - usize::from(input[0]) % 43;
        signed[at] ^= 1;
        assert_eq!(check(&credentials, &signed, &mut last), None);
    }
});
