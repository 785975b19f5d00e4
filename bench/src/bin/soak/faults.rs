//! What goes wrong, and when.

use crate::engine::Engine;
use atoma_bench::fleet::Fleet;
use clap::ValueEnum;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Faults {
    All,
    None,
    /// Users hang up in the middle of an answer.
    Disconnects,
    /// Engines fail, stall and break off.
    Engines,
    /// Nodes are killed and started again.
    Nodes,
    /// The gateway is killed and started again.
    Gateway,
}

/// The faults that were asked for.
pub(crate) fn chosen(asked: &[Faults]) -> Vec<Faults> {
    if asked.contains(&Faults::All) {
        return vec![Faults::Disconnects, Faults::Engines, Faults::Nodes, Faults::Gateway];
    }
    asked.iter().copied().filter(|fault| *fault != Faults::None).collect()
}

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `sides` - 1.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }
}

/// Breaks one thing after the other until it is stopped.
pub(crate) async fn run(fleet: Arc<Fleet>, engine: Engine, chosen: Vec<Faults>, seed: u64) {
    let mut dice = Dice::new(seed, 1);
    let kinds: Vec<Faults> = chosen.into_iter().filter(|fault| *fault != Faults::Disconnects).collect();
    while let Some(kind) = pick(&kinds, &mut dice) {
        tokio::time::sleep(Duration::from_millis(500 + dice.below(2_000))).await;
        let down = Duration::from_millis(100 + dice.below(900));
        match kind {
            Faults::Engines => {
                engine.misbehave();
                tokio::time::sleep(down).await;
                engine.behave();
            }
            Faults::Nodes => fleet.bounce_node(usize::try_from(dice.below(1 << 16)).unwrap_or(0), down).await,
            _ => fleet.bounce_gateway(down).await,
        }
    }
}

fn pick(kinds: &[Faults], dice: &mut Dice) -> Option<Faults> {
    let count = u64::try_from(kinds.len()).unwrap_or(0);
    kinds.get(usize::try_from(dice.below(count)).unwrap_or(0)).copied()
}
