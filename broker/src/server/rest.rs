//! Owns the routes: which path and method leads where, and authentication before all of them.
//! Does not own what the endpoints do.

use super::{
    account::{Caller, token_id},
    app::{App, Connection},
    call::{Call, Payload, respond},
    clock, discovery, endpoint,
    failure::Failure,
    metrics, namespaces,
    resource::{GROUP, RESOURCES, Resource, VERSION},
    review,
};
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use std::sync::Arc;

/// All routes. Each connection adds its own [`Connection`] extension.
pub(crate) fn router(app: App) -> Router {
    let mut known = discovery_routes()
        .route("/api/v1/namespaces", get(list_namespaces))
        .route("/api/v1/namespaces/{name}", get(read_namespace))
        .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(whoami))
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(can_i))
        .route("/metrics", get(metrics_text));
    for resource in RESOURCES {
        known = known.merge(resource_routes(resource));
    }
    let known = known
        .fallback(|| async { Failure::no_such_path() })
        .method_not_allowed_fallback(|| async {
            Failure::method_not_allowed("the server does not allow this method on the resource")
        })
        .layer(from_fn_with_state(app.clone(), authenticate));
    let healthy = || async { "ok" };
    Router::new()
        .route("/healthz", get(healthy))
        .route("/livez", get(healthy))
        .route("/readyz", get(healthy))
        .merge(known)
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

fn discovery_routes() -> Router<App> {
    Router::new()
        .route("/version", get(|| async { Json(discovery::version()) }))
        .route("/api", get(|| async { Json(discovery::core_versions()) }))
        .route("/api/v1", get(|| async { Json(discovery::resources("")) }))
        .route("/apis", get(|| async { Json(discovery::groups()) }))
        .route(&format!("/apis/{GROUP}"), get(|| async { Json(discovery::group()) }))
        .route(
            &format!("/apis/{GROUP}/{VERSION}"),
            get(|| async { Json(discovery::resources(GROUP)) }),
        )
        .route("/openapi/v2", get(openapi_v2))
        .route("/openapi/v3", get(|| async { Json(discovery::openapi_index()) }))
        .route(
            &format!("/openapi/v3/apis/{GROUP}/{VERSION}"),
            get(|| async { Json(discovery::openapi()) }),
        )
}

fn resource_routes(resource: &'static Resource) -> Router<App> {
    let base = match resource.group {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = resource.plural;
    let everywhere = get(move |call: Call| endpoint::list_or_watch(resource, None, call));
    let collection = get(move |call: Call, Path(namespace): Path<String>| {
        endpoint::list_or_watch(resource, Some(namespace), call)
    })
    .post(move |Path(namespace): Path<String>, call: Call, body: Payload| {
        endpoint::create(resource, namespace, call, body)
    })
    .delete(move |Path(namespace): Path<String>, call: Call| {
        endpoint::delete_collection(resource, namespace, call)
    });
    let one =
        get(move |path: Path<(String, String)>, call: Call| endpoint::read(resource, path.0, call))
            .put(move |path: Path<(String, String)>, call: Call, body: Payload| {
                endpoint::update(resource, path.0, call, body)
            })
            .patch(move |path: Path<(String, String)>, call: Call, body: Payload| {
                endpoint::patch(resource, path.0, call, body)
            })
            .delete(move |path: Path<(String, String)>, call: Call, body: Payload| {
                endpoint::delete(resource, path.0, call, body)
            });
    let mut routes = Router::new()
        .route(&format!("{base}/{plural}"), everywhere)
        .route(&format!("{base}/namespaces/{{namespace}}/{plural}"), collection)
        .route(&format!("{base}/namespaces/{{namespace}}/{plural}/{{name}}"), one);
    if resource.kind == "ServiceAccount" {
        let token = post(move |path: Path<(String, String)>, call: Call, body: Payload| {
            endpoint::request_token(resource, path.0, call, body)
        });
        let path = format!("{base}/namespaces/{{namespace}}/{plural}/{{name}}/token");
        routes = routes.route(&path, token);
    }
    routes
}

async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match admitted(&app, &request) {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

/// Takes the connection for its caller's before the request is counted: who asks too often is no stranger.
fn admitted(app: &App, request: &Request) -> Result<Caller, Failure> {
    let caller = caller_of(app, request)?;
    let name = caller.username();
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.claim(&name, &app.meter)?;
    }
    app.meter.admit(&name)?;
    Ok(caller)
}

fn caller_of(app: &App, request: &Request) -> Result<Caller, Failure> {
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(Failure::unauthorized)?;
    let id = token_id(bearer).ok_or_else(Failure::unauthorized)?;
    let record = app.store.read().tokens.get(id).cloned().ok_or_else(Failure::unauthorized)?;
    if !record.is_live(clock::now()) || !record.matches(bearer) {
        return Err(Failure::unauthorized());
    }
    Ok(Caller { subject: record.subject.clone(), token_id: id.to_owned() })
}

async fn count(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let method = method_name(request.method());
    // A router driven without a listener has no connection to close.
    if request.extensions().get::<Connection>().is_none() {
        request.extensions_mut().insert(Connection::default());
    }
    let path = request.uri().path().to_owned();
    // No name of ours has a character that needs encoding, so such a path names nothing.
    let response = if path.contains('%') {
        Failure::no_such_path().into_response()
    } else {
        next.run(request).await
    };
    let code = response.status().as_u16();
    tracing::debug!(method, path, code, "request");
    app.metrics.requests.get_or_create(&metrics::Request { method, code }).inc();
    response
}

/// A bounded set, so that a caller cannot invent metric labels.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// Old clients ask for protobuf alone; the empty message is the empty document. They ask by a name
/// with an `@`, which their own parser of content types refuses in an answer.
async fn openapi_v2(headers: HeaderMap) -> Response {
    const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.starts_with(ASKED)) {
        return ([(header::CONTENT_TYPE, PROTOBUF)], Body::empty()).into_response();
    }
    Json(discovery::openapi_v2()).into_response()
}

async fn list_namespaces(call: Call) -> Result<Response, Failure> {
    let rendering = call.rendering()?;
    Ok(respond(StatusCode::OK, namespaces::list(&call.app, &call.caller, rendering)))
}

async fn read_namespace(Path(name): Path<String>, call: Call) -> Result<Response, Failure> {
    let rendering = call.rendering()?;
    let body = namespaces::read(&call.app, &call.caller, &name, rendering)?;
    Ok(respond(StatusCode::OK, body))
}

async fn whoami(Extension(caller): Extension<Arc<Caller>>) -> Response {
    (StatusCode::CREATED, Json(review::whoami(&caller))).into_response()
}

async fn can_i(call: Call, body: Payload) -> Result<Response, Failure> {
    let review = review::can_i(&call.caller, &body.json()?);
    Ok((StatusCode::CREATED, Json(review)).into_response())
}

async fn metrics_text(call: Call) -> Result<Response, Failure> {
    if !call.caller.is_admin() {
        return Err(Failure::forbidden("metrics are for the administrator"));
    }
    let App { store, metrics, meter, .. } = &call.app;
    {
        let state = store.read();
        for resource in RESOURCES {
            let count = state.objects.keys().filter(|key| key.plural == resource.plural).count();
            let label = metrics::Stored { resource: resource.plural };
            metrics.objects.get_or_create(&label).set(gauge(count));
        }
        metrics.history_events.set(gauge(state.history.len()));
        metrics.resource_version.set(i64::try_from(state.revision).unwrap_or(i64::MAX));
    }
    metrics.watches.set(gauge(meter.watches()));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], Body::from(metrics.text())).into_response())
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
