//! Why a listed member has no gateway, as its status says.

use std::collections::BTreeMap;

use sealane_agent::absence::Known;
use sealane_agent::refusals::Refusal;
use sealane_api::clusterset::ListPosition;
use sealane_api::held::{Held, HeldGateway, Position};
use sealane_api::names::{ClusterId, GatewayId};
use sealane_api::reason::Reason;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::board::Kind;
use sealane_view::status::{MemberState, MemberView, NetworksView};

use crate::fixture::{NOW, clusterset_id, list, seed};

fn absent(member: &str) -> MemberView {
    MemberView {
        member: member.to_owned(),
        state: MemberState::Absent,
        gateways: 0,
        live_gateways: 0,
        via: None,
        networks: NetworksView::default(),
        granted: Vec::new(),
        rtt_microseconds: None,
        loss_permille: None,
        path_mtu_bytes: None,
        since_unix_seconds: None,
        reason: "listed".to_owned(),
    }
}

fn gone(withdrawn: bool) -> HeldGateway {
    HeldGateway {
        position: Position { identity: seed(0xb0).public(), generation: 1, sequence: 1 },
        digest: [0; 32],
        accepted_at: UnixTime(NOW.0 - 20),
        until: UnixTime(NOW.0 + 1),
        spec: None,
        withdrawn,
    }
}

/// What is said of `me`, whom a token lets in, and of the pinned `b`, at `now`.
fn told(
    held: &Held,
    refusals: &BTreeMap<(Kind, String), Refusal>,
    now: UnixTime,
) -> [MemberView; 2] {
    let (set, mut members) = (list(NOW), [absent("me"), absent("b")]);
    Known { set: &set, held, refusals, now }.explain(&mut members);
    members
}

#[test]
fn who_never_joined_is_told_by_how_long_the_token_is_good() {
    let (held, none) = (Held::new(clusterset_id(), ListPosition::default()), BTreeMap::new());
    let [me, b] = told(&held, &none, UnixTime(NOW.0 + DAY_SECONDS));
    assert_eq!(me.reason, "it has not joined; its token is good for 6 more days");
    assert_eq!(me.since_unix_seconds, None);
    let granted: Vec<String> = me.granted.iter().map(ToString::to_string).collect();
    assert_eq!(granted, ["10.4.0.0/16", "fd00:4::/32"]);
    assert_eq!(b.reason, "it is pinned, and no gateway of it was seen yet");
    let [me, _] = told(&held, &none, UnixTime(NOW.0 + 8 * DAY_SECONDS));
    assert!(me.reason.contains("its token has expired"), "{}", me.reason);
}

#[test]
fn who_left_is_told_since_when_and_who_was_revoked_is_no_leaver() {
    let mut held = Held::new(clusterset_id(), ListPosition::default());
    let gateway = GatewayId::parse("b.g1").unwrap();
    held.gateways.insert(gateway.clone(), gone(true));
    let [_, b] = told(&held, &BTreeMap::new(), NOW);
    assert_eq!(b.reason, "it left, or its gateway became a node");
    assert_eq!(b.since_unix_seconds, Some(NOW.0 - 20));
    held.gateways.insert(gateway, gone(false));
    let [_, b] = told(&held, &BTreeMap::new(), NOW);
    assert!(b.reason.contains("revoked or has expired"), "{}", b.reason);
    held.gateways.clear();
    held.believed.insert(ClusterId::parse("b").unwrap());
    let [_, b] = told(&held, &BTreeMap::new(), NOW);
    assert_eq!(b.reason, "its last gateway is gone for long");
}

#[test]
fn who_is_refused_is_told_by_which_name() {
    let held = Held::new(clusterset_id(), ListPosition::default());
    let rejected = Reason::EnrolmentConflict.into();
    let refusal = Refusal { member: "me".to_owned(), rejected, since: UnixTime(NOW.0 - 5) };
    let refusals = BTreeMap::from([((Kind::Advertisement, "me.host".to_owned()), refusal)]);
    let [me, b] = told(&held, &refusals, NOW);
    assert_eq!(me.reason, "what it says is refused: EnrolmentConflict, see below");
    assert_eq!(me.since_unix_seconds, Some(NOW.0 - 5));
    assert!(b.reason.contains("pinned"), "{}", b.reason);
}
