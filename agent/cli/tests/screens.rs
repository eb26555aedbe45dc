//! What people see: documents in, aligned text out, without a terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use sealane_api::time::UnixTime;
use sealane_cli::show::palette::Palette;
use sealane_cli::{peers, ping, routes, status, trace};
use serde::de::DeserializeOwned;

use support::documents;

const NOW: UnixTime = UnixTime(documents::NOW);

fn document<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[track_caller]
fn shows(drawn: &str, expected: &str) {
    let expected = expected.strip_prefix('\n').unwrap();
    assert!(drawn == expected, "drawn:\n{drawn}\nexpected:\n{expected}");
}

#[test]
fn a_good_status_is_who_we_are_and_one_line_a_member() {
    let status = document(documents::good_status());
    shows(
        &status::screen::draw(&status, NOW, Palette::Plain),
        "
member      cluster-a
node        node-1 (gateway, keeper)
networks    10.1.0.0/16,fd00:1::/48,10.96.0.0/16
clusterset  vag7au7f2nab36ps3l5tlnu3melurpqp version 4, expires in 300d
broker      https://broker.example.net:6464 connected for 1h1m
tunnel key  in use for 7d, replacing the one before: lanes are moving
revoked     old
wireguard   userspace
versions    linux 6.1.0, sealane-agent 0.1.0

MEMBER     STATE   FOR    VIA          GATEWAYS  RTT      LOSS  MTU   NETWORKS                 WHY
cluster-b  up      3m12s  cluster-b.b  2/2       0.41 ms  0.3%  1420  10.2.0.0/16,fd00:2::/48  -
edge-1     absent  -      -            0/0       -        -     -     (192.168.7.0/24)         it has not joined
",
    );
}

#[test]
fn a_bad_status_ends_with_every_reason_and_the_next_step() {
    let status = document(documents::bad_status());
    shows(
        &status::screen::draw(&status, NOW, Palette::Plain),
        "
member      cluster-a
node        node-1 (gateway)
clusterset  vag7au7f2nab36ps3l5tlnu3melurpqp version 4, expired, new members are refused: have it signed again
broker      https://broker.example.net:6464 away for 12s: connection refused; lanes go on

MEMBER     STATE  FOR  VIA  GATEWAYS  RTT  LOSS  MTU  NETWORKS     WHY
cluster-b  down   45s  -    0/1       -    -     -    10.2.0.0/16  no probe was answered

problem OverlapsHost: 10.2.0.0/16: it meets the address of eth0
  next: renumber eth0 or the member
notice OffloadMissing: sealane0: no UDP segmentation

refused BadSignature: Advertisement cluster-b.evil\\u{1b}[2J of cluster-b, for 1m
  the payload is not signed by the certified gateway key; do not trust this object

warning: the clock jumped by 3 h
",
    );
}

#[test]
fn a_host_that_has_not_joined_is_told_how() {
    let status = document(serde_json::json!({ "node": "node-1", "roles": ["node"] }));
    shows(
        &status::screen::draw(&status, NOW, Palette::Plain),
        "
member  none: join with sealane join --token-file FILE
node    node-1 (node)
",
    );
}

#[test]
fn lanes_and_legs_stand_in_two_tables() {
    shows(
        &peers::draw(&document(documents::peers()), NOW, Palette::Plain),
        "
PEER         STATE  FOR    CARRIES  LINK      ENDPOINT           HANDSHAKE  RTT      LOSS  MTU   RECEIVED  SENT     WHY
cluster-b.b  up     3m12s  yes      sealane0  192.0.2.7:51820    30s ago    0.41 ms  0%    1420  5.0 GiB   1.5 KiB  it answers and is preferred
edge-1.host  down   5m     no       sealane0  [2001:db8::1]:999  never      -        100%  -     0 B       148 B    no probe was answered

NODE    ROLE     STATE       UNDERLAY  RTT
node-2  gateway  up          10.0.0.2  0.25 ms
node-3  node     not probed  10.0.0.3  -
",
    );
    shows(
        &peers::draw(&document(serde_json::json!({})), NOW, Palette::Plain),
        "
no lanes and no legs; sealane status says why
",
    );
}

#[test]
fn every_route_says_where_packets_go_and_why() {
    shows(
        &routes::draw(&document(documents::routes()), Palette::Plain),
        "
DESTINATION  MEMBER     STATE        VIA          LINK      SOURCE    MTU   WHY
10.2.0.0/16  cluster-b  routed       cluster-b.b  sealane0  10.1.0.1  1420  its only gateway answers
fd00:2::/48  cluster-b  unreachable  -            -         -         -     no gateway answers over IPv6
10.3.0.0/24  edge-1     left out     -            -         -         -     it meets eth0

FAMILY  OWN SOURCE  WHY
ipv4    10.1.0.1    the first address of the pod network on sealane-vx
ipv6    -           this member has no IPv6 network
",
    );
}

#[test]
fn a_trace_lists_what_is_met_and_ends_with_the_verdict() {
    shows(
        &trace::draw(&document(documents::trace("fail")), Palette::Plain),
        "
10.1.0.5 -> 10.2.0.9
AT                STAGE   OUTCOME  WHAT                          DETAIL
cluster-a.node-1  rule    ok       rule 5186                     looks up table 5182
cluster-a.node-1  route   ok       10.2.0.0/16 dev sealane0      leaves by sealane0
cluster-a.node-1  tunnel  fail     cluster-b.b at 192.0.2.7:518  last handshake 400 s ago
the packet ends at cluster-a.node-1: the peer cluster-b.b does not answer
",
    );
}

#[test]
fn a_ping_shows_each_answer_and_the_sum() {
    shows(
        &ping::draw(&document(documents::ping(2)), Palette::Plain),
        "
cluster-b.b at fd00::7
seq=1 time=0.41 ms
seq=2 time=12.3 ms
seq=3 no answer
3 sent, 2 answered, 33.3% lost; min 0.41 ms, mean 6.35 ms, max 12.3 ms; path MTU 1420
",
    );
}

#[test]
fn colours_frame_words_and_change_no_column() {
    let status = document(documents::bad_status());
    let coloured = status::screen::draw(&status, NOW, Palette::Ansi);
    assert!(coloured.contains("\u{1b}[31m"), "nothing is red:\n{coloured}");
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    let trimmed: Vec<&str> = plain.lines().map(str::trim_end).collect();
    let expected = status::screen::draw(&status, NOW, Palette::Plain);
    assert_eq!(trimmed.join("\n"), expected.trim_end());
}

#[test]
fn wide_and_combining_characters_leave_columns_aligned() {
    let mut document = documents::routes();
    document["routes"][0]["reason"] = serde_json::json!("x");
    document["routes"][0]["member"] = serde_json::json!("集群");
    document["routes"][1]["member"] = serde_json::json!("e\u{301}");
    let drawn = routes::draw(&self::document(document), Palette::Plain);
    let lines: Vec<&str> = drawn.lines().collect();
    assert!(lines[1].starts_with("10.2.0.0/16  集群    routed       cluster-b.b"), "{drawn}");
    assert!(lines[2].starts_with("fd00:2::/48  e\u{301}       unreachable  -"), "{drawn}");
}
