//! Owns the last steps of a course: may the source leave, does the way out work, does the packet fit.

use sealane_state::facts::SeenHop;
use sealane_state::name::LinkName;
use sealane_view::trace::{Outcome, Stage};

use crate::course::{Chosen, Dropped, Exit, Walker};
use crate::lane;
use crate::leg;
use crate::packet::Entry;
use crate::size::{self, Fit, Limits, Sender};
use crate::snapshot::LinkUse;

impl Walker<'_> {
    /// The other end takes packets from our networks only.
    pub(super) fn check_source(&mut self, link: &LinkName) -> Result<(), Dropped> {
        let snapshot = self.snapshot;
        let to_member = snapshot.member_of(self.destination);
        let by_lane = snapshot.use_of(link) == LinkUse::Lane;
        let Some(source) = self.source.filter(|_| by_lane || to_member.is_some()) else {
            return Ok(());
        };
        let on_our_link = snapshot.host.addresses.iter().any(|it| it.net.ip() == source);
        if snapshot.is_ours(source) || on_our_link {
            return Ok(());
        }
        let detail = "lies in no network of this member: the other member drops it";
        self.fail(Stage::Source, format!("source {source}"), detail)
    }

    pub(super) fn leave(
        &mut self,
        chosen: &Chosen<'_>,
        hop: &SeenHop,
        link: &LinkName,
    ) -> Result<Exit, Dropped> {
        let facts = self.snapshot.facts.links.get(link);
        if facts.is_some_and(|facts| !facts.running) {
            return self.fail(Stage::Route, format!("link {link}"), "is down or has no carrier");
        }
        let link_mtu = facts.map(|facts| facts.mtu);
        let mtu = chosen.route.mtu.into_iter().chain(link_mtu).min();
        match self.snapshot.use_of(link) {
            LinkUse::Lane => {
                let lane = lane::outgoing(&self.snapshot, link, self.destination);
                let view = lane.peer.and_then(|key| self.snapshot.peer_view(key));
                let probed = view.and_then(|view| view.path_mtu_bytes);
                self.judged(Stage::Tunnel, &lane.what, lane.detail, lane.outcome)?;
                self.fit(link, Limits { mtu, probed }, &lane.what);
                lane.peer.map(|key| Exit::Lane(link.clone(), key)).ok_or(Dropped)
            }
            LinkUse::Leg => {
                let leg = leg::outgoing(&self.snapshot, link, hop.gateway);
                self.judged(Stage::Leg, &leg.what, leg.detail, leg.outcome)?;
                self.fit(link, Limits { mtu, probed: None }, &leg.what);
                leg.end.map(|end| Exit::Leg(link.clone(), end)).ok_or(Dropped)
            }
            LinkUse::Foreign => {
                self.fit(link, Limits { mtu, probed: None }, "");
                self.leave_us(hop, link)
            }
        }
    }

    fn leave_us(&mut self, hop: &SeenHop, link: &LinkName) -> Result<Exit, Dropped> {
        let (snapshot, destination) = (self.snapshot, self.destination);
        let what = format!("link {link}");
        if let Some(member) = snapshot.member_of(destination) {
            let detail = format!("leads past the lanes to {member}{}", self.why_not_ours());
            return self.fail(Stage::Delivery, what, &detail);
        }
        let foreign = if snapshot.is_ours(destination) {
            ""
        } else {
            ", which is in no network of this clusterset"
        };
        let (detail, outcome) = match hop.gateway {
            None => (format!("is the link of {destination}{foreign}"), Outcome::Ok),
            Some(router) => (
                format!(
                    "leads to router {router}, beyond which nobody is asked, for {destination}{foreign}"
                ),
                Outcome::Warn,
            ),
        };
        let outcome = if foreign.is_empty() { outcome } else { Outcome::Warn };
        self.step(Stage::Delivery, &what, detail, outcome);
        Ok(Exit::Link(link.clone(), hop.gateway))
    }

    fn fit(&mut self, link: &LinkName, limits: Limits, path: &str) {
        let sender = match self.packet.entry {
            Entry::Host => Sender::Host,
            _ => Sender::Other,
        };
        let in_link = self.size.is_none_or(|size| limits.mtu.is_none_or(|mtu| size <= mtu));
        let what = if in_link && limits.probed.is_some() {
            format!("path to {}", path.trim_start_matches("peer "))
        } else {
            format!("link {link}")
        };
        match size::fit(self.size, limits, self.packet.family(), sender) {
            Fit::Whole(detail) => self.step(Stage::Mtu, &what, detail, Outcome::Ok),
            Fit::TooLarge(detail) => {
                self.step(Stage::Mtu, &what, detail, Outcome::Warn);
                // What goes on is what the sender sends once it knows, or a piece.
                self.size = self.size.into_iter().chain(limits.mtu).chain(limits.probed).min();
            }
        }
    }
}
