//! Owns what deserves attention of what is believed, as sentences for people. Refuses nothing.

use std::collections::BTreeMap;

use sealane_api::names::GatewayId;
use sealane_api::reason::Warning;
use sealane_api::remote::RemoteGateway;
use sealane_broker::board::CLUSTER_SET_NAME;

/// Remarks that stand.
#[derive(Debug, Default)]
pub struct Remarks {
    list: Vec<String>,
    gateways: BTreeMap<GatewayId, Vec<String>>,
    is_clock_suspect: bool,
}

impl Remarks {
    /// Takes the remarks about the list that is in force now.
    pub fn on_list(&mut self, warnings: &[Warning]) {
        // Whether the pinned identity is ours is a problem that stands, and told as such.
        let remarks = warnings.iter().filter(|it| **it != Warning::IdentityNotOurs);
        self.list = remarks.map(ToString::to_string).collect();
    }

    /// Takes the remarks about all gateways from how they are seen now.
    pub fn on_gateways(&mut self, remotes: &[RemoteGateway]) {
        let texts =
            |remote: &RemoteGateway| remote.warnings.iter().map(Warning::to_string).collect();
        let odd = remotes.iter().filter(|remote| !remote.warnings.is_empty());
        self.gateways = odd.map(|remote| (remote.id.clone(), texts(remote))).collect();
    }

    /// Forgets a gateway that is not believed any more.
    pub fn remove(&mut self, gateway: &GatewayId) {
        self.gateways.remove(gateway);
    }

    /// Takes the verdict on this host's clock.
    pub fn on_clock(&mut self, is_suspect: bool) {
        self.is_clock_suspect = is_suspect;
    }

    /// Returns all of them as sentences, in no order.
    pub fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        let list = self.list.iter().map(|remark| format!("{CLUSTER_SET_NAME}: {remark}"));
        let gateways = self.gateways.iter().flat_map(|(gateway, remarks)| {
            remarks.iter().map(move |remark| format!("{gateway}: {remark}"))
        });
        let clock = self.is_clock_suspect.then(|| {
            "ClockSuspect: everything held looks expired at once; check this host's clock"
                .to_owned()
        });
        list.chain(gateways).chain(clock)
    }
}
