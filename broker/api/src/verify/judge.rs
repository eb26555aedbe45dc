//! All steps of PROTOCOL.md 4.2 in their order, ended by step 10: is there room for one more gateway?

use super::Context;
use super::advertisement::{Order, authentic, granted, networks, order};
use super::certificate::{Certified, certified};
use super::envelope::Envelope;
use super::identity::{entry, identity};
use super::tunnels::{KeysInUse, tunnels, unused};
use crate::advertisement::{AdvertisementPayload, State};
use crate::believed::Believed;
use crate::certificate::Revocation;
use crate::checks::Checks;
use crate::held::{Held, HeldGateway, Position};
use crate::names::{GatewayId, GatewayName};
use crate::reason::{Reason, Rejected};
use crate::time::HOLD_SECONDS;

/// Names of one member whose end is remembered.
pub const MAX_TOMBSTONES: usize = 256;
const MAX_REVOKED_NAMES: usize = 256;

/// What came of judging an advertisement.
#[derive(Clone, Debug)]
pub enum Judged {
    /// It is newer and sound.
    Newer(Box<Sound>),
    /// It is the one held.
    Unchanged,
    /// It is sound and of this host's own member: where it stands, its spec left out.
    Own(Box<HeldGateway>),
}

/// A sound advertisement, ready to be believed.
#[derive(Clone, Debug)]
pub struct Sound {
    /// What is believed.
    pub believed: Believed,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
    /// Revocations in its certificate.
    pub revoked: Vec<Revocation>,
}

/// Judges an opened Advertisement.
///
/// # Errors
/// The reason of the first step that fails.
pub fn judge(
    context: &Context<'_>,
    checks: &mut Checks,
    in_use: &KeysInUse,
    envelope: &Envelope,
) -> Result<Judged, Rejected> {
    let id = &envelope.id;
    let entry = entry(context, &id.member)?;
    let identity = identity(context, checks, envelope)?;
    let certified = certified(context, checks, envelope, identity)?;
    let payload = authentic(context, checks, envelope, &certified)?;
    let position = Position {
        identity: identity.key,
        generation: certified.cert.generation,
        sequence: payload.sequence,
    };
    let digest = envelope.signed.digest();
    let expires = payload.expires.min(certified.cert.expires);
    if context.is_own(&id.member) {
        own(context, id, &certified)?;
        let (accepted_at, until) = (context.now, expires.plus_seconds(HOLD_SECONDS));
        let withdrawn = payload.state == State::Withdrawn;
        let own = HeldGateway { position, digest, accepted_at, until, spec: None, withdrawn };
        return Ok(Judged::Own(Box::new(own)));
    }
    let is_offered = context.is_offered();
    let held = context.held.gateways.get(id);
    if is_offered && order(entry, held, position, digest)? == Order::Same {
        return Ok(Judged::Unchanged);
    }
    // What ends a lane never waits; it can only once for each word that did.
    let is_end = payload.state == State::Withdrawn && held.is_some_and(HeldGateway::is_live);
    if is_offered && !is_end {
        context.pace.allows(id, context.now)?;
    }
    let networks = networks(context, &payload)?;
    if is_offered {
        granted(entry, &networks, &payload)?;
    }
    let tunnels = tunnels(context, checks, envelope, &certified.key, &payload)?;
    if is_offered {
        unused(context, id, &payload, &tunnels, in_use)?;
        // The end of a lane finds room: the oldest end makes it.
        if !is_end {
            room(context, id, entry.gateways, &payload)?;
        }
        revocable(context.held, Some(&id.gateway), &position, &certified.cert.revoked)?;
    }
    let believed = Believed {
        identity,
        gateway_key: certified.key,
        generation: position.generation,
        sequence: position.sequence,
        state: payload.state,
        networks,
        probe4: payload.probe4,
        tunnels,
        expires,
        agent: payload.agent.clone(),
        view: crate::sign::advertisement_view(&payload),
    };
    Ok(Judged::Newer(Box::new(Sound { believed, digest, revoked: certified.cert.revoked })))
}

/// The own name under another key is a namesake or a thief.
fn own(context: &Context<'_>, id: &GatewayId, certified: &Certified) -> Result<(), Rejected> {
    let facts = context.facts;
    let foreign_identity = facts.identity.is_some_and(|ours| ours != certified.identity.key);
    let foreign_key =
        *id == facts.own && facts.gateway_key.is_some_and(|ours| ours != certified.key);
    if foreign_identity || foreign_key {
        let fingerprint = certified.identity.key.fingerprint();
        return Err(Reason::OwnNameTaken.about(format!("{id} under identity {fingerprint}")));
    }
    Ok(())
}

fn room(
    context: &Context<'_>,
    id: &GatewayId,
    most: u64,
    payload: &AdvertisementPayload,
) -> Result<(), Rejected> {
    let others =
        context.held.gateways.iter().filter(|(other, _)| other.member == id.member && *other != id);
    let (live, gone): (Vec<_>, Vec<_>) = others.partition(|(_, held)| held.is_live());
    let is_full = if payload.state == State::Withdrawn {
        gone.len() >= MAX_TOMBSTONES
    } else {
        u64::try_from(live.len()).map_or(true, |live| live >= most)
    };
    if is_full { Err(Reason::TooManyGateways.about(format!("{most} granted"))) } else { Ok(()) }
}

/// A certificate may not revoke itself, nor grow this host's memory by ever new names.
pub(super) fn revocable(
    held: &Held,
    own: Option<&GatewayName>,
    position: &Position,
    revoked: &[Revocation],
) -> Result<(), Rejected> {
    let kills = |revocation: &Revocation| {
        own == Some(&revocation.gateway) && position.generation < revocation.below
    };
    if revoked.iter().any(kills) {
        return Err(Reason::GatewayRevoked.about("by its own certificate"));
    }
    let names = held.below.get(&position.identity);
    let known = names.map_or(0, std::collections::BTreeMap::len);
    let is_new = |revocation: &&Revocation| {
        names.is_none_or(|names| !names.contains_key(&revocation.gateway))
    };
    if known + revoked.iter().filter(is_new).count() > MAX_REVOKED_NAMES {
        return Err(Reason::TooManyGateways.about("more than 256 revoked names"));
    }
    Ok(())
}
