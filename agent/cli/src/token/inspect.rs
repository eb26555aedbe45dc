//! Owns `sealane token inspect`: what a token says, its secrets left out.

use std::path::PathBuf;

use clap::Args;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use serde::Serialize;

use super::secret_file;
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::show::form::FormArgs;
use crate::show::palette::Palette;
use crate::show::table::Table;
use zeroize::Zeroizing;

/// `sealane token inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealane token inspect --token-file cluster-a.token")]
pub struct InspectArgs {
    /// File with the token, - for standard input.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    form: FormArgs,
}

/// What a token says, without its secrets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenDocument {
    clusterset: String,
    member: String,
    /// Oldest version of the list that the member will believe.
    minimum_version: u64,
    minimum_link_index: u64,
    /// Fingerprint of the join key's public half; absent when the member is pinned beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    join_key: Option<String>,
    has_broker_credential: bool,
    /// When the broker stops to take the credential, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_expires_unix_seconds: Option<u64>,
    brokers: Vec<String>,
}

/// Reads a token's file and checks that it is whole.
pub fn load(path: &std::path::Path) -> Result<(Zeroizing<String>, Token), Failure> {
    let text = secret_file::read(path)?;
    match Token::decode(&text) {
        Ok(token) => Ok((text, token)),
        Err(error) => Err(Failure::new(Exit::BadInput, path.display(), error)),
    }
}

/// Shows a token.
pub fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    let (_, token) = load(&args.token_file)?;
    let document = TokenDocument {
        clusterset: token.clusterset().to_string(),
        member: token.member.to_string(),
        minimum_version: token.minimum.version,
        minimum_link_index: token.minimum.link_index,
        join_key: token.join.as_ref().map(|seed| seed.public().fingerprint()),
        has_broker_credential: !token.credential.is_empty(),
        credential_expires_unix_seconds: token.credential_expires.map(|at| at.0),
        brokers: token.brokers.iter().map(|broker| broker.url.clone()).collect(),
    };
    args.form.show(&document, table)?;
    Ok(Exit::Fine)
}

fn table(document: &TokenDocument, palette: Palette) -> String {
    let until = document.credential_expires_unix_seconds.map(|at| clock::date(UnixTime(at)));
    let credential = match (document.has_broker_credential, until) {
        (false, _) => "none".to_owned(),
        (true, None) => "in the token".to_owned(),
        (true, Some(until)) => format!("in the token, good until {until}"),
    };
    let join = document.join_key.as_ref().map_or_else(
        || "none: the member is pinned".to_owned(),
        |key| format!("{key}, good until the day that sealane member list shows"),
    );
    let mut table = Table::bare();
    table.row(["member".to_owned(), document.member.clone()]);
    table.row(["clusterset".to_owned(), document.clusterset.clone()]);
    table.row(["list".to_owned(), format!("version {} or newer", document.minimum_version)]);
    table.row(["join key".to_owned(), join]);
    for broker in &document.brokers {
        table.row(["broker".to_owned(), broker.clone()]);
    }
    table.row(["credential".to_owned(), credential]);
    table.render(palette)
}
