//! Owns the administrator's kubeconfig: made at first start, made again when it or its token is
//! lost. Does not own the token's record (`store`).

use super::{
    account::{Subject, issue, token_id},
    failure::Failure,
    files,
    store::Store,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{io, path::Path};
use zeroize::Zeroizing;

/// What the file says about the broker.
pub(crate) struct Access<'a> {
    pub(crate) url: &'a str,
    pub(crate) ca_pem: &'a str,
    pub(crate) namespace: &'a str,
}

/// Makes sure that `path` holds a working kubeconfig. Deleting the file and starting again
/// replaces the administrator's token.
pub(crate) async fn ensure(store: &Store, path: &Path, access: &Access<'_>) -> io::Result<()> {
    let before = files::read_private(path)?;
    let token = match before.as_deref().and_then(|text| working_token(store, text)) {
        Some(token) => token,
        None => replace_admin_token(store).await.map_err(io::Error::other)?,
    };
    let text = render(access, &token);
    if before.as_deref() == Some(&text) {
        return Ok(());
    }
    files::write_private(path, text.as_bytes())
}

fn working_token(store: &Store, kubeconfig: &str) -> Option<Zeroizing<String>> {
    let token = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("token: "))?;
    let state = store.read();
    let record = state.tokens.get(token_id(token)?)?;
    (record.subject == Subject::Admin && record.matches(token))
        .then(|| Zeroizing::new(token.to_owned()))
}

async fn replace_admin_token(store: &Store) -> Result<Zeroizing<String>, Failure> {
    store
        .transact(|draft| {
            for old in draft.admin_tokens() {
                draft.remove_token(&old.id);
            }
            let (token, record) = issue(Subject::Admin, None);
            draft.put_token(record);
            Ok(token)
        })
        .await
}

fn render(access: &Access<'_>, token: &str) -> Zeroizing<String> {
    let Access { url, ca_pem, namespace } = access;
    let ca = STANDARD.encode(ca_pem);
    Zeroizing::new(format!(
        "apiVersion: v1
kind: Config
current-context: sealane-broker
clusters:
- name: sealane-broker
  cluster:
    server: {url}
    certificate-authority-data: {ca}
contexts:
- name: sealane-broker
  context:
    cluster: sealane-broker
    namespace: {namespace}
    user: admin
users:
- name: admin
  user:
    token: {token}
"
    ))
}
