//! PROTOCOL.md 4.2, steps 6 to 8: is the advertisement the gateway's own, in order, and within its grant?

use super::Context;
use super::certificate::Certified;
use super::envelope::Envelope;
use super::spoken::{self, Said};
use crate::advertisement::{AdvertisementPayload, MAX_LIFE_SECONDS, Networks};
use crate::certificate;
use crate::checks::Checks;
use crate::cidr::Cidr;
use crate::clusterset::MemberEntry;
use crate::clusterset_payload::grantable;
use crate::held::{HeldWord, Position};
use crate::probe_address;
use crate::reason::{Reason, Rejected};
use crate::signed::Statement;
use std::cmp::Ordering;
use std::net::IpAddr;

/// Step 6: the payload, signed by the certified key and for that certificate.
///
/// # Errors
/// The reason of the first check that fails.
pub fn authentic(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope,
    certified: &Certified,
) -> Result<AdvertisementPayload, Rejected> {
    let id = &envelope.id;
    spoken::signed(context, checks, envelope, certified, Statement::Advertisement)?;
    let payload = AdvertisementPayload::parse(&envelope.signed.payload)?;
    certificate::check_clusterset(&payload.clusterset, &context.list.id)?;
    certificate::check_member(&payload.member, &id.member)?;
    certificate::check_gateway(&payload.gateway, id.gateway.as_str())?;
    let said = Said { cert: payload.cert, issued: payload.issued, expires: payload.expires };
    spoken::in_time(context, envelope, &said, MAX_LIFE_SECONDS)?;
    Ok(payload)
}

/// How an advertisement stands to the highest one known under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is the next one.
    Newer,
    /// It is that one.
    Same,
}

/// Step 7: the order of (identity, generation, sequence).
///
/// # Errors
/// `Superseded`, `SequenceRolledBack` or `Equivocation`.
pub fn order<Spec>(
    entry: &MemberEntry,
    held: Option<&HeldWord<Spec>>,
    position: Position,
    digest: [u8; 32],
) -> Result<Order, Rejected> {
    let Some(held) = held else { return Ok(Order::Newer) };
    let known = held.position;
    if known.identity != position.identity {
        // An unlisted identity that got this far is the enrolled one; an unlisted one that is held
        // is of the past, or it would have been an enrolment conflict.
        let of_both = [known.identity, position.identity];
        let preferred = entry.keys.iter().find(|listed| of_both.contains(listed));
        let is_superseded = preferred == Some(&known.identity);
        return if is_superseded { Err(Reason::Superseded.into()) } else { Ok(Order::Newer) };
    }
    let number = |position: Position| (position.generation, position.sequence);
    match number(position).cmp(&number(known)) {
        Ordering::Greater => Ok(Order::Newer),
        // What a revocation ended and a later list readmits is believed again.
        Ordering::Equal if held.digest == digest && held.is_gone_by_revocation() => {
            Ok(Order::Newer)
        }
        Ordering::Equal if held.digest == digest => Ok(Order::Same),
        Ordering::Equal => Err(Reason::Equivocation.about(text(position))),
        Ordering::Less => {
            let detail = format!("{}, expected above {}", text(position), text(known));
            Err(Reason::SequenceRolledBack.about(detail))
        }
    }
}

fn text(position: Position) -> String {
    format!("generation {} sequence {}", position.generation, position.sequence)
}

/// Step 8, first half: every network is well-formed.
///
/// # Errors
/// `CidrNotCanonical` or `CidrForbidden`, naming the network.
pub fn networks(
    context: &Context<'_>,
    payload: &AdvertisementPayload,
) -> Result<Networks<Cidr>, Rejected> {
    let probes = probe_address::network(&context.list.id);
    Ok(Networks {
        pods: grantable(&payload.networks.pods, &probes)?,
        services: grantable(&payload.networks.services, &probes)?,
        external: grantable(&payload.networks.external, &probes)?,
    })
}

/// Step 8, second half: every network and the probe address lie in the member's grant.
///
/// # Errors
/// `CidrNotGranted` or `ProbeNotGranted`, naming the network.
pub fn granted(
    entry: &MemberEntry,
    networks: &Networks<Cidr>,
    payload: &AdvertisementPayload,
) -> Result<(), Rejected> {
    let is_granted = |network: &Cidr| entry.cidrs.iter().any(|grant| grant.contains(network));
    if let Some(network) = networks.iter().find(|network| !is_granted(network)) {
        return Err(Reason::CidrNotGranted.about(network.to_string()));
    }
    if let Some(probe) = payload.probe4
        && !is_granted(&Cidr::host(IpAddr::V4(probe)))
    {
        return Err(Reason::ProbeNotGranted.about(probe.to_string()));
    }
    Ok(())
}
