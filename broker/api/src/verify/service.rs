//! PROTOCOL.md 4.4: is the service the member's own word, in order, and its to export? Steps that it
//! shares with gateways are in the files of 4.2.

use super::Context;
use super::advertisement::{Order, order};
use super::certificate::{Certified, certified};
use super::envelope::Envelope;
use super::identity::{entry, identity};
use super::judge::revocable;
use super::spoken::{self, Said};
use crate::advertisement::State;
use crate::certificate::{self, Revocation};
use crate::checks::Checks;
use crate::clusterset::MemberEntry;
use crate::held::{Held, HeldService, Position};
use crate::names::{Label, ServiceId, is_label};
use crate::reason::{Reason, Rejected};
use crate::service::{
    Believed, Exported, MAX_AFFINITY_SECONDS, MAX_LIFE_SECONDS, MAX_SERVICES, ServicePayload,
    ServicePort, ServiceType,
};
use crate::sign::services;
use crate::signed::Statement;
use std::collections::BTreeSet;
use std::net::IpAddr;

const PORTS: std::ops::RangeInclusive<u64> = 1..=65_535;
const AFFINITIES: std::ops::RangeInclusive<u64> = 1..=MAX_AFFINITY_SECONDS;
/// Namespaces of the cluster itself: what others export there is imported by nobody.
const OF_THE_CLUSTER: &str = "kube-";
const OF_OURS: &str = "sealane-system";

/// What came of judging a service.
#[derive(Clone, Debug)]
pub enum Judged {
    /// It is newer and sound.
    Newer(Box<Sound>),
    /// It is the one held.
    Unchanged,
    /// It is sound and of this host's own member.
    Own(Position),
}

/// A sound service, ready to be believed.
#[derive(Clone, Debug)]
pub struct Sound {
    /// What is believed.
    pub believed: Believed,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
    /// Revocations in its certificate.
    pub revoked: Vec<Revocation>,
}

/// Judges an opened ServiceAdvertisement.
///
/// # Errors
/// The reason of the first step that fails.
pub fn judge(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope<ServiceId>,
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
    if context.is_own(&id.member) {
        let is_ours = context.facts.identity.is_none_or(|ours| ours == identity.key);
        let taken = || Reason::OwnNameTaken.about(format!("{id} under another identity"));
        return if is_ours { Ok(Judged::Own(position)) } else { Err(taken()) };
    }
    let digest = envelope.signed.digest();
    let held = context.held.services.get(id);
    if context.is_offered() && order(entry, held, position, digest)? == Order::Same {
        return Ok(Judged::Unchanged);
    }
    if context.is_offered() {
        granted(entry, id, &payload.exported)?;
    }
    fits(payload.state, &payload.exported)?;
    if context.is_offered() {
        room(context.held, id, payload.state)?;
        revocable(context.held, None, &position, &certified.cert.revoked)?;
    }
    let believed = Believed {
        identity,
        generation: position.generation,
        sequence: position.sequence,
        state: payload.state,
        expires: payload.expires.min(certified.cert.expires),
        view: services::view(&payload),
        exported: payload.exported,
    };
    Ok(Judged::Newer(Box::new(Sound { believed, digest, revoked: certified.cert.revoked })))
}

/// The payload, signed by the certified key and for that certificate.
fn authentic(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope<ServiceId>,
    certified: &Certified,
) -> Result<ServicePayload, Rejected> {
    let id = &envelope.id;
    spoken::signed(context, checks, envelope, certified, Statement::Service)?;
    let payload = ServicePayload::parse(&envelope.signed.payload)?;
    certificate::check_clusterset(&payload.clusterset, &context.list.id)?;
    certificate::check_member(&payload.member, &id.member)?;
    if payload.namespace != id.namespace.as_str() || payload.name != id.name.as_str() {
        return Err(Reason::EnvelopeMismatch.about("the payload names another service"));
    }
    let said = Said { cert: payload.cert, issued: payload.issued, expires: payload.expires };
    spoken::in_time(context, envelope, &said, MAX_LIFE_SECONDS)?;
    Ok(payload)
}

