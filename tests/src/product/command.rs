//! Owns the command lines that people type, as text: the demo shows them, tests run them.

use ipnetwork::IpNetwork;

use crate::product::broker::Broker;

/// Where the administrator keeps the root key and the manifest.
pub const CLUSTERSET: &str = "/etc/sealane/clusterset";
/// Where the administrator keeps the access to the broker.
pub const KUBECONFIG: &str = "/etc/sealane/admin.kubeconfig";
/// Where a token is put on the host that joins.
pub const TOKEN: &str = "/etc/sealane/token";
/// Joins.
pub const JOIN: &str = "sealane join --token-file /etc/sealane/token";
/// Leaves.
pub const LEAVE: &str = "sealane leave";

/// Makes the clusterset.
pub fn init(broker: &Broker) -> String {
    format!(
        "sealane clusterset init --dir {CLUSTERSET} --no-passphrase --broker {},{}",
        broker.url, broker.spki
    )
}

/// Puts the list on the broker.
pub fn apply() -> String {
    format!("sealane clusterset apply --dir {CLUSTERSET} --kubeconfig {KUBECONFIG}")
}

/// Admits a member; where its token goes.
pub fn token(member: &str, networks: &[IpNetwork]) -> String {
    let cidrs: String = networks.iter().map(|network| format!(" --cidr {network}")).collect();
    format!(
        "sealane token create --dir {CLUSTERSET} --kubeconfig {KUBECONFIG} --cluster {member}{cidrs} --output {}",
        token_file(member)
    )
}

/// Where the administrator has a member's token.
pub fn token_file(member: &str) -> String {
    format!("/etc/sealane/{member}.token")
}

/// Takes a member off the list.
pub fn remove(member: &str) -> String {
    format!("sealane member remove --dir {CLUSTERSET} --kubeconfig {KUBECONFIG} --cluster {member}")
}
