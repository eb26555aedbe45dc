//! What people read: names, networks, keys and times in their one text, refusals and remarks as one line.

use crate::fixture::*;
use sealane_api::cidr::Cidr;
use sealane_api::reason::{Reason, Rejected, Warning};
use sealane_api::receiver::Verdict;
use sealane_api::time::UnixTime;
use serde_json::json;

#[test]
fn a_network_an_id_and_a_wireguard_key_are_shown_and_written_as_people_know_them() {
    let network = Cidr::parse("fd00:2::/32").unwrap();
    assert_eq!(json!(network), json!("fd00:2::/32"));
    assert_eq!(String::from(network), "fd00:2::/32");
    let id = "vag7au7f2nab36ps3l5tlnu3melurpqp";
    // What `wg` prints.
    let key = "ekbhKf2AUEdEhDfkdE8fFXa+jESf31fgxYDTbFz8Zmg=";
    let wireguard = tunnel_seed(0x11).public().wireguard();
    assert_eq!(wireguard.to_string(), key);
    assert_eq!(
        format!("{:?} {:?} {wireguard:?}", network, clusterset_id()),
        format!("fd00:2::/32 {id} {key}")
    );
}

#[test]
fn a_time_is_shown_by_the_calendar_as_far_as_that_goes() {
    let shown = |issued: UnixTime, expires: UnixTime| {
        let spec = next_list(|list| (list.issued, list.expires) = (issued, expires));
        assert!(matches!(Host::fresh().offer_list(&spec), Verdict::Accepted { .. }));
        spec.view.unwrap().expires
    };
    assert_eq!(shown(NOW, NOW.plus_seconds(86_400)), "2027-01-16T08:00:00Z");
    let last = UnixTime((1 << 53) - 1);
    assert_eq!(shown(last, last), "9007199254740991");
}

fn refused(verdict: &Verdict) -> &Rejected {
    let Verdict::Rejected(rejected) = verdict else { panic!("{verdict:?}") };
    rejected
}

#[test]
fn a_refusal_is_one_line_with_what_it_is_about_and_what_to_do() {
    let mut host = Host::settled();
    let outside = host.offer(&Ad::b_g1().sequence(8).pods(&["10.9.0.0/16"]));
    assert_eq!(
        refused(&outside).to_string(),
        "CidrNotGranted: an advertised network is outside the member's grant (10.9.0.0/16); \
         widen the grant, or advertise less"
    );
    let nothing_more = Rejected::from(Reason::PqRequired).to_string();
    assert_eq!(
        nothing_more,
        "PqRequired: the clusterset requires post-quantum keys and this tunnel has none; \
         upgrade sealane on that gateway"
    );
}

#[test]
fn a_refusal_tells_positions_and_what_was_expected() {
    let mut host = Host::settled();
    let older = host.offer(&Ad::b_g1().generation(99).sequence(107));
    assert_eq!(
        refused(&older).detail,
        "generation 99 sequence 107, expected above generation 100 sequence 7"
    );
    let other = host.offer(&Ad::b_g1().pods(&["10.2.0.0/24"]));
    assert_eq!(refused(&other).detail, "generation 100 sequence 7");
    let fraction = host.offer(&Ad::b_g1().edit(|payload| payload["sequence"] = json!(1.5)));
    let expected = "expected a JSON value without fractions or negative numbers";
    assert!(refused(&fraction).detail.contains(expected), "{fraction:?}");
}

#[test]
fn a_remark_is_one_line_that_begins_with_its_name() {
    let address = "10.3.0.9:51820".parse().unwrap();
    let why = "inside a member's networks";
    let network = Cidr::parse("10.2.0.0/20").unwrap();
    for (warning, line) in [
        (
            Warning::CandidateIgnored { address, why },
            "CandidateIgnored: 10.3.0.9:51820 is never tried: inside a member's networks",
        ),
        (
            Warning::OverlapsHost { network },
            "OverlapsHost: 10.2.0.0/20 meets a network or address of this host and is left out here",
        ),
        (
            Warning::ViewMismatch,
            "ViewMismatch: the readable view differs from what was signed; the signed part counts",
        ),
        (
            Warning::IdentityNotOurs,
            "IdentityNotOurs: the list pins another identity for this member; \
             compare sealane identity show",
        ),
    ] {
        assert_eq!(warning.to_string(), line);
    }
}
