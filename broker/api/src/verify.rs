//! The numbered steps of PROTOCOL.md 4, each a function of what is held and what is offered.
//! Nothing here changes what is held; `receiver` does, after every step agreed.

pub mod advertisement;
pub mod certificate;
mod spoken;
pub mod clusterset;
pub mod envelope;
pub mod identity;
pub mod judge;
pub mod service;
pub mod tunnels;

use crate::checks::Budget;
use crate::clusterset::ClusterSet;
use crate::held::Held;
use crate::keys::VerifyKey;
use crate::names::{ClusterId, GatewayId};
use crate::pace::Pace;
use crate::remote::LocalFacts;
use crate::time::UnixTime;
use std::collections::BTreeSet;

/// Where an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A broker: expiry and rates count.
    Broker,
    /// A peer, of this member, told it inside a lane: as from a broker, but the teller pays.
    Peer(&'a ClusterId),
    /// Accepted and persisted before: expiry is judged by hold, elsewhere.
    Disk,
}

/// What an advertisement is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Wall clock.
    pub now: UnixTime,
    /// The list in force.
    pub list: &'a ClusterSet,
    /// Everything remembered.
    pub held: &'a Held,
    /// What only this host knows.
    pub facts: &'a LocalFacts,
    /// What gateways said lately.
    pub pace: &'a Pace<GatewayId>,
    /// Join keys under which one batch offers two identities while none is held.
    pub contested: &'a BTreeSet<VerifyKey>,
    /// Where the object comes from.
    pub source: Source<'a>,
}

impl<'a> Context<'a> {
    /// Says whether an object is of this host's own member, whose enrolment is no news here.
    #[must_use]
    pub fn is_own(&self, member: &ClusterId) -> bool {
        *member == self.facts.own.member
    }

    /// Says whether others offer the object: expiry, order and room count.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        self.source != Source::Disk
    }

    /// Returns whose budget pays for new signature checks of an object that claims to be of `member`.
    #[must_use]
    pub fn budget<'b>(&self, member: &'b ClusterId) -> Budget<'b>
    where
        'a: 'b,
    {
        match self.source {
            Source::Broker => Budget::Of(member, self.now),
            Source::Peer(teller) => Budget::ToldBy(teller, self.now),
            Source::Disk => Budget::OwnDisk,
        }
    }
}
