//! Owns what every endpoint takes from a request: caller, query, form, body with its limits.
//! Does not own what endpoints do with it.

use super::{
    account::Caller,
    app::{App, Connection},
    failure::Failure,
    large,
    limit::Held,
    patch::{json_body, yaml_body},
    protobuf,
    query::Query,
    rendering::Rendering,
    write::{UnknownFields, WriteOptions},
};
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one of up to 64 KiB may, of which nobody counts how many there are.
const SMALL_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// An authenticated request without its body.
pub(crate) struct Call {
    pub(crate) app: App,
    pub(crate) caller: Arc<Caller>,
    pub(crate) connection: Connection,
    pub(crate) query: Query,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let caller: &Arc<Caller> = parts.extensions.get().ok_or_else(Failure::unauthorized)?;
        let connection: &Connection = parts
            .extensions
            .get()
            .ok_or_else(|| Failure::internal("the request has no connection"))?;
        let query = axum::extract::Query::<Query>::try_from_uri(&parts.uri)
            .map_err(|error| Failure::bad_request(error.body_text()))?;
        Ok(Self {
            app: app.clone(),
            caller: Arc::clone(caller),
            connection: connection.clone(),
            query: query.0,
            headers: parts.headers.clone(),
        })
    }
}

impl Call {
    pub(crate) fn rendering(&self) -> Result<Rendering, Failure> {
        Rendering::negotiate(&self.headers, &self.query.include_object)
    }

    pub(crate) fn write_options(&self) -> Result<WriteOptions, Failure> {
        let dry_run = match self.query.dry_run.as_str() {
            "" => false,
            "All" => true,
            other => return Err(Failure::bad_request(format!("dryRun={other:.20}: want All"))),
        };
        let unknown_fields = match self.query.field_validation.as_str() {
            "Strict" => UnknownFields::Refuse,
            _ => UnknownFields::Drop,
        };
        let manager = self.query.field_manager.clone();
        if manager.len() > 128 {
            return Err(Failure::bad_request("fieldManager is longer than 128 bytes"));
        }
        Ok(WriteOptions { dry_run, manager, unknown_fields })
    }
}

/// A whole request body, inside the limits of size and time.
pub(crate) struct Payload {
    bytes: Bytes,
    content_type: String,
}

impl FromRequest<App> for Payload {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_owned();
        let (_pass, patience) = match request.body().size_hint().upper() {
            Some(bytes) if bytes <= large::CHUNK_BYTES as u64 => (None, SMALL_BODY_TIMEOUT),
            _ => {
                let caller: Option<&Arc<Caller>> = request.extensions().get();
                let caller = caller.ok_or_else(Failure::unauthorized)?.username();
                (Some(app.meter.open(&caller, Held::Body)?), BODY_TIMEOUT)
            }
        };
        let limit = app.limits.body_bytes;
        let body = Limited::new(request.into_body(), limit).collect();
        match tokio::time::timeout(patience, body).await {
            Ok(Ok(body)) => Ok(Self { bytes: body.to_bytes(), content_type }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(Failure::too_large(format!("the body has more than {limit} bytes")))
            }
            Ok(Err(error)) => Err(Failure::bad_request(format!("the body broke off: {error}"))),
            Err(_) => Err(Failure::timed_out("the body took too long")),
        }
    }
}

impl Payload {
    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body of a create or update.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        match self.content_type.as_str() {
            "" | "application/json" => json_body(&self.bytes),
            "application/yaml" => yaml_body(&self.bytes),
            protobuf::CONTENT_TYPE => protobuf::body(&self.bytes),
            other => {
                Err(Failure::unsupported_media_type(other, "application/json or application/yaml"))
            }
        }
    }
}

/// A JSON response from rendered bytes.
pub(crate) fn respond(code: StatusCode, json: impl Into<Body>) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], json.into()).into_response()
}
