//! Owns the command lines that people type, as text: the demo shows them, tests run them.

use ipnetwork::IpNetwork;

/// Where the administrator keeps the root key and the manifest.
pub const CLUSTERSET: &str = "/etc/sealane/clusterset";
/// Where the recovery key is until it is taken off the machine.
pub const RECOVERY: &str = "/etc/sealane/recovery.key";
/// Where the administrator keeps the access to the broker.
pub const KUBECONFIG: &str = "/etc/sealane/admin.kubeconfig";
/// Where a token is put on the host that joins.
pub const TOKEN: &str = "/etc/sealane/token";
/// Joins.
pub const JOIN: &str = "sealane join --no-wait --token-file /etc/sealane/token";
/// Leaves.
pub const LEAVE: &str = "sealane leave";

/// Makes the clusterset on a broker, which is told by its address and its pin.
pub fn init(url: &str, spki: &str) -> String {
    format!(
        "sealane clusterset init --dir {CLUSTERSET} --no-passphrase \
         --recovery-file {RECOVERY} --broker {url},{spki}"
    )
}

/// Admits a member; where its token goes.
pub fn token(member: &str, networks: &[IpNetwork]) -> String {
    let cidrs: String = networks.iter().map(|network| format!(" --cidr {network}")).collect();
    format!(
        "sealane token create --dir {CLUSTERSET} --kubeconfig {KUBECONFIG} --cluster {member}{cidrs} --token-file {}",
        token_file(member)
    )
}

/// Admits a member that is on the list already, whose identity is gone.
pub fn token_again(member: &str) -> String {
    format!(
        "sealane token create --dir {CLUSTERSET} --kubeconfig {KUBECONFIG} --cluster {member} --rekey --token-file {}",
        again(member)
    )
}

/// Where the administrator has a member's second token.
pub fn again(member: &str) -> String {
    format!("/etc/sealane/{member}-again.token")
}

/// Where the administrator has a member's token.
pub fn token_file(member: &str) -> String {
    format!("/etc/sealane/{member}.token")
}

/// Takes a member off the list.
pub fn remove(member: &str) -> String {
    format!("sealane member remove --dir {CLUSTERSET} --kubeconfig {KUBECONFIG} --cluster {member}")
}
