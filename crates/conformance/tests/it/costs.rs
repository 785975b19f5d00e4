use atoma_conformance::costs::{Cost, Growth, SUBSCRIBERS, grow, page};
use atoma_conformance::coverage::entries;
use std::path::Path;

fn mean(growth: &Growth, of: impl Fn(&Cost) -> u64) -> u64 {
    growth.costs.iter().map(of).sum::<u64>() / u64::try_from(growth.costs.len()).unwrap()
}

#[test]
fn calls_do_not_cost_more_with_more_subscribers_and_the_page_says_what_they_cost() {
    let all = grow();
    for of_call in all.chunks(SUBSCRIBERS.len()) {
        let [fewer @ .., most] = of_call else { panic!("{of_call:?}") };
        let call = most.call;
        assert!(of_call.iter().map(|growth| growth.subscribers).eq(SUBSCRIBERS), "{call}");
        assert!(of_call.iter().all(|growth| growth.costs.len() == 25), "{call}");
        let hashes = |growth: &Growth| mean(growth, |cost| cost.hashes);
        let usual = fewer.iter().map(hashes).max().unwrap();
        assert!(hashes(most) <= usual + usual / 2, "{call}: {} after {usual}", hashes(most));
        // A try takes two hashes and touches a page and a node's row at most, however long the lists are.
        let is_bound = |cost: &Cost| cost.fields() <= 10 + cost.hashes;
        assert!(of_call.iter().flat_map(|growth| &growth.costs).all(is_bound), "{call}");
    }
    let page = page(&all);
    for entry in entries() {
        assert!(page.contains(&format!("`{entry}`")), "{entry}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/costs.md");
    let written = std::fs::read_to_string(path).unwrap();
    assert!(written == page, "docs/costs.md is old: run `cargo xtask costs`");
}
