//! PROTOCOL.md 4.1, steps 1 to 7: is this list the one to believe?

use crate::clusterset::{self, ClusterSet, ListPosition, MAX_LINKS};
use crate::clusterset_payload::{ClusterSetPayload, RootLinkPayload};
use crate::keys::{self, VerifyKey};
use crate::kinds::ClusterSetSpec;
use crate::names::ClusterSetId;
use crate::reason::{Reason, Rejected};
use crate::signed::{Signed, SignedBytes, Statement};
use std::collections::BTreeSet;

/// What a list is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The clusterset's id.
    pub anchor: &'a ClusterSetId,
    /// The oldest position to believe.
    pub minimum: ListPosition,
    /// The list believed now, and its position.
    pub held: Option<(&'a ClusterSetSpec, ListPosition)>,
}

/// What came of judging a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is newer and sound.
    Newer(ClusterSet),
    /// It is the one held.
    Unchanged,
}

/// Judges a ClusterSet. An expired one is sound: it may revoke.
///
/// # Errors
/// The reason of the first step that fails.
pub fn judge(against: Against<'_>, spec: &ClusterSetSpec) -> Result<Judged, Rejected> {
    if spec.links.len() > MAX_LINKS {
        return Err(Reason::TooLarge.about("more than 16 root links"));
    }
    if against.held.is_some_and(|(held, _)| is_same(held, spec)) {
        return Ok(Judged::Unchanged);
    }
    let signed = spec.signed.decode(clusterset::MAX_BYTES)?;
    let links = decode_links(&spec.links)?;
    let genesis = genesis(against.anchor, spec)?;
    let authority = follow(against, genesis, &links)?;
    if !signed.is_signed_by(&authority.root, Statement::ClusterSet) {
        return Err(Reason::ClusterSetBadSignature.into());
    }
    let payload = ClusterSetPayload::parse(&signed.payload)?;
    crate::certificate::check_clusterset(&payload.clusterset, against.anchor)?;
    if payload.link_index != authority.links {
        let detail = format!("signed for {}, carries {}", payload.link_index, authority.links);
        return Err(Reason::LinkMismatch.about(detail));
    }
    let position = ListPosition { link_index: payload.link_index, version: payload.version };
    if is_held(against, position, spec)? {
        return Ok(Judged::Unchanged);
    }
    payload.judge(&authority.every_key).map(Judged::Newer)
}

/// Says whether these are the bytes of the list that is held: those were verified.
#[must_use]
pub fn is_same(held: &ClusterSetSpec, spec: &ClusterSetSpec) -> bool {
    held.signed == spec.signed && held.links == spec.links && held.genesis == spec.genesis
}

/// The keys in force after some links.
struct Authority {
    root: VerifyKey,
    recovery: VerifyKey,
    links: u64,
    every_key: BTreeSet<VerifyKey>,
}

fn decode_links(links: &[Signed]) -> Result<Vec<SignedBytes>, Rejected> {
    links.iter().map(|link| link.decode(clusterset::MAX_LINK_BYTES)).collect()
}

/// Step 2: the genesis keys are what the anchor is the hash of.
fn genesis(anchor: &ClusterSetId, spec: &ClusterSetSpec) -> Result<Authority, Rejected> {
    let key = |text: &str| {
        let bytes = keys::key_bytes(text)
            .map_err(|_| Reason::BadEncoding.about("a genesis key is not base64url"))?;
        VerifyKey::check(bytes).map_err(|_| Reason::WeakKey.about("a genesis key"))
    };
    let (root, recovery) = (key(&spec.genesis.root)?, key(&spec.genesis.recovery)?);
    if ClusterSetId::of_genesis(&root, &recovery) != *anchor {
        return Err(Reason::WrongClusterSet.into());
    }
    Ok(Authority { root, recovery, links: 0, every_key: BTreeSet::from([root, recovery]) })
}

/// Step 3: each link is signed by the recovery key before it, and none that was believed is missing.
fn follow(
    against: Against<'_>,
    mut authority: Authority,
    links: &[SignedBytes],
) -> Result<Authority, Rejected> {
    let held = match against.held {
        Some((spec, _)) => decode_links(&spec.links)?,
        None => Vec::new(),
    };
    for (at, link) in links.iter().enumerate() {
        if !link.is_signed_by(&authority.recovery, Statement::RootLink) {
            return Err(Reason::LinkBadSignature.about(format!("link {}", at + 1)));
        }
        let payload = RootLinkPayload::parse(&link.payload)?;
        crate::certificate::check_clusterset(&payload.clusterset, against.anchor)?;
        if payload.index != authority.links + 1 {
            return Err(Reason::LinkGap.about(format!("link {} is missing", authority.links + 1)));
        }
        let sound = |key| VerifyKey::check(key).map_err(|_| Reason::WeakKey.about("of a link"));
        if held.get(at).is_some_and(|held| held.payload != link.payload) {
            return Err(Reason::LinkFork.about(format!("link {}", payload.index)));
        }
        authority.root = sound(payload.root)?;
        authority.recovery = sound(payload.recovery)?;
        authority.links = payload.index;
        authority.every_key.extend([authority.root, authority.recovery]);
    }
    if links.len() < held.len() {
        return Err(Reason::ClusterSetRolledBack.about("a root link is missing"));
    }
    Ok(authority)
}

/// Step 6: where the list stands against the one held.
fn is_held(
    against: Against<'_>,
    position: ListPosition,
    spec: &ClusterSetSpec,
) -> Result<bool, Rejected> {
    let lowest = against.held.map_or(against.minimum, |(_, held)| held.max(against.minimum));
    if position < lowest {
        return Err(Reason::ClusterSetRolledBack
            .about(format!("version {}, expected {} or newer", position.version, lowest.version)));
    }
    match against.held {
        Some((held, at)) if at == position => {
            if held.signed.payload == spec.signed.payload {
                Ok(true)
            } else {
                Err(Reason::ClusterSetFork.about(format!("version {}", position.version)))
            }
        }
        _ => Ok(false),
    }
}
