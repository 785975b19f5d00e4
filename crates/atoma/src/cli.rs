//! The command line, declared. What a command does is in `command/`.

mod contract;

pub(crate) use contract::{Changes, Contract, Part, Place, Sources, Target, Upgrade};

use atoma_client::Policy;
use atoma_types::onchain::Selection;
use atoma_types::{Address, Amount, Price, TaskId, Units};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A market for AI inference without a landlord.
///
/// `atoma dev` starts a whole market on this machine: a local chain, three nodes with a real model, and an
/// OpenAI-compatible gateway. Everything else talks to that market, or to any other network you name.
#[derive(Debug, Parser)]
#[command(name = "atoma", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Where keys, models and journals live.
    #[arg(long, global = true, env = "ATOMA_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Log filter, such as `info` or `atoma_node=debug`. Logs go to standard error.
    #[arg(long, global = true, env = "ATOMA_LOG", default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole market on this machine: chain, three nodes, gateway.
    Dev(Dev),
    /// Run the whole story once: buy, ask, verify, settle, refund, and account for every coin.
    Demo(Demo),
    /// Talk to a model; without a prompt, interactively.
    Chat(Chat),
    /// An OpenAI-compatible endpoint on this machine, straight to a node, paid from your own wallet.
    Connect(Connect),
    /// Keys and coins.
    #[command(subcommand)]
    Wallet(Wallet),
    /// Run a node and earn.
    #[command(subcommand)]
    Node(Node),
    /// Run a gateway: API keys in front of nodes.
    #[command(subcommand)]
    Gateway(Gateway),
    /// A local chain with the contract, a faucet and a clock you can move.
    #[command(subcommand)]
    Devnet(Devnet),
    /// The contract itself: publish it, make a market, administer and upgrade it.
    #[command(subcommand)]
    Contract(Contract),
    /// What is sold: a model at a price ceiling, for nodes to offer.
    #[command(subcommand)]
    Task(Task),
    /// Prepaid units: buy, look at, close.
    #[command(subcommand)]
    Stack(Stack),
    /// Signed receipts.
    #[command(subcommand)]
    Receipt(Receipt),
    /// Model weights on this machine.
    #[command(subcommand)]
    Model(Model),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

/// Which market to talk to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Network {
    /// A network by its profile: `devnet`, `testnet`, `mainnet`, or one of your own in the home folder's `networks`.
    #[arg(long, env = "ATOMA_NETWORK", value_name = "NAME", conflicts_with = "deployment")]
    pub(crate) network: Option<String>,
    /// Address of a devnet, or of the network's full node if --deployment is given. Default: the running `atoma dev`.
    #[arg(long, env = "ATOMA_RPC_URL", value_name = "URL")]
    pub(crate) rpc: Option<String>,
    /// JSON file with the addresses of a deployment (as `atoma devnet run` prints them).
    #[arg(long, env = "ATOMA_DEPLOYMENT", value_name = "FILE")]
    pub(crate) deployment: Option<PathBuf>,
}

/// Which key pays.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Payer {
    /// Key file. Default: `wallet.key` in the home folder.
    #[arg(long, env = "ATOMA_WALLET", value_name = "FILE")]
    pub(crate) wallet: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Dev {
    /// Port of the gateway; 0 takes a free one. 8080, unless ephemeral.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Port of the chain; 0 takes a free one. 9000, unless ephemeral. Nodes always take free ones.
    #[arg(long)]
    pub(crate) rpc_port: Option<u16>,
    /// How many nodes to run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
    /// What the nodes answer with: a TOML file of `[[engines]]`, as in node.toml. Default: the small model.
    #[arg(long, value_name = "FILE")]
    pub(crate) engines: Option<PathBuf>,
    /// Keep nothing: state in memory and a folder that is removed. Takes free ports unless told otherwise.
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Throw away the state of earlier runs first.
    #[arg(long, conflicts_with = "ephemeral")]
    pub(crate) reset: bool,
    /// When ready, print one line of JSON instead of the banner; stop when standard input closes.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Print one JSON object: every check with its name and `ok`, balances before and after by party.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Chat {
    /// Ask this and print the answer. Without it, a conversation; `-` reads standard input.
    pub(crate) prompt: Option<String>,
    #[arg(long, default_value = crate::command::model::DEFAULT)]
    pub(crate) model: String,
    /// Base URL of an OpenAI-compatible endpoint. Default: the running `atoma dev`.
    #[arg(long, env = "ATOMA_BASE_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// API key of that endpoint.
    #[arg(long, env = "ATOMA_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[arg(long, default_value_t = 256)]
    pub(crate) max_tokens: u32,
    #[arg(long)]
    pub(crate) temperature: Option<f64>,
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) payer: Payer,
    /// Port on localhost; 0 takes a free one.
    #[arg(long, default_value_t = 8081)]
    pub(crate) port: u16,
    /// Units to buy when a model is first used, and least units of a stack. What runs low is topped up.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) units: u64,
    /// Most to pay, in base units per million units. Default: what the market asks.
    #[arg(long, value_parser = price)]
    pub(crate) max_price: Option<Price>,
    #[command(flatten)]
    pub(crate) choice: NodeChoice,
    /// Close the stacks on exit, so that the rest can be refunded after the delay.
    #[arg(long)]
    pub(crate) close: bool,
    /// When ready, print one line of JSON instead; stop when standard input closes.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the nodes of a stack are chosen.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct NodeChoice {
    /// `single`: the chain draws one; `limited`: it draws several; `any`: those are taken that perform best.
    #[arg(long, value_enum, default_value_t = Choice::Single)]
    pub(crate) selection: Choice,
    /// Over how many nodes a stack is spread, unless one is drawn. Half of it is granted at once, the rest where it is
    /// used.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) nodes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    Single,
    Limited,
    Any,
}

