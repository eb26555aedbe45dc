//! Owns who may do what. Does not own who the caller is (`account`) or whether a `ClusterSet` is
//! sound (`gate`).

use super::{
    account::Caller,
    failure::Failure,
    resource::{GROUP, Resource, Writers},
};
use serde_json::Value;

/// What a request wants to do, in RBAC's words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub(crate) verb: &'a str,
    pub(crate) resource: &'a Resource,
    /// `None` is all namespaces.
    pub(crate) namespace: Option<&'a str>,
    /// `None` when the request names no object (lists, and creates by body).
    pub(crate) name: Option<&'a str>,
}

/// Whether `caller` may try this at all; writes are checked again against the object.
pub(crate) fn authorize(caller: &Caller, attempt: Attempt<'_>) -> Result<(), Failure> {
    refusal(caller, attempt).map_or(Ok(()), |why| Err(forbidden(caller, attempt, why)))
}

/// Whether `caller` may store this object of a member-owned kind.
pub(crate) fn authorize_object(
    caller: &Caller,
    attempt: Attempt<'_>,
    object: &Value,
) -> Result<(), Failure> {
    if caller.is_admin() || attempt.resource.writers != Writers::OwningMember {
        return Ok(());
    }
    match (caller.member(), object["spec"]["member"].as_str()) {
        (Some(own), Some(named)) if own == named => Ok(()),
        _ => Err(forbidden(caller, attempt, "spec.member must be the caller's own member")),
    }
}

fn refusal(caller: &Caller, attempt: Attempt<'_>) -> Option<&'static str> {
    if caller.is_admin() {
        return None;
    }
    if attempt.resource.group != GROUP {
        return Some("only the administrator may");
    }
    if attempt.namespace.is_none() || attempt.namespace != caller.namespace() {
        return Some("an account may use its own namespace only");
    }
    match (attempt.verb, attempt.resource.writers) {
        ("get" | "list" | "watch", _) => None,
        ("create" | "update" | "patch", Writers::AnyoneWithProof) => None,
        ("create" | "update" | "patch" | "delete", Writers::OwningMember) => {
            let Some(member) = caller.member() else {
                return Some("the account is not named member-<ClusterId>, so it only reads");
            };
            let own =
                |name: &str| name.strip_prefix(member).is_some_and(|rest| rest.starts_with('.'));
            (!attempt.name.is_none_or(own))
                .then_some("a member writes only objects named <its own id>.*")
        }
        _ => Some("only the administrator may"),
    }
}

fn forbidden(caller: &Caller, attempt: Attempt<'_>, why: &str) -> Failure {
    let object = attempt.name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let place = match attempt.namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    Failure::forbidden(format!(
        "{}{object} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {place}: {why}",
        attempt.resource.qualified(),
        caller.username(),
        attempt.verb,
        attempt.resource.plural,
        attempt.resource.group,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{account::Subject, resource::RESOURCES};

    fn account(name: &str) -> Caller {
        let subject =
            Subject::Account { namespace: "ns".into(), name: name.into(), uid: "u".into() };
        Caller { subject, token_id: String::new() }
    }

    fn may(caller: &Caller, verb: &str, plural: &str, namespace: Option<&str>, name: &str) -> bool {
        let resource = RESOURCES.iter().find(|resource| resource.plural == plural).unwrap();
        let name = (!name.is_empty()).then_some(name);
        authorize(caller, Attempt { verb, resource, namespace, name }).is_ok()
    }

    #[test]
    fn a_member_writes_its_own_objects_and_no_others() {
        let west = account("member-west");
        let ns = Some("ns");
        for verb in ["create", "update", "patch", "delete"] {
            assert!(may(&west, verb, "advertisements", ns, "west.gw"), "{verb}");
            assert!(may(&west, verb, "serviceadvertisements", ns, "west.shop.cart"), "{verb}");
            for foreign in ["east.gw", "west", "westend.gw", "west-1.gw"] {
                assert!(!may(&west, verb, "advertisements", ns, foreign), "{verb} {foreign}");
                assert!(
                    !may(&west, verb, "serviceadvertisements", ns, foreign),
                    "{verb} {foreign}"
                );
            }
            assert!(!may(&west, verb, "advertisements", Some("other"), "west.gw"), "{verb}");
            assert!(!may(&account("west"), verb, "advertisements", ns, "west.gw"), "{verb}");
        }
        assert!(!may(&west, "deletecollection", "advertisements", ns, ""));
    }

    #[test]
    fn everyone_reads_our_kinds_in_their_own_namespace_only() {
        let west = account("member-west");
        for verb in ["get", "list", "watch"] {
            assert!(may(&west, verb, "advertisements", Some("ns"), ""));
            assert!(may(&account("reader"), verb, "clustersets", Some("ns"), "sealane"));
            assert!(!may(&west, verb, "advertisements", Some("other"), ""));
            assert!(!may(&west, verb, "advertisements", None, ""));
            assert!(!may(&west, verb, "serviceaccounts", Some("ns"), ""));
        }
    }

    #[test]
    fn a_cluster_set_may_be_brought_by_anyone_but_deleted_by_the_administrator_only() {
        let west = account("member-west");
        assert!(may(&west, "update", "clustersets", Some("ns"), "sealane"));
        assert!(!may(&west, "delete", "clustersets", Some("ns"), "sealane"));
        let admin = Caller { subject: Subject::Admin, token_id: String::new() };
        assert!(may(&admin, "delete", "clustersets", None, "sealane"));
    }
}
