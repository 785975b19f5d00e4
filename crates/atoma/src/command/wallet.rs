//! `atoma wallet`: keys and coins.

use crate::cli::{Network, Payer, Wallet as Arguments};
use crate::home::Home;
use crate::network;
use crate::output::say;
use anyhow::{Result, bail};
use atoma_chain::{Call, ChainClient, Wallet};
use atoma_types::{Address, Amount};

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<()> {
    match arguments {
        Arguments::New(payer) => create(home, &payer),
        Arguments::Address(payer) => {
            say!("{}", payer.load(home)?.address());
            Ok(())
        }
        Arguments::Balance { payer, network, address, json } => {
            let owner = match address {
                Some(address) => address,
                None => payer.load(home)?.address(),
            };
            balance(home, &network, owner, json).await
        }
        Arguments::Faucet { payer, network } => faucet(home, &payer, &network).await,
        Arguments::Send { to, amount, payer, network } => send(home, &payer, &network, to, amount).await,
        Arguments::Export { payer, yes_show_my_secret } => {
            if !yes_show_my_secret {
                bail!("whoever sees the key can spend everything; repeat with --yes-show-my-secret");
            }
            say!("{}", payer.load(home)?.export().as_str());
            Ok(())
        }
    }
}

fn create(home: &Home, payer: &Payer) -> Result<()> {
    let path = payer.path(home);
    let wallet = Wallet::generate()?;
    wallet.save_new(&path)?;
    say!("address {}", wallet.address());
    say!(
        "key     {} (whoever reads this file can spend everything: keep a copy in a safe place)",
        path.display()
    );
    Ok(())
}

async fn balance(home: &Home, network: &Network, owner: Address, json: bool) -> Result<()> {
    let (chain, _) = network::reach(home, network).await?;
    show_balance(&chain, owner, json).await
}

async fn show_balance(chain: &ChainClient, owner: Address, json: bool) -> Result<()> {
    let balances = chain.balances(owner).await?;
    if json {
        say!("{}", serde_json::json!({ "address": owner, "coin": balances.coin, "gas": balances.gas }));
    } else {
        say!("address {owner}");
        say!("coin    {} ({})", balances.coin.display_coins(), chain.deployment().coin_type);
        say!("gas     {} MIST", balances.gas);
    }
    Ok(())
}

async fn faucet(home: &Home, payer: &Payer, network: &Network) -> Result<()> {
    let (chain, profile) = network::reach(home, network).await?;
    let owner = payer.load(home)?.address();
    atoma_chain::faucet_at(network::faucet(&chain, profile.as_ref())?, owner).await?;
    show_balance(&chain, owner, false).await
}

async fn send(home: &Home, payer: &Payer, network: &Network, to: Address, amount: Amount) -> Result<()> {
    let chain = network::connect(home, network).await?;
    let executed = payer.load(home)?.execute(&chain, Call::TransferCoin { to, amount }).await?;
    say!("sent {} to {to} in {}", amount.display_coins(), executed.digest);
    Ok(())
}
