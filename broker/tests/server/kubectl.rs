//! `kubectl`, as an administrator uses it: the one that `$KUBECTL` names, else that of the PATH;
//! without one these fail. Debian has it in the package kubernetes-client, and Debian 12 has 1.20:
//! what that release lacks is asked for by the raw API.

use crate::support::*;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

/// The first releases with a command or an ability.
const CREATE_TOKEN: u32 = 24;
const EXPLAIN_FROM_OPENAPI_V3: u32 = 27;
const STRICT_ON_THE_SERVER: u32 = 25;
const WHOAMI: u32 = 28;

struct Kubectl {
    kubeconfig: PathBuf,
    home: tempfile::TempDir,
    /// The 20 of release 1.20.
    minor: u32,
}

impl Kubectl {
    async fn of(broker: &Broker) -> Self {
        let kubeconfig = broker.server.admin_kubeconfig().to_owned();
        let mut kubectl = Self { kubeconfig, home: tempfile::tempdir().unwrap(), minor: 0 };
        let version: Value =
            serde_json::from_str(&kubectl.ok("version --client -o json").await).unwrap();
        let minor = version["clientVersion"]["minor"].as_str().unwrap();
        kubectl.minor = minor.trim_end_matches('+').parse().unwrap();
        kubectl
    }

    fn command(&self, arguments: &str) -> Command {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments.split(' '));
        command.env("HOME", self.home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        command
    }

    /// Who the broker takes us for; `flags` come first.
    async fn whoami(&self, flags: &str) -> String {
        if self.minor >= WHOAMI {
            return self.ok(format!("{flags} auth whoami").trim()).await;
        }
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review = r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#;
        let arguments = format!("{flags} create --raw {path} -f -");
        self.run(arguments.trim(), review).await.unwrap()
    }

    async fn new_token(&self, account: &str) -> String {
        if self.minor >= CREATE_TOKEN {
            let token = self.ok(&format!("create token {account} --duration 24h")).await;
            return token.trim().to_owned();
        }
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token");
        let request = r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400}}"#;
        let answer = self.run(&format!("create --raw {path} -f -"), request).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Runs it off the async threads; standard output, or standard error when it fails.
    async fn run(&self, arguments: &str, input: &str) -> Result<String, String> {
        let mut child = self.command(arguments).spawn().expect("kubectl is not installed");
        let input = input.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let output = soon(arguments, output).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    async fn ok(&self, arguments: &str) -> String {
        self.run(arguments, "").await.unwrap_or_else(|error| panic!("{arguments}: {error}"))
    }
}

fn manifest(word: &str) -> String {
    serde_json::to_string(&advertisement("west", "gw", word)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_shows_describes_explains_and_deletes() {
    let broker = Broker::start().await;
    let kubectl = Kubectl::of(&broker).await;
    assert!(kubectl.ok("api-resources --api-group=sealane.dev").await.contains("slad"));
    let apply = |word: &'static str| kubectl_apply(&kubectl, word);
    assert!(apply("one").await.contains("created"));
    assert!(apply("one").await.contains("unchanged"));
    assert!(apply("two").await.contains("configured"));
    let server_side = kubectl.run("apply --server-side -f -", &manifest("three")).await.unwrap();
    assert!(server_side.contains("serverside-applied"), "{server_side}");

    let shown = kubectl.ok("get slad").await;
    let cells: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(&cells[0][..5], ["NAME", "MEMBER", "GATEWAY", "STATE", "NETWORKS"]);
    assert_eq!(&cells[1][..5], ["west.gw", "west", "gw", "active", "10.1.0.0/16,fd01::/48"]);
    assert!(kubectl.ok("get sealane -A").await.contains("advertisement.sealane.dev/west.gw"));
    assert!(kubectl.ok("get ns").await.contains("sealane-system"));
    assert!(kubectl.ok("describe advertisement west.gw").await.contains("three"));
    if kubectl.minor >= EXPLAIN_FROM_OPENAPI_V3 {
        assert!(kubectl.ok("explain advertisement.spec.cert").await.contains("signature"));
    }
    assert!(kubectl.ok("get slad west.gw -o jsonpath={.spec.member}").await == "west");
    assert!(kubectl.whoami("").await.contains("sealane:admin"));
    assert!(kubectl.ok("label slad west.gw site=lab").await.contains("labeled"));
    assert!(kubectl.ok("get slad -l site=lab -o name").await.contains("west.gw"));

    let typo = manifest("one").replace("\"gateway\":", "\"gatewya\":");
    let refused = kubectl.run("apply -f -", &typo).await.unwrap_err();
    // An older one does not ask for unknown fields to be refused; the missing one is all the same.
    let named = if kubectl.minor >= STRICT_ON_THE_SERVER { "spec.gatewya" } else { "spec.gateway" };
    assert!(refused.contains(named), "{refused}");

    assert!(kubectl.ok("delete slad west.gw").await.contains("deleted"));
    assert!(kubectl.run("get slad west.gw", "").await.unwrap_err().contains("NotFound"));
}

async fn kubectl_apply(kubectl: &Kubectl, word: &str) -> String {
    kubectl.run("apply -f -", &manifest(word)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_watches() {
    let broker = Broker::start().await;
    let kubectl = Kubectl::of(&broker).await;
    kubectl_apply(&kubectl, "one").await;
    let mut watching = kubectl.command("get slad --watch --output-watch-events").spawn().unwrap();
    let lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let header = soon("the header", told.recv()).await.unwrap();
    assert!(header.starts_with("EVENT") && header.contains("MEMBER"), "{header}");
    assert!(soon("the object", told.recv()).await.unwrap().starts_with("ADDED"));
    kubectl_apply(&kubectl, "two").await;
    assert!(soon("the change", told.recv()).await.unwrap().starts_with("MODIFIED"));
    kubectl.ok("delete slad west.gw").await;
    assert!(soon("the deletion", told.recv()).await.unwrap().starts_with("DELETED"));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_makes_the_credentials_of_a_member() {
    let broker = Broker::start().await;
    let kubectl = Kubectl::of(&broker).await;
    assert!(kubectl.ok("create serviceaccount member-west").await.contains("created"));
    let token = kubectl.new_token("member-west").await;
    let who = kubectl.whoami(&format!("--token {token}")).await;
    assert!(who.contains("system:serviceaccount:sealane-system:member-west"), "{who}");
    let may = kubectl.run(&format!("--token {token} auth can-i delete clustersets"), "").await;
    assert!(may.is_err());
    kubectl.ok(&format!("--token {token} auth can-i create advertisements")).await;
    assert!(kubectl.ok("get serviceaccounts").await.contains("member-west"));
}

/// Releases before 1.24 validate on their own side and read the schema in this form only.
#[tokio::test]
async fn an_old_kubectl_finds_no_schema_and_leaves_validation_to_the_broker() {
    let broker = Broker::start().await;
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let request = http::Request::get("/openapi/v2").header("accept", protobuf);
    let answer = broker.admin().await.request_text(request.body(Vec::new()).unwrap()).await;
    assert_eq!(answer.unwrap(), "");
}
