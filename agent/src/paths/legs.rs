//! Owns what a set of paths is to legs: those between a node and the gateways of its own member. Does
//! not own sockets or clocks.

use std::collections::BTreeMap;

use sealane_plan::health::LegHealth;
use sealane_plan::name::NodeName;
use sealane_plan::plan::LegTarget;
use sealane_probe::health::Interest;
use sealane_probe::path::{Path, PathConfig};
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::Observation;

use super::lanes::saturated;
use super::set::PathSet;

/// The legs of a node.
pub type Legs = PathSet<NodeName, LegTarget>;

impl Legs {
    /// Takes the legs of a new plan and the host it was made for; `draw` gives the seed of each leg
    /// that is new.
    pub fn follow_plan(
        &mut self,
        now: Time,
        targets: &BTreeMap<NodeName, LegTarget>,
        seen: &Observation,
        mut draw: impl FnMut() -> Seed,
    ) {
        let start = |_: &NodeName, target: &LegTarget| {
            let config = PathConfig {
                remote: target.destination,
                link_mtu: saturated(target.max_mtu),
                interest: Interest::Carrying,
                seed: draw(),
            };
            Path::leg(now, config)
        };
        let adjust = |target: &LegTarget, path: &mut Path| {
            path.set_link_mtu(now, saturated(target.max_mtu));
        };
        self.follow(targets, seen, start, adjust);
    }

    /// Returns what is known, as facts.
    pub fn health(&self) -> BTreeMap<NodeName, LegHealth> {
        self.iter().map(|(node, leg)| (node.clone(), leg.health())).collect()
    }
}
