//! Owns which lane carries what: one ranking per member. Does not write it down for Linux.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnetwork::IpNetwork;
use sealane_state::wireguard::PublicKey;

use crate::digest;
use crate::health::{PathState, Session};
use crate::lanes::Lane;
use crate::name::MemberId;
use crate::prefix;
use crate::remote::GatewayState;
use crate::verdict::LaneRole;

/// A lane that carries is given up for a faster one only when it takes more than twice the time,
/// and this much longer: what is less comes and goes by itself.
const RTT_MARGIN: Duration = Duration::from_millis(5);

/// A lane that carries is given up for a better one when it loses this much more, of 1000.
const LOSS_MARGIN_PERMILLE: u16 = 50;

/// The lanes of one member, best first.
#[derive(Debug)]
pub struct Ranking<'l> {
    /// Whose.
    pub member: &'l MemberId,
    /// Never empty.
    pub lanes: Vec<&'l Lane<'l>>,
    /// Whether the first stands there because it carried before.
    pub kept: bool,
}

/// Ranks the lanes of each member.
///
/// Answering lanes come before those without a verdict, those before failing ones (of which those
/// whose tunnel has a session come first); then active
/// gateways before draining ones, then less loss, then shorter round trips. Ties fall by a hash of
/// both keys, so that the gateways of one member spread over those of another.
pub fn elect<'l>(
    lanes: &'l [Lane<'l>],
    choices: &BTreeMap<MemberId, PublicKey>,
) -> Vec<Ranking<'l>> {
    let groups = lanes.chunk_by(|a, b| a.claimant.id.member == b.claimant.id.member);
    groups.map(|group| rank(group, choices)).collect()
}

impl<'l> Ranking<'l> {
    /// Returns the lane that each prefix of the member leaves by; disjoint or nested, sorted.
    ///
    /// A prefix inside one that a better lane has is not listed: the better lane takes it.
    pub fn owners(&self) -> BTreeMap<IpNetwork, &'l Lane<'l>> {
        let mut owners: BTreeMap<IpNetwork, &Lane<'_>> = BTreeMap::new();
        for lane in &self.lanes {
            let new: Vec<IpNetwork> = lane
                .claimant
                .prefixes
                .iter()
                .copied()
                .filter(|prefix| !is_covered(&owners, *prefix))
                .collect();
            owners.extend(new.into_iter().map(|prefix| (prefix, *lane)));
        }
        owners
    }

    /// Returns why the lane at `place` carries, or why not; `carries` is whether it owns prefixes.
    pub fn role(&self, place: usize, carries: Carries) -> LaneRole {
        let lane = self.lanes[place];
        match (lane.health.state, carries, place) {
            (PathState::Down, Carries::Something, _) => match lane.health.session {
                Session::Heard => LaneRole::AgentSilent,
                Session::Live | Session::Gone => LaneRole::LastResort,
            },
            (PathState::Down, ..) => LaneRole::Failed,
            (_, Carries::Something, 0) if self.lanes.len() == 1 => LaneRole::Only,
            (_, Carries::Something, 0) if self.kept => LaneRole::Kept,
            (_, Carries::Something, 0) => LaneRole::Best,
            (_, Carries::Something, _) => LaneRole::Partial,
            _ if lane.claimant.gateway.state == GatewayState::Draining => LaneRole::Draining,
            _ => LaneRole::Standby,
        }
    }
}

/// Whether a lane owns prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// It does.
    Something,
    /// It does not.
    Nothing,
}

fn rank<'l>(group: &'l [Lane<'l>], choices: &BTreeMap<MemberId, PublicKey>) -> Ranking<'l> {
    let member = &group[0].claimant.id.member;
    let mut lanes: Vec<&Lane<'_>> = group.iter().collect();
    lanes.sort_by_cached_key(|lane| {
        let tie = digest::of("election", &[&lane.id.own.0, &lane.way.0]);
        (class(lane), lane.health.loss_permille / LOSS_MARGIN_PERMILLE, rtt(lane), tie)
    });
    let before = choices.get(member).and_then(|key| lanes.iter().find(|it| it.tunnel.key == *key));
    let before = before.map(|lane| (&lane.link, lane.way));
    // Of two keys on one way the newer one stands first.
    let place = lanes.iter().position(|lane| Some((&lane.link, lane.way)) == before);
    let kept = place.filter(|place| is_good_enough(lanes[*place], lanes[0]));
    if let Some(place) = kept {
        lanes[..=place].rotate_right(1);
    }
    Ranking { member, lanes, kept: kept.is_some() }
}

/// A failing lane with a session is better than one without; of lanes that do not fail, the session
/// says nothing that probes have not said.
fn class(lane: &Lane<'_>) -> (PathState, Session, GatewayState) {
    let session = match lane.health.state {
        PathState::Down => lane.health.session,
        PathState::Up | PathState::Unknown => Session::Live,
    };
    (lane.health.state, session, lane.claimant.gateway.state)
}

fn rtt(lane: &Lane<'_>) -> Duration {
    lane.health.rtt.unwrap_or(Duration::MAX)
}

fn is_good_enough(lane: &Lane<'_>, best: &Lane<'_>) -> bool {
    let loss = best.health.loss_permille.saturating_add(LOSS_MARGIN_PERMILLE);
    let time = rtt(best).saturating_mul(2).saturating_add(RTT_MARGIN);
    class(lane) == class(best) && lane.health.loss_permille <= loss && rtt(lane) <= time
}

fn is_covered(owners: &BTreeMap<IpNetwork, &Lane<'_>>, prefix: IpNetwork) -> bool {
    owners.contains_key(&prefix) || owners.keys().any(|owned| prefix::covers(*owned, prefix))
}
