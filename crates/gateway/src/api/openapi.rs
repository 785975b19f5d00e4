//! The OpenAPI document, made from the table of routes.

use super::Route;
use super::shape::Shape;
use crate::serve::Gateway;
use axum::Json;
use axum::routing::MethodRouter;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// What an endpoint is for.
#[derive(Clone, Copy)]
pub(super) struct Doc {
    pub(super) method: &'static str,
    pub(super) summary: &'static str,
    /// Who may use it: empty for everybody.
    pub(super) access: &'static [Access],
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) body: Option<fn() -> Value>,
    pub(super) answer: Answer,
}

/// How a caller proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Key,
    Session,
    Operator,
}

#[derive(Clone, Copy)]
pub(super) enum Answer {
    Json(&'static str, fn() -> Value),
    /// Status and media type.
    Other(&'static str, &'static str),
}

pub(super) const fn json_of<T: Shape>(status: &'static str) -> Answer {
    Answer::Json(status, T::schema)
}

impl Doc {
    pub(super) const fn get(summary: &'static str, access: &'static [Access], answer: Answer) -> Self {
        Self { method: "get", summary, access, query: &[], body: None, answer }
    }

    pub(super) const fn post<T: Shape>(
        summary: &'static str,
        access: &'static [Access],
        answer: Answer,
    ) -> Self {
        Self { method: "post", summary, access, query: &[], body: Some(T::schema), answer }
    }

    pub(super) const fn delete(summary: &'static str, access: &'static [Access]) -> Self {
        let answer = Answer::Other("204", "");
        Self { method: "delete", summary, access, query: &[], body: None, answer }
    }

    /// Of an endpoint whose bodies are OpenAI's and pass as they are.
    pub(super) fn asking(path: &'static str) -> Self {
        let any = || json!({"type": "object", "additionalProperties": true});
        let answer = Answer::Json("200", any);
        let _ = path;
        let summary = "As OpenAI has it; the receipt is in x-atoma-receipt, or in a comment of the stream.";
        Self { method: "post", summary, access: &[Access::Key], query: &[], body: Some(any), answer }
    }
}

pub(super) const ITSELF: Doc =
    Doc::get("This document.", &[], Answer::Json("200", || json!({"type": "object"})));

pub(super) fn described(path: &'static str, handler: MethodRouter<Arc<Gateway>>, doc: Doc) -> Route {
    Route { path, handler, doc }
}

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

pub(super) async fn serve() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

pub(super) fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for Route { path, doc, .. } in super::routes() {
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[doc.method] = operation(path, &doc);
    }
    let error = json!({
        "type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["message", "type", "param", "code"], "properties": {
                "message": {"type": "string"}, "type": {"type": "string"},
                "param": {"type": ["string", "null"]}, "code": {"type": "string"},
            },
        }},
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Atoma gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Amounts are base units of the market's coin, times are ms since 1970.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": error},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, atoma-…"},
                "session": {"type": "http", "scheme": "bearer", "description": "A session, atoma-session-…"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "atoma_session"},
                "operator": {"type": "http", "scheme": "bearer", "description": "The operator's token"},
            },
        },
    })
}

fn operation(path: &str, doc: &Doc) -> Value {
    let parameter = |place: &str, name: &str, about: &str| {
        json!({"name": name, "in": place, "required": place == "path", "description": about,
               "schema": {"type": "string"}})
    };
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<_> = in_path.map(|name| parameter("path", name, "")).collect();
    parameters.extend(doc.query.iter().map(|(name, about)| parameter("query", name, about)));
    let (status, content) = match doc.answer {
        Answer::Json(status, schema) => (status, json!({"application/json": {"schema": schema()}})),
        Answer::Other(status, "") => (status, json!({})),
        Answer::Other(status, media) => (status, json!({media: {"schema": {"type": "string"}}})),
    };
    let error = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    let mut operation = json!({
        "summary": doc.summary,
        "parameters": parameters,
        "responses": {
            status: {"description": "Done.", "content": content},
            "default": {"description": "An error.", "content": error},
        },
        "security": doc.access.iter().flat_map(|access| access.schemes()).collect::<Vec<_>>(),
    });
    if let Some(body) = doc.body {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": body()}}});
    }
    operation
}

impl Access {
    fn schemes(self) -> Vec<Value> {
        match self {
            Self::Key => vec![json!({"key": []})],
            Self::Session => vec![json!({"session": []}), json!({"cookie": []})],
            Self::Operator => vec![json!({"operator": []})],
        }
    }
}
