//! A Sui network of one process: a Sui RPC v2 server (gRPC and grpc-web on one port, a faucet and controls
//! beside them) over the contract's Rust model, for `dev` and for tests.
//!
//! Clients cannot tell it from a full node where they use it as one: real BCS transactions, real
//! signatures, gas, object versions, effects, events, checkpoints. It has no consensus, no validators and
//! no Move VM: the market's package runs as the functions of `atoma-contract`, however often it is published or
//! upgraded, and no other package can be. It never holds a key of anybody but its faucet, and never decides what the contract decides.
//!
//! Start with [`spawn`]; inside with `ledger` (pure: objects, execution, checkpoints), `package` (what can
//! be called), `chain` (one writer, the journal, time), then the shells: `service`, `http`, `store`.

mod chain;
mod faucet;
mod filter;
mod http;
mod ledger;
mod package;
mod scan;
mod service;
mod store;

pub use faucet::BlobCertificate;
pub use ledger::audit::{Totals, Unbalanced};
pub use package::{BASE_PACKAGE, PACKAGE, USD_PACKAGE, WALRUS_PACKAGE};
pub use store::StoreError;

use atoma_types::Address;
use atoma_types::onchain::{Deployment, Params};
use chain::{Chain, ReplayError};
use faucet::Gift;
use ledger::Ledger;
use ledger::genesis::{Genesis, GenesisError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

/// Name the network reports.
const NETWORK: &str = "devnet";
/// Most requests that one connection has in flight.
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// How long [`Devnet::shutdown`] waits for requests to end.
const GRACE: Duration = Duration::from_secs(2);

/// Modules that a package must have to be taken for the market's when it is published.
pub fn market_modules() -> Vec<&'static str> {
    package::modules(PACKAGE)
}

/// The same of the package under it.
pub fn base_modules() -> Vec<&'static str> {
    package::modules(BASE_PACKAGE)
}

/// How to run a devnet.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// File that keeps the state; in memory without one.
    pub store: Option<PathBuf>,
    /// What all randomness follows from; drawn from the operating system if not given. Of an existing
    /// store the seed, the parameters, the administrator and the first time stay as they are.
    pub seed: Option<[u8; 32]>,
    pub params: Params,
    /// Who holds the market's `AdminCap`; out of reach, with the faucet, if nobody is named.
    pub admin: Option<Address>,
    /// Address to put into the deployment's URL instead of the one listened on.
    pub public_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_000),
            store: None,
            seed: None,
            params: atoma_contract::params::devnet(),
            admin: None,
            public_url: None,
        }
    }
}

impl Config {
    /// In memory, on a free port, with a fixed seed.
    pub fn test() -> Self {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self { listen, seed: Some([7; 32]), ..Self::default() }
    }
}

/// Why a devnet does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; is another program using the port?")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the first state cannot be built: {0}")]
    Genesis(String),
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
    #[error("the devnet's start was interrupted")]
    Interrupted,
}

impl From<ReplayError> for StartError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Store(error) => Self::Store(error),
            ReplayError::Genesis(error) => Self::Genesis(error.to_string()),
        }
    }
}

/// A running devnet. Stops when dropped; [`Devnet::shutdown`] lets running requests end first.
pub struct Devnet {
    chain: Arc<Chain>,
    address: SocketAddr,
    deployment: Deployment,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl Devnet {
    /// `http://host:port` of RPC, faucet and controls.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the market is.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Gives coins, as the faucet does over HTTP: MIST and base units of USD.
    pub async fn fund(&self, recipient: Address, sui: u64, usd: u64) -> Result<(), ControlError> {
        let chain = self.chain.clone();
        control(move || faucet::give(&chain, Gift { recipient, sui, usd }).map(drop)).await
    }

    /// Certifies a blob as Walrus would, had it been stored there; returns the id of its `Blob` object.
    pub async fn certify_blob(&self, blob: BlobCertificate) -> Result<Address, ControlError> {
        let chain = self.chain.clone();
        control(move || faucet::certify(&chain, &blob)).await
    }

    /// Moves the chain's clock ahead; returns its new time in ms.
    pub async fn advance_clock(&self, by: Duration) -> Result<u64, ControlError> {
        let chain = self.chain.clone();
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        control(move || chain.advance_clock(by_ms)).await
    }

    /// Ends the epoch; returns the number of the new one.
    pub async fn advance_epoch(&self) -> Result<u64, ControlError> {
        let chain = self.chain.clone();
        control(move || chain.advance_epoch()).await
    }

    /// Adds up every coin there is; fails if one was made or lost.
    pub fn audit(&self) -> Result<Totals, Unbalanced> {
        self.chain.read().audit()
    }

    /// Chain time in ms.
    pub fn now_ms(&self) -> u64 {
        self.chain.now_ms()
    }

    /// Stops taking requests and waits a moment for those that run.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may be gone already.
            let _ = stop.send(());
        }
        self.chain.end_streams();
        if tokio::time::timeout(GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }

