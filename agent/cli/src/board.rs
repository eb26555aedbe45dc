//! Owns what an administrator does on a broker: applying the list, making members' accounts,
//! reading who enrolled. Signs nothing.

use std::path::PathBuf;

use clap::Args;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use sealane_api::advertisement::{self, AdvertisementPayload, State};
use sealane_api::certificate::{self, EnrolmentPayload};
use sealane_api::clusterset::ClusterSet;
use sealane_api::keys::VerifyKey;
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::{ClusterId, GatewayId};
use sealane_api::signed::Statement;
use sealane_broker::access::{self, Broker};
use sealane_broker::account::Credential;
use sealane_broker::board::{CLUSTER_SET_NAME, Kind};
use sealane_broker::mirror::root_cause;
use sealane_broker::{account, publish};
use serde::Deserialize as _;
use serde_json::Value;

use crate::clusterset::manifest::Manifest;
use crate::failure::{Exit, Failure};

/// How an administrator reaches the broker.
#[derive(Debug, Clone, Args)]
pub struct BoardArgs {
    /// Administrator's kubeconfig of the broker; without it no broker is contacted.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig.
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,
}

/// The broker as an administrator.
pub struct Board {
    broker: Broker,
}

impl BoardArgs {
    /// Returns the broker, if one was named. The objects' namespace is the one that the list
    /// gives its brokers; the kubeconfig's where the list leaves it open.
    pub async fn open(&self, list: &ClusterSet) -> Result<Option<Board>, Failure> {
        let Some(path) = &self.kubeconfig else { return Ok(None) };
        let mut broker =
            access::from_kubeconfig(path, self.context.as_deref()).await.map_err(|error| {
                Failure::new(Exit::BadInput, error, "").next("name a working kubeconfig")
            })?;
        let same_url = |url: &str| url.trim_end_matches('/') == broker.url;
        let mut listed = list.brokers.iter();
        let address = match list.brokers.as_slice() {
            [one] => Some(one),
            _ => listed.find(|address| same_url(&address.url)),
        };
        if let Some(address) = address {
            broker.namespace.clone_from(&address.namespace);
        }
        Ok(Some(Board { broker }))
    }
}

fn stale<T>(cause: String, next: &str) -> Result<T, Failure> {
    Err(Failure::new(Exit::BadInput, "clusterset.yaml", cause).next(next))
}

/// Returns the number of the first root link that two lists of one clusterset do not share, both having
/// one with that number.
fn fork(one: &Manifest, other: &Manifest) -> Option<usize> {
    let pairs = one.spec.links.iter().zip(&other.spec.links);
    pairs.into_iter().position(|(one, other)| one.payload != other.payload).map(|at| at + 1)
}

impl Board {
    /// Returns the broker's address, for people.
    pub fn url(&self) -> &str {
        &self.broker.url
    }

    /// Refuses to go on when the broker holds a newer list, another one of the same version, one under
    /// other root links, or one of another clusterset.
    pub async fn check_held(&self, list: &Manifest) -> Result<(), Failure> {
        let Some(held) = self.held(list).await? else { return Ok(()) };
        let (ours, theirs) = (list.list.position, held.list.position);
        if let Some(index) = fork(list, &held) {
            let cause = format!("the list on the broker stands under another root link {index}");
            let next = "find out whose it is: it may be theft. Once this one is sure to be right: sealane \
                        clusterset apply --replace-fork";
            return stale(cause, next);
        }
        if theirs > ours {
            let cause =
                format!("the broker has version {}, this is {}", theirs.version, ours.version);
            return stale(cause, "bring the newest clusterset.yaml here, then repeat the change");
        }
        if theirs == ours && held.spec.signed != list.spec.signed {
            let cause = format!("the broker has another version {}", ours.version);
            return stale(cause, "compare the two, then sign the next version of the right one");
        }
        Ok(())
    }

    /// Brings the list to the broker in place of one whose root links fork from its own.
    pub async fn replace_fork(&self, list: &Manifest) -> Result<(), Failure> {
        let is_forked = self.held(list).await?.is_some_and(|held| fork(list, &held).is_some());
        if !is_forked {
            return self.apply(list).await;
        }
        publish::replace_fork(&self.broker, &list.spec)
            .await
            .map_err(|error| away(error.to_string()))
    }

    /// Reads the list of the same clusterset that the broker holds; what does not verify there says
    /// nothing and is replaced.
    async fn held(&self, list: &Manifest) -> Result<Option<Manifest>, Failure> {
        let held = publish::read(&self.broker, Kind::ClusterSet, CLUSTER_SET_NAME)
            .await
            .map_err(|error| away(error.to_string()))?;
        let believed = held
            .and_then(|spec| ClusterSetSpec::deserialize(spec).ok())
            .and_then(|spec| Manifest::believe(spec).ok());
        match believed {
            Some(held) if held.list.id != list.list.id => {
                let cause = format!("namespace {} holds another clusterset", self.broker.namespace);
                stale(cause, "use another namespace or broker for this one")
            }
            believed => Ok(believed),
        }
    }

