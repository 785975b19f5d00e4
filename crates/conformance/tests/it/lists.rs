//! What is written down twice, once in Move and once in Rust, is the same.

use atoma_conformance::coverage;
use atoma_types::onchain::{Abort, Event};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn source(name: &str) -> String {
    std::fs::read_to_string(root().join("contracts").join(name)).unwrap()
}

/// `not_enough_verifiers` as `ENotEnoughVerifiers`.
fn constant(function: &str) -> String {
    let words = function.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
    format!("E{}", words.collect::<String>())
}

#[test]
fn abort_codes_are_one_list() {
    let text = source("atoma_base/sources/errors.move");
    let mut found = Vec::new();
    for rest in text.split("public macro fun ").skip(1) {
        let (name, rest) = rest.split_once("(): u8 {").unwrap();
        let code: u64 = rest.split('}').next().unwrap().trim().parse().unwrap();
        found.push((constant(name), code));
    }
    let wanted: Vec<(String, u64)> =
        Abort::ALL.iter().map(|abort| (abort.name().to_owned(), abort.code())).collect();
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
    assert!(wanted.iter().all(|(_, code)| (1..256).contains(code)), "the driver reads one byte");
}

/// The Move type of a field declared with this Rust type.
fn move_type(rust: &str) -> &'static str {
    match rust {
        "Address" => "address",
        "bool" => "bool",
        "u8" | "Selection" => "u8",
        "u64" | "Amount" | "Units" | "Price" | "NodeId" | "ModelId" | "TaskId" => "u64",
        "String" => "String",
        "Hash32" | "PublicKey" | "Vec<u8>" => "vector<u8>",
        "Vec<u64>" | "Vec<NodeId>" | "Vec<Amount>" => "vector<u64>",
        "Vec<Address>" => "vector<address>",
        other => panic!("no Move type is known for {other}"),
    }
}

/// Structs of a Move source that can be emitted: their names, fields and types.
fn structs(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for rest in text.split("public struct ").skip(1) {
        let (name, rest) = rest.split_once(" has copy, drop {").unwrap();
        let body = rest.split('}').next().unwrap();
        let fields = body.split(',').map(str::trim).filter(|field| !field.is_empty());
        let pairs = fields.map(|field| field.split_once(": ").unwrap());
        let owned = pairs.map(|(field, of)| (field.to_owned(), of.to_owned()));
        found.push((name.to_owned(), owned.collect()));
    }
    found
}

#[test]
fn events_are_one_list() {
    let fields = |layout: &atoma_types::onchain::event::Layout| {
        let of = |(field, rust): &(&str, &str)| ((*field).to_owned(), move_type(rust).to_owned());
        layout.fields.iter().map(of).collect::<Vec<_>>()
    };
    let wanted: Vec<_> =
        Event::LAYOUTS.iter().map(|layout| (layout.name.to_owned(), fields(layout))).collect();
    for (found, wanted) in structs(&source("atoma/sources/events.move")).iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(structs(&source("atoma/sources/events.move")).len(), wanted.len());
}

/// What is public in Move and no step of a play: why.
const NOT_PLAYED: &[(&str, &str)] = &[
    ("views::", "reads only; called through simulation"),
    ("upgrade::authorize", "played together with commit: a ticket must be used in the same transaction"),
    ("upgrade::commit", "see authorize"),
];

/// What plays call that is not public: randomness must stay out of other packages' reach, and publishing calls
/// `init`.
const PRIVATE: &[&str] = &["admin::init", "stack::acquire", "beacon::beat"];

/// Functions that a transaction can call, by `module::name`.
fn entry_points() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(root().join("contracts/atoma/sources")).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines() {
            let starts = ["public fun ", "entry fun ", "public entry fun ", "fun init("];
            let Some(start) = starts.into_iter().find(|start| line.starts_with(start)) else {
                let goes_on = line.starts_with("#[") || line.starts_with("///");
                is_test = line == "#[test_only]" || (is_test && goes_on);
                continue;
            };
            let rest = if start == "fun init(" { "init" } else { &line[start.len()..] };
            let name = rest.split(['<', '(']).next().unwrap();
            if !is_test {
                found.insert(format!("{module}::{name}"));
            }
            is_test = false;
        }
    }
    found
}

#[test]
fn every_entry_point_is_played() {
    let played: BTreeSet<String> = coverage::entries().into_iter().map(str::to_owned).collect();
    let found = entry_points();
    let is_excused = |entry: &&String| NOT_PLAYED.iter().any(|(excused, _)| entry.starts_with(excused));
    let missed: Vec<_> = found.difference(&played).filter(|entry| !is_excused(entry)).collect();
    assert!(missed.is_empty(), "no step calls {missed:?}");
    let unknown: Vec<_> =
        played.difference(&found).filter(|entry| *entry != "upgrade::authorize+commit").collect();
    assert!(unknown.is_empty(), "the Move package has no {unknown:?}");
    for private in PRIVATE {
        let (module, name) = private.split_once("::").unwrap();
        let text = source(&format!("atoma/sources/{module}.move"));
        assert!(!text.contains(&format!("public fun {name}")), "{private} must stay private");
    }
}