    /// Completes when the server has stopped by itself.
    pub async fn stopped(&mut self) {
        // A panicked or aborted server has stopped too.
        let _ = (&mut self.server).await;
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.server.abort();
        // Open connections outlive the server's task; the journal must not.
        self.chain.close();
    }
}

/// Why a control of the devnet did nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ControlError(String);

async fn control<T: Send + 'static, E: std::fmt::Display + Send + 'static>(
    run: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ControlError> {
    let done = tokio::task::spawn_blocking(run).await;
    done.map_err(|error| ControlError(error.to_string()))?.map_err(|error| ControlError(error.to_string()))
}

/// Starts a devnet: opens and replays the store, then serves.
pub async fn spawn(config: Config) -> Result<Devnet, StartError> {
    let listen_error = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let rpc_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let chain =
        tokio::task::spawn_blocking(move || open(config)).await.map_err(|_| StartError::Interrupted)??;
    let chain = Arc::new(chain);
    let deployment = deployment(&chain, rpc_url).map_err(|error| StartError::Genesis(error.to_string()))?;
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, chain.clone(), deployment.clone(), stopped));
    Ok(Devnet { chain, address, deployment, stop: Some(stop), server })
}

fn open(config: Config) -> Result<Chain, StartError> {
    let Config { seed, params, admin, store, .. } = config;
    let seed = match seed {
        Some(seed) => seed,
        None => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| StartError::Randomness(error.to_string()))?;
            seed
        }
    };
    let fresh = || Genesis { seed, timestamp_ms: chain::wall_ms(), params, admin };
    let (store, genesis) = match store {
        None => (None, fresh()),
        Some(path) => Store::open(&path, fresh).map(|(store, genesis)| (Some(store), genesis))?,
    };
    let ledger = Ledger::new(genesis).map_err(|error| StartError::Genesis(error.to_string()))?;
    Ok(Chain::start(ledger, store)?)
}

fn deployment(chain: &Chain, rpc_url: String) -> Result<Deployment, GenesisError> {
    let ledger = chain.read();
    let [db, treasury, beacon] = ledger.genesis().market_ids()?;
    Ok(Deployment {
        network: NETWORK.to_owned(),
        rpc_url,
        package: PACKAGE,
        upgraded: None,
        db,
        treasury,
        beacon,
        walrus_package: WALRUS_PACKAGE,
        walrus_system: package::WALRUS_SYSTEM,
        coin_type: package::usd().to_string(),
    })
}

async fn serve(
    listener: TcpListener,
    chain: Arc<Chain>,
    deployment: Deployment,
    stopped: oneshot::Receiver<()>,
) {
    // The grpc-web layer refuses every other HTTP/1 request: it goes around the RPC alone.
    let rpc = service::routes(chain.clone()).into_axum_router().layer(tonic_web::GrpcWebLayer::new());
    let routes = Routes::from(rpc.merge(http::routes(chain, deployment)));
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .layer(tower_http::cors::CorsLayer::permissive().expose_headers(tower_http::cors::Any))
        .add_routes(routes);
    // Without TCP_NODELAY a reply waits some 40 ms for the client's acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stop = async {
        // A dropped handle aborts this task; only an explicit stop gets here.
        let _ = stopped.await;
    };
    if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop).await {
        tracing::error!(%error, "the devnet's server stopped");
    }
}
