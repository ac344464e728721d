//! The key of a deployment, and what is hashed under it.
//!
//! Holds: without the key nobody can choose user ids that inflate or deflate a count, or event ids that collide; with the
//! account in it, the same telephone number does not link two customers. Every encoding is unambiguous: names hold no
//! control characters, so a zero byte ends a text, and numbers have a fixed width.
//! Absent on purpose: a way to read the key back.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::{SipHasher13, SipHasher24};

use super::Fingerprint;
use super::content::ContentKey;
use crate::model::Event;

/// What names a key without telling it. No other input looks like it: those hold a zero byte.
const ID_LABEL: &[u8] = b"farebox users key";

/// The 128-bit key under which users and events are hashed.
#[derive(Clone)]
pub struct HashKey {
    key: [u8; 16],
    content: ContentKey,
}

impl HashKey {
    /// From its bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        let derived = |label: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(&bytes);
            hasher.write(label);
            hasher.finish()
        };
        // Odd, and so never zero.
        let content = ContentKey { begin: derived(b"farebox content, begin"), secret: derived(b"farebox content, secret") | 1 };
        Self { key: bytes, content }
    }

    /// What names the key beside the data: 16 hexadecimal digits that do not tell it.
    pub fn id(&self) -> String {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(ID_LABEL);
        format!("{:016x}", hasher.finish())
    }

    /// The hash of a user of an account: SipHash-2-4 of the account, a zero byte and the user.
    pub fn user_hash(&self, account: &str, user: &str) -> u64 {
        let mut input = Input::new(SipHasher24::new_with_key(&self.key));
        input.put(account.as_bytes());
        input.put(&[0]);
        input.put(user.as_bytes());
        input.finish()
    }

    /// A secret that follows from the key and does not tell it, for hash tables over what events say.
    pub fn table_seed(&self) -> [u8; 16] {
        let half = |label: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(&self.key);
            hasher.write(label);
            u128::from(hasher.finish())
        };
        (half(b"farebox tables, lower half") << 64 | half(b"farebox tables, upper half")).to_le_bytes()
    }

    /// What identifies an event, and what it says. Covers the decoded fields, not the bytes they came in.
    pub fn fingerprint(&self, event: &Event<'_>) -> Fingerprint {
        Fingerprint { key: self.identity(event), payload: self.content.hash(event) }
    }

    /// SipHash-1-3, which resists who does not know the key as well: ids are not stored, only remembered for a while.
    fn identity(&self, event: &Event<'_>) -> u64 {
        let mut input = Input::new(SipHasher13::new_with_key(&self.key));
        for (n, text) in [&event.account, &event.source, &event.id].into_iter().enumerate() {
            if n > 0 {
                input.put(&[0]);
            }
            input.put(text.as_bytes());
        }
        input.finish()
    }
}

/// Gathers small pieces for a hasher, which is several times slower on many short writes than on a long one.
struct Input<H> {
    hasher: H,
    gathered: [u8; 256],
    len: usize,
}

impl<H: Hasher> Input<H> {
    fn new(hasher: H) -> Self {
        Self { hasher, gathered: [0; 256], len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.gathered.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => {
                self.hasher.write(&self.gathered[..self.len]);
                self.len = 0;
                self.hasher.write(bytes);
            }
        }
    }

