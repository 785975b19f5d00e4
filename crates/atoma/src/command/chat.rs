//! `atoma chat`: a conversation with any OpenAI-compatible endpoint, streamed.

use crate::cli::Chat as Arguments;
use crate::home::Home;
use crate::network::Announcement;
use crate::output::{self, say};
use anyhow::{Context, Result, bail};
use futures::StreamExt;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read, Write};

/// Longest pending SSE event that is buffered.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

pub(crate) async fn run(home: &Home, arguments: &Arguments) -> Result<()> {
    let conversation = Conversation::new(home, arguments)?;
    match arguments.prompt.as_deref() {
        Some("-") => {
            let mut prompt = String::new();
            std::io::stdin().read_to_string(&mut prompt)?;
            conversation.once(prompt).await
        }
        Some(prompt) => conversation.once(prompt.to_owned()).await,
        None => conversation.interactive().await,
    }
}

struct Conversation<'a> {
    arguments: &'a Arguments,
    url: String,
    key: Option<String>,
    http: reqwest::Client,
    messages: Vec<Value>,
}

impl<'a> Conversation<'a> {
    fn new(home: &Home, arguments: &'a Arguments) -> Result<Self> {
        let (url, key) = match (&arguments.url, Announcement::read(home)) {
            (Some(url), _) => (url.clone(), arguments.key.clone()),
            (None, Some(dev)) => (dev.base_url, arguments.key.clone().or(Some(dev.api_key))),
            (None, None) => bail!("no endpoint named: start one with `atoma dev`, or give --url and --key"),
        };
        let system = arguments.system.iter().map(|text| json!({ "role": "system", "content": text }));
        Ok(Self { arguments, url, key, http: reqwest::Client::new(), messages: system.collect() })
    }

    async fn once(mut self, prompt: String) -> Result<()> {
        self.ask(prompt).await?;
        say!();
        Ok(())
    }

    async fn interactive(mut self) -> Result<()> {
        if !std::io::stdin().is_terminal() {
            bail!("standard input is no terminal: give a prompt, or `-` to read one from it");
        }
        say!("{} at {}. An empty line or Ctrl-D ends.", output::bold(&self.arguments.model), self.url);
        let mut editor = rustyline::DefaultEditor::new()?;
        loop {
            // The editor blocks its thread; nothing else is under way while a person types.
            let line = tokio::task::block_in_place(|| editor.readline("> "));
            match line {
                Ok(line) if !line.trim().is_empty() => {
                    let _ = editor.add_history_entry(&line);
                    if let Err(error) = self.ask(line).await {
                        eprintln!("error: {}", output::one_line(&error));
                        self.messages.pop();
                    }
                    say!("\n");
                }
                _ => return Ok(()),
            }
        }
    }

    /// Sends the conversation with `prompt` added and prints the answer as it comes.
    async fn ask(&mut self, prompt: String) -> Result<()> {
        self.messages.push(json!({ "role": "user", "content": prompt }));
        let mut body = json!({
            "model": self.arguments.model, "messages": self.messages, "stream": true,
            "max_tokens": self.arguments.max_tokens,
        });
        if let Some(temperature) = self.arguments.temperature {
            body["temperature"] = json!(temperature);
        }
        if let Some(seed) = self.arguments.seed {
            body["seed"] = json!(seed);
        }
        let mut request =
            self.http.post(format!("{}/chat/completions", self.url.trim_end_matches('/'))).json(&body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.with_context(|| format!("no answer from {}", self.url))?;
        if !response.status().is_success() {
            bail!("{}", refusal(response).await);
        }
        let answer = print_stream(response).await?;
        self.messages.push(json!({ "role": "assistant", "content": answer }));
        Ok(())
    }
}

/// What an error answer says, in one line.
async fn refusal(response: reqwest::Response) -> String {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let message = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|body| body["error"]["message"].as_str().map(str::to_owned));
    format!("{status}: {}", message.unwrap_or(text))
}

async fn print_stream(response: reqwest::Response) -> Result<String> {
    let mut bytes = response.bytes_stream();
    let (mut pending, mut answer, mut done) = (Vec::new(), String::new(), false);
    while let Some(piece) = bytes.next().await {
        pending.extend_from_slice(&piece.context("the stream broke")?);
        if pending.len() > EVENT_BYTES_MAX {
            bail!("the endpoint sent an event over {EVENT_BYTES_MAX} bytes");
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.trim_end().strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                done = true;
                continue;
            }
            let event: Value =
                serde_json::from_str(data).context("the endpoint sent something else than JSON")?;
            if let Some(message) = event["error"]["message"].as_str() {
                bail!("{message}");
            }
            if let Some(text) = event["choices"][0]["delta"]["content"].as_str() {
                write!(std::io::stdout(), "{text}")?;
                std::io::stdout().flush()?;
                answer.push_str(text);
            }
        }
    }
    if !done {
        bail!("the answer was cut off");
    }
    Ok(answer)
}
