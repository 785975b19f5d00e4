//! What tests do with disputes.

use crate::bench::*;
use crate::served;
use atoma_contract::dispute::{self, Answer, Case, Request};
use atoma_contract::{AtomaDb, Beacon, NodeBadge, Result, TxContext};
use atoma_types::message::Message as _;
use atoma_types::onchain::{Blob, Dispute};
use atoma_types::{Address, Hash32, RequestAuth, Units};

/// The body of every disputed request.
pub(crate) const BODY: &[u8] = b"{\"messages\":[]}";

/// A blob as it should be, at Walrus epoch 10.
pub(crate) fn blob() -> Blob {
    Blob {
        id: Address::new([0xb0; 32]),
        blob_id: [0xb1; 32],
        size: 500,
        encoding_type: 1,
        registered_epoch: 10,
        certified_epoch: Some(10),
        end_epoch: 12,
        deletable: false,
    }
}

impl Bench {
    /// A request that the user signed for the server.
    pub(crate) fn request(&self, id: Address, nonce: u64, max_units: u64) -> Request {
        let request = Request {
            node: SERVER,
            hops: 0,
            nonce,
            body_hash: Hash32::of(BODY).0.to_vec(),
            max_units: Units(max_units),
            expires_ms: self.clock_ms + 60_000,
            signature: Vec::new(),
        };
        self.sign(id, request)
    }

    pub(crate) fn auth(&self, id: Address, request: &Request) -> RequestAuth {
        RequestAuth {
            db: self.world.db.id,
            stack: id,
            node: request.node,
            hops: request.hops,
            nonce: request.nonce,
            body_hash: Hash32(request.body_hash.clone().try_into().unwrap()),
            max_units: request.max_units,
            expires_ms: request.expires_ms,
        }
    }

    pub(crate) fn sign(&self, id: Address, request: Request) -> Request {
        let signature = self.auth(id, &request).sign(&request_key()).signature.0.to_vec();
        Request { signature, ..request }
    }

    pub(crate) fn open_with(
        &mut self,
        sender: Address,
        id: Address,
        blob: &Blob,
        request: Request,
    ) -> Result<TxContext> {
        let (clock_ms, paid) = (self.clock_ms, COIN);
        self.call(sender, paid, |world, ctx| {
            let stack = world.stacks.get_mut(&id).unwrap();
            dispute::open(&mut world.db, stack, blob, coin(paid), request, clock_ms, ctx)
        })
    }

    pub(crate) fn try_dispute(&mut self, id: Address, request: Request) -> Result<Address> {
        let ctx = self.open_with(USER, id, &blob(), request)?;
        Ok(ctx.disputes[0].id)
    }

    /// Opens a dispute over `max_units`.
    pub(crate) fn dispute(&mut self, id: Address, nonce: u64, max_units: u64) -> Address {
        self.try_dispute(id, self.request(id, nonce, max_units)).unwrap()
    }

    pub(crate) fn disputed(&self, id: Address) -> &Dispute {
        &self.world.disputes[&id]
    }

    pub(crate) fn dispute_due(&self, id: Address, to: Address) -> u64 {
        self.disputed(id).dues.iter().find(|due| due.to == to).map_or(0, |due| due.amount.0)
    }

    pub(crate) fn on_case(
        &mut self,
        sender: Address,
        id: Address,
        entered: u64,
        call: impl FnOnce(&mut AtomaDb, &Beacon, &mut Case, &NodeBadge, u64, &mut TxContext) -> Result,
    ) -> Result<TxContext> {
        let (badge, clock_ms) = (self.badges[&SERVER].clone(), self.clock_ms);
        self.call(sender, entered, |world, ctx| {
            let World { db, beacon, stacks, disputes, .. } = world;
            let dispute = disputes.get_mut(&id).unwrap();
            let stack = stacks.get_mut(&dispute.stack).unwrap();
            call(db, beacon, &mut Case { stack, dispute }, &badge, clock_ms, ctx)
        })
    }

    /// The server answers with a record of `units`.
    pub(crate) fn answer(&mut self, id: Address, units: u64) -> Result<TxContext> {
        let record = served::record_of(self.disputed(id).request_hash, units);
        self.answers.insert(id, record.clone());
        self.answer_with(id, &blob(), &record)
    }

    pub(crate) fn answer_with(
        &mut self,
        id: Address,
        blob: &Blob,
        record: &atoma_types::Record,
    ) -> Result<TxContext> {
        let bytes = record.to_bytes();
        self.on_case(STRANGER, id, 0, |db, beacon, case, badge, clock_ms, ctx| {
            dispute::answer_served(db, beacon, case, badge, Answer { blob, record: &bytes }, clock_ms, ctx)
        })
    }

    pub(crate) fn refuse(&mut self, id: Address, paid: u64) -> Result<TxContext> {
        self.on_case(operator(SERVER), id, paid, |db, _, case, badge, _, ctx| {
            dispute::answer_refused(db, case, badge, coin(paid), 7, ctx)
        })
    }

    pub(crate) fn mark_dispute_late(&mut self, id: Address) -> Result<TxContext> {
        let clock_ms = self.clock_ms;
        self.call(STRANGER, 0, |world, ctx| dispute::mark_late(world.dispute(id), clock_ms, ctx))
    }

    pub(crate) fn expire_dispute(&mut self, id: Address) -> Result<TxContext> {
        self.on_case(STRANGER, id, 0, |db, _, case, _, clock_ms, ctx| {
            dispute::expire(db, case, clock_ms, ctx)
        })
    }

    /// The dispute's duty is not done, and that has its effect.
    pub(crate) fn run_out_dispute(&mut self, id: Address) {
        self.clock_ms = self.clock_ms.max(self.disputed(id).deadline_ms + 1);
        self.mark_dispute_late(id).unwrap();
        self.clock_ms += self.params().grace_ms;
        self.expire_dispute(id).unwrap();
    }

    pub(crate) fn withdraw_dispute(&mut self, sender: Address, id: Address) -> Result<TxContext> {
        self.call(sender, 0, |world, ctx| dispute::withdraw(world.dispute(id), ctx))
    }
}
