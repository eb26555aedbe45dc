//! Owns create, update, patch and delete as operations on a draft: every check that depends on
//! what is stored. Does not own parsing requests or committing.

use super::{
    access::{Attempt, authorize, authorize_object},
    account::Caller,
    draft::Draft,
    failure::{Cause, Failure},
    gate::{Admission, ClusterSetGate, News, Offer, Refusal},
    limit::Limits,
    object::{Key, Object, addressed, born, faults, succeeds},
    patch::Change,
    resource::{Resource, Writers},
    store::Anchor,
};
use sealane_api::kinds::ACCEPT_LINK;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// What every write needs to know about its request.
#[derive(Clone)]
pub(crate) struct Writing {
    pub(crate) caller: Arc<Caller>,
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: String,
    pub(crate) options: WriteOptions,
    pub(crate) gate: Arc<dyn ClusterSetGate>,
    pub(crate) limits: Arc<Limits>,
}

/// Query parameters of a write.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) unknown_fields: UnknownFields,
}

/// What to do with fields that the kind does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum UnknownFields {
    /// Drop them, as an API server does with a structural schema.
    #[default]
    Drop,
    /// Refuse the object.
    Refuse,
}

/// A write that took place.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Object>,
    pub(crate) created: bool,
}

/// Conditions in the body of a delete.
#[derive(Debug, Clone, Default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl Writing {
    fn attempt<'a>(&'a self, verb: &'a str, name: &'a str) -> Attempt<'a> {
        let namespace = Some(self.namespace.as_str());
        Attempt { verb, resource: self.resource, namespace, name: Some(name) }
    }

    fn key(&self, name: &str) -> Key {
        Key::new(self.resource, &self.namespace, name)
    }

    pub(crate) fn create(&self, draft: &mut Draft<'_>, body: &Value) -> Result<Written, Failure> {
        let name = addressed(self.resource, &self.namespace, None, body)?;
        authorize(&self.caller, self.attempt("create", &name))?;
        if draft.object(&self.key(&name)).is_some() {
            return Err(Failure::already_exists(&self.resource.qualified(), &name));
        }
        self.store(draft, &name, body, None)
    }

    pub(crate) fn update(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
        body: &Value,
    ) -> Result<Written, Failure> {
        let held = self.held(draft, name)?;
        self.check_version(&held, name, body)?;
        self.store(draft, name, body, Some(held))
    }

    pub(crate) fn patch(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
        change: &Change,
    ) -> Result<Written, Failure> {
        let held = draft.object(&self.key(name));
        let before = match (&held, change) {
            (Some(held), _) => held.value(),
            (None, Change::Apply(_)) => {
                authorize(&self.caller, self.attempt("create", name))?;
                Value::Object(serde_json::Map::new())
            }
            (None, _) => return Err(Failure::not_found(&self.resource.qualified(), name)),
        };
        let manager = &self.options.manager;
        let body = change.applied_to(&before, self.resource, manager, draft.now)?;
        if let Some(held) = &held {
            self.check_version(held, name, &body)?;
        }
        self.store(draft, name, &body, held)
    }

    pub(crate) fn delete(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
        conditions: &Preconditions,
    ) -> Result<Arc<Object>, Failure> {
        let held = self.held(draft, name)?;
        let metadata = held.value()["metadata"].take();
        let holds = |wanted: &Option<String>, field: &str| {
            wanted.as_ref().is_none_or(|wanted| metadata[field] == **wanted)
        };
        if !holds(&conditions.uid, "uid") || !holds(&conditions.resource_version, "resourceVersion")
        {
            let why = "the preconditions of the delete do not hold";
            return Err(Failure::conflict(&self.resource.qualified(), name, why));
        }
        let key = self.key(name);
        for token in draft.tokens_of(&key).iter().filter(|_| self.resource.kind == "ServiceAccount")
        {
            draft.remove_token(&token.id);
        }
        let last = draft.remove(&key).unwrap_or(held);
        if self.options.dry_run {
            draft.forget();
        }
        Ok(last)
    }

    fn held(&self, draft: &Draft<'_>, name: &str) -> Result<Arc<Object>, Failure> {
        draft
            .object(&self.key(name))
            .ok_or_else(|| Failure::not_found(&self.resource.qualified(), name))
    }

    /// A body that names a resourceVersion or uid must name the held ones.
    fn check_version(&self, held: &Object, name: &str, body: &Value) -> Result<(), Failure> {
        let metadata = held.value()["metadata"].take();
        for field in ["resourceVersion", "uid"] {
            match body["metadata"][field].as_str() {
                Some(wanted) if !wanted.is_empty() && metadata[field] != wanted => {
                    return Err(Failure::stale(&self.resource.qualified(), name));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn store(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
        body: &Value,
        held: Option<Arc<Object>>,
    ) -> Result<Written, Failure> {
        let key = self.key(name);
        addressed(self.resource, &self.namespace, Some(name), body)?;
        let mut body = self.known_fields(name, body)?;
        let before = held.as_deref().map(Object::value);
        let found = faults(self.resource, &self.namespace, name, &body);
        if !found.is_empty() {
            return Err(Failure::invalid(self.resource.kind, name, found));
        }
        authorize_object(&self.caller, self.attempt("write", name), &body)?;
        if self.resource.writers == Writers::AnyoneWithProof {
            self.pass_gate(draft, name, &mut body, before.as_ref())?;
        }
        let object = match &before {
            Some(before) => succeeds(self.resource, &key, before, &body),
            None => born(self.resource, &key, &body, draft.now),
        };
        self.check_room(draft, &key, &object, before.is_none())?;
        if let (Some(held), Some(mut before)) = (&held, before) {
            before["metadata"]["resourceVersion"].take();
            let mut after = object.clone();
            after["metadata"]["resourceVersion"] = Value::Null;
            if before == after {
                return Ok(Written { object: Arc::clone(held), created: false });
            }
        }
        let object = draft.put(key, object);
        if self.options.dry_run {
            draft.forget();
        }
        Ok(Written { object, created: held.is_none() })
    }

    fn known_fields(&self, name: &str, body: &Value) -> Result<Value, Failure> {
        let mut body = body.clone();
        let mut unknown = Vec::new();
        let top: BTreeSet<&str> =
            self.resource.body_fields().chain(["apiVersion", "kind", "metadata"]).collect();
        if let Some(fields) = body.as_object_mut() {
            // Real service accounts carry these; here they mean nothing.
            let ignored = ["secrets", "imagePullSecrets", "automountServiceAccountToken", "status"];
            fields.retain(|field, _| {
                let known = top.contains(field.as_str());
                if !known && !ignored.contains(&field.as_str()) {
                    unknown.push(field.clone());
                }
                known
            });
        }
        for (field, inner) in self.resource.body {
            let Some(fields) = body[field].as_object_mut() else {
                let wanted = vec![Cause::new(*field, "required: an object")];
                return Err(Failure::invalid(self.resource.kind, name, wanted));
            };
            fields.retain(|found, _| {
                let known = inner.contains(&found.as_str());
                if !known {
                    unknown.push(format!("{field}.{found}"));
                }
                known
            });
        }
        if unknown.is_empty() || self.options.unknown_fields == UnknownFields::Drop {
            return Ok(body);
        }
        let listed: Vec<String> =
            unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
        Err(Failure::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            self.resource.kind,
            self.resource.version,
            self.resource.kind,
            listed.join(", ")
        )))
    }

    /// Lets the gate judge the set; callers other than the administrator can change nothing but
    /// its signed bytes.
    fn pass_gate(
        &self,
        draft: &mut Draft<'_>,
        name: &str,
        body: &mut Value,
        before: Option<&Value>,
    ) -> Result<(), Failure> {
        let anchor = draft.anchor(&self.namespace);
        if anchor.is_none() && !self.caller.is_admin() {
            return Err(Failure::forbidden(format!(
                "{} \"{name}\" is forbidden: namespace \"{}\" is not bound to a clusterset yet; an \
                 administrator writes the first one, or starts the broker with --anchor",
                self.resource.qualified(),
                self.namespace
            )));
        }
        let offer = Offer {
            anchor: anchor.as_ref().map(|anchor| anchor.id.as_str()),
            held: anchor.as_ref().and_then(|anchor| anchor.held.as_ref()),
            offered: &body["spec"],
            now: draft.now,
        };
        let judged = match self.gate.judge(&offer) {
            Err(refusal) if refusal.is_link_fork() => self.take_other_side(body, &offer, refusal),
            judged => judged,
        };
        let admission = judged.map_err(|refusal| {
            let causes = vec![Cause::new("spec.signed", refusal.to_string())];
            Failure::invalid(self.resource.kind, name, causes)
        })?;
        if let Some(view) = admission.view {
            body["spec"]["view"] = view;
        }
        if admission.news == News::Newer {
            let held = Some(body["spec"].clone());
            draft.set_anchor(&self.namespace, Anchor { id: admission.anchor, held });
        }
        if !self.caller.is_admin() {
            let (old, none) = (before.map(|before| &before["metadata"]), Value::Null);
            for field in ["labels", "annotations", "ownerReferences", "managedFields"] {
                body["metadata"][field] = old.map_or(&none, |old| &old[field]).clone();
            }
        }
        Ok(())
    }

    /// Which side of a fork of root links is right no broker can tell: the administrator may, by an
    /// annotation that names how many links his side has. It is judged as if nothing were held then.
    fn take_other_side(
        &self,
        body: &Value,
        offer: &Offer<'_>,
        refusal: Refusal,
    ) -> Result<Admission, Refusal> {
        if !self.caller.is_admin() {
            return Err(refusal);
        }
        let links = body["spec"]["links"].as_array().map_or(0, Vec::len).to_string();
        if body["metadata"]["annotations"][ACCEPT_LINK] == links {
            return self.gate.judge(&Offer { held: None, ..*offer });
        }
        let hint = format!(
            "{}; once that is sure: sealane clusterset apply --replace-fork, or the annotation \
             {ACCEPT_LINK}: {links:?}",
            refusal.message
        );
        Err(Refusal { message: hint, ..refusal })
    }

    fn check_room(
        &self,
        draft: &Draft<'_>,
        key: &Key,
        object: &Value,
        is_new: bool,
    ) -> Result<(), Failure> {
        let bytes = object.to_string().len();
        if bytes > self.resource.max_bytes {
            return Err(Failure::too_large(format!(
                "{} \"{}\" has {bytes} bytes, {} are allowed",
                self.resource.qualified(),
                key.name,
                self.resource.max_bytes
            )));
        }
        let exceeded = |what: String| {
            let resource = self.resource.qualified();
            Err(Failure::forbidden(format!("{resource} \"{}\" is forbidden: {what}", key.name)))
        };
        if is_new && draft.total() >= self.limits.objects {
            return exceeded(format!("exceeded quota: {} objects in all", self.limits.objects));
        }
        if is_new && self.resource.writers == Writers::OwningMember {
            let member = key.name.split('.').next().unwrap_or_default();
            let first = Key { name: format!("{member}."), ..key.clone() };
            let limit = (self.resource.most_of_member)(&self.limits);
            if draft.with_prefix(&first).len() >= limit {
                return exceeded(format!("exceeded quota: {limit} objects of member {member}"));
            }
        }
        Ok(())
    }
}
