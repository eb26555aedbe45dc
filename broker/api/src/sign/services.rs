//! Making the certificate of a services key and what that key signs. Keys, numbers and `now` are
//! arguments, as for everything else that is signed.

use super::{json, rfc3339};
use crate::advertisement::State;
use crate::certificate::{self, GatewayCertPayload, Revocation, Role};
use crate::keys::{SigningSeed, VerifyKey};
use crate::kinds::{ServiceAdvertisementSpec, ServiceAdvertisementView};
use crate::names::{ClusterId, ClusterSetId, ServiceId};
use crate::reason::Rejected;
use crate::service::{self, Exported, ServicePayload};
use crate::signed::{Signed, Statement};
use crate::time::UnixTime;

/// What a keeper certifies for services.
#[derive(Clone, Debug)]
pub struct ServicesCertRequest<'a> {
    /// The clusterset.
    pub id: &'a ClusterSetId,
    /// The member.
    pub member: &'a ClusterId,
    /// The public key that speaks for all services of the member.
    pub key: VerifyKey,
    /// From [`super::next_generation`].
    pub generation: u64,
    /// Revocations of gateways that still matter, at most 16.
    pub revoked: Vec<Revocation>,
}

/// Certifies a services key for the usual 30 days.
#[must_use]
pub fn cert(identity: &SigningSeed, request: &ServicesCertRequest<'_>, now: UnixTime) -> Signed {
    let payload = GatewayCertPayload {
        v: 1,
        clusterset: request.id.to_string(),
        member: request.member.to_string(),
        role: Role::Services,
        gateway: String::new(),
        key: *request.key.as_bytes(),
        generation: request.generation,
        revoked: request.revoked.clone(),
        issued: now,
        expires: now.plus_seconds(certificate::SERVICES_LIFE_SECONDS),
    };
    Signed::seal(identity, Statement::GatewayCert, &json(&payload))
}

/// What a member says of one service.
#[derive(Clone, Debug)]
pub struct ServiceDraft<'a> {
    /// The clusterset.
    pub id: &'a ClusterSetId,
    /// The service.
    pub service: &'a ServiceId,
    /// The certificate of the services key.
    pub cert: &'a Signed,
    /// The member's enrolment, while its identity is not pinned.
    pub enrolment: Option<&'a Signed>,
    /// One more than the last one of this service under this certificate.
    pub sequence: u64,
    /// What the member means to do; see [`ServiceDraft::withdrawn`] for ending it.
    pub state: State,
    /// What is exported, inside the grant.
    pub exported: Exported,
}

impl ServiceDraft<'_> {
    /// Turns the draft into a withdrawal: nothing to reach, the last word about the service.
    #[must_use]
    pub fn withdrawn(self) -> Self {
        let exported = Exported::nothing(self.exported.service_type);
        Self { state: State::Withdrawn, exported, ..self }
    }
}

/// Signs a service for the usual 30 days.
///
/// # Errors
/// `BadEncoding` or `TooLarge` when the certificate is not one that was ever issued.
pub fn service(
    services: &SigningSeed,
    draft: &ServiceDraft<'_>,
    now: UnixTime,
) -> Result<ServiceAdvertisementSpec, Rejected> {
    let payload = ServicePayload {
        v: 1,
        clusterset: draft.id.to_string(),
        member: draft.service.member.to_string(),
        namespace: draft.service.namespace.to_string(),
        name: draft.service.name.to_string(),
        cert: draft.cert.decode(certificate::MAX_BYTES)?.digest(),
        sequence: draft.sequence,
        issued: now,
        expires: now.plus_seconds(service::LIFE_SECONDS),
        state: draft.state,
        exported: draft.exported.clone(),
    };
    Ok(ServiceAdvertisementSpec {
        member: payload.member.clone(),
        namespace: payload.namespace.clone(),
        name: payload.name.clone(),
        cert: draft.cert.clone(),
        enrolment: draft.enrolment.cloned(),
        signed: Signed::seal(services, Statement::Service, &json(&payload)),
        view: Some(view(&payload)),
    })
}

/// Returns what people are shown of a service.
#[must_use]
pub fn view(payload: &ServicePayload) -> ServiceAdvertisementView {
    let exported = &payload.exported;
    let port = |it: &service::ServicePort| format!("{}/{}", it.port, it.protocol.as_str());
    ServiceAdvertisementView {
        service_type: exported.service_type.as_str().to_owned(),
        state: payload.state.as_str().to_owned(),
        ports: exported.ports.iter().map(port).collect(),
        addresses: exported.addresses.iter().map(ToString::to_string).collect(),
        sequence: payload.sequence.cast_signed(),
        expires: rfc3339(payload.expires),
    }
}
