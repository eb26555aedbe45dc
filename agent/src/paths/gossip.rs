//! Owns what gossip needs of paths: who is a peer and by which way, what their probes said, and having
//! our own probes say something else. Does not own what is told.

use std::net::IpAddr;
use std::sync::Arc;

use sealane_api::names::ClusterId;
use sealane_probe::datagram::{Datagram, Digest, HEADER_BYTES, Kind};

use super::Paths;
use crate::gossip::desk::{Desk, Peers};
use crate::probe_io::Way;

impl Paths {
    /// Returns what probes said since this was last asked, by who sent them.
    pub fn take_heard(&mut self) -> Vec<(IpAddr, Digest)> {
        std::mem::take(&mut self.heard)
    }

    /// Returns peers and agents on our legs; another allocation only when they changed.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.known
    }

    /// Returns the place where peers ask.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Returns the way to a peer or an agent on our legs.
    pub fn way_to(&self, peer: IpAddr) -> Option<Way> {
        let way = self.lanes.way_to(peer).or_else(|| self.legs.way_to(peer));
        way.cloned().or_else(|| self.way_on_leg().filter(|_| self.knows(peer)))
    }

    /// Returns the member that a peer is of; agents on our legs are of our `own`.
    pub fn member_behind(&self, peer: IpAddr, own: &ClusterId) -> Option<ClusterId> {
        let member = self.known.get(&peer)?;
        Some(member.as_ref().unwrap_or(own).clone())
    }

    /// Has every probe say `digest` from now on.
    pub fn say(&mut self, digest: Digest) {
        self.digest = Some(digest);
    }

    /// Says to all at once what every probe says.
    pub fn announce(&self) {
        let request = Datagram {
            kind: Kind::Request,
            size: HEADER_BYTES,
            sequence: 0,
            // Nobody waits for the answer, and no path takes it for one of its own.
            nonce: rand::random(),
            sent: self.now(),
            digest: self.digest,
        };
        let bytes = request.encode();
        let ends = self.lanes.ends().chain(self.legs.ends());
        ends.for_each(|(way, to)| self.send(way, to, &bytes));
    }

    /// Has probes say nothing of a clusterset any more.
    pub fn fall_silent(&mut self) {
        self.digest = None;
        self.heard.clear();
        self.desk.show(std::sync::Arc::default());
    }

    pub(super) fn hear(&mut self, from: IpAddr, digest: Option<Digest>) {
        self.heard.extend(digest.map(|digest| (from, digest)));
    }
}
