//! `Beacon`: one random seed per round, for all claims of the market.

use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::ensure;
use crate::table::Table;
use crate::{Result, VERSION};
use atoma_types::onchain::Abort;
use atoma_types::onchain::event::BeaconRound;
use atoma_types::{Address, Hash32};
use serde::{Deserialize, Serialize};

/// The shared beacon of one database. Seeds are kept for ever and never redrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    pub id: Address,
    pub version: u64,
    pub db: Address,
    /// Round of the newest seed; 0 before the first.
    pub round: u64,
    pub last_ms: u64,
    /// By round, from 1.
    pub seeds: Table<u64, Hash32>,
}

impl Beacon {
    pub(crate) fn new(db: Address, ctx: &mut TxContext) -> Self {
        let id = ctx.fresh_id();
        Self { id, version: VERSION, db, round: 0, last_ms: 0, seeds: Table::new(ctx) }
    }

    /// BCS of the object as it is on chain: the table is its id and size.
    pub fn header_bytes(&self) -> std::result::Result<Vec<u8>, bcs::Error> {
        bcs::to_bytes(&(self.id, self.version, self.db, self.round, self.last_ms, self.seeds.header()))
    }

    /// The seed of a round that was drawn.
    pub fn seed(&self, round: u64) -> Result<Hash32> {
        self.seeds.get(round).copied().ok_or(Abort::NoSeed)
    }

    pub(crate) fn check(&self, db: &AtomaDb) -> Result {
        ensure(self.version == VERSION, Abort::Version)?;
        ensure(self.db == db.id, Abort::WrongDb)
    }
}

/// Stores the next round's seed. By anyone, at most once per `beat_min_ms`. `seed` is the one draw from `Random`:
/// nobody whose claim it decides sees it before it is stored.
pub fn beat(
    db: &AtomaDb,
    beacon: &mut Beacon,
    seed: &[u8; 32],
    clock_ms: u64,
    ctx: &mut TxContext,
) -> Result {
    db.check_version()?;
    beacon.check(db)?;
    let beat_min_ms = db.params_at(ctx.epoch()).beat_min_ms;
    let is_due = beacon.round == 0 || clock_ms.saturating_sub(beacon.last_ms) >= beat_min_ms;
    ensure(is_due, Abort::TooEarly)?;
    let round = beacon.round.checked_add(1).ok_or(Abort::Arithmetic)?;

    let seed = Hash32(*seed);
    beacon.round = round;
    beacon.last_ms = clock_ms;
    beacon.seeds.set(round, seed);
    ctx.emit(BeaconRound { round, seed, at_ms: clock_ms });
    Ok(())
}
