//! A session: all that stems from one login.

use std::fmt;
use std::str::FromStr;

use ct_codecs::{Base64UrlSafeNoPadding, Decoder, Encoder};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::random;

/// The time between two settings-back of the clock by its operator. By the clock alone, sessions from before
/// could not be told from those after.
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

/// Names a session and says when it is over.
///
/// Six bytes of time (whole seconds, big-endian), two of the store's era, sixteen random ones. The time is the
/// moment at which the last token of the session can have expired; it is chosen at login and never moves. Ended
/// sessions are kept under this very key, so that asking for one is a single point read and forgetting
/// all that are over is the removal of one range, which never looks at a session that is still live.
///
/// As text: 32 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; Self::LENGTH]);

impl SessionId {
    /// Bytes in an id.
    pub const LENGTH: usize = 24;
    const TEXT_LENGTH: usize = 32;

    /// A new session that is over at `ends_at`, begun in `era`.
    ///
    /// # Errors
    /// When the system has no random numbers to give.
    pub fn generate(ends_at: Timestamp, era: Era) -> Result<Self, random::NoRandomness> {
        let mut bytes = Self::first_ending_at(ends_at).0;
        bytes[6..8].copy_from_slice(&era.0.to_be_bytes());
        bytes[8..].copy_from_slice(&random::bytes::<16>()?);
        Ok(Self(bytes))
    }

    /// The lowest id of all sessions that end at `moment`: the upper bound of those that end before it.
    pub fn first_ending_at(moment: Timestamp) -> Self {
        let mut bytes = [0; Self::LENGTH];
        let secs = moment.unix_secs().min((1 << 48) - 1);
        bytes[..6].copy_from_slice(&secs.to_be_bytes()[2..]);
        Self(bytes)
    }

    /// When the last token of the session will have expired.
    pub fn ends_at(&self) -> Timestamp {
        let [a, b, c, d, e, f, ..] = self.0;
        Timestamp::from_unix_secs(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// The era in which the session began.
    pub fn era(&self) -> Era {
        let [_, _, _, _, _, _, a, b, ..] = self.0;
        Era(u16::from_be_bytes([a, b]))
    }

    /// The id as stored, in order of the session's end.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::TEXT_LENGTH];
        f.write_str(Base64UrlSafeNoPadding::encode_to_str(&mut text, self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A text that is no session id.
#[derive(Clone, Copy, Debug)]
pub struct MalformedSessionId;

impl fmt::Display for MalformedSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a session id")
    }
}

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

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_end_and_sorts_by_it() {
        let early = SessionId::generate(Timestamp::from_unix_secs(1_000), Era::default().next()).unwrap();
        let late = SessionId::generate(Timestamp::from_unix_secs(1_001), Era::default()).unwrap();
        assert_eq!(early.ends_at(), Timestamp::from_unix_secs(1_000));
        assert_eq!((early.era(), late.era()), (Era(1), Era(0)));
        assert!(early.as_bytes() < late.as_bytes());
        assert!(early.as_bytes() < SessionId::first_ending_at(late.ends_at()).as_bytes());
        assert_eq!(early.to_string().parse::<SessionId>().unwrap(), early);
        assert!("x".parse::<SessionId>().is_err());
        assert!(format!("{early}AAAA").parse::<SessionId>().is_err());
    }
}
