//! The director: plans from the state of the world what would come next, so that most steps succeed and
//! stories reach their end; spoils some; and puts noise in between.

mod audits;
mod commerce;
mod disputes;
pub(crate) mod known;
mod registry;
mod setup;
mod spoil;
pub(crate) mod terms;
mod time;

pub(crate) use spoil::{Spoil, Spoiler, one_of};

use crate::dice::Dice;
use crate::op::{Op, Step, Target};
use crate::world::World;
use atoma_contract::AtomaDb;
use atoma_types::onchain::{Claim, Node, Params, Stack};
use atoma_types::{Address, NodeId};
use known::Known;

/// How many different owners of stacks there are.
const USERS: u8 = 3;
/// A story is followed for at most this many steps.
const ATTENTION: u64 = 24;

/// What a step is to be.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) op: Op,
    pub(crate) sender: Address,
    /// When it can succeed; now if `None`.
    pub(crate) at_ms: Option<u64>,
}

impl Planned {
    fn new(sender: Address, op: Op) -> Option<Self> {
        Some(Self { op, sender, at_ms: None })
    }

    fn at(sender: Address, at_ms: u64, op: Op) -> Option<Self> {
        Some(Self { op, sender, at_ms: Some(at_ms) })
    }
}

/// Whose story is followed.
#[derive(Clone, Copy, Debug)]
enum Focus {
    Stack(Address),
    Claim(Target),
    Dispute(Address),
    /// A node on its way out.
    Leaving(u16),
    /// The same again and again, up to its bound and beyond.
    Burst(Burst),
}

/// What has a bound on how often.
#[derive(Clone, Copy, Debug)]
enum Burst {
    Writes(u16),
    Rows(Address),
    Disputes(Address),
}

/// Plans the steps of one play.
#[derive(Debug)]
pub struct Director {
    pub world: World,
    dice: Dice,
    known: Known,
    clock_ms: u64,
    epoch: u64,
    tx: u64,
    level: u8,
    /// Nodes come and go more than elsewhere.
    is_restless: bool,
    focus: Option<Focus>,
    attention: u64,
    /// Steps that the market is made with, last first.
    overture: Vec<Step>,
    past: Vec<Op>,
}

/// The wallet of the `n`-th operator.
fn operator(n: u8) -> Address {
    Address::new([n; 32])
}

/// Where the `n`-th node is paid.
fn payout(n: u8) -> Address {
    let mut bytes = [n; 32];
    bytes[0] = 0xfe;
    Address::new(bytes)
}

fn user(n: u8) -> Address {
    Address::new([0xa0 + n; 32])
}

fn creator(n: u8) -> Address {
    Address::new([0xc0 + n; 32])
}

const STRANGER: Address = Address::new([0xee; 32]);
const ADMIN: Address = Address::new([0xad; 32]);

