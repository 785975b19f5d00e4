//! The table against the Move package that it stands for.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::package::usd;
use std::collections::BTreeSet;
use std::path::Path;

/// A function in words: whether it is an entry, its name, and its parameters without the context.
type Signature = (bool, String, Vec<String>);

#[test]
fn every_function_has_its_signature_of_move() {
    let modules: BTreeSet<&str> = ours().map(|function| function.module).collect();
    assert!(modules.len() > 10);
    for module in modules {
        let here: Vec<Signature> =
            ours().filter(|function| function.module == module).map(of_table).collect();
        assert_eq!(here, of_move(module), "{module}");
    }
}

fn ours() -> impl Iterator<Item = &'static Function> {
    functions().filter(|function| function.package == PACKAGE)
}

fn of_table(function: &Function) -> Signature {
    let params = function.params.iter().map(|param| match *param {
        Param::Object(kind, by) => {
            let tag = kind.tag(PACKAGE, &usd());
            let generic = if tag.type_params().is_empty() { "" } else { "<T>" };
            let reference = match by {
                Ref => "&",
                Mut => "&mut ",
                Value => "",
            };
            format!("{reference}{}{generic}", tag.name())
        }
        Param::Brittle(kind) => kind.tag().to_string().split("::").last().unwrap().to_owned(),
        Param::Pure(PureKind::String) => "String".to_owned(),
        Param::Pure(kind) => kind.tag().to_string(),
    });
    (function.private_entry, function.name.to_owned(), params.collect())
}

/// What another package or a transaction can call of a module.
fn of_move(module: &str) -> Vec<Signature> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/atoma/sources");
    let source = std::fs::read_to_string(sources.join(format!("{module}.move"))).unwrap();
    let mut found = Vec::new();
    let mut before = "";
    for (at, line) in lines(&source) {
        let is_test = before.starts_with("#[test_only]");
        before = line;
        let (entry, rest) = match (line.strip_prefix("public fun "), line.strip_prefix("entry fun ")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => continue,
        };
        let name = rest.split(['<', '(']).next().unwrap().to_owned();
        if is_test {
            continue;
        }
        let (_, after) = source.get(at..).unwrap().split_once('(').unwrap();
        found.push((entry, name, params(after.split_once(')').unwrap().0)));
    }
    found
}

/// Lines with where they begin.
fn lines(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line.trim_end()))
    })
}

fn params(list: &str) -> Vec<String> {
    let types = list.split(',').filter_map(|param| param.split_once(':')).map(|(_, found)| found.trim());
    types.filter(|found| !found.ends_with("TxContext")).map(str::to_owned).collect()
}
