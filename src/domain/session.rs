//! Session ids, which sessions of a user are live, and token ids.

use std::fmt;
use std::str::FromStr;

use ct_codecs::{Base64UrlSafeNoPadding, Decoder, Encoder, Hex};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::clock::Timestamp;
use crate::random;

/// The era of a session: it is raised whenever an operator sets the clock mark back. Times alone cannot tell
/// sessions begun before that from those begun after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Era(u16);

impl Era {
    /// The era after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The era as stored.
    pub fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// The era from its stored form.
    pub fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(bytes))
    }
}

/// How often all sessions of a user have been revoked. Each session carries the value at its login, so that
/// revoking all takes one number in the user's record, and covers sessions begun in the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Generation(u32);

/// A session's id, which carries the session's end.
///
/// Six bytes of time (whole seconds, big-endian), two of the store's era, four of the user's generation,
/// eighteen random ones. The time is when the session's last token can have expired; it is set at login and
/// never moves. Revocations are stored under this very key: checking one is a single point read, and pruning
/// removes one range, which never reaches a live session.
///
/// As text: 40 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; Self::LENGTH]);

impl SessionId {
    /// Bytes in an id.
    pub const LENGTH: usize = 30;
    const TEXT_LENGTH: usize = 40;

    /// A new session that ends at `ends_at`, begun in `era` by a user of `generation`.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate(
        ends_at: Timestamp,
        era: Era,
        generation: Generation,
    ) -> Result<Self, random::NoRandomness> {
        let mut bytes = Self::first_ending_at(ends_at).0;
        bytes[6..8].copy_from_slice(&era.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&generation.0.to_be_bytes());
        bytes[12..].copy_from_slice(&random::bytes::<18>()?);
        Ok(Self(bytes))
    }

    /// The lowest id of all sessions that end at `moment`: the upper bound of those that end earlier.
    pub fn first_ending_at(moment: Timestamp) -> Self {
        let mut bytes = [0; Self::LENGTH];
        let secs = moment.unix_secs().min((1 << 48) - 1);
        bytes[..6].copy_from_slice(&secs.to_be_bytes()[2..]);
        Self(bytes)
    }

    /// The end of the session: all of its tokens have expired.
    pub fn ends_at(&self) -> Timestamp {
        let [a, b, c, d, e, f, ..] = self.0;
        Timestamp::from_unix_secs(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The era in which the session began.
    pub fn era(&self) -> Era {
        let [_, _, _, _, _, _, a, b, ..] = self.0;
        Era(u16::from_be_bytes([a, b]))
    }

    /// The user's generation when the session began.
    fn generation(&self) -> Generation {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = self.0;
        Generation(u32::from_be_bytes([a, b, c, d]))
    }

    /// The id as stored, in order of the session's end.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The id from its stored form.
    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }
}

/// Which sessions of a user are live, apart from those revoked one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Sessions of this generation are live.
    pub(crate) generation: Generation,
    /// One session of an earlier generation is exempt from the revocation.
    pub(crate) spared: Option<SessionId>,
}

impl Sessions {
    /// The generation in which sessions begin now.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether the session is live by its generation.
    pub fn include(&self, session: &SessionId) -> bool {
        session.generation() >= self.generation || self.spared.as_ref() == Some(session)
    }

    /// Revokes all sessions but `spared`.
    #[must_use]
    pub fn revoked_except(self, spared: Option<SessionId>) -> Self {
        Self { generation: Generation(self.generation.0.saturating_add(1)), spared }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::TEXT_LENGTH];
        f.write_str(Base64UrlSafeNoPadding::encode_to_str(&mut text, self.0).map_err(|_| fmt::Error)?)
    }
}

as_text!(SessionId);

/// The text is not a session id.
#[derive(Clone, Copy, Debug, Error)]
#[error("not a session id")]
pub struct MalformedSessionId;

impl FromStr for SessionId {
    type Err = MalformedSessionId;

    fn from_str(text: &str) -> Result<Self, MalformedSessionId> {
        let mut bytes = [0; Self::LENGTH];
        match Base64UrlSafeNoPadding::decode(&mut bytes, text, None) {
            Ok(decoded) if decoded.len() == Self::LENGTH => Ok(Self(bytes)),
            _ => Err(MalformedSessionId),
        }
    }
}

/// A token's id: 128 random bits; as text, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; Self::LENGTH]);

impl TokenId {
    /// Bytes in an id.
    pub const LENGTH: usize = 16;

    /// A new id.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<Self, random::NoRandomness> {
        random::bytes().map(Self)
    }

    /// The id as stored.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The id from its stored form.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

as_text!(TokenId);

/// The text is not a token id.
#[derive(Clone, Copy, Debug, Error)]
#[error("not a token id")]
pub struct MalformedTokenId;

impl FromStr for TokenId {
    type Err = MalformedTokenId;

    fn from_str(text: &str) -> Result<Self, MalformedTokenId> {
        let mut bytes = [0; Self::LENGTH];
        match Hex::decode(&mut bytes, text, None) {
            Ok(decoded) if decoded.len() == Self::LENGTH => Ok(Self(bytes)),
            _ => Err(MalformedTokenId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(ends_at: u64, era: Era, generation: Generation) -> SessionId {
        SessionId::generate(Timestamp::from_unix_secs(ends_at), era, generation).unwrap()
    }

    #[test]
    fn ending_all_sessions_spares_at_most_one_and_none_of_those_before() {
        let begin = |sessions: Sessions| session(1_000, Era::default(), sessions.generation());
        let sessions = Sessions::default();
        let (mine, other) = (begin(sessions), begin(sessions));
        assert!(sessions.include(&mine) && sessions.include(&other));

        let sessions = sessions.revoked_except(Some(mine));
        let next = begin(sessions);
        assert!(sessions.include(&mine) && sessions.include(&next) && !sessions.include(&other));

        let sessions = sessions.revoked_except(Some(next));
        assert!(sessions.include(&next) && !sessions.include(&mine));
        let sessions = sessions.revoked_except(None);
        assert!(!sessions.include(&next) && sessions.include(&begin(sessions)));
    }

    #[test]
    fn an_id_tells_its_end_and_sorts_by_it() {
        let early = session(1_000, Era::default().next(), Generation(7));
        let late = session(1_001, Era::default(), Generation(0));
        assert_eq!(early.ends_at(), Timestamp::from_unix_secs(1_000));
        assert_eq!((early.era(), late.era()), (Era(1), Era(0)));
        assert_eq!((early.generation(), late.generation()), (Generation(7), Generation(0)));
        assert!(early.as_bytes() < late.as_bytes());
        assert!(early.as_bytes() < SessionId::first_ending_at(late.ends_at()).as_bytes());
        assert_eq!(early.to_string().parse::<SessionId>().unwrap(), early);
        assert!("x".parse::<SessionId>().is_err());
        assert!(format!("{early}AAAA").parse::<SessionId>().is_err());
    }

    #[test]
    fn a_token_id_comes_back_from_its_text() {
        let id = TokenId::generate().unwrap();
        assert_eq!(id.to_string().parse::<TokenId>().unwrap(), id);
        assert_eq!(TokenId::from_bytes([1; 16]).to_string(), "01".repeat(16));
        for wrong in ["", "01", &"01".repeat(15), &"01".repeat(17), &"0g".repeat(16)] {
            assert!(wrong.parse::<TokenId>().is_err(), "{wrong}");
        }
    }
}
