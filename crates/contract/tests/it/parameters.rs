//! The parameters in words: which rule a change breaks, and the table of them in the specification.

use atoma_contract::params;
use atoma_types::onchain::Params;
use std::path::Path;

fn violated(change: impl Fn(&mut Params)) -> String {
    let mut wanted = params::devnet();
    change(&mut wanted);
    let of_change = params::violated_change(&params::devnet(), &wanted);
    of_change.or_else(|| params::violated(&wanted)).unwrap()
}

#[test]
fn the_first_rule_that_is_broken_is_named() {
    assert_eq!(params::violated(&params::devnet()).or(params::violated(&params::public())), None);
    for (said, part) in [
        (
            violated(|params| params.exit_ms += 1),
            "exit_ms must be a multiple of unit_ms = 1000, and is 640001",
        ),
        (violated(|params| params.unit_ms = 1), "unit_ms never changes: it is 1000"),
        (violated(|params| params.exit_ms -= 1_000), "exit_ms never gets shorter: it is 640000"),
        (
            violated(|params| params.stack_life_ms = 0),
            "stack_life_ms must be from 1 to 10000000000, and is 0",
        ),
        (
            violated(|params| params.close_delay_ms = 9_000),
            "close_delay_ms must be at least dispute_window_ms = 10000",
        ),
        (violated(|params| params.hold_ms = 1_000), "hold_ms must be at least challenge_ms + 2·("),
        (violated(|params| params.queue_max_ms = 900_000), "exit_ms must be at least close_delay_ms + "),
        (violated(|params| params.min_verifiers = 9), "min_verifiers must be from 10 to"),
        (violated(|params| params.safety_permille = 1), "safety_permille = 1 does not make up for"),
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn the_specification_has_every_parameter_with_its_default() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/contract.md")).unwrap();
    let (_, page) = page.split_once("## 5. ").unwrap();
    let (page, _) = page.split_once("## 6. ").unwrap();
    let row = |line: &str| -> Option<(String, u64)> {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), cells.get(3)?.replace(',', "").parse().ok()?))
    };
    let rows: Vec<(String, u64)> = page.lines().filter_map(row).collect();
    let names = Params::NAMES.iter().map(|name| (*name).to_owned());
    assert_eq!(rows, names.zip(params::public().values()).collect::<Vec<_>>());
}
