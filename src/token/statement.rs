//! Statements: signed texts that are not tokens.
//!
//! They are `v4.public` like access tokens and use the same keys, but carry an implicit assertion with their
//! subject. The signature covers it, although it is not part of the text: no statement passes as a token, and
//! no token as a statement.

use pasetors::token::{Public, UntrustedToken};
use pasetors::version4::{PublicToken, V4};

use super::IssueError;
use super::key_ring::KeyRing;
use super::keys::Key;
use super::offline::{PublicKeys, key_of};
use crate::domain::key::KeyId;

/// The subject of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The content of a backup.
    Backup,
}

impl Subject {
    fn assertion(self) -> &'static [u8] {
        match self {
            Self::Backup => b"gatelet-backup-v1",
        }
    }
}

impl KeyRing {
    /// Signs `what` with the active key.
    ///
    /// # Errors
    /// [`IssueError`], which no healthy system ever returns.
    pub fn state(&self, subject: Subject, what: &str) -> Result<String, IssueError> {
        let key = self.signing();
        let footer = Some(key.footer().bytes());
        PublicToken::sign(key.secret(), what.as_bytes(), footer, Some(subject.assertion()))
            .map_err(|_| IssueError::Encode("statement"))
    }
}

/// The result of checking a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stated {
    /// Signed by this key, with this content.
    Good(KeyId, String),
    /// Signed with a key that is not among those given, or with none.
    UnknownKey(Option<KeyId>),
    /// Not signed by the key that it names, of another subject, or changed.
    Forged,
}

impl PublicKeys {
    /// Checks a statement with these keys.
    pub fn stated(&self, subject: Subject, text: &str) -> Stated {
        let Some(id) = key_of(text) else {
            return Stated::UnknownKey(None);
        };
        let Some(key) = self.named(&id) else {
            return Stated::UnknownKey(Some(id));
        };
        let verified = UntrustedToken::<Public, V4>::try_from(text)
            .and_then(|token| PublicToken::verify(key, &token, None, Some(subject.assertion())));
        match verified {
            Ok(verified) => Stated::Good(id, verified.payload().to_owned()),
            Err(_) => Stated::Forged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::paseto;
    use super::*;

    fn keys_of(ring: &KeyRing) -> PublicKeys {
        ring.signer().paserk.parse().unwrap()
    }

    #[test]
    fn a_statement_is_believed_by_its_key_alone() {
        let (ring, other) = (KeyRing::for_tests(), KeyRing::for_tests());
        let text = ring.state(Subject::Backup, "a truth").unwrap();
        let id = ring.signer().id;
        assert_eq!(keys_of(&ring).stated(Subject::Backup, &text), Stated::Good(id.clone(), "a truth".into()));
        assert_eq!(keys_of(&other).stated(Subject::Backup, &text), Stated::UnknownKey(Some(id)));
        let (head, footer) = text.rsplit_once('.').unwrap();
        let changed = format!("{}A.{footer}", &head[..head.len() - 1]);
        if changed != text {
            assert_eq!(keys_of(&ring).stated(Subject::Backup, &changed), Stated::Forged);
        }
        assert_eq!(keys_of(&ring).stated(Subject::Backup, "nothing"), Stated::UnknownKey(None));
    }

    #[test]
    fn no_statement_passes_as_a_token_and_no_token_as_a_statement() {
        let ring = KeyRing::for_tests();
        let statement = ring.state(Subject::Backup, "{}").unwrap();
        assert!(paseto::verify(&ring, &statement).is_none());
        let token = paseto::sign(ring.signing(), b"{}").unwrap();
        assert!(paseto::verify(&ring, &token).is_some());
        assert_eq!(keys_of(&ring).stated(Subject::Backup, &token), Stated::Forged);
    }
}
