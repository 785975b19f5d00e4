//! `atoma receipt verify`: anyone can check what a node signed.

use crate::cli::Receipt as Arguments;
use crate::home::Home;
use crate::network;
use crate::output::{self, say};
use anyhow::{Context, Result};
use atoma_client::receipt::{Evidence, Report, parse, verify};
use atoma_types::message::Message;
use atoma_types::wire::{Authorization, RECEIPT_COMMENT};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

pub(crate) async fn run(home: &Home, arguments: Arguments) -> Result<ExitCode> {
    let Arguments::Verify { receipt, auth, request, response, network, json } = arguments;
    let bytes = named(&receipt)?;
    let answer = response.as_deref().map(read).transpose()?.map(covered);
    let authorization = auth.as_deref().map(authorization).transpose()?;
    let chain = network::connect(home, &network).await?;
    let signed = parse(&bytes).map_err(anyhow::Error::msg)?;
    let (node, stack) = (chain.node(signed.message.node).await?, chain.stack(signed.message.stack).await?);
    let auth_bytes = authorization.as_ref().map(|authorization| authorization.auth.message.signed_bytes());
    let evidence = Evidence {
        node: node.as_ref(),
        stack: stack.as_ref(),
        weights: None,
        request: auth_bytes.as_deref(),
        response: answer.as_deref(),
    };
    let mut report = verify(&bytes, evidence);
    if let (Some(authorization), Some(file)) = (&authorization, &request) {
        add_body_check(&mut report, authorization, &read(file)?);
    }
    print(&report, json)?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The authorization must be for this very body.
fn add_body_check(report: &mut Report, authorization: &Authorization, body: &[u8]) {
    let found = atoma_types::Hash32::of(body);
    let ok = found == authorization.auth.message.body_hash;
    report.checks.push(atoma_client::receipt::Check { name: "body_hash", ok, detail: found.to_string() });
    report.ok &= ok;
}

fn authorization(text: &str) -> Result<Authorization> {
    let bytes = named(text)?;
    Authorization::decode(String::from_utf8_lossy(&bytes).trim()).context("not an authorization")
}

/// The value itself, or the contents of the file it names; `-` is standard input.
fn named(value: &str) -> Result<Vec<u8>> {
    if value == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    match Path::new(value).exists() {
        true => read(Path::new(value)),
        false => Ok(value.as_bytes().to_vec()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What of a saved answer the receipt covers: all of it, or of a stream everything before its comment line.
fn covered(mut answer: Vec<u8>) -> Vec<u8> {
    let comment = RECEIPT_COMMENT.as_bytes();
    if let Some(at) = answer.windows(comment.len()).rposition(|window| window == comment) {
        answer.truncate(at);
    }
    answer
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        say!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    for check in &report.checks {
        let mark = if check.ok { output::green("ok    ") } else { output::red("FAILED") };
        say!("{mark} {:<16}{}", check.name, check.detail);
    }
    Ok(())
}
