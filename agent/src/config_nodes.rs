//! Owns what the `[[nodes]]` of a file have to say together. Does not own single values.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use toml::Spanned;

use crate::config_file::FileNode;
use crate::config_value::{FileProblem, Place};

/// Checks nodes whose values are sound each; `pods` are those of the member.
///
/// # Errors
/// The first [`FileProblem`], in the order of the file.
pub(crate) fn check(
    at: &Place<'_>,
    nodes: &[FileNode],
    pods: &[IpNetwork],
) -> Result<(), FileProblem> {
    once(at, "nodes.name", nodes.iter().map(|node| (node, &node.name)))?;
    let addresses =
        nodes.iter().flat_map(|node| node.addresses.get_ref().iter().map(move |text| (node, text)));
    once(at, "nodes.addresses", addresses)?;
    let own_pods = nodes.iter().flat_map(|node| node.pods.iter().map(move |text| (node, text)));
    once(at, "nodes.pods", own_pods.clone())?;
    for (_, text) in own_pods {
        inside(at, text, pods)?;
    }
    one_gateway(at, nodes)
}

/// No two nodes say the same.
fn once<'a>(
    at: &Place<'_>,
    key: &str,
    all: impl Iterator<Item = (&'a FileNode, &'a Spanned<String>)>,
) -> Result<(), FileProblem> {
    let mut said: BTreeMap<&str, &FileNode> = BTreeMap::new();
    for (node, text) in all {
        if let Some(first) = said.insert(text.get_ref(), node) {
            let cause =
                format!("{:?} is that of node {:?} too", text.get_ref(), first.name.get_ref());
            return Err(at.problem(key, text, cause));
        }
    }
    Ok(())
}

fn inside(at: &Place<'_>, text: &Spanned<String>, pods: &[IpNetwork]) -> Result<(), FileProblem> {
    let net: Option<IpNetwork> = text.get_ref().parse().ok();
    let holds = |all: &IpNetwork| {
        net.is_some_and(|net| all.contains(net.ip()) && all.prefix() <= net.prefix())
    };
    if pods.iter().any(holds) {
        return Ok(());
    }
    let cause = format!("{} lies in none of the member's networks.pods", text.get_ref());
    Err(at.problem("nodes.pods", text, cause))
}

/// Every gateway of a member needs a certificate by the one identity key of the member, and a host
/// outside Kubernetes certifies no other.
fn one_gateway(at: &Place<'_>, nodes: &[FileNode]) -> Result<(), FileProblem> {
    match nodes.iter().filter(|node| node.gateway).nth(1) {
        Some(second) => {
            let cause = "a second gateway; a member whose nodes stand in this file has one";
            Err(at.problem("nodes.gateway", &second.name, cause.to_owned()))
        }
        None => Ok(()),
    }
}