    fn finish(mut self) -> u64 {
        self.hasher.write(&self.gathered[..self.len]);
        self.hasher.finish()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Credits, Quantity, Timestamp};

    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn event() -> Event<'static> {
        Event {
            id: "e1".into(),
            source: "".into(),
            time: Timestamp::from_millis(1_772_366_400_000),
            account: "acme".into(),
            platform: "web".into(),
            user: "u1".into(),
            agent: "a".into(),
            category: "llm".into(),
            model: "".into(),
            duration_ms: None,
            input_tokens: Some(1),
            cached_input_tokens: None,
            output_tokens: None,
            quantity: None,
            credits: None,
        }
    }

    #[test]
    fn the_key_and_the_hash_of_a_user_are_those_of_another_implementation() {
        // Computed with a SipHash-2-4 written from its paper and checked against the paper's vector.
        let key = HashKey::new(KEY);
        for (account, user, hash) in [
            ("acme", "u1", 0x4813_1668_a49d_918a_u64),
            ("acme", "", 0xcc5e_ec72_ee75_0d99),
            ("zürich", "+41 79 000 00 00", 0xaa86_3c2b_2d76_4838),
            ("a", "😀", 0x9d69_f02a_5beb_cffc),
        ] {
            assert_eq!(key.user_hash(account, user), hash, "{account} {user}");
        }
        assert_eq!(key.id(), "965bbec937b86db9");
    }

    #[test]
    fn gathering_changes_no_hash() {
        for piece in [0, 1, 7, 100, 255, 256, 257, 1_000] {
            let bytes = vec![b'x'; piece];
            let mut input = Input::new(SipHasher24::new_with_key(&KEY));
            let mut plain = SipHasher24::new_with_key(&KEY);
            for _ in 0..5 {
                for bytes in [bytes.as_slice(), &[0]] {
                    input.put(bytes);
                    plain.write(bytes);
                }
            }
            assert_eq!(input.finish(), plain.finish(), "{piece}");
        }
    }

    #[test]
    fn debug_shows_the_id_and_never_the_key() {
        assert_eq!(format!("{:?}", HashKey::new(KEY)), "HashKey(965bbec937b86db9)");
    }

    #[test]
    fn what_follows_from_the_key_does_not_tell_it() {
        let key = HashKey::new(KEY);
        assert_ne!(key.table_seed(), KEY);
        assert_ne!(key.table_seed(), HashKey::new([0; 16]).table_seed());
        assert_ne!(key.table_seed()[..8], key.table_seed()[8..]);
    }

    #[test]
    fn the_same_user_of_two_accounts_has_two_hashes() {
        let key = HashKey::new(KEY);
        assert_ne!(key.user_hash("a", "b"), key.user_hash("c", "b"));
        assert_ne!(key.user_hash("a", "bc"), key.user_hash("ab", "c"));
        assert_ne!(key.user_hash("a", "b"), HashKey::new([0; 16]).user_hash("a", "b"));
    }

    #[test]
    fn only_account_source_and_id_identify_an_event() {
        let key = HashKey::new(KEY);
        let (first, other) = (event(), Event { user: "u2".into(), ..event() });
        assert_eq!(key.fingerprint(&first).key, key.fingerprint(&other).key);
        assert_ne!(key.fingerprint(&first).payload, key.fingerprint(&other).payload);
        for other in [Event { id: "e2".into(), ..event() }, Event { source: "s".into(), ..event() }] {
            assert_ne!(key.fingerprint(&first).key, key.fingerprint(&other).key);
        }
        let (left, right) = (Event { source: "x".into(), id: "y".into(), ..event() }, Event { source: "xy".into(), ..event() });
        assert_ne!(key.fingerprint(&left).key, key.fingerprint(&right).key);
    }

    #[test]
    fn every_field_and_every_absence_is_part_of_the_payload() {
        let key = HashKey::new(KEY);
        let zero_quantity = Some(Quantity::ZERO);
        let variants = [
            event(),
            Event { id: "e2".into(), ..event() },
            Event { source: "s".into(), ..event() },
            Event { time: event().time.plus_millis(1), ..event() },
            Event { account: "acme2".into(), ..event() },
            Event { platform: "".into(), ..event() },
            Event { user: "".into(), ..event() },
            Event { platform: "".into(), user: "webu1".into(), ..event() },
            Event { agent: "b".into(), ..event() },
            Event { category: "sql".into(), ..event() },
            Event { model: "m".into(), ..event() },
            Event { input_tokens: None, ..event() },
            Event { input_tokens: Some(0), ..event() },
            Event { input_tokens: None, duration_ms: Some(1), ..event() },
            Event { input_tokens: None, cached_input_tokens: Some(1), ..event() },
            Event { input_tokens: None, output_tokens: Some(1), ..event() },
            Event { quantity: zero_quantity, ..event() },
            Event { credits: Some(Credits::ZERO), ..event() },
            Event { credits: Some(Credits::from_nanos(1)), ..event() },
        ];
        let payloads: std::collections::BTreeSet<_> = variants.iter().map(|event| key.fingerprint(event).payload).collect();
        assert_eq!(payloads.len(), variants.len());
    }
}
