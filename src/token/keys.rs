//! One key: its material, and the footer of its tokens.

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use pasetors::keys::{AsymmetricKeyPair, AsymmetricPublicKey, AsymmetricSecretKey, Generate, SymmetricKey};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::version4::V4;
use zeroize::Zeroizing;

use crate::domain::key::{KeyId, KeyKind};

/// The key material is invalid.
#[derive(Debug)]
pub(super) struct MalformedKey;

/// Both kinds of key.
pub(super) trait Key: Sized {
    const KIND: KeyKind;

    fn generate() -> Result<Self, MalformedKey>;

    /// The key from its secret PASERK.
    fn from_paserk(text: &str) -> Result<Self, MalformedKey>;

    /// The secret key as PASERK.
    fn to_paserk(&self) -> Result<Zeroizing<String>, MalformedKey>;

    fn id(&self) -> &KeyId;

    fn footer(&self) -> &Footer;
}

/// The footer that names a key: `{"kid":"…"}`.
pub(super) struct Footer {
    bytes: Vec<u8>,
    text: String,
}

impl Footer {
    fn naming(id: &KeyId) -> Result<Self, MalformedKey> {
        Self::from_bytes(format!("{{\"kid\":\"{id}\"}}").into_bytes())
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Result<Self, MalformedKey> {
        let text = Base64UrlSafeNoPadding::encode_to_string(&bytes).map_err(|_| MalformedKey)?;
        Ok(Self { bytes, text })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As encoded in tokens.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// Signs and verifies access tokens.
pub(super) struct SigningKey {
    id: KeyId,
    footer: Footer,
    secret: AsymmetricSecretKey<V4>,
    public: AsymmetricPublicKey<V4>,
    public_paserk: String,
}

impl SigningKey {
    fn from_secret(secret: AsymmetricSecretKey<V4>) -> Result<Self, MalformedKey> {
        let public = AsymmetricPublicKey::try_from(&secret).map_err(|_| MalformedKey)?;
        let public_paserk = paserk(&public)?.to_string();
        let id = public_id(&public)?;
        Ok(Self { footer: Footer::naming(&id)?, id, secret, public, public_paserk })
    }

    pub(super) fn secret(&self) -> &AsymmetricSecretKey<V4> {
        &self.secret
    }

    pub(super) fn public(&self) -> &AsymmetricPublicKey<V4> {
        &self.public
    }

    /// The public key as PASERK: `k4.public.…`.
    pub(super) fn public_paserk(&self) -> &str {
        &self.public_paserk
    }
}

impl Key for SigningKey {
    const KIND: KeyKind = KeyKind::Signing;

    fn generate() -> Result<Self, MalformedKey> {
        let pair = AsymmetricKeyPair::<V4>::generate().map_err(|_| MalformedKey)?;
        Self::from_secret(pair.secret)
    }

    fn from_paserk(text: &str) -> Result<Self, MalformedKey> {
        // Deriving the public key from an all-zero seed panics in a dependency, so check the bytes first.
        let bytes = text.strip_prefix("k4.secret.").ok_or(MalformedKey)?;
        if bytes.starts_with("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA") {
            return Err(MalformedKey);
        }
        Self::from_secret(AsymmetricSecretKey::try_from(text).map_err(|_| MalformedKey)?)
    }

    fn to_paserk(&self) -> Result<Zeroizing<String>, MalformedKey> {
        paserk(&self.secret)
    }

    fn id(&self) -> &KeyId {
        &self.id
    }

    fn footer(&self) -> &Footer {
        &self.footer
    }
}

/// Encrypts and decrypts refresh tokens.
pub(super) struct EncryptingKey {
    id: KeyId,
    footer: Footer,
    secret: SymmetricKey<V4>,
}

impl EncryptingKey {
    fn from_secret(secret: SymmetricKey<V4>) -> Result<Self, MalformedKey> {
        let id = parse_id(&Id::from(&secret))?;
        Ok(Self { footer: Footer::naming(&id)?, id, secret })
    }

    pub(super) fn secret(&self) -> &SymmetricKey<V4> {
        &self.secret
    }
}

impl Key for EncryptingKey {
    const KIND: KeyKind = KeyKind::Encrypting;

    fn generate() -> Result<Self, MalformedKey> {
        Self::from_secret(SymmetricKey::generate().map_err(|_| MalformedKey)?)
    }

    fn from_paserk(text: &str) -> Result<Self, MalformedKey> {
        Self::from_secret(SymmetricKey::try_from(text).map_err(|_| MalformedKey)?)
    }

    fn to_paserk(&self) -> Result<Zeroizing<String>, MalformedKey> {
        paserk(&self.secret)
    }

    fn id(&self) -> &KeyId {
        &self.id
    }

    fn footer(&self) -> &Footer {
        &self.footer
    }
}

/// The id by which tokens name this key.
pub(super) fn public_id(key: &AsymmetricPublicKey<V4>) -> Result<KeyId, MalformedKey> {
    parse_id(&Id::from(key))
}

fn parse_id(id: &Id) -> Result<KeyId, MalformedKey> {
    paserk(id)?.parse().map_err(|_| MalformedKey)
}

/// A key as PASERK, wiped on drop: it may be secret.
fn paserk(key: &impl FormatAsPaserk) -> Result<Zeroizing<String>, MalformedKey> {
    let mut text = Zeroizing::new(String::with_capacity(128));
    key.fmt(&mut *text).map_err(|_| MalformedKey)?;
    Ok(text)
}

#[cfg(test)]
impl SigningKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedKey> {
        Self::from_secret(AsymmetricSecretKey::from(bytes).map_err(|_| MalformedKey)?)
    }

    pub(super) fn with_footer(self, footer: &[u8]) -> Self {
        Self { footer: Footer::from_bytes(footer.to_vec()).unwrap(), ..self }
    }
}

#[cfg(test)]
impl EncryptingKey {
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedKey> {
        Self::from_secret(SymmetricKey::from(bytes).map_err(|_| MalformedKey)?)
    }

    pub(super) fn with_footer(self, footer: &[u8]) -> Self {
        Self { footer: Footer::from_bytes(footer.to_vec()).unwrap(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_zeros_is_refused_instead_of_panicking() {
        let zeros = format!("k4.secret.{}", "A".repeat(86));
        assert!(SigningKey::from_paserk(&zeros).is_err());
    }

    #[test]
    fn a_key_comes_back_from_its_paserk_under_the_same_id() {
        let signing = SigningKey::generate().unwrap();
        let encrypting = EncryptingKey::generate().unwrap();
        assert_eq!(SigningKey::from_paserk(&signing.to_paserk().unwrap()).unwrap().id(), signing.id());
        assert_eq!(
            EncryptingKey::from_paserk(&encrypting.to_paserk().unwrap()).unwrap().id(),
            encrypting.id()
        );
        assert_eq!((signing.id().kind(), encrypting.id().kind()), (KeyKind::Signing, KeyKind::Encrypting));
        assert!(signing.public_paserk().starts_with("k4.public."));
    }
}
