//! Programs under load, each in a process of its own: the benchmark starts itself again in a role. A role says in one
//! line of JSON where it is, and ends in order when its standard input does.

use crate::fleet::Memory;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Linux counts CPU time in ticks of a hundredth of a second.
const TICK_US: u64 = 10_000;

/// A role's process; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// Processors that a program may use, as `taskset` takes them; any if `None`.
pub type Cores = Option<&'static str>;

/// A command that runs on these processors only.
pub fn on_cores(cores: Cores, program: &Path) -> Command {
    match cores {
        None => Command::new(program),
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["-c", cores]).arg(program);
            command
        }
    }
}

/// Keeps this process on these processors.
pub fn stay_on(cores: Cores) -> Result<()> {
    let Some(cores) = cores else { return Ok(()) };
    let process = std::process::id().to_string();
    let pinned =
        Command::new("taskset").args(["-a", "-c", "-p", cores, &process]).stdout(Stdio::null()).status();
    ensure!(pinned.context("taskset is not installed")?.success(), "taskset refused");
    Ok(())
}

impl Program {
    /// Starts this program again with these arguments, and waits until it says that it is ready.
    pub fn start<R: DeserializeOwned>(arguments: &[&str]) -> Result<(Self, R)> {
        Self::start_on(None, arguments)
    }

    /// The same, on some processors only.
    pub fn start_on<R: DeserializeOwned>(cores: Cores, arguments: &[&str]) -> Result<(Self, R)> {
        let mut command = on_cores(cores, &std::env::current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut program = Self { child, lines };
        let ready = program.said().with_context(|| format!("{arguments:?} did not start"))?;
        Ok((program, ready))
    }

    fn said<R: DeserializeOwned>(&mut self) -> Result<R> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// CPU time used so far, in microseconds.
    pub fn cpu_us(&self) -> Result<u64> {
        cpu_us(self.child.id())
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().nth(1).context("no number")?.parse().context("not a number")
    }

    /// The same, with the process that it is of.
    pub fn memory(&self) -> Result<Memory> {
        Ok(Memory { process: self.child.id(), kib: self.memory_kib()? })
    }

    /// Ends it in order.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Ends it in order, and reads what it says at last.
    pub fn stop_and_hear<R: DeserializeOwned>(mut self) -> Result<R> {
        drop(self.child.stdin.take());
        let said = self.said().context("nothing was said at the end")?;
        self.end()?;
        Ok(said)
    }

    fn end(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "a program under load ended with {status}");
        Ok(())
    }

    /// Kills it as a power cut of its process would: nothing it holds in memory stays.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// CPU time that a process and its ended children used so far, in microseconds: fields 14 to 17 of `proc_pid_stat(5)`.
pub fn cpu_us(process: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |at: usize| fields.get(at).context("stat is short")?.parse::<u64>().context("not a number");
    Ok((11..15).map(field).sum::<Result<u64>>()? * TICK_US)
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// For a role: says something to whoever started it.
pub fn say(what: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// For a role: waits for the end of standard input.
pub async fn told_to_end() -> Result<()> {
    let rest = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(rest).await??;
    Ok(())
}
