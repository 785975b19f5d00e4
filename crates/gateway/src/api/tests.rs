//! The document and the router are one table; what is left to check is its form.

use super::{openapi, routes};
use std::collections::BTreeSet;

#[test]
#[expect(clippy::unwrap_used, reason = "tests")]
fn every_route_is_in_the_document_and_answers_are_described() {
    let document = openapi::document();
    let mut seen = BTreeSet::new();
    for route in routes() {
        assert!(seen.insert((route.path, route.doc.method)), "{} {}", route.doc.method, route.path);
        let operation = &document["paths"][route.path][route.doc.method];
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{}", route.path);
        assert!(operation["responses"].as_object().unwrap().len() == 2);
        let named = route.path.matches('{').count();
        let parameters = operation["parameters"].as_array().unwrap();
        assert_eq!(parameters.iter().filter(|one| one["in"] == "path").count(), named);
    }
    let in_document: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|operations| operations.as_object().unwrap().len())
        .sum();
    assert_eq!(in_document, seen.len());
}