    /// Brings the list to the broker.
    pub async fn apply(&self, manifest: &Manifest) -> Result<(), Failure> {
        self.check_held(manifest).await?;
        let spec = serde_json::to_value(&manifest.spec).unwrap_or(Value::Null);
        publish::publish(&self.broker, Kind::ClusterSet, CLUSTER_SET_NAME, &spec)
            .await
            .map(drop)
            .map_err(|error| away(error.to_string()))
    }

    /// Makes the member's account and returns a bearer token for it.
    pub async fn credential(
        &self,
        member: &ClusterId,
        lifetime_seconds: u64,
    ) -> Result<Credential, Failure> {
        let seconds = i64::try_from(lifetime_seconds).unwrap_or(i64::MAX);
        account::issue(&self.broker, member.as_str(), seconds)
            .await
            .map_err(|error| away(error.to_string()))
    }

    /// Removes the member's account, and with it every credential that was given for it.
    pub async fn close_account(&self, member: &ClusterId) -> Result<(), Failure> {
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.broker.client.clone(), &self.broker.namespace);
        let name = account::account_of(member.as_str());
        match accounts.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                let cause = root_cause(&error);
                let cause = format!("account {name} on broker {}: {cause}", self.broker.url);
                Err(away(cause).next("delete the ServiceAccount, its credential still works"))
            }
            Ok(_) => Ok(()),
        }
    }

    /// Deletes what a member that was removed left there; nobody believes it, and everybody says so.
    pub async fn remove_words(&self, member: &ClusterId) -> Result<(), Failure> {
        let resource = Kind::Advertisement.resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.broker.client.clone(), &self.broker.namespace, &resource);
        let own = |name: &str| GatewayId::parse(name).is_ok_and(|id| id.member == *member);
        for name in self.names().await?.into_iter().filter(|name| own(name)) {
            match api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    let cause = format!("advertisement {name}: {}", root_cause(&error));
                    return Err(away(cause).next("delete it with kubectl; nobody believes it"));
                }
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Returns the identity keys that enrolled for a member under the join key on the list, but for
    /// those of hosts that left: their keys are destroyed.
    pub async fn enrolled(
        &self,
        list: &ClusterSet,
        member: &ClusterId,
    ) -> Result<Vec<VerifyKey>, Failure> {
        let Some(join) = list.members.get(member).and_then(|entry| entry.join.as_ref()) else {
            return Ok(Vec::new());
        };
        let mut found: Vec<VerifyKey> = self
            .advertisements()
            .await?
            .into_iter()
            .filter(|spec| !is_withdrawn(spec))
            .filter_map(|spec| enrolment(&spec, &join.key))
            .filter(|payload| {
                payload.member == member.as_str() && payload.clusterset == list.id.as_str()
            })
            .filter_map(|payload| VerifyKey::check(payload.identity).ok())
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    async fn advertisements(&self) -> Result<Vec<AdvertisementSpec>, Failure> {
        let objects = self.objects().await?.into_iter();
        let spec = |it: DynamicObject| AdvertisementSpec::deserialize(it.data.get("spec")?).ok();
        Ok(objects.filter_map(spec).collect())
    }

    async fn names(&self) -> Result<Vec<String>, Failure> {
        Ok(self.objects().await?.into_iter().filter_map(|it| it.metadata.name).collect())
    }

    async fn objects(&self) -> Result<Vec<DynamicObject>, Failure> {
        let resource = Kind::Advertisement.resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.broker.client.clone(), &self.broker.namespace, &resource);
        let mut params = ListParams::default().limit(500);
        let mut found = Vec::new();
        loop {
            let page = api.list(&params).await.map_err(|error| away(root_cause(&error)))?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

/// Returns what the join key signed, if it did.
fn enrolment(spec: &AdvertisementSpec, join: &VerifyKey) -> Option<EnrolmentPayload> {
    let bytes = spec.enrolment.as_ref()?.decode(certificate::MAX_BYTES).ok()?;
    bytes
        .is_signed_by(join, Statement::Enrolment)
        .then(|| EnrolmentPayload::parse(&bytes.payload).ok())?
}

/// Says whether a gateway took its word back; one that cannot be read did not.
fn is_withdrawn(spec: &AdvertisementSpec) -> bool {
    let payload = spec.signed.decode(advertisement::MAX_BYTES).ok();
    let payload = payload.and_then(|it| AdvertisementPayload::parse(&it.payload).ok());
    payload.is_some_and(|payload| payload.state == State::Withdrawn)
}

fn away(cause: String) -> Failure {
    Failure::new(Exit::NoBroker, cause, "")
        .next("check that it runs and that the kubeconfig is its administrator's")
}
