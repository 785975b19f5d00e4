//! `atoma contract`: the two packages and their market on a network, from publishing to upgrading.

mod admin;
mod compile;
mod digest;
mod params;
mod publish;
mod report;
mod site;
mod status;
mod upgrade;

use crate::cli::{Contract as Arguments, Part};
use crate::home::Home;
use anyhow::{Context, Result};
use atoma_chain::{Created, Deployed, Executed, Published};
use atoma_types::Address;

const PARTS: [Part; 2] = [Part::Base, Part::Market];

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::Publish { target, sources, replace } => {
            publish::publish(home, &target, &sources, replace).await
        }
        Arguments::Init { target, changes } => publish::init(home, &target, &changes).await,
        Arguments::Status(place) => Box::pin(status::run(home, &place)).await,
        Arguments::Digest { part, sources, network, walrus, json } => {
            digest::run(home, part, &sources, network.as_deref(), walrus, json).await
        }
        Arguments::Params { target, changes } => params::run(home, &target, &changes).await,
        Arguments::Pause(target) => admin::set_paused(home, &target, true).await,
        Arguments::Resume(target) => admin::set_paused(home, &target, false).await,
        Arguments::RetireModel { model, target, yes_forever } => {
            admin::retire(home, &target, model, yes_forever).await
        }
        Arguments::Treasury { pay, to, target } => admin::treasury(home, &target, pay.zip(to)).await,
        Arguments::HandOver { to, target, yes } => admin::hand_over(home, &target, to, yes).await,
        Arguments::Upgrade(arguments) => Box::pin(upgrade::run(home, arguments)).await,
    }
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Market => "market",
        }
    }

    fn of(self, deployed: &Deployed) -> &Published {
        match self {
            Self::Base => &deployed.base,
            Self::Market => &deployed.market,
        }
    }

    fn of_mut(self, deployed: &mut Deployed) -> &mut Published {
        match self {
            Self::Base => &mut deployed.base,
            Self::Market => &mut deployed.market,
        }
    }
}

/// The one object that the transaction created and whose type fits.
fn created(executed: &Executed, fits: impl Fn(&str) -> bool) -> Result<Address> {
    let is_it = |created: &&Created| created.object_type.as_deref().is_some_and(&fits);
    let found = executed.created.iter().find(is_it).map(|created| created.id);
    found.context("the transaction executed and did not create what it should have")
}
