//! The attacks that the specification lists have tests of these names.

use std::path::Path;

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "move") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_attack_of_the_specification_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let specification = std::fs::read_to_string(root.join("docs/contract.md")).unwrap();
    let (_, attacks) = specification.split_once("## 6. Attacks").unwrap();
    let mut tests = String::new();
    for folder in ["crates/contract/tests", "contracts/atoma/tests", "tests/move/refused"] {
        sources(&root.join(folder), &mut tests);
    }
    let rows = attacks.lines().filter(|line| line.starts_with("| ")).skip(1);
    let names: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 50, "{}", names.len());
    for name in names {
        let is_there = tests.contains(&format!("fn {name}(")) || tests.contains(&format!("fun {name}("));
        assert!(is_there, "{name} is not the name of a test");
    }
}