impl Director {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let level = dice.of([0, 1, 2, 2, 2]);
        let is_restless = dice.one_in(4);
        let mut director = Self {
            world: World::default(),
            dice,
            known: Known::new(),
            clock_ms: 1_000_000,
            epoch: 5,
            tx: 0,
            level,
            is_restless,
            focus: None,
            attention: 0,
            overture: Vec::new(),
            past: Vec::new(),
        };
        director.compose();
        director
    }

    /// Whether the market is still being made.
    pub fn is_overture(&self) -> bool {
        !self.overture.is_empty()
    }

    /// The next step. Whoever asks must play it on [`Director::world`].
    #[expect(
        clippy::should_implement_trait,
        reason = "each step must be played before the next is asked for"
    )]
    pub fn next(&mut self) -> Step {
        if let Some(step) = self.overture.pop() {
            return step;
        }
        loop {
            self.let_time_pass();
            let Some(planned) = self.plan() else { continue };
            let planned = if self.dice.one_in(7) { self.spoil(planned) } else { planned };
            let step = self.step(planned);
            if self.past.len() < 4_096 {
                self.past.push(step.op.clone());
            }
            return step;
        }
    }

    fn step(&mut self, planned: Planned) -> Step {
        if let Some(at_ms) = planned.at_ms {
            self.clock_ms = self.clock_ms.max(at_ms);
        }
        self.tx += 1;
        let Planned { op, sender, .. } = planned;
        Step { tx: self.tx, sender, epoch: self.epoch, clock_ms: self.clock_ms, op }
    }

    fn plan(&mut self) -> Option<Planned> {
        match self.dice.below(100) {
            0..=49 => self.follow(),
            50..=64 => self.commerce(),
            65..=74 => self.registry(),
            75..=84 => self.any_story(),
            85..=91 => self.money_out(),
            92..=95 => self.stray(),
            _ => self.again(),
        }
    }

    /// The next step of the story that is followed.
    fn follow(&mut self) -> Option<Planned> {
        if self.attention == 0 || self.focus.is_none() {
            self.focus = self.choose();
            self.attention = 4 + self.dice.below(ATTENTION);
            if let Some(Focus::Burst(burst)) = self.focus {
                self.attention = if matches!(burst, Burst::Writes(_)) { 12 } else { 150 };
            }
        }
        self.attention -= 1;
        let planned = self.focus.and_then(|focus| self.next_of(focus));
        if planned.is_none() {
            self.focus = None;
        }
        planned.or_else(|| self.commerce())
    }

    fn any_story(&mut self) -> Option<Planned> {
        let focus = self.choose()?;
        self.next_of(focus)
    }

    fn next_of(&mut self, focus: Focus) -> Option<Planned> {
        match focus {
            Focus::Stack(id) => self.stack_story(id),
            Focus::Claim(target) => self.claim_story(target),
            Focus::Dispute(id) => self.dispute_story(id),
            Focus::Leaving(badge) => self.leaving_story(badge),
            Focus::Burst(burst) => self.burst(burst),
        }
    }

    fn choose(&mut self) -> Option<Focus> {
        let claims = self.claims();
        let disputes: Vec<Address> = self.world.disputes.keys().copied().collect();
        let stacks: Vec<Address> = self.world.stacks.keys().copied().collect();
        let badges = u64::try_from(self.world.node_badges.len()).unwrap_or(0);
        if self.dice.one_in(200) {
            let badge = u16::try_from(self.dice.below(badges)).unwrap_or(0);
            let stack = self.dice.pick(&stacks)?;
            let bursts =
                [Burst::Writes(badge), Burst::Writes(badge), Burst::Rows(stack), Burst::Disputes(stack)];
            return Some(Focus::Burst(self.dice.of(bursts)));
        }
        match self.dice.below(12) {
            0..=5 if !claims.is_empty() => self.dice.pick(&claims).map(Focus::Claim),
            0..=2 | 6..=8 if !disputes.is_empty() => self.dice.pick(&disputes).map(Focus::Dispute),
            9 if badges > 0 && (self.is_restless || self.dice.one_in(4)) => {
                u16::try_from(self.dice.below(badges)).ok().map(Focus::Leaving)
            }
            _ => self.dice.pick(&stacks).map(Focus::Stack),
        }
    }

    /// Everything that holds a claim or a queued voucher.
    fn claims(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for stack in self.world.stacks.values() {
            let claiming = stack.channels.iter().filter(|row| row.claim.is_some() || row.queued.is_some());
            targets.extend(claiming.map(|row| Target::Channel { stack: stack.id, node: row.node.0 }));
        }
        let answered = self.world.disputes.values().filter(|dispute| dispute.claim.is_some());
        targets.extend(answered.map(|dispute| Target::Dispute(dispute.id)));
        targets
    }

    /// A call of before, word for word: late, stale or twice.
    fn again(&mut self) -> Option<Planned> {
        let recent = self.past.len().saturating_sub(40);
        let op = self.dice.pick(&self.past[recent..])?;
        let sender = self.anybody();
        Planned::new(sender, op)
    }

    // What the plans ask of the world.

    fn params(&self, market: usize) -> &Params {
        self.db(market).params_at(self.epoch)
    }

    fn db(&self, market: usize) -> &AtomaDb {
        &self.world.dbs[market.min(self.world.dbs.len() - 1)]
    }

    /// The market played on: most often the first.
    fn any_market(&mut self) -> usize {
        let last = self.world.dbs.len() - 1;
        if last > 0 && self.dice.one_in(12) { last } else { 0 }
    }

    fn index(&self, db: Address) -> u8 {
        u8::try_from(self.world.market_of(db).unwrap_or(0)).unwrap_or(0)
    }

    fn stack(&self, id: Address) -> Option<&Stack> {
        self.world.stacks.get(&id)
    }

    fn node(&self, db: Address, node: u64) -> Option<&Node> {
        let market = self.world.market_of(db)?;
        self.world.dbs[market].node(NodeId(node)).ok()
    }

    /// Position of a node's badge.
    fn badge_of(&self, db: Address, node: u64) -> Option<u16> {
        let is_its = |badge: &atoma_contract::NodeBadge| badge.db == db && badge.node.0 == node;
        u16::try_from(self.world.node_badges.iter().position(is_its)?).ok()
    }

    fn any_badge(&mut self, market: usize) -> Option<(u16, u64)> {
        let db = self.db(market).id;
        let badges = self.world.node_badges.iter().enumerate();
        let of_market: Vec<(u16, u64)> = badges
            .filter(|(_, badge)| badge.db == db)
            .filter_map(|(at, badge)| Some((u16::try_from(at).ok()?, badge.node.0)))
            .collect();
        self.dice.pick(&of_market)
    }

    fn any_node(&mut self, market: usize) -> u64 {
        let nodes = self.db(market).nodes.size();
        1 + self.dice.below(nodes)
    }

    fn any_task(&mut self, market: usize) -> u64 {
        let tasks = self.db(market).tasks.size();
        1 + self.dice.below(tasks)
    }

    fn any_user(&mut self) -> u8 {
        u8::try_from(self.dice.below(USERS.into())).unwrap_or(0)
    }

    fn any_stack(&mut self) -> Option<Address> {
        let ids: Vec<Address> = self.world.stacks.keys().copied().collect();
        self.dice.pick(&ids)
    }

    fn any_dispute(&mut self) -> Option<Address> {
        let ids: Vec<Address> = self.world.disputes.keys().copied().collect();
        self.dice.pick(&ids)
    }

    fn anybody(&mut self) -> Address {
        let n = u8::try_from(1 + self.dice.below(16)).unwrap_or(1);
        let someone = [operator(n), payout(n), user(n % USERS), creator(n % 2), STRANGER, ADMIN];
        self.dice.of(someone)
    }

    fn claim(&self, target: Target) -> Option<&Claim> {
        match target {
            Target::Channel { stack, node } => self.stack(stack)?.channel(NodeId(node))?.claim.as_ref(),
            Target::Dispute(id) => self.world.disputes.get(&id)?.claim.as_ref(),
        }
    }
}
