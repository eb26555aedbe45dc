//! Owns sample documents of an agent, as they cross its socket.

use serde_json::{Value, json};

/// The time at which the documents are looked at, Unix seconds.
pub const NOW: u64 = 1_780_000_000;

pub fn good_status() -> Value {
    json!({
        "member": "cluster-a",
        "node": "node-1",
        "roles": ["gateway", "keeper"],
        "identity": {"fingerprint": "2qtf-ab4x", "pinned": false},
        "networks": {"pods": ["10.1.0.0/16", "fd00:1::/48"], "services": ["10.96.0.0/16"], "external": []},
        "clusterset": {"id": "vag7au7f2nab36ps3l5tlnu3melurpqp", "linkIndex": 0, "version": 4,
            "expiresUnixSeconds": NOW + 300 * 86_400, "state": "current"},
        "broker": {"url": "https://broker.example.net:6464", "connected": true, "sinceUnixSeconds": NOW - 3_660},
        "members": [
            {"member": "cluster-b", "state": "up", "gateways": 2, "liveGateways": 2, "via": "cluster-b.b",
             "networks": {"pods": ["10.2.0.0/16", "fd00:2::/48"]}, "rttMicroseconds": 412, "lossPermille": 3,
             "pathMtuBytes": 1420, "sinceUnixSeconds": NOW - 192, "reason": "all gateways answer"},
            {"member": "edge-1", "state": "absent", "gateways": 0, "liveGateways": 0, "networks": {},
             "granted": ["192.168.7.0/24"], "reason": "it has not joined"}
        ],
        "tunnelKey": {"publicKey": "AAAA", "sinceUnixSeconds": NOW - 7 * 86_400, "replacement": "moving"},
        "revokedGateways": [{"gateway": "old", "below": 7, "toldUntilUnixSeconds": NOW + 86_400}],
        "backend": "userspace",
        "versions": {"sealane-agent": "0.1.0", "linux": "6.1.0"}
    })
}

pub fn bad_status() -> Value {
    json!({
        "member": "cluster-a",
        "node": "node-1",
        "roles": ["gateway"],
        "clusterset": {"id": "vag7au7f2nab36ps3l5tlnu3melurpqp", "linkIndex": 0, "version": 4,
            "expiresUnixSeconds": NOW - 5, "state": "held"},
        "broker": {"url": "https://broker.example.net:6464", "connected": false,
            "sinceUnixSeconds": NOW - 12, "lastError": "connection refused"},
        "members": [
            {"member": "cluster-b", "state": "down", "gateways": 1, "liveGateways": 0,
             "networks": {"pods": ["10.2.0.0/16"]}, "sinceUnixSeconds": NOW - 45, "reason": "no probe was answered"}
        ],
        "rejections": [
            {"object": "cluster-b.evil\u{1b}[2J", "kind": "Advertisement", "member": "cluster-b",
             "reason": "BadSignature", "sinceUnixSeconds": NOW - 60,
             "explanation": "the payload is not signed by the certified gateway key; do not trust this object"}
        ],
        "warnings": ["the clock jumped by 3 h"],
        "problems": [
            {"severity": "part", "reason": "OverlapsHost", "thing": "10.2.0.0/16",
             "cause": "it meets the address of eth0", "next": "renumber eth0 or the member"},
            {"severity": "notice", "reason": "OffloadMissing", "thing": "sealane0",
             "cause": "no UDP segmentation", "next": ""}
        ]
    })
}

pub fn peers() -> Value {
    json!({
        "peers": [
            {"member": "cluster-b", "gateway": "b", "publicKey": "k1", "link": "sealane0", "state": "up",
             "sinceUnixSeconds": NOW - 192, "carries": true, "endpoint": "192.0.2.7:51820",
             "lastHandshakeUnixSeconds": NOW - 30, "receivedBytes": 5_368_709_120_u64, "sentBytes": 1_536,
             "rttMicroseconds": 412, "lossPermille": 0, "pathMtuBytes": 1420, "allowedIps": ["10.2.0.0/16"],
             "reason": "it answers and is preferred"},
            {"member": "edge-1", "gateway": "host", "publicKey": "k2", "link": "sealane0", "state": "down",
             "sinceUnixSeconds": NOW - 300, "carries": false, "endpoint": "[2001:db8::1]:999",
             "sentBytes": 148, "lossPermille": 1000, "allowedIps": [], "reason": "no probe was answered"}
        ],
        "legs": [
            {"node": "node-2", "gateway": true, "underlay": "10.0.0.2", "state": "up", "rttMicroseconds": 250},
            {"node": "node-3", "gateway": false, "underlay": "10.0.0.3", "state": "unknown"}
        ]
    })
}

pub fn routes() -> Value {
    json!({
        "routes": [
            {"destination": "10.2.0.0/16", "member": "cluster-b", "state": "routed", "via": ["cluster-b.b"],
             "link": "sealane0", "source": "10.1.0.1", "mtuBytes": 1420, "reason": "its only gateway answers"},
            {"destination": "fd00:2::/48", "member": "cluster-b", "state": "unreachable", "via": [],
             "reason": "no gateway answers over IPv6"},
            {"destination": "10.3.0.0/24", "member": "edge-1", "state": "leftOut", "via": [], "reason": "it meets eth0"}
        ],
        "sources": [
            {"family": "ipv4", "address": "10.1.0.1", "reason": "the first address of the pod network on sealane-vx"},
            {"family": "ipv6", "reason": "this member has no IPv6 network"}
        ]
    })
}

pub fn trace(outcome: &str) -> Value {
    let hop = |stage: &str, outcome: &str, what: &str, detail: &str| json!({"at": "cluster-a.node-1", "stage": stage, "what": what, "detail": detail, "outcome": outcome});
    json!({
        "source": "10.1.0.5",
        "destination": "10.2.0.9",
        "hops": [
            hop("rule", "ok", "rule 5186", "looks up table 5182"),
            hop("route", "ok", "10.2.0.0/16 dev sealane0", "leaves by sealane0"),
            hop("tunnel", outcome, "cluster-b.b at 192.0.2.7:518", "last handshake 400 s ago"),
        ],
        "outcome": outcome,
        "verdict": "the packet ends at cluster-a.node-1: the peer cluster-b.b does not answer"
    })
}

/// A series of three probes of which the first `received` were answered.
pub fn ping(received: usize) -> Value {
    let times = [412, 12_345, 20_000];
    let reply = |at: usize| {
        let mut reply = json!({ "sequence": at + 1 });
        if at < received {
            reply["rttMicroseconds"] = json!(times[at]);
        }
        reply
    };
    let mut document = json!({
        "member": "cluster-b", "gateway": "b", "address": "fd00::7",
        "replies": (0..3).map(reply).collect::<Vec<_>>(),
        "sent": 3, "received": received, "pathMtuBytes": 1420
    });
    if received == 2 {
        document["rttMinMicroseconds"] = json!(412);
        document["rttMeanMicroseconds"] = json!(6_350);
        document["rttMaxMicroseconds"] = json!(12_345);
    }
    document
}
