//! Owns what goes wrong towards a broker, in words for people: short, without control characters, and
//! without those of the client library. Decides nothing.

use std::error::Error;
use std::{fmt, io};

/// Longest text of a cause: parts of it may be the broker's words.
const CHARACTERS: usize = 300;

/// Why a broker is of no use at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It cannot be reached, is out of order or refuses this one thing. Trying again may help.
    Away(String),
    /// It answers, and does not know the credential: expired, replaced, or its account removed.
    /// Another credential is needed.
    CredentialRefused,
}

impl Trouble {
    /// Returns what an error of the client means.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::told(status.code, &status.message),
            kube::Error::Service(cause) => Self::Away(deepest(cause.as_ref())),
            kube::Error::HyperError(cause) => Self::Away(deepest(cause)),
            other => Self::Away(clean(&chain(other))),
        }
    }

    /// Returns what a broker's own refusal means; `code` is an HTTP status, 0 where it named none.
    pub fn told(code: u16, message: &str) -> Self {
        match (code, message) {
            (401, _) => Self::CredentialRefused,
            (0, message) => Self::Away(clean(message)),
            (code, "") => Self::Away(format!("it answers with status {code}")),
            (code, message) => Self::Away(format!("{} ({code})", clean(message))),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(cause) => f.write_str(cause),
            Self::CredentialRefused => {
                f.write_str("it does not take the credential: expired, replaced or removed (401)")
            }
        }
    }
}

/// Returns the last link of a chain: those above it only say that a request was under way.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    loop {
        let timed_out = last.downcast_ref::<io::Error>().map(io::Error::kind);
        if timed_out == Some(io::ErrorKind::TimedOut) {
            return "no connection in time".to_owned();
        }
        match last.source() {
            Some(cause) => last = cause,
            None => return clean(&last.to_string()),
        }
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let line = cause.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = cause.source();
    }
    text
}

fn clean(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Connect(#[source] io::Error);

    fn service(error: io::Error) -> String {
        Trouble::of(&kube::Error::Service(Box::new(Connect(error)))).to_string()
    }

    #[test]
    fn a_closed_port_is_told_as_the_system_tells_it() {
        let told = service(io::Error::from_raw_os_error(111));
        assert_eq!(told, "Connection refused (os error 111)");
    }

    #[test]
    fn a_silent_address_is_told_without_the_words_of_a_timer() {
        let told = service(io::Error::new(io::ErrorKind::TimedOut, "deadline has elapsed"));
        assert_eq!(told, "no connection in time");
    }

    #[test]
    fn a_credential_that_is_not_taken_is_told_apart_from_a_broker_that_is_away() {
        assert_eq!(Trouble::told(401, "Unauthorized"), Trouble::CredentialRefused);
        let forbidden = Trouble::told(403, "forbidden:\u{1b} no role");
        assert_eq!(forbidden, Trouble::Away("forbidden: no role (403)".to_owned()));
        assert_eq!(Trouble::told(0, "no\nmore").to_string(), "nomore");
    }

    #[test]
    fn a_brokers_words_reach_people_short() {
        assert!(Trouble::told(500, &"x".repeat(10_000)).to_string().len() < 320);
    }
}
