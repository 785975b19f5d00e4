//! `atoma contract params`: what holds, what comes, and changing it.

use super::Site;
use crate::cli::{Changes, Target};
use crate::home::Home;
use crate::output::say;
use anyhow::{Context, Result, bail};
use atoma_chain::{AdminCall, Call};
use atoma_contract::params;
use atoma_types::onchain::{Event, Params};
use std::collections::BTreeMap;

pub(super) async fn run(home: &Home, target: &Target, changes: &Changes, json: bool) -> Result<()> {
    let site = Site::of_market(home, target).await?;
    if changes.changes.is_empty() && changes.file.is_none() {
        return show(&site.chain.params().await?, &site.chain.next_params().await?, json);
    }
    let present = site.chain.params().await?;
    let wanted = changed(&site.chain.next_params().await?, changes)?;
    check(&wanted, Some(&present))?;
    let call = Call::Admin(AdminCall::SetParams(Box::new(wanted)));
    let executed = site.execute("setting the parameters", call).await?;
    let epoch = executed.events.iter().find_map(|event| match event {
        Event::ParamsSet(set) => Some(set.epoch),
        _ => None,
    });
    say!("they hold from epoch {} on", epoch.context("the parameters were set without their event")?);
    Ok(())
}

fn show(present: &Params, next: &Params, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::json!({ "present": present, "next": next }));
        return Ok(());
    }
    for ((name, now), then) in Params::NAMES.iter().zip(present.values()).zip(next.values()) {
        match now == then {
            true => say!("{name:<24}{now}"),
            false => say!("{name:<24}{now}, from the next epoch on {then}"),
        }
    }
    Ok(())
}

/// Parameters by the name that a profile gives them.
pub(super) fn named(name: &str) -> Result<Params> {
    match name {
        "public" => Ok(params::public()),
        "devnet" => Ok(params::devnet()),
        _ => bail!("no parameters are called {name:?}: the profile's `params` is `public` or `devnet`"),
    }
}

/// `base` with the changes made.
pub(super) fn changed(base: &Params, changes: &Changes) -> Result<Params> {
    let mut wanted: BTreeMap<String, u64> = match &changes.file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let text = read.with_context(|| format!("cannot read {}", path.display()))?;
            toml::from_str(&text)
                .with_context(|| format!("{} is not `name = value` lines", path.display()))?
        }
        None => BTreeMap::new(),
    };
    for change in &changes.changes {
        let (name, value) =
            change.split_once('=').with_context(|| format!("{change:?} is not NAME=VALUE"))?;
        let value = value.trim().replace('_', "");
        let value = value.parse().with_context(|| format!("{change:?}: the value is a whole number"))?;
        wanted.insert(name.trim().to_owned(), value);
    }
    let mut values = base.values();
    for (name, value) in wanted {
        let place = Params::NAMES.iter().position(|known| *known == name);
        let place = place.and_then(|at| values.get_mut(at));
        *place.with_context(|| format!("no parameter is called {name}"))? = value;
    }
    Params::from_values(&values).context("the parameters are incomplete")
}

/// Refuses what the contract would refuse, before anything is signed.
pub(super) fn check(wanted: &Params, present: Option<&Params>) -> Result<()> {
    let bounds = "the parameters are out of bounds (section 5 of docs/contract.md), nothing was signed";
    if params::check(wanted).is_err() {
        bail!("{bounds}");
    }
    if present.is_some_and(|present| params::check_change(present, wanted).is_err()) {
        bail!("{bounds}: unit_ms never changes, exit_ms and timelock_ms never get shorter");
    }
    Ok(())
}
