//! Owns in which form objects leave: plain JSON, `Table` for `kubectl get`, or metadata only.
//! Does not own which objects leave.

use super::{clock, failure::Failure, object::Object, resource::Column, resource::Resource};
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

/// A form, chosen by the `Accept` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rendering {
    Json,
    Table(IncludeObject),
    Metadata,
}

/// What a table row carries beside its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl Rendering {
    /// The first form in `Accept` that we have. `include_object` is the query parameter.
    pub(crate) fn negotiate(headers: &HeaderMap, include_object: &str) -> Result<Self, Failure> {
        let accept = headers
            .get(header::ACCEPT)
            .map_or("*/*", |value| value.to_str().unwrap_or("application/octet-stream"));
        let include = match include_object {
            "" | "Metadata" => IncludeObject::Metadata,
            "None" => IncludeObject::None,
            "Object" => IncludeObject::Object,
            other => return Err(Failure::bad_request(format!("includeObject={other:.20}"))),
        };
        accept
            .split(',')
            .find_map(|item| Self::of(item, include))
            .ok_or_else(|| Failure::not_acceptable(accept))
    }

    fn of(item: &str, include: IncludeObject) -> Option<Self> {
        let mut parts = item.split(';').map(str::trim);
        if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
            return None;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, v)| *v);
        let meta = value("g").is_none_or(|group| group == "meta.k8s.io")
            && value("v").is_none_or(|version| version == "v1");
        match value("as") {
            None => Some(Self::Json),
            Some("Table") if meta => Some(Self::Table(include)),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => {
                Some(Self::Metadata)
            }
            Some(_) => None,
        }
    }

    /// One object as a body.
    pub(crate) fn object(self, resource: &Resource, object: &Object) -> Vec<u8> {
        match self {
            Self::Json => object.json.to_vec(),
            Self::Metadata => partial(&object.value()).to_string().into_bytes(),
            Self::Table(include) => {
                let value = object.value();
                let revision = object.revision.to_string();
                let rows = vec![row(resource, &value, include)];
                table(resource, rows, json!({"resourceVersion": revision})).to_string().into_bytes()
            }
        }
    }

    /// A list as a body; `metadata` is the `ListMeta`.
    pub(crate) fn list<'a>(
        self,
        resource: &Resource,
        metadata: Value,
        objects: impl Iterator<Item = &'a Object>,
    ) -> Vec<u8> {
        match self {
            Self::Json => {
                let head = json!({
                    "apiVersion": resource.api_version(),
                    "kind": format!("{}List", resource.kind),
                    "metadata": metadata,
                });
                let mut body = head.to_string().into_bytes();
                body.pop();
                body.extend_from_slice(b",\"items\":[");
                for (at, object) in objects.enumerate() {
                    if at > 0 {
                        body.push(b',');
                    }
                    body.extend_from_slice(&object.json);
                }
                body.extend_from_slice(b"]}");
                body
            }
            Self::Metadata => json!({
                "apiVersion": "meta.k8s.io/v1",
                "kind": "PartialObjectMetadataList",
                "metadata": metadata,
                "items": objects.map(|object| partial(&object.value())).collect::<Vec<_>>(),
            })
            .to_string()
            .into_bytes(),
            Self::Table(include) => {
                let rows = objects.map(|object| row(resource, &object.value(), include)).collect();
                table(resource, rows, metadata).to_string().into_bytes()
            }
        }
    }
}

fn partial(value: &Value) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": value["metadata"],
    })
}

/// A `Table` with this kind's printer columns.
fn table(resource: &Resource, rows: Vec<Value>, metadata: Value) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "unique within its namespace",
    });
    let columns: Vec<Value> = std::iter::once(name)
        .chain(resource.columns.iter().map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": "",
                "description": column.description,
                "priority": column.priority,
            })
        }))
        .collect();
    json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "Table",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(resource: &Resource, value: &Value, include: IncludeObject) -> Value {
    let cells: Vec<Value> = std::iter::once(value["metadata"]["name"].clone())
        .chain(resource.columns.iter().map(|column| cell(column, value)))
        .collect();
    match include {
        IncludeObject::None => json!({"cells": cells}),
        IncludeObject::Metadata => json!({"cells": cells, "object": partial(value)}),
        IncludeObject::Object => json!({"cells": cells, "object": value}),
    }
}

fn cell(column: &Column, value: &Value) -> Value {
    let found = column.path.iter().fold(value, |value, field| &value[*field]);
    match found {
        Value::Null => Value::String(String::new()),
        Value::String(text) if column.kind == "date" => Value::String(since(text)),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(plain).collect();
            Value::String(texts.join(","))
        }
        other => Value::String(plain(other)),
    }
}

fn since(time: &str) -> String {
    clock::parse_rfc3339(time).map_or_else(
        || "<unknown>".to_owned(),
        |then| clock::age(clock::now().saturating_sub(then)),
    )
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(text: &'static str) -> Result<Rendering, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, text.parse().unwrap());
        Rendering::negotiate(&headers, "").map_err(|failure| failure.code.as_u16())
    }

    #[test]
    fn the_first_form_we_have_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(accept(table), Ok(Rendering::Table(IncludeObject::Metadata)));
        assert_eq!(
            accept("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Rendering::Json)
        );
        assert_eq!(accept("application/json;as=Other,*/*"), Ok(Rendering::Json));
        assert_eq!(accept("application/vnd.kubernetes.protobuf"), Err(406));
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(accept(partial), Ok(Rendering::Metadata));
    }
}
