//! One module per command.

mod chat;
mod connect;
mod contract;
mod demo;
mod dev;
mod devnet;
mod gateway;
pub(crate) mod model;
mod node;
mod receipt;
mod stack;
mod task;
mod wallet;

use crate::cli::{Cli, Command};
use crate::home::Home;
use anyhow::Result;
use clap::CommandFactory;
use std::process::ExitCode;

pub(crate) async fn run(home: Home, command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(arguments) => return demo::run(&home, &arguments).await,
        Command::Receipt(arguments) => return receipt::run(&home, arguments).await,
        Command::Dev(arguments) => dev::run(&home, &arguments).await?,
        Command::Chat(arguments) => chat::run(&home, &arguments).await?,
        Command::Connect(arguments) => connect::run(&home, &arguments).await?,
        Command::Wallet(arguments) => wallet::run(&home, arguments).await?,
        Command::Node(arguments) => node::run(&home, arguments).await?,
        Command::Gateway(arguments) => gateway::run(&home, arguments).await?,
        Command::Devnet(arguments) => devnet::run(&home, arguments).await?,
        Command::Contract(arguments) => Box::pin(contract::run(&home, arguments)).await?,
        Command::Task(arguments) => task::run(&home, arguments).await?,
        Command::Stack(arguments) => stack::run(&home, arguments).await?,
        Command::Model(arguments) => model::run(&home, arguments).await?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "atoma", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C, a termination request, or the end of standard input, whose reading thread ends with the process.
pub(crate) async fn interrupted_or_input_closed() {
    let (closed, input_closed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = closed.send(());
    });
    tokio::select! {
        () = interrupted() => {}
        _ = input_closed => {}
    }
}

/// Waits for Ctrl-C or a termination request.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}
