//! A play as a Move test module for the driver.

use crate::expect::{Expected, Scope};
use crate::op::Step;
use crate::world::{Outcome, World};
use anyhow::Result;
use atoma_types::onchain::Event;
use std::fmt::Write;

/// A Move constant holds less than this.
const CONSTANT_BYTES_MAX: usize = 60_000;

/// Event types that one function of the driver chooses from.
const GROUP: usize = 16;

/// A sequence as it went on the model.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// Names the module.
    pub name: String,
    pub steps: Vec<Step>,
    pub outcomes: Vec<Outcome>,
    pub expected: Vec<Expected>,
}

impl Sequence {
    /// Plays steps on a fresh world. Those that name nothing are left out. Everything is compared at the end, and
    /// after every step with [`Scope::Everything`].
    pub fn play(name: String, steps: &[Step], scope: Scope) -> Result<Self> {
        let mut world = World::default();
        let mut sequence = Self { name, ..Self::default() };
        let mut last_done = None;
        for step in steps {
            let before = world.clone();
            let outcome = world.play(step);
            if outcome == Outcome::Missing {
                continue;
            }
            let expected = Expected::of(&before, &world, step, &outcome, scope)?;
            if expected.code == 0 {
                last_done = Some((sequence.steps.len(), before));
            }
            sequence.steps.push(step.clone());
            sequence.outcomes.push(outcome);
            sequence.expected.push(expected);
        }
        if let Some((at, before)) = last_done {
            let (step, outcome) = (&sequence.steps[at], &sequence.outcomes[at]);
            sequence.expected[at] = Expected::of(&before, &world, step, outcome, Scope::Everything)?;
        }
        Ok(sequence)
    }

    /// Steps that abort, by position.
    pub fn aborts(&self) -> impl Iterator<Item = (usize, u64)> {
        let codes = self.expected.iter().map(|expected| expected.code).enumerate();
        codes.filter(|(_, code)| *code != 0)
    }

    /// The module's source: one test of all that succeeds, and one for each of these aborts.
    pub fn source(&self, aborts: &[usize], is_whole: bool) -> Result<String> {
        let mut source = format!("#[test_only]\nmodule atoma::{};\n\nuse atoma::driver;\n\n", self.name);
        let parts = self.constants(is_whole, &mut source)?;
        let names: Vec<String> = (0..parts).map(|part| format!("P{part}")).collect();
        let names = names.join(", ");
        write!(source, "#[test]\nfun all() {{ driver::play(vector[{names}]) }}\n")?;
        for at in aborts {
            let abort = place(self.expected[*at].code);
            write!(
                source,
                "\n#[test, expected_failure({abort})]\nfun step_{at}() {{ driver::fail(vector[{names}], {at}) }}\n"
            )?;
        }
        Ok(source)
    }

    /// Writes the steps and what is expected of them as constants; returns how many.
    fn constants(&self, is_whole: bool, source: &mut String) -> Result<usize> {
        let (mut parts, mut size) = (0, usize::MAX);
        for (step, expected) in self.steps.iter().zip(&self.expected) {
            let pair = [bcs::to_bytes(step)?, expected.to_bytes(is_whole)?];
            let bytes = pair[0].len() + pair[1].len() + 8;
            if size.saturating_add(bytes) > CONSTANT_BYTES_MAX {
                source.push_str(if parts == 0 { "" } else { "];\n" });
                writeln!(source, "const P{parts}: vector<vector<u8>> = vector[")?;
                (parts, size) = (parts + 1, 0);
            }
            size += bytes;
            writeln!(source, "    x\"{}\",\n    x\"{}\",", hex(&pair[0]), hex(&pair[1]))?;
        }
        source.push_str(if parts == 0 { "" } else { "];\n\n" });
        Ok(parts)
    }
}

/// What a test expects. All codes of the package come from one function of it: the framework's modules abort with
/// small codes, too.
fn place(code: u64) -> String {
    format!("abort_code = {code}, location = atoma_base::errors")
}

/// The driver's module that gives the events of a transaction as bytes, by their type's position in the list.
#[must_use]
pub fn events_module() -> String {
    let mut source = String::from(
        "#[test_only]\nmodule atoma::driver_events;\n\nuse atoma::events;\nuse std::bcs;\nuse sui::event;\n\n\
         public fun of_type(tag: u8): vector<u8> {\n",
    );
    let groups: Vec<_> = Event::LAYOUTS.chunks(GROUP).enumerate().collect();
    for (at, group) in &groups {
        let end = at * GROUP + group.len();
        source.push_str(&format!("    if (tag < {end}) return group_{at}(tag);\n"));
    }
    source.push_str("    abort 0\n}\n");
    for (at, group) in groups {
        source.push_str(&format!("\nfun group_{at}(tag: u8): vector<u8> {{\n    match (tag) {{\n"));
        for (i, layout) in group.iter().enumerate() {
            let (tag, name) = (at * GROUP + i, layout.name);
            source.push_str(&format!(
                "        {tag} => bcs::to_bytes(&event::events_by_type<events::{name}>()),\n"
            ));
        }
        source.push_str("        _ => abort 0,\n    }\n}\n");
    }
    source
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}
