//! Owns the flags that name brokers, and what an address must look like.

use clap::Args;
use sealane_api::clusterset::BrokerAddress;
use sealane_api::keys;
use sealane_broker::access;
use sealane_broker::pin::SpkiPin;

use crate::failure::{Exit, Failure};

/// Which brokers the list names.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// Broker that members use, best first; pins may follow after commas. Repeatable.
    #[arg(long = "broker", value_name = "URL[,PIN...]")]
    pub brokers: Vec<String>,
    /// Pin for every --broker that names none itself: SHA-256 of a SubjectPublicKeyInfo, base64url,
    /// as sealane-broker prints it. Repeatable.
    // One pin in 64 begins with a hyphen.
    #[arg(
        long = "broker-pin",
        value_name = "PIN",
        requires = "brokers",
        allow_hyphen_values = true
    )]
    pub pins: Vec<String>,
    /// Namespace of the clusterset on the brokers.
    #[arg(long, value_name = "NAME", default_value = sealane_api::clusterset::DEFAULT_NAMESPACE)]
    pub broker_namespace: String,
}

impl BrokerArgs {
    /// Returns the addresses, checked.
    pub fn addresses(&self) -> Result<Vec<BrokerAddress>, Failure> {
        self.brokers.iter().map(|text| self.address(text)).collect()
    }

    fn address(&self, text: &str) -> Result<BrokerAddress, Failure> {
        let mut parts = text.split(',').map(str::to_owned);
        let url = parts.next().unwrap_or_default();
        let own: Vec<String> = parts.collect();
        let spki = if own.is_empty() { self.pins.clone() } else { own };
        let pins = spki.iter().map(|pin| checked_pin(pin)).collect::<Result<_, _>>()?;
        access::BrokerAddress::parse(&url, &self.broker_namespace, pins).map_err(|error| {
            Failure::new(Exit::Usage, error, "").next("example: https://broker.example.net:6464")
        })?;
        Ok(BrokerAddress { url, namespace: self.broker_namespace.clone(), spki })
    }
}

fn checked_pin(text: &str) -> Result<SpkiPin, Failure> {
    keys::key_bytes(text).map(SpkiPin).map_err(|_| {
        let cause = "it is not 43 characters of base64url";
        Failure::new(Exit::Usage, format!("broker pin {text}"), cause)
            .next("copy it from the line pin that sealane-broker prints at its start")
    })
}