/// Says whether a member may export from a namespace; never from one of the cluster itself.
#[must_use]
pub fn may_export(entry: &MemberEntry, namespace: &Label) -> bool {
    let name = namespace.as_str();
    let is_granted = entry.namespaces.iter().any(|granted| granted == "*" || granted == name);
    is_granted && !name.starts_with(OF_THE_CLUSTER) && name != OF_OURS
}

fn granted(entry: &MemberEntry, id: &ServiceId, exported: &Exported) -> Result<(), Rejected> {
    if !may_export(entry, &id.namespace) {
        return Err(Reason::NamespaceNotGranted.about(id.namespace.to_string()));
    }
    let is_granted = |address: &IpAddr| entry.cidrs.iter().any(|it| it.contains_address(*address));
    match exported.reached_at().find(|address| !is_granted(address)) {
        Some(address) => Err(Reason::AddressNotGranted.about(address.to_string())),
        None => Ok(()),
    }
}

/// Checks that type, ports, addresses and endpoints belong together.
fn fits(state: State, exported: &Exported) -> Result<(), Rejected> {
    let Exported { service_type, ports, addresses, endpoints, affinity } = exported;
    let bad = |why: &str| Err(Reason::BadService.about(why));
    if state == State::Withdrawn {
        let is_bare = ports.is_empty() && addresses.is_empty() && endpoints.is_empty();
        return if is_bare { Ok(()) } else { bad("a withdrawal with something to reach") };
    }
    match service_type {
        ServiceType::ClusterSetIp if addresses.is_empty() || ports.is_empty() => {
            return bad("no address or no port");
        }
        ServiceType::ClusterSetIp if !endpoints.is_empty() => {
            return bad("endpoints beside addresses");
        }
        ServiceType::Headless if !addresses.is_empty() => {
            return bad("addresses of a headless service");
        }
        _ => {}
    }
    if affinity.is_some_and(|seconds| !AFFINITIES.contains(&seconds)) {
        return bad("affinity is not 1 to 86400 seconds");
    }
    let mut hostnames = endpoints.iter().filter_map(|endpoint| endpoint.hostname.as_deref());
    if !hostnames.all(is_label) {
        return bad("a hostname is not a label");
    }
    are_distinct(ports)
}

fn are_distinct(ports: &[ServicePort]) -> Result<(), Rejected> {
    let bad = |why: &str| Err(Reason::BadService.about(why));
    if ports.iter().any(|port| !PORTS.contains(&port.port)) {
        return bad("a port is not 1 to 65535");
    }
    let is_named = |port: &ServicePort| is_label(&port.name);
    let may_be_nameless = ports.len() == 1 && ports.iter().all(|port| port.name.is_empty());
    if !may_be_nameless && !ports.iter().all(is_named) {
        return bad("a port has no name, or one that is not a label");
    }
    let names: BTreeSet<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let numbers: BTreeSet<_> = ports.iter().map(|port| (port.protocol, port.port)).collect();
    if names.len() < ports.len() || numbers.len() < ports.len() {
        return bad("two ports share a name or a number");
    }
    Ok(())
}

fn room(held: &Held, id: &ServiceId, state: State) -> Result<(), Rejected> {
    let of_member = held.services.range(ServiceId::before_all_of(&id.member)..);
    let of_member = of_member.take_while(|(other, _)| other.member == id.member);
    let is_same_kind = |other: &HeldService| other.is_live() != (state == State::Withdrawn);
    let alike = of_member.filter(|(other, held)| *other != id && is_same_kind(held)).count();
    if alike < MAX_SERVICES {
        return Ok(());
    }
    Err(Reason::TooManyServices.about(format!("at most {MAX_SERVICES}")))
}
