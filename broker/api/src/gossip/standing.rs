//! How far a host is: the positions of all it could tell, in a few bytes each and, for probes, in 16
//! altogether. It holds no object.

use crate::clusterset::ListPosition;
use crate::held::HeldGateway;
use crate::names::GatewayId;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Bytes of one gateway's standing on the wire, its name included.
pub const WORD_BYTES: usize = NAME_BYTES + 32;
const NAME_BYTES: usize = 16;

/// The head of SHA-256 over `<member>.<gateway>`: names differ in length, this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameHash(pub [u8; NAME_BYTES]);

impl NameHash {
    /// Returns the hash of a gateway's name.
    #[must_use]
    pub fn of(id: &GatewayId) -> Self {
        Self(head(&Sha256::digest(id.to_string())))
    }
}

/// Where the word of one gateway stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordStanding {
    /// First 8 bytes of the identity key.
    pub identity: [u8; 8],
    /// Generation of the certificate.
    pub generation: u64,
    /// Sequence under it.
    pub sequence: u64,
    /// First 8 bytes of SHA-256 over the payload.
    pub digest: [u8; 8],
}

impl WordStanding {
    /// Returns where a held word stands.
    #[must_use]
    pub fn of(held: &HeldGateway) -> Self {
        Self {
            identity: head(held.position.identity.as_bytes()),
            generation: held.position.generation,
            sequence: held.position.sequence,
            digest: head(&held.digest),
        }
    }

    /// Says whether it is worth telling to a host that stands at `theirs`: it is newer, of another
    /// identity, or evidence that a gateway said two things at once.
    #[must_use]
    pub fn is_news_to(&self, theirs: &Self) -> bool {
        let number = |of: &Self| (of.generation, of.sequence);
        self.identity != theirs.identity
            || number(self) > number(theirs)
            || (number(self) == number(theirs) && self.digest != theirs.digest)
    }
}

/// Where the list of a host stands; zeros without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ListStanding {
    /// Its position.
    pub position: ListPosition,
    /// First 8 bytes of SHA-256 over its payload.
    pub hash: [u8; 8],
}

impl ListStanding {
    /// Says whether it is worth telling to a host that stands at `theirs`: it is newer, or evidence
    /// that root signed two lists of one version.
    #[must_use]
    pub fn is_news_to(&self, theirs: &Self) -> bool {
        self.position > theirs.position
            || (self.position == theirs.position && self.hash != theirs.hash)
    }
}

/// Everything a host could tell, by position.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// The list.
    pub list: ListStanding,
    /// The words of gateways.
    pub words: BTreeMap<NameHash, WordStanding>,
}

impl Standing {
    /// Returns it in brief, as probes carry it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut words = Sha256::new();
        for (name, standing) in &self.words {
            words.update(word_bytes(name, standing));
        }
        Digest { list: self.list, words: head(&words.finalize()) }
    }
}

/// A [`Standing`] in brief. Equal digests mean that neither has anything to tell the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The list.
    pub list: ListStanding,
    /// First 8 bytes of SHA-256 over the sorted standings of all words.
    pub words: [u8; 8],
}

/// Returns a word's standing as it stands on the wire and in digests.
pub(super) fn word_bytes(name: &NameHash, standing: &WordStanding) -> [u8; WORD_BYTES] {
    let mut bytes = [0; WORD_BYTES];
    bytes[..16].copy_from_slice(&name.0);
    bytes[16..24].copy_from_slice(&standing.identity);
    bytes[24..32].copy_from_slice(&standing.generation.to_be_bytes());
    bytes[32..40].copy_from_slice(&standing.sequence.to_be_bytes());
    bytes[40..].copy_from_slice(&standing.digest);
    bytes
}

/// Reads what [`word_bytes`] wrote.
pub(super) fn word(bytes: &[u8; WORD_BYTES]) -> (NameHash, WordStanding) {
    let standing = WordStanding {
        identity: head(&bytes[16..]),
        generation: u64::from_be_bytes(head(&bytes[24..])),
        sequence: u64::from_be_bytes(head(&bytes[32..])),
        digest: head(&bytes[40..]),
    };
    (NameHash(head(bytes)), standing)
}

/// Returns the first bytes; what is missing is zero.
pub(super) fn head<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut head = [0; LENGTH];
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    head
}
