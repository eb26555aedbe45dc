//! Owns the three kinds of WireGuard key. Secret ones are wiped when dropped, compared in constant
//! time and cannot be printed, cloned or logged; the hex of UAPI is their one way out.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A peer's or our own Curve25519 public key, printed in base64 as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key from the 64 hex digits of UAPI.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(*bytes_from_hex(text)?))
    }

    /// The 64 hex digits of UAPI.
    #[must_use]
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Our own Curve25519 private key, clamped.
pub struct PrivateKey(Zeroizing<[u8; 32]>);

impl PrivateKey {
    /// A key from 32 bytes, clamped as RFC 7748 section 5 says; all zeros mean "no key".
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        if bool::from(bytes[..].ct_eq(&[0; 32])) {
            return None;
        }
        let mut clamped = bytes;
        clamped[0] &= 248;
        clamped[31] = (clamped[31] & 127) | 64;
        Some(Self(clamped))
    }

    /// The clamped 32 bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits that a UAPI `get` answers.
    #[must_use]
    pub fn expose_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&self.0[..]))
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

/// A secret that both ends of a lane mix into their handshakes.
pub struct PresharedKey(Zeroizing<[u8; 32]>);

impl PresharedKey {
    /// A key from 32 bytes; all zeros mean "no key".
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        (!bool::from(bytes[..].ct_eq(&[0; 32]))).then_some(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits that a UAPI `get` answers.
    #[must_use]
    pub fn expose_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&self.0[..]))
    }
}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

/// The 32 bytes of 64 hex digits, or `None`; the bytes are wiped when dropped.
#[must_use]
pub fn bytes_from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes[..]).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_clamped_and_zeros_unset_it() {
        let key = PrivateKey::new(Zeroizing::new([0xff; 32])).unwrap();
        assert_eq!((key.expose()[0], key.expose()[31]), (0xf8, 0x7f));
        assert!(PrivateKey::new(Zeroizing::new([0; 32])).is_none());
        assert!(PresharedKey::new(Zeroizing::new([0; 32])).is_none());
    }

    #[test]
    fn hex_of_any_other_length_or_alphabet_is_refused() {
        let hex = "Aa".repeat(32);
        assert_eq!(PublicKey::from_hex(&hex).unwrap().to_hex(), "aa".repeat(32));
        assert_eq!(PublicKey::from_hex(&hex[..63]), None);
        assert_eq!(PublicKey::from_hex(&hex.replace('A', "g")), None);
        assert_eq!(PublicKey::from_hex(&"é".repeat(32)), None);
    }
}
