//! Owns what goes into a token besides its join key, and where the token goes: the broker credential from
//! the broker or a file, the anchor from the list. Signs nothing.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use sealane_api::keys::{SigningSeed, VerifyKey};
use sealane_api::names::ClusterId;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use sealane_broker::account::Credential;
use zeroize::Zeroizing;

use super::secret_file::{self, SecretFile};
use crate::board::Board;
use crate::clock::Length;
use crate::clusterset::manifest::Manifest;
use crate::failure::{Exit, Failure};
use crate::show::form::print;

/// Where the broker credential in a token comes from.
#[derive(Debug, Clone, Args)]
pub struct CredentialArgs {
    /// Life of the broker credential in the token; the broker may shorten it.
    #[arg(
        id = "credential_valid_for",
        long = "credential-valid-for",
        value_name = "LENGTH",
        default_value = "365d"
    )]
    valid_for: Length,
    /// File with a broker credential made elsewhere, - for standard input.
    #[arg(
        id = "credential_file",
        long = "credential-file",
        value_name = "FILE",
        conflicts_with = "kubeconfig"
    )]
    pub file: Option<PathBuf>,
}

/// Where a token goes.
#[derive(Debug, Clone, Args)]
pub struct TokenFileArgs {
    /// Where the token goes: a new file (mode 0600), or - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    token_file: PathBuf,
}

/// A place for a token, checked to be free before the token is made.
pub struct TokenFile(Option<SecretFile>);

impl CredentialArgs {
    /// Returns the credential: a new one of the broker, else that of the file, else none.
    pub async fn obtain(
        &self,
        member: &ClusterId,
        board: Option<&Board>,
    ) -> Result<Credential, Failure> {
        if let Some(board) = board {
            return board.credential(member, self.valid_for.0).await;
        }
        let Some(path) = &self.file else {
            return Ok(Credential { token: Zeroizing::default(), expires: None });
        };
        let text = secret_file::read(path)?;
        let token = Zeroizing::new(text.trim().to_owned());
        let expires = expiry_in(&token);
        Ok(Credential { token, expires })
    }
}

impl TokenFileArgs {
    /// Checks that the token can go there.
    pub fn open(&self) -> Result<TokenFile, Failure> {
        match self.token_file.as_path() {
            path if path == Path::new("-") => Ok(TokenFile(None)),
            path => SecretFile::new_at(path).map(|file| TokenFile(Some(file))),
        }
    }
}

impl TokenFile {
    /// Writes the token.
    pub fn write(&self, token: &str) -> Result<(), Failure> {
        match &self.0 {
            Some(file) => file.write(token),
            None => print(&Zeroizing::new(format!("{token}\n"))),
        }
    }
}

/// Returns the text of a token for a member of the list.
pub fn token(
    manifest: &Manifest,
    (member, join, credential): (&ClusterId, Option<SigningSeed>, Credential),
) -> Result<Zeroizing<String>, Failure> {
    let key = |text: &str| {
        VerifyKey::parse(text).map_err(|error| {
            Failure::new(Exit::BadInput, "genesis of the list", error)
                .next("bring back the last good clusterset.yaml")
        })
    };
    let token = Token {
        root: key(&manifest.spec.genesis.root)?,
        recovery: key(&manifest.spec.genesis.recovery)?,
        minimum: manifest.list.position,
        member: member.clone(),
        join,
        brokers: manifest.list.brokers.clone(),
        credential: credential.token,
        credential_expires: credential.expires.map(UnixTime),
    };
    Ok(token.encode())
}

/// Reads when a ServiceAccount's token of an API server ends: it is a JWT (RFC 7519) with an `exp`.
/// Its signature is the broker's business; this is for people.
fn expiry_in(credential: &str) -> Option<u64> {
    let mut parts = credential.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    serde_json::from_slice::<serde_json::Value>(&claims).ok()?.get("exp")?.as_u64()
}
