//! Runs Move test files on the real VM, several processes at a time, and reads what they say.

use crate::emit;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Compiling takes more than linear time.
const SOURCE_BYTES_MAX: usize = 900_000;

/// A file of one test module.
#[derive(Clone, Debug)]
pub struct Module {
    pub name: String,
    pub source: String,
}

/// What tests said, by `module::test`: nothing if passed.
pub type Verdicts = BTreeMap<String, Option<String>>;

/// Where files are written and the runner is.
#[derive(Clone, Debug)]
pub struct Vm {
    pub runner: PathBuf,
    pub drivers: Vec<PathBuf>,
    pub folder: PathBuf,
    pub processes: usize,
}

impl Vm {
    /// The repository's own, writing below `target`.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(root: &Path, target: &Path) -> Result<Self> {
        let tests = root.join("tests/move");
        let folder = target.join("conformance");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let names = ["driver", "driver_args", "driver_objects", "driver_registry"];
        let mut drivers = names.map(|name| tests.join(format!("conformance/{name}.move"))).to_vec();
        let events = folder.join("driver_events.move");
        std::fs::write(&events, emit::events_module())?;
        drivers.push(events);
        let processes = std::thread::available_parallelism().map_or(1, |count| count.get());
        Ok(Self { runner: tests.join("run.mjs"), drivers, folder, processes })
    }

    /// Runs all modules.
    ///
    /// # Errors
    /// If the runner cannot be started, or says nothing of a module.
    pub fn run(&self, modules: &[Module]) -> Result<Verdicts> {
        let batches = Mutex::new(batches(modules));
        let results: Vec<Result<Verdicts>> = std::thread::scope(|scope| {
            let work = || {
                let mut verdicts = Verdicts::new();
                loop {
                    let batch = batches.lock().ok().and_then(|mut batches| batches.pop());
                    let Some(batch) = batch else { return Ok(verdicts) };
                    verdicts.extend(self.run_batch(&batch)?);
                }
            };
            let threads: Vec<_> = (0..self.processes.max(1)).map(|_| scope.spawn(work)).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|result| result.unwrap_or_else(|_| bail!("a thread failed"))).collect()
        });
        let mut verdicts = Verdicts::new();
        for result in results {
            verdicts.extend(result?);
        }
        Ok(verdicts)
    }

    fn run_batch(&self, modules: &[&Module]) -> Result<Verdicts> {
        let mut command = Command::new("node");
        command.arg(&self.runner).args(["test", "--tests"]).args(&self.drivers);
        for module in modules {
            let file = self.folder.join(format!("{}.move", module.name));
            std::fs::write(&file, &module.source)
                .with_context(|| format!("cannot write {}", file.display()))?;
            command.arg(file);
        }
        let output = command.output().context("cannot start node; install Node.js 20 or newer")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let verdicts = read(&text);
        for module in modules {
            let has_any = verdicts.keys().any(|name| name.starts_with(&format!("{}::", module.name)));
            if !has_any {
                bail!("the Move VM said nothing of {}:\n{}", module.name, head(&text));
            }
        }
        Ok(verdicts)
    }
}

fn head(text: &str) -> String {
    text.chars().take(4_000).collect()
}

/// Modules that run in one process each.
fn batches(modules: &[Module]) -> Vec<Vec<&Module>> {
    let mut batches: Vec<Vec<&Module>> = Vec::new();
    let mut size = usize::MAX;
    for module in modules {
        if size.saturating_add(module.source.len()) > SOURCE_BYTES_MAX {
            batches.push(Vec::new());
            size = 0;
        }
        size += module.source.len();
        if let Some(batch) = batches.last_mut() {
            batch.push(module);
        }
    }
    batches
}

/// Lines `[ PASS    ] atoma::module::test`, and the reports of those that did not.
fn read(text: &str) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for line in text.lines() {
        let Some((mark, name)) = line.strip_prefix("[ ").and_then(|rest| rest.split_once(']')) else {
            continue;
        };
        let Some(name) = name.trim().strip_prefix("atoma::") else { continue };
        let passed = mark.trim() == "PASS";
        verdicts.insert(name.to_owned(), (!passed).then(|| mark.trim().to_owned()));
    }
    let mut module = String::new();
    for report in text.split("Failures in atoma::").skip(1) {
        let (name, rest) = report.split_once(':').unwrap_or((report, ""));
        module.clear();
        module.push_str(name);
        for test in rest.split("┌── ").skip(1) {
            let (test, rest) = test.split_once(' ').unwrap_or((test, ""));
            let end = rest.find("└───").unwrap_or(rest.len());
            if let Some(Some(said)) = verdicts.get_mut(&format!("{module}::{test}")) {
                *said = rest[..end].to_owned();
            }
        }
    }
    verdicts
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_by_test() {
        let text = "Running Move unit tests\n[ PASS    ] atoma::a::all\n[ FAIL    ] atoma::a::step_1\n\
                    [ FAIL    ] atoma::b::all\n\nFailures in atoma::a:\n\n┌── step_1 ──────\n│ code 5\n└────\n\
                    Failures in atoma::b:\n\n┌── all ──────\n│ code 6\n└────\n";
        let verdicts = read(text);
        assert_eq!(verdicts["a::all"], None);
        assert!(verdicts["a::step_1"].as_ref().unwrap().contains("code 5"));
        assert!(verdicts["b::all"].as_ref().unwrap().contains("code 6"));
    }
}
