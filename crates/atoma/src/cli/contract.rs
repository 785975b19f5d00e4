//! `atoma contract`, declared.

use atoma_types::{Address, Amount, ModelId};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Contract {
    /// Compile both packages and publish them, the base first; the caps they make go to the wallet.
    Publish {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        sources: Sources,
        /// Publish although the market is deployed there, or the devnet was started anew; the old profile is kept as
        /// NAME.toml.old.
        #[arg(long)]
        replace: bool,
    },
    /// Make the market: its database, treasury and beacon, once per published package.
    Init {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        changes: Changes,
    },
    /// Show what is deployed, who holds its caps, what is proposed, and what to do next. Needs no wallet.
    Status(Place),
    /// Compile, and print sizes and digests. Needs neither wallet nor full node.
    Digest {
        /// Only this package.
        #[arg(long = "package", value_enum)]
        part: Option<Part>,
        #[command(flatten)]
        sources: Sources,
        /// Profile that says where the market's base is: its digest depends on it.
        #[arg(long, env = "ATOMA_NETWORK", value_name = "NAME")]
        network: Option<String>,
        /// Walrus's newest package, as `propose` printed it. Default: the one first published.
        #[arg(long, value_name = "ADDRESS")]
        walrus: Option<Address>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show the parameters, for which no wallet is needed; with --set or --file, change them from the next epoch on.
    Params {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        changes: Changes,
    },
    /// Stop purchases and top-ups; all else goes on.
    Pause(Target),
    /// Allow purchases again.
    Resume(Target),
    /// Retire a model for good: its tasks are not sold any more, what was bought runs on.
    RetireModel {
        /// The model's id.
        #[arg(value_parser = model)]
        model: ModelId,
        #[command(flatten)]
        target: Target,
        /// Needed: a retired model never comes back.
        #[arg(long)]
        yes_forever: bool,
    },
    /// Show what the treasury holds; with --pay and --to, pay from it.
    Treasury {
        /// How much, in base units (10^6 are one coin).
        #[arg(long, value_parser = super::amount, requires = "to")]
        pay: Option<Amount>,
        /// To whom.
        #[arg(long, value_name = "ADDRESS", requires = "pay")]
        to: Option<Address>,
        #[command(flatten)]
        target: Target,
    },
    /// Give the AdminCap away, and with it the upgrade caps that are not locked.
    HandOver {
        /// Who has them from then on.
        #[arg(long, value_name = "ADDRESS")]
        to: Address,
        #[command(flatten)]
        target: Target,
        /// Needed: this wallet can then do nothing more here.
        #[arg(long)]
        yes: bool,
    },
    /// New versions of the packages, through the timelock.
    #[command(subcommand)]
    Upgrade(Upgrade),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Upgrade {
    /// Put both packages' upgrade caps behind the timelock, for good.
    Lock {
        #[command(flatten)]
        target: Target,
        /// Needed: nobody can take the caps out again.
        #[arg(long)]
        yes_forever: bool,
    },
    /// Compile a package and announce it.
    Propose {
        #[command(flatten)]
        target: Target,
        /// Which package.
        #[arg(long = "package", value_enum, default_value_t = Part::Market)]
        part: Part,
        #[command(flatten)]
        sources: Sources,
        /// Propose a market whose version is not raised: the code before it can be called as well.
        #[arg(long)]
        same_version: bool,
    },
    /// Show what is locked and proposed, and from when on it may be carried out. Needs no wallet.
    Status(Place),
    /// Withdraw a package's proposal.
    Cancel {
        #[command(flatten)]
        target: Target,
        /// Which package.
        #[arg(long = "package", value_enum, default_value_t = Part::Market)]
        part: Part,
    },
    /// Compile a package again and, if it is the proposed one and its time has come, publish it.
    Apply {
        #[command(flatten)]
        target: Target,
        /// Which package.
        #[arg(long = "package", value_enum, default_value_t = Part::Market)]
        part: Part,
        #[command(flatten)]
        sources: Sources,
    },
    /// After an upgrade with a new version: move database, treasury and beacon to it.
    Migrate(Target),
}

/// Where the contract is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// Profile: `devnet`, `testnet`, `mainnet`, or one of your own.
    #[arg(long, env = "ATOMA_NETWORK", value_name = "NAME")]
    pub(crate) network: String,
    /// Another full node than the profile's, this time.
    #[arg(long, env = "ATOMA_RPC_URL", value_name = "URL")]
    pub(crate) rpc: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the contract is, and whose caps and coins are used.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) payer: super::Payer,
    /// Try it on the full node, and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// One of the contract's two packages.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Plain values and their rules.
    Base,
    /// The market, built on the base.
    Market,
}

/// What to compile.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sources {
    /// Folder with the packages `atoma_base`, `atoma` and `framework`.
    #[arg(long, default_value = "contracts", value_name = "DIR")]
    pub(crate) contracts: PathBuf,
}

/// Parameters other than the present ones, or of `init` the profile's.
#[derive(Args, Clone, Debug)]
pub(crate) struct Changes {
    /// One parameter (docs/contract.md, section 5). May be given many times, each name once.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) changes: Vec<String>,
    /// TOML file with `name = value` lines; --set wins over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

fn model(text: &str) -> Result<ModelId, String> {
    super::number(text).map(ModelId)
}
