//! Owns one function per verb on a served kind: authorize, run, render. Does not own the rules
//! (`access`, `write`), nor routes.

use super::{
    access::{Attempt, authorize},
    call::{Call, Payload, respond},
    failure::Failure,
    large,
    limit::Held,
    list::list,
    object::{Key, Object},
    patch::{Change, json_body},
    resource::Resource,
    tokens,
    watch::Watch,
    write::{Preconditions, Writing, Written},
};
use axum::{
    Json,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc};
use tokio_stream::wrappers::ReceiverStream;

type Place = (String, String);
type Answer = Result<Response, Failure>;

fn allow(
    call: &Call,
    verb: &str,
    resource: &Resource,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<(), Failure> {
    authorize(&call.caller, Attempt { verb, resource, namespace, name })
}

fn writing(call: &Call, resource: &'static Resource, namespace: &str) -> Result<Writing, Failure> {
    Ok(Writing {
        caller: Arc::clone(&call.caller),
        resource,
        namespace: namespace.to_owned(),
        options: call.write_options()?,
        gate: Arc::clone(&call.app.gate),
        limits: Arc::clone(&call.app.limits),
    })
}

pub(crate) async fn list_or_watch(
    resource: &'static Resource,
    namespace: Option<String>,
    call: Call,
) -> Answer {
    let verb = if call.query.is_watch() { "watch" } else { "list" };
    allow(&call, verb, resource, namespace.as_deref(), None)?;
    let rendering = call.rendering()?;
    if verb == "list" {
        let listing = call.query.listing()?;
        let body = list(&call.app, resource, namespace.as_deref(), &listing, rendering).await?;
        if body.len() <= large::CHUNK_BYTES {
            return Ok(respond(StatusCode::OK, body));
        }
        let pass = call.app.meter.open(&call.caller.username(), Held::List)?;
        let patience = call.app.limits.list_patience;
        return Ok(respond(StatusCode::OK, large::held(body, pass, call.connection, patience)));
    }
    let request = call.query.watching()?;
    let pass = call.app.meter.open_watch(&call.caller.username())?;
    let Call { app, caller, connection, .. } = call;
    let watch = Watch { app, caller, resource, namespace, rendering, request, connection, pass };
    let frames = ReceiverStream::new(watch.start()).map(Ok::<_, Infallible>);
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from_stream(frames)).into_response())
}

pub(crate) async fn read(
    resource: &'static Resource,
    (namespace, name): Place,
    call: Call,
) -> Answer {
    allow(&call, "get", resource, Some(&namespace), Some(&name))?;
    let rendering = call.rendering()?;
    let found = call.app.store.read().objects.get(&Key::new(resource, &namespace, &name)).cloned();
    let object = found.ok_or_else(|| Failure::not_found(&resource.qualified(), &name))?;
    Ok(respond(StatusCode::OK, rendering.object(resource, &object)))
}

pub(crate) async fn create(
    resource: &'static Resource,
    namespace: String,
    call: Call,
    body: Payload,
) -> Answer {
    allow(&call, "create", resource, Some(&namespace), None)?;
    let writing = writing(&call, resource, &namespace)?;
    let body = body.json()?;
    let written = call.app.store.transact(move |draft| writing.create(draft, &body)).await?;
    answer(&call, resource, &written)
}

pub(crate) async fn update(
    resource: &'static Resource,
    (namespace, name): Place,
    call: Call,
    body: Payload,
) -> Answer {
    allow(&call, "update", resource, Some(&namespace), Some(&name))?;
    let writing = writing(&call, resource, &namespace)?;
    let body = body.json()?;
    let written = call.app.store.transact(move |draft| writing.update(draft, &name, &body)).await?;
    answer(&call, resource, &written)
}

pub(crate) async fn patch(
    resource: &'static Resource,
    (namespace, name): Place,
    call: Call,
    body: Payload,
) -> Answer {
    allow(&call, "patch", resource, Some(&namespace), Some(&name))?;
    let writing = writing(&call, resource, &namespace)?;
    let change = Change::parse(resource, body.content_type(), body.bytes())?;
    if matches!(change, Change::Apply(_)) && writing.options.manager.is_empty() {
        return Err(Failure::bad_request("apply wants the query parameter fieldManager"));
    }
    let written =
        call.app.store.transact(move |draft| writing.patch(draft, &name, &change)).await?;
    answer(&call, resource, &written)
}

pub(crate) async fn delete(
    resource: &'static Resource,
    (namespace, name): Place,
    call: Call,
    body: Payload,
) -> Answer {
    allow(&call, "delete", resource, Some(&namespace), Some(&name))?;
    let mut writing = writing(&call, resource, &namespace)?;
    let options = if body.bytes().is_empty() { Value::Null } else { json_body(body.bytes())? };
    writing.options.dry_run |= options["dryRun"].as_array().is_some_and(|list| !list.is_empty());
    let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    let conditions = Preconditions { uid: text("uid"), resource_version: text("resourceVersion") };
    let gone =
        call.app.store.transact(move |draft| writing.delete(draft, &name, &conditions)).await?;
    Ok(Json(deleted(resource, &gone)).into_response())
}

pub(crate) async fn delete_collection(
    resource: &'static Resource,
    namespace: String,
    call: Call,
) -> Answer {
    allow(&call, "deletecollection", resource, Some(&namespace), None)?;
    let writing = writing(&call, resource, &namespace)?;
    let selector = call.query.listing()?.selector;
    let every = Key::new(resource, &namespace, "");
    let count = call.app.store.transact(move |draft| {
        let mut matching = draft.with_prefix(&every);
        matching.retain(|object| selector.matches(object));
        for object in &matching {
            writing.delete(draft, &object.key.name, &Preconditions::default())?;
        }
        Ok(matching.len())
    });
    let message = format!("{} {} deleted", count.await?, resource.plural);
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "message": message, "code": 200,
    });
    Ok(Json(status).into_response())
}

pub(crate) async fn request_token(
    resource: &'static Resource,
    (namespace, name): Place,
    call: Call,
    body: Payload,
) -> Answer {
    allow(&call, "create", resource, Some(&namespace), Some(&name))?;
    let body = body.json()?;
    let key = Key::new(resource, &namespace, &name);
    let token = call.app.store.transact(move |draft| tokens::request(draft, &key, &body)).await?;
    Ok((StatusCode::CREATED, Json(token)).into_response())
}

fn answer(call: &Call, resource: &Resource, written: &Written) -> Answer {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(respond(code, call.rendering()?.object(resource, &written.object)))
}

fn deleted(resource: &Resource, object: &Object) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 200,
        "details": {
            "name": object.key.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": object.value()["metadata"]["uid"],
        },
    })
}
