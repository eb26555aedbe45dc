//! Owns what a person has to see to before it breaks: tunnels of another version than ours, and a
//! broker credential that ends. Decides nothing by it.

use std::collections::{BTreeMap, BTreeSet};

use sealane_api::names::ClusterId;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_state::name::LinkName;
use sealane_view::status::{ProblemView, Severity};

use crate::report::problem;

/// The version of this agent, and of the programs that are installed with it.
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");
/// A credential that ends within this time is spoken of.
const CREDENTIAL_NOTICE_SECONDS: u64 = 14 * DAY_SECONDS;

/// Returns the versions of the tunnels that run; `None` when none says.
pub fn version(tunnels: &BTreeMap<LinkName, Option<String>>) -> Option<String> {
    let versions: BTreeSet<&str> = tunnels.values().flatten().map(String::as_str).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    (!versions.is_empty()).then(|| versions.join(", "))
}

/// Names the tunnels that an upgrade left running as they were.
pub fn tunnel_problems(tunnels: &BTreeMap<LinkName, Option<String>>) -> Vec<ProblemView> {
    let others = tunnels.iter().filter(|(_, version)| version.as_deref() != Some(OWN_VERSION));
    let outdated = others.map(|(link, version)| {
        let runs = match version {
            Some(version) => format!("the tunnel runs version {version}"),
            None => "the tunnel does not say its version".to_owned(),
        };
        let cause = format!("{runs}, the agent {OWN_VERSION}; it carries traffic all the same");
        let next = format!(
            "when a short gap in traffic may be: ip link delete {link}; a tunnel of the installed \
             version takes its place"
        );
        problem(Severity::Notice, "TunnelOfOtherVersion", link.as_str(), &cause, &next)
    });
    outdated.collect()
}

/// Says that the broker will not, or does not, take our credential any more.
pub fn credential_problem(
    member: &ClusterId,
    expires: Option<UnixTime>,
    now: UnixTime,
) -> Option<ProblemView> {
    let expires = expires?;
    let next = format!(
        "have a token made with sealane token renew --cluster {member}, and give it to \
         sealane join --token-file FILE here: identity and lanes stay"
    );
    let (severity, cause) = match expires.0.checked_sub(now.0) {
        None | Some(0) => (Severity::Part, "it has expired; lanes go on".to_owned()),
        Some(left) if left < CREDENTIAL_NOTICE_SECONDS => {
            let days = left / DAY_SECONDS;
            (Severity::Notice, format!("it expires within {} days", days + 1))
        }
        Some(_) => return None,
    };
    let thing = "the broker credential of this host";
    Some(problem(severity, "BrokerCredentialExpires", thing, &cause, &next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnels(version: Option<&str>) -> BTreeMap<LinkName, Option<String>> {
        let link = "sealane0".parse().unwrap();
        BTreeMap::from([(link, version.map(str::to_owned))])
    }

    #[test]
    fn a_tunnel_that_an_upgrade_left_running_is_told_with_both_versions() {
        assert_eq!(tunnel_problems(&tunnels(Some(OWN_VERSION))), []);
        let [problem] = tunnel_problems(&tunnels(Some("0.0.9"))).try_into().unwrap();
        assert_eq!(problem.severity, Severity::Notice);
        for part in ["0.0.9", OWN_VERSION] {
            assert!(problem.cause.contains(part), "{}", problem.cause);
        }
        assert!(problem.next.contains("ip link delete sealane0"), "{}", problem.next);
        let [silent] = tunnel_problems(&tunnels(None)).try_into().unwrap();
        assert!(silent.cause.contains("does not say"), "{}", silent.cause);
        assert_eq!(version(&tunnels(Some("0.0.9"))).as_deref(), Some("0.0.9"));
        assert_eq!(version(&tunnels(None)), None);
    }

    #[test]
    fn a_credential_is_spoken_of_two_weeks_before_its_end() {
        let member = ClusterId::parse("edge-1").unwrap();
        let end = UnixTime(1_800_000_000);
        let at = |before: u64| {
            credential_problem(&member, Some(end), UnixTime(end.0 - before))
                .map(|problem| (problem.severity, problem.cause))
        };
        assert_eq!(at(14 * DAY_SECONDS), None);
        let soon = (Severity::Notice, "it expires within 14 days".to_owned());
        assert_eq!(at(14 * DAY_SECONDS - 1), Some(soon));
        assert_eq!(at(1).unwrap().1, "it expires within 1 days");
        assert_eq!(at(0).unwrap().0, Severity::Part);
        assert_eq!(credential_problem(&member, None, end), None);
    }
}