impl NodeChoice {
    /// The policy with this choice.
    pub(crate) fn of(self, policy: Policy) -> Policy {
        let selection = match self.selection {
            Choice::Single => Selection::Single,
            Choice::Limited => Selection::Limited,
            Choice::Any => Selection::Any,
        };
        Policy { selection, nodes: self.nodes.into(), ..policy }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Wallet {
    /// Make a key.
    New(Payer),
    /// Print the address.
    Address(Payer),
    /// Print what the address holds.
    Balance {
        #[command(flatten)]
        payer: Payer,
        #[command(flatten)]
        network: Network,
        /// Another address than the wallet's.
        #[arg(long)]
        address: Option<Address>,
        #[arg(long)]
        json: bool,
    },
    /// Get coins from the network's faucet: SUI and, on a devnet, the market's coin.
    Faucet {
        #[command(flatten)]
        payer: Payer,
        #[command(flatten)]
        network: Network,
    },
    /// Send the market's coin, in base units (10^6 are one coin).
    Send {
        to: Address,
        #[arg(value_parser = amount)]
        amount: Amount,
        #[command(flatten)]
        payer: Payer,
        #[command(flatten)]
        network: Network,
    },
    /// Print the secret key, as Sui wallets import it.
    Export {
        #[command(flatten)]
        payer: Payer,
        /// Needed: whoever sees the key can spend everything.
        #[arg(long)]
        yes_show_my_secret: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Make a node's folder with its wallet and receipt key.
    Init {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Lock collateral, offer a task, and write the folder's `node.toml`. Safe to repeat.
    Register {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Where clients reach the node from outside.
        #[arg(long, value_name = "URL")]
        endpoint: String,
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:8090")]
        listen: std::net::SocketAddr,
        #[arg(long, value_parser = task)]
        task: TaskId,
        /// Base units per million units.
        #[arg(long, value_parser = price)]
        price: Price,
        /// Most units of one stack.
        #[arg(long, value_parser = units, default_value = "100000000")]
        max_units: Units,
        #[command(flatten)]
        network: Network,
    },
    /// Serve and settle until stopped; then drain.
    Run {
        /// The folder's `node.toml`.
        #[arg(value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        network: Network,
    },
    /// Have a running node read `[[engines]]` of its `node.toml` again: replicas come and go, what runs ends where it
    /// began. If the file is wrong nothing changes.
    Reload {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Offer one more task, or ask another price for one that is offered.
    Subscribe {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[arg(long, value_parser = task)]
        task: TaskId,
        /// Base units per million units.
        #[arg(long, value_parser = price)]
        price: Price,
        /// Most units of one stack.
        #[arg(long, value_parser = units, default_value = "100000000")]
        max_units: Units,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// End the offer of a task; stacks that drew the node are served to their end.
    Unsubscribe {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[arg(long, value_parser = task)]
        task: TaskId,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// What the chain and the running service say of a node.
    Status {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// End all offers, so that the node can stop once its stacks are over.
    Drain {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// Leave the market: disable the node, and after the contract's delays take the collateral back.
    Withdraw {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Needed to disable it: there is no way back.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// List the nodes of the network.
    List {
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Gateway {
    /// Run a gateway.
    Run {
        /// Settings (`gateway.toml`). Default: a gateway that keeps its data in the home folder.
        #[arg(value_name = "FILE")]
        config: Option<PathBuf>,
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<std::net::SocketAddr>,
        #[command(flatten)]
        database: GatewayDatabase,
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
    },
    /// Create an API key and print it; only its hash is stored. It belongs to no account.
    Key {
        /// Settings of the gateway. Default: the one in the home folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        database: GatewayDatabase,
        /// What the key may spend, in base units. Without it, everything.
        #[arg(long, value_parser = amount)]
        budget: Option<Amount>,
        /// A name to recognise it by.
        #[arg(long, default_value = "default")]
        name: String,
        /// What it may spend in a day of UTC, in base units.
        #[arg(long, value_parser = amount)]
        spend_per_day: Option<Amount>,
        #[arg(long)]
        requests_per_minute: Option<u64>,
        /// Tokens as the market weighs them.
        #[arg(long)]
        units_per_minute: Option<u64>,
    },
    /// Disable an account, or enable it again. Its keys and sessions are worth nothing while it is disabled.
    #[command(group = clap::ArgGroup::new("who").required(true).args(["login", "id"]))]
    Account {
        /// Who signs in with a password.
        login: Option<String>,
        /// Number of the account, for who signs in with an address.
        #[arg(long)]
        id: Option<i64>,
        #[arg(long)]
        enable: bool,
        /// Settings of the gateway. Default: the one in the home folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        database: GatewayDatabase,
    },
    /// Ask the running gateway for its books and where its money is: wallet, stacks, what they cost and earned.
    Status {
        /// Settings of the gateway. Default: the one in the home folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where it listens, if not as the settings say.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// What came in, was charged and was paid, in base units.
    Books {
        /// Settings of the gateway. Default: the one in the home folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        database: GatewayDatabase,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GatewayDatabase {
    /// The `postgres://` URL of the database that several gateways share. Default: what the settings say, or a file.
    #[arg(long = "database", value_name = "URL", env = "ATOMA_DATABASE_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Devnet {
    /// Run the chain alone.
    Run {
        #[arg(long, default_value_t = 9000)]
        port: u16,
        /// Keep nothing.
        #[arg(long)]
        ephemeral: bool,
        /// Throw away the state of earlier runs first.
        #[arg(long, conflicts_with = "ephemeral")]
        reset: bool,
        /// Address that a new market's admin cap goes to.
        #[arg(long)]
        admin: Option<Address>,
    },
    /// Move the chain's clock forward, or end epochs, with which new parameters begin to hold.
    #[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["seconds", "epochs"]))]
    Advance {
        /// Seconds.
        seconds: Option<u64>,
        /// Epochs to end.
        #[arg(long, value_name = "N")]
        epochs: Option<u64>,
        #[command(flatten)]
        network: Network,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List the tasks of the network.
    List {
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// Make a chat task that sells a model, and the model's row if there is none. The wallet becomes the creator, who
    /// earns a share of 20 permille. Safe to repeat.
    Create {
        /// The model's label, as requests name it.
        #[arg(long)]
        model: String,
        /// The highest price that a node may ask, in base units per million units.
        #[arg(long, value_parser = price)]
        price_ceiling: Price,
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Stack {
    /// Buy units of a model; a node is drawn at random unless --selection says otherwise. `atoma connect` uses them
    /// first.
    Buy {
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
        #[arg(long, default_value = crate::command::model::DEFAULT)]
        model: String,
        #[arg(long, value_parser = units, default_value = "200000")]
        units: Units,
        /// Most to pay, in base units per million units; the drawn node's own price is charged. Default: what the market asks.
        #[arg(long, value_parser = price)]
        max_price: Option<Price>,
        #[command(flatten)]
        choice: NodeChoice,
    },
    /// Buy more units for an open stack, at its own price and for the rest of its time.
    Topup {
        stack: Address,
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
        #[arg(long, value_parser = units, default_value = "200000")]
        units: Units,
    },
    /// List the stacks bought with this home folder's journal.
    List {
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
        #[arg(long)]
        json: bool,
    },
    /// Show a stack as the chain has it.
    Show {
        stack: Address,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
    /// Ask to close; the rest can be refunded after the delay, which this command names.
    Close {
        stack: Address,
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
    },
    /// Take back what was not used, after close or expiry and the delay.
    Refund {
        stack: Address,
        #[command(flatten)]
        network: Network,
        #[command(flatten)]
        payer: Payer,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Receipt {
    /// Check a receipt against the node's key on chain, and against request and answer if given.
    Verify {
        /// The receipt: base64 as in the header or comment line, or a file with it (`-`: standard input).
        receipt: String,
        /// File with the request body as sent.
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
        /// The request's authorization, base64 as in the `x-atoma-auth` header, or a file with it.
        #[arg(long, value_name = "AUTH")]
        auth: Option<String>,
        /// File with the answer's bytes as received.
        #[arg(long, value_name = "FILE")]
        response: Option<PathBuf>,
        #[command(flatten)]
        network: Network,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Fetch a model's weights, resumed and checked.
    Pull {
        #[arg(default_value = crate::command::model::DEFAULT)]
        name: String,
    },
    /// List the models that can be pulled, and which are here.
    List {
        #[arg(long)]
        json: bool,
    },
}

fn task(text: &str) -> Result<TaskId, String> {
    number(text).map(TaskId)
}

fn units(text: &str) -> Result<Units, String> {
    number(text).map(Units)
}

fn price(text: &str) -> Result<Price, String> {
    number(text).map(Price)
}

fn amount(text: &str) -> Result<Amount, String> {
    number(text).map(Amount)
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| "expected a whole number".to_owned())
}
