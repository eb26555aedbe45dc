//! Owns what a person has the keeper do about gateways of the own member: revoke one, or allow it again.

use sealane_api::names::GatewayName;
use sealane_view::gateway::{GatewayRequest, RevocationDocument, RevokedView};

use crate::admin::{Answer, Fault, Refusal};
use crate::advertise::{Author, AuthorError};
use crate::answers;
use crate::run::Agent;

impl Agent {
    /// Revokes all certificates that a gateway of our member has up to now, and tells everybody.
    pub fn revoke(&mut self, request: &GatewayRequest) -> Answer {
        let now = self.now();
        self.change_names(request, "nothing was revoked", |author, name| {
            author.revoke(name, now).map(|_| true)
        })
    }

    /// Lets certificates of a gateway be made again.
    pub fn allow(&mut self, request: &GatewayRequest) -> Answer {
        self.change_names(request, "nothing was allowed", |author, name| Ok(author.allow(name)?))
    }

    fn change_names(
        &mut self,
        request: &GatewayRequest,
        nothing: &str,
        change: impl FnOnce(&mut Author, &GatewayName) -> Result<bool, AuthorError>,
    ) -> Answer {
        let refuse = |fault, cause: String, next: &str| Refusal::new(fault, nothing, cause, next);
        if self.departure.is_some() {
            let cause = "this host is leaving".to_owned();
            return Err(refuse(Fault::State, cause, "wait for it"));
        }
        let Some((session, author)) =
            self.session.as_mut().and_then(|it| Some((it.own.member.clone(), it.author.as_mut()?)))
        else {
            let cause = "this host does not hold its member's identity key".to_owned();
            let next = "ask the host with the role keeper in sealane status";
            return Err(refuse(Fault::State, cause, next));
        };
        let name = GatewayName::parse(&request.gateway).map_err(|error| {
            let next =
                "name the gateway as `sealane peers` of another member does, its member left out";
            refuse(Fault::Request, error.to_string(), next)
        })?;
        let changed = change(author, &name).map_err(|error| match error {
            AuthorError::NameInUse { .. } | AuthorError::TooManyRevoked => {
                refuse(Fault::Request, error.to_string(), "see `sealane gateway revoke --help`")
            }
            _ => refuse(Fault::State, error.to_string(), "free the disk and try again"),
        })?;
        let document = RevocationDocument {
            member: session.to_string(),
            gateway: name.to_string(),
            changed,
            revoked: revoked(author),
        };
        self.speak();
        answers::document(&document)
    }
}

/// Returns the revoked gateways as documents show them.
pub fn revoked(author: &Author) -> Vec<RevokedView> {
    let view = |(name, it): (&GatewayName, &crate::advertise::bygone::Revoked)| RevokedView {
        gateway: name.to_string(),
        below: it.below,
        told_until_unix_seconds: it.told_until().0,
    };
    author.revoked().iter().map(view).collect()
}
