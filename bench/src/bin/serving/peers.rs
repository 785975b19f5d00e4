//! Other gateways in front of the same engine, where they are installed. None of them signs, meters or keeps books.

use crate::roles::MODEL;
use anyhow::{Context, Result, ensure};
use atoma_bench::program::{Cores, cpu_us, on_cores};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Longest wait for one to start.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(200);
/// The key that those ask for that check one.
const KEY: &str = "sk-bench";

/// A running one; killed when dropped.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    pub(crate) key: Option<String>,
    child: Child,
}

impl Peer {
    pub(crate) fn cpu_us(&self) -> Result<u64> {
        cpu_us(self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts those whose programs are in `folder` or on the path.
pub(crate) async fn start(
    engine: &str,
    cores: Cores,
    folder: Option<&Path>,
    place: &Path,
) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for (name, program) in [("smg", "smg"), ("litellm", "litellm")] {
        let Some(path) = find(program, folder) else { continue };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = on_cores(cores, &path);
        let port_text = port.to_string();
        match name {
            "smg" => {
                command.args(["launch", "--worker-urls", engine, "--backend", "openai"]);
                command.args(["--host", "127.0.0.1", "--port", &port_text, "--api-key", KEY]);
                command.args(["--log-level", "error"]);
            }
            _ => {
                let config = place.join("litellm.yaml");
                std::fs::write(&config, litellm(engine))?;
                command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
                command.args(["--host", "127.0.0.1", "--port", &port_text, "--config"]).arg(config);
            }
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let url = format!("http://127.0.0.1:{port}");
        let mut peer = Peer { name, url, key: Some(KEY.to_owned()), child };
        peer.ready().await.with_context(|| format!("{name} did not start"))?;
        peers.push(peer);
    }
    Ok(peers)
}

impl Peer {
    async fn ready(&mut self) -> Result<()> {
        let http = reqwest::Client::new();
        let body =
            format!(r#"{{"model":"{MODEL}","max_tokens":1,"messages":[{{"role":"user","content":"hi"}}]}}"#);
        for _ in 0..TRIES {
            let request = http.post(format!("{}/v1/chat/completions", self.url)).bearer_auth(KEY);
            let sent = request.header("content-type", "application/json").body(body.clone()).send().await;
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            ensure!(self.child.try_wait()?.is_none(), "it ended");
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::bail!("it gives no answer")
    }
}

fn litellm(engine: &str) -> String {
    format!(
        "model_list:\n- model_name: {MODEL}\n  litellm_params:\n    model: openai/{MODEL}\n    api_base: {engine}/v1\n    \
         api_key: none\ngeneral_settings:\n  master_key: {KEY}\n"
    )
}

fn find(program: &str, folder: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folder.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(program)).find(|path| path.exists())
}
