//! The bytes of gossip on TCP 5183 inside a lane: frames, strictly read. It does not say who may ask
//! or how often.
//!
//! A frame is `kind` (1 byte), `length` (4 bytes, big-endian) and so many bytes of payload. Kind 1
//! on the same port is not gossip. One connection carries one [`Ask`](Frame::Ask) and its answer:
//! at most one list, any number of words, then the end.

use super::standing::{self, ListStanding, Standing, WORD_BYTES};
use crate::advertisement::MAX_SPEC_BYTES;
use crate::clusterset::ListPosition;
use crate::kinds::{AdvertisementSpec, ClusterSetSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of kind and length.
pub const HEADER_BYTES: usize = 5;
/// Largest payload: a ClusterSet of the largest size with all its links. Unit: bytes.
pub const MAX_BYTES: usize = 1_400_000;
/// Most words that one standing names.
pub const MAX_WORDS: usize = (MAX_BYTES - LIST_BYTES) / WORD_BYTES;
const LIST_BYTES: usize = 24;
const LATER_BYTES: usize = 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for what the asker lacks.
    Ask,
    /// A ClusterSet.
    List,
    /// An Advertisement.
    Word,
    /// Nothing follows.
    End,
    /// Too busy now.
    Later,
}

/// All kinds with their bytes on the wire.
const KINDS: [(u8, Kind); 5] =
    [(2, Kind::Ask), (3, Kind::List), (4, Kind::Word), (5, Kind::End), (6, Kind::Later)];

/// A frame, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// How far the asker is.
    Ask(Standing),
    /// The list of members.
    List(Box<ClusterSetSpec>),
    /// What a gateway says of itself.
    Word(Box<AdvertisementSpec>),
    /// Nothing follows.
    End,
    /// Ask again after so many milliseconds.
    Later(u16),
}

/// Why bytes are not a frame. Sending the same bytes again never helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Written by a program that knows more than this one, or by none of ours.
    #[error("frame kind {0} is not gossip")]
    Kind(u8),
    /// A length that no frame of this kind has.
    #[error("gossip frame of {length} bytes, which no {kind:?} has")]
    Length {
        /// What it claims to be.
        kind: Kind,
        /// Its payload, in bytes.
        length: usize,
    },
    /// Names that do not rise: doubled or unsorted.
    #[error("gossip that names gateways twice or unsorted")]
    Order,
    /// Bytes that are not the one JSON form of such an object.
    #[error("gossip that is not the one form of a {0:?}")]
    Form(Kind),
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Its bytes; never more than its kind has.
    pub length: usize,
}

impl Header {
    /// Reads a head, before anything is allocated for what it announces.
    ///
    /// # Errors
    /// [`FrameError`] for an unknown kind or a length that it never has.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        let [kind, length @ ..] = bytes;
        let known = KINDS.iter().find(|(byte, _)| *byte == kind);
        let (_, kind) = *known.ok_or(FrameError::Kind(kind))?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let fits = match kind {
            Kind::Ask => (LIST_BYTES..=LIST_BYTES + MAX_WORDS * WORD_BYTES).contains(&length),
            Kind::List => length <= MAX_BYTES,
            Kind::Word => length <= MAX_SPEC_BYTES,
            Kind::End => length == 0,
            Kind::Later => length == LATER_BYTES,
        };
        if fits { Ok(Self { kind, length }) } else { Err(FrameError::Length { kind, length }) }
    }
}

impl Frame {
    /// Reads a payload of that kind.
    ///
    /// # Errors
    /// [`FrameError`] for anything that [`Frame::encode`] would not have written: each accepted frame
    /// has exactly one form.
    pub fn parse(kind: Kind, payload: &[u8]) -> Result<Self, FrameError> {
        let length = FrameError::Length { kind, length: payload.len() };
        match kind {
            Kind::Ask => ask(payload).map(Self::Ask),
            Kind::List => {
                let spec: ClusterSetSpec = json(kind, payload)?;
                let is_bare = spec.view.is_none();
                is_bare.then(|| Self::List(Box::new(spec))).ok_or(FrameError::Form(kind))
            }
            Kind::Word => {
                let spec: AdvertisementSpec = json(kind, payload)?;
                let is_bare = spec.view.is_none();
                is_bare.then(|| Self::Word(Box::new(spec))).ok_or(FrameError::Form(kind))
            }
            Kind::End => payload.is_empty().then_some(Self::End).ok_or(length),
            Kind::Later => {
                let millis = <[u8; LATER_BYTES]>::try_from(payload).map_err(|_| length)?;
                Ok(Self::Later(u16::from_be_bytes(millis)))
            }
        }
    }

    /// Returns the whole frame, head included. Views are left out: they are unsigned.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ask(standing) => framed(Kind::Ask, &ask_bytes(standing)),
            Self::List(spec) => {
                let bare = ClusterSetSpec { view: None, ..(**spec).clone() };
                framed(Kind::List, &json_bytes(&bare))
            }
            Self::Word(spec) => {
                let bare = AdvertisementSpec { view: None, ..(**spec).clone() };
                framed(Kind::Word, &json_bytes(&bare))
            }
            Self::End => framed(Kind::End, &[]),
            Self::Later(millis) => framed(Kind::Later, &millis.to_be_bytes()),
        }
    }
}

fn framed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let byte = KINDS.iter().find(|(_, known)| *known == kind).map_or(0, |(byte, _)| *byte);
    // Nothing that is made here comes near 4 GiB, and the other end refuses what is too long.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.push(byte);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn ask_bytes(standing: &Standing) -> Vec<u8> {
    let ListStanding { position, hash } = standing.list;
    let mut bytes = Vec::with_capacity(LIST_BYTES + standing.words.len() * WORD_BYTES);
    bytes.extend_from_slice(&position.link_index.to_be_bytes());
    bytes.extend_from_slice(&position.version.to_be_bytes());
    bytes.extend_from_slice(&hash);
    for (name, word) in standing.words.iter().take(MAX_WORDS) {
        bytes.extend_from_slice(&standing::word_bytes(name, word));
    }
    bytes
}

fn ask(payload: &[u8]) -> Result<Standing, FrameError> {
    let length = FrameError::Length { kind: Kind::Ask, length: payload.len() };
    let Some((list, words)) = payload.split_first_chunk::<LIST_BYTES>() else {
        return Err(length);
    };
    let (words, []) = words.as_chunks::<WORD_BYTES>() else { return Err(length) };
    if words.len() > MAX_WORDS {
        return Err(length);
    }
    let list = ListStanding {
        position: ListPosition {
            link_index: u64::from_be_bytes(standing::head(list)),
            version: u64::from_be_bytes(standing::head(&list[8..])),
        },
        hash: standing::head(&list[16..]),
    };
    let words: Vec<_> = words.iter().map(standing::word).collect();
    if !words.is_sorted_by(|(one, _), (next, _)| one < next) {
        return Err(FrameError::Order);
    }
    Ok(Standing { list, words: words.into_iter().collect() })
}

fn json<T: DeserializeOwned + Serialize>(kind: Kind, payload: &[u8]) -> Result<T, FrameError> {
    let read: T = serde_json::from_slice(payload).map_err(|_| FrameError::Form(kind))?;
    if json_bytes(&read) == payload { Ok(read) } else { Err(FrameError::Form(kind)) }
}

/// Structs of strings and integers always serialise.
fn json_bytes<T: Serialize>(object: &T) -> Vec<u8> {
    serde_json::to_vec(object).unwrap_or_default()
}
