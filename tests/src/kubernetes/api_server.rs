//! Owns how kube-apiserver and etcd are called: their files and command lines. Starts nothing.

use std::net::IpAddr;

use rcgen::KeyPair;

/// The administrator's bearer token; the server lives in a test and listens nowhere else.
pub const ADMIN_TOKEN: &str = "administrator-of-the-test";

/// Where a server lives.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its folder, absolute.
    pub folder: String,
    /// Where it listens.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Those of its etcd, on 127.0.0.1: for clients, for peers.
    pub etcd: [u16; 2],
}

impl Seat {
    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("https://{}", std::net::SocketAddr::new(self.address, self.port))
    }

    /// Where etcd's clients reach it.
    pub fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd[0])
    }

    /// The certificate that it makes for itself, and its authority's.
    pub fn certificate(&self) -> String {
        format!("{}/certificates/apiserver.crt", self.folder)
    }

    /// What has to be there before it starts: name below the folder, contents.
    ///
    /// # Errors
    /// No key can be made.
    pub fn files(&self) -> Result<[(&'static str, String); 3], rcgen::Error> {
        let key = KeyPair::generate()?;
        let tokens = format!("{ADMIN_TOKEN},admin,admin,system:masters\n");
        Ok([
            ("accounts.key", key.serialize_pem()),
            ("accounts.pub", key.public_key_pem()),
            ("tokens.csv", tokens),
        ])
    }

    /// Arguments of etcd.
    pub fn etcd_arguments(&self) -> Vec<String> {
        let (clients, peers) = (self.etcd_url(), format!("http://127.0.0.1:{}", self.etcd[1]));
        words(&[
            ("--data-dir", &format!("{}/etcd", self.folder)),
            ("--listen-client-urls", &clients),
            ("--advertise-client-urls", &clients),
            ("--listen-peer-urls", &peers),
            ("--initial-advertise-peer-urls", &peers),
            ("--initial-cluster", &format!("default={peers}")),
            ("--log-level", "warn"),
            ("--unsafe-no-fsync", "true"),
        ])
    }

    /// Arguments of kube-apiserver. It makes its own certificate.
    pub fn arguments(&self) -> Vec<String> {
        let Self { folder, address, port, .. } = self;
        let [key, public] = ["key", "pub"].map(|half| format!("{folder}/accounts.{half}"));
        // Nobody looks for the server by the Service that would lead there; loopback is refused.
        let advertised =
            if address.is_loopback() { "192.0.2.1".into() } else { address.to_string() };
        words(&[
            ("--etcd-servers", &self.etcd_url()),
            ("--bind-address", &address.to_string()),
            ("--secure-port", &port.to_string()),
            ("--advertise-address", &advertised),
            ("--endpoint-reconciler-type", "none"),
            ("--service-cluster-ip-range", "10.96.0.0/16"),
            ("--cert-dir", &format!("{folder}/certificates")),
            ("--service-account-key-file", &public),
            ("--service-account-signing-key-file", &key),
            ("--service-account-issuer", "https://kubernetes.default.svc"),
            ("--token-auth-file", &format!("{folder}/tokens.csv")),
            ("--authorization-mode", "RBAC"),
            // On in most releases, off in some.
            ("--feature-gates", "WatchList=true"),
        ])
    }

    /// The administrator's kubeconfig, given the certificates' text in base64.
    pub fn kubeconfig(&self, authority: &str, namespace: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: admin\n\
             clusters:\n- name: here\n  cluster:\n    server: {}\n    certificate-authority-data: {authority}\n\
             users:\n- name: admin\n  user:\n    token: {ADMIN_TOKEN}\n\
             contexts:\n- name: admin\n  context: {{cluster: here, user: admin, namespace: {namespace}}}\n",
            self.url()
        )
    }
}

fn words(flags: &[(&str, &str)]) -> Vec<String> {
    flags.iter().map(|(name, value)| format!("{name}={value}")).collect()
}
