//! Owns the loop's part in replacing keys: what is seen of the host and the broker decides when the next
//! step is due, and a person may ask for the first. Owns neither keys nor steps.

use std::time::Instant;

use sealane_view::gateway::RotationDocument;
use sealane_view::membership::NextIdentityDocument;

use crate::admin::{Answer, Fault, Refusal};
use crate::advertise::Author;
use crate::answers;
use crate::report;
use crate::rotation::{Moment, Standing};
use crate::run::Agent;
use crate::session::Session;
use crate::upkeep;

impl Agent {
    /// Begins to replace the keys of this gateway, because a person wants it.
    pub fn rotate(&mut self) -> Answer {
        let now = self.moment();
        let refuse = |fault, cause: String, next: &str| {
            Refusal::new(fault, "the tunnel key is not being replaced", cause, next)
        };
        let next = "free the disk and try again";
        if self.departure.is_some() {
            let cause = "this host is leaving".to_owned();
            return Err(refuse(Fault::State, cause, "wait for it"));
        }
        if let Some(cause) = self.rotation_obstacle() {
            let next =
                "see sealane status; end outdated tunnels when a short gap in traffic may be";
            return Err(refuse(Fault::State, cause, next));
        }
        let parts = self
            .session
            .as_mut()
            .and_then(|session| Some((session.keys.as_mut()?, session.rotation.as_mut()?)));
        let Some((keys, rotation)) = parts else {
            let cause = "this host is no gateway, or has not joined".to_owned();
            return Err(refuse(Fault::State, cause, "ask a host with the role gateway"));
        };
        if rotation.step().is_some() {
            let cause = "a replacement is under way already".to_owned();
            return Err(refuse(Fault::State, cause, "sealane status shows how far it is"));
        }
        keys.replace_gateway(&self.store)
            .map_err(|error| refuse(Fault::State, error.to_string(), next))?;
        rotation.begin(keys, now).map_err(|error| refuse(Fault::State, error.to_string(), next))?;
        self.mark_stale();
        self.speak();
        let Some(session) = &self.session else { return answers::document(&()) };
        answers::document(&RotationDocument {
            member: session.own.member.to_string(),
            gateway: session.own.gateway.to_string(),
            tunnel_key: report::tunnel_key(session),
        })
    }

    /// Makes the next identity key of our member, because a person wants it.
    pub fn rotate_identity(&mut self) -> Answer {
        let refuse = |cause: String, next: &str| {
            Refusal::new(Fault::State, "no identity key was made", cause, next)
        };
        let session = self.session.as_mut().filter(|_| self.departure.is_none());
        let parts = session.and_then(|it| Some((it.own.member.clone(), it.keys.as_mut()?)));
        let Some((member, keys)) = parts else {
            let cause = "this host does not hold its member's identity key".to_owned();
            return Err(refuse(cause, "ask the host with the role keeper in sealane status"));
        };
        let next = keys
            .make_next_identity(&self.store)
            .map_err(|error| refuse(error.to_string(), "free the disk and try again"))?;
        answers::document(&NextIdentityDocument {
            member: member.to_string(),
            next_identity: next.to_string(),
            next_fingerprint: next.fingerprint(),
        })
    }

    /// Has the next identity key take over as soon as root lists it.
    pub(super) fn follow_listed_identity(&mut self) {
        let Some(session) = self.session.as_mut().filter(|it| it.trust.is_saved()) else { return };
        let entry = session.trust.receiver().clusterset();
        let entry = entry.and_then(|list| list.members.get(&session.own.member));
        let (Some(keys), Some(entry)) = (&mut session.keys, entry) else { return };
        let Some(next) = keys.next_identity_public().filter(|next| entry.keys.contains(next))
        else {
            return;
        };
        match keys.take_next_identity(&self.store) {
            Ok(()) => {
                tracing::info!(fingerprint = next.fingerprint(), "the next identity key is in use");
                self.mark_stale();
            }
            Err(error) => tracing::warn!(%error, "the next identity key is not in use yet"),
        }
    }

    /// Takes the next step of a replacement, or begins one by itself, when it is time.
    pub(super) fn rotate_on(&mut self) {
        let now = self.moment();
        if self.departure.is_some() {
            return;
        }
        let standing = self.rotation_standing();
        let may_begin = self.rotation_obstacle().is_none() && self.unsaid.is_none();
        let Some(session) = &mut self.session else { return };
        let (Some(keys), Some(rotation)) = (&mut session.keys, &mut session.rotation) else {
            return;
        };
        let moved = if rotation.is_due(now.wall) && may_begin {
            rotation.begin(keys, now).map(|()| true)
        } else {
            rotation.advance(keys, standing, now)
        };
        match moved {
            Ok(false) => {}
            Ok(true) => {
                session.ring.lend_tunnel(keys);
                self.mark_stale();
            }
            Err(error) => tracing::warn!(%error, "tunnel key not replaced yet"),
        }
    }

    /// Says why no replacement can begin: tunnels of other versions may not know how.
    fn rotation_obstacle(&self) -> Option<String> {
        let tunnels = &self.seen.as_ref()?.facts.tunnels;
        let other = tunnels.iter().find(|(_, it)| it.as_deref() != Some(upkeep::OWN_VERSION))?;
        Some(format!("the tunnel behind {} is of another version than the agent", other.0))
    }

    fn moment(&self) -> Moment {
        Moment { wall: self.now(), uptime: Instant::now() }
    }

    fn rotation_standing(&self) -> Standing {
        let key = self.session.as_ref().and_then(|it| Some(it.keys.as_ref()?.wireguard()));
        let devices = self.seen.iter().flat_map(|seen| seen.ours.devices.values());
        let peers = self.seen.iter().flat_map(|seen| seen.facts.peers.values());
        Standing {
            told: self.unsigned.is_none() && self.session.as_ref().is_some_and(is_told),
            taken_up: devices.map(|device| Some(device.key)).all(|it| it == key),
            lagging: peers.flat_map(|peers| peers.values()).filter(|peer| peer.lags).count(),
        }
    }
}

/// Says whether a broker has taken what was signed last; one that took what came before says nothing of
/// the keys in it.
fn is_told(session: &Session) -> bool {
    let spoken = session.author.as_ref().and_then(Author::spoken);
    let taken = session.line.state.taken_signature.as_ref();
    spoken.is_some_and(|spec| taken == Some(&spec.signed.signature))
}
