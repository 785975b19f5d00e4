//! `atoma contract digest`: what an auditor compares with a proposal, from the sources alone.

use super::compile::{self, Located};
use super::report::Report;
use super::site::{NOWHERE, note_size};
use super::{PARTS, Part};
use crate::cli::Sources;
use crate::home::Home;
use anyhow::Result;
use atoma_chain::Profile;
use atoma_types::Address;

/// Where Walrus is when nobody says: apart from the base.
const NO_WALRUS: Address = Address::from_static("0xb10b");

pub(super) async fn run(
    home: &Home,
    part: Option<Part>,
    sources: &Sources,
    network: Option<&str>,
    walrus: Option<Address>,
    is_json: bool,
) -> Result<()> {
    let profile = match network {
        Some(name) => Some(Profile::load(&home.networks()?, name)?),
        None => None,
    };
    let deployed = profile.as_ref().and_then(|profile| profile.deployed.as_ref());
    let original = deployed.map_or(NO_WALRUS, |deployed| deployed.walrus_package);
    let walrus = Located { original, newest: walrus.unwrap_or(original) };
    let mut report = Report::new(is_json);
    for part in PARTS.into_iter().filter(|each| part.is_none_or(|part| part == *each)) {
        let nowhere = Located { original: NOWHERE, newest: NOWHERE };
        let base = (part == Part::Market).then(|| deployed.map_or(nowhere, |on| Located::of(&on.base)));
        let package = compile::package(&sources.contracts, walrus, base).await?;
        note_size(&package, part, &mut report)?;
        if part == Part::Market && deployed.is_none() {
            report.line("digest", "of the market depends on where its base is: name a --network that has it");
        } else {
            report.line("digest", format_args!("{} of {}", package.digest(), part.package()));
            report.set(&format!("{}_digest", part.name()), package.digest());
        }
    }
    report.finish();
    Ok(())
}
