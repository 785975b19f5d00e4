//! Every call as the Move calls that it is: module, function, and the arguments in their order.

use super::{Arg, Held, Step};
use crate::call::{
    AcquireStack, AddModel, AdminCall, Case, ClaimStep, CreateTask, DisputeCall, Grow, OpenChannel,
    RegisterNode, RotateKey, Shown, Subscribe, Target,
};
use crate::client::{CLOCK, RANDOM};
use crate::{Call, Deployment};
use atoma_types::{Address, Amount, NodeId, Signed, Units, Voucher};
use serde::Serialize;

pub(crate) struct MoveCall {
    /// Whether it takes the coin type, as all but one do.
    pub(crate) generic: bool,
    pub(crate) module: &'static str,
    pub(crate) function: &'static str,
    pub(crate) arguments: Vec<Arg>,
}

pub(crate) fn call(module: &'static str, function: &'static str) -> MoveCall {
    MoveCall { generic: true, module, function, arguments: Vec::new() }
}

impl MoveCall {
    fn arg(mut self, argument: Arg) -> Self {
        self.arguments.push(argument);
        self
    }

    pub(crate) fn read(self, id: Address) -> Self {
        self.arg(Arg::Read(id))
    }

    pub(crate) fn write(self, id: Address) -> Self {
        self.arg(Arg::Write(id))
    }

    fn badge(self, node: NodeId) -> Self {
        self.held(Held::Node(node))
    }

    pub(crate) fn held(self, held: Held) -> Self {
        self.arg(Arg::Held(held))
    }

    fn coin(self, amount: Amount) -> Self {
        self.arg(Arg::Coin(amount))
    }

    pub(crate) fn clock(self) -> Self {
        self.read(CLOCK)
    }

    pub(crate) fn pure<T: Serialize + ?Sized>(self, value: &T) -> Self {
        #[expect(clippy::expect_used, reason = "BCS of ids, amounts and strings into memory cannot fail")]
        let bytes = bcs::to_bytes(value).expect("plain value");
        self.arg(Arg::Pure(bytes))
    }

    /// A struct that Move takes as the bytes of its BCS.
    fn bytes<T: Serialize>(self, value: &T) -> Self {
        #[expect(clippy::expect_used, reason = "BCS of fixed structs into memory cannot fail")]
        let bytes = bcs::to_bytes(value).expect("plain struct");
        self.pure(&bytes)
    }

    fn shown(self, shown: &Shown) -> Self {
        self.bytes(&shown.record).pure(&shown.index).pure(&shown.proof)
    }

    fn voucher(self, voucher: &Signed<Voucher>) -> Self {
        let message = &voucher.message;
        self.pure(&message.node)
            .pure(&message.units)
            .pure(&message.count)
            .pure(&message.root)
            .pure(&voucher.signature)
    }

    fn case(self, case: &Case) -> Self {
        self.write(case.stack).write(case.dispute)
    }
}

impl Call {
    /// The Move calls that this is.
    pub(crate) fn steps(&self, on: &Deployment) -> Vec<Step> {
        let (db, treasury) = (on.db, on.treasury);
        let of_node = |function, node: &NodeId| call("node", function).write(db).badge(*node);
        let of_offer = |function, node: &NodeId| call("offer", function).write(db).badge(*node);
        let one = match self {
            Self::Settle(vouchers) => {
                let settle = |voucher| Step::Call(settle(call("stack", "settle").read(db), voucher));
                return vouchers.iter().map(settle).collect();
            }
            Self::Claim(vouchers) => {
                let base = || call("claim", "settle").read(db).read(on.beacon);
                return vouchers.iter().map(|voucher| Step::Call(settle(base(), voucher))).collect();
            }
            Self::Grow(grow) => return grow.steps(on),
            Self::TransferCoin { to, amount } => return vec![Step::SendCoin { to: *to, amount: *amount }],
            Self::HandOver { to, objects } => {
                let others = objects.iter().map(|id| Held::Object(*id));
                let objects = std::iter::once(Held::Admin).chain(others).collect();
                return vec![Step::SendObjects { to: *to, objects }];
            }
            Self::TransferGas { to, amount } => return vec![Step::SendGas { to: *to, amount: *amount }],
            Self::RegisterNode(register) => register.step(on),
            Self::SetEndpoint { node, endpoint } => of_node("set_endpoint", node).pure(endpoint),
            Self::SetPayout { node, payout } => of_node("set_payout", node).pure(payout),
            Self::SetAnswerInterval { node, interval_ms } => {
                of_node("set_answer_interval", node).pure(interval_ms)
            }
            Self::AddCollateral { node, amount } => of_node("add_collateral", node).coin(*amount).clock(),
            Self::RotateReceiptKey { node, receipt_key } => {
                of_node("rotate_receipt_key", node).pure(receipt_key)
            }
            Self::RotateKey(rotate) => rotate.step(on),
            Self::DisableNode { node } => of_node("disable", node).clock(),
            Self::ExitNode { node } => of_node("exit", node).clock(),
            Self::SettleBookings { node } => call("node", "settle_bookings").write(db).pure(node).clock(),
            Self::WithdrawDue => call("node", "withdraw_due").write(db),
            Self::Collect => call("treasury", "collect").write(db).write(treasury),
            Self::AddModel(add) => add.step(on),
            Self::CreateTask(create) => create.step(on),
            Self::DeprecateTask { task } => call("task", "deprecate").write(db).held(Held::Task(*task)),
            Self::SetWhitelist { task, nodes } => {
                call("task", "set_whitelist").write(db).held(Held::Task(*task)).pure(nodes)
            }
            Self::Subscribe(subscribe) => subscribe.step(on),
            Self::Reprice { node, task, price, max_units } => {
                of_offer("reprice", node).pure(task).pure(price).pure(max_units).clock()
            }
            Self::SetVerifier { node, task, verifier } => {
                of_offer("set_verifier", node).pure(task).pure(verifier).clock()
            }
            Self::MoveVerifier { node, task } => of_offer("move_verifier", node).pure(task).clock(),
            Self::Unsubscribe { node, task } => of_offer("unsubscribe", node).pure(task).clock(),
            Self::Evict { node, task } => call("offer", "evict").write(db).pure(node).pure(task).clock(),
            Self::AcquireStack(acquire) => acquire.step(on),
            Self::TopUp { stack, units, payment } => top_up(on, *stack, *units, *payment),
            Self::OpenChannel(open) => open.step(on),
            Self::RevokeChannel { stack, node } => {
                call("stack", "revoke_channel").write(*stack).pure(node).clock()
            }
            Self::ReleaseChannel { stack, node } => {
                call("stack", "release_channel").read(db).write(*stack).badge(*node).clock()
            }
            Self::Reclaim { stack, node } => {
                call("stack", "reclaim").read(db).write(*stack).pure(node).clock()
            }
            Self::RequestClose { stack } => call("stack", "request_close").write(*stack).clock(),
            Self::Refund { stack } => call("stack", "refund").write(*stack).clock(),
            Self::Withdraw { stack } => call("stack", "withdraw").write(*stack).clock(),
            Self::Sweep { stack } => call("stack", "sweep").write(*stack).write(treasury).clock(),
            Self::Beat => call("beacon", "beat").read(db).write(on.beacon).read(RANDOM).clock(),
            Self::OnClaim { target, step } => step.step(target, on),
            Self::Dispute(dispute) => dispute.step(on),
            Self::Admin(AdminCall::Migrate) => {
                let of = |function| call("admin", function).write(db);
                let all = [
                    of("migrate").held(Held::Admin),
                    of("migrate_treasury").write(treasury),
                    of("migrate_beacon").write(on.beacon),
                ];
                return all.into_iter().map(Step::Call).collect();
            }
            Self::Admin(admin) => admin.step(on),
            Self::Deploy(deploy) => return deploy.steps(on),
        };
        vec![Step::Call(one)]
    }
}

fn settle(base: MoveCall, voucher: &Signed<Voucher>) -> MoveCall {
    base.write(voucher.message.stack).voucher(voucher).clock()
}

impl RegisterNode {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = call("node", "register").write(on.db).write(on.treasury).coin(self.payment);
        call.pure(&self.payout).pure(&self.endpoint).pure(&self.receipt_key)
    }
}

impl RotateKey {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = call("node", "rotate_key").write(on.db).badge(self.node);
        let call = call.pure(&self.evidence).pure(&self.blob).pure(&self.seal_key);
        call.pure(&self.device_types).pure(&self.counter).pure(&self.expires_ms).clock()
    }
}

impl AddModel {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = call("model", "add").write(on.db).pure(&self.label).pure(&self.modality);
        call.pure(&self.weights_root).pure(&self.creator_fee_permille)
    }
}

impl CreateTask {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = call("task", "create").write(on.db).pure(&self.role).pure(&self.model);
        let call = call.pure(&self.level).pure(&self.exact).pure(&self.price_ceiling);
        let call = call.pure(&self.weights.input).pure(&self.weights.output);
        let call = call.pure(&self.surcharge_permille).pure(&self.min_collateral);
        let call = call.pure(&self.min_reputation).pure(&self.whitelist).pure(&self.echelons);
        let audit = &self.audit;
        let call = call.pure(&audit.p_min_ppb).pure(&audit.p_stat_ppb).pure(&audit.verifiers);
        let call = call.pure(&audit.records).pure(&audit.min_claim);
        call.pure(&audit.challenge_ms).pure(&audit.hold_ms)
    }
}

impl Subscribe {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = call("offer", "subscribe").write(on.db).badge(self.node);
        let call = call.pure(&self.task).pure(&self.price).pure(&self.max_units);
        call.pure(&self.echelon).pure(&self.verifier).clock()
    }
}

impl AcquireStack {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = call("stack", "acquire").read(on.db).read(RANDOM).coin(self.payment);
        let call = call.pure(&self.task).pure(&self.request_key).pure(&self.units).pure(&self.max_price);
        let call = call.pure(&self.selection).pure(&self.nodes).pure(&self.max_opens);
        call.pure(&self.echelons).clock()
    }
}

impl Grow {
    fn steps(&self, on: &Deployment) -> Vec<Step> {
        let bought = (!self.units.is_zero()).then(|| top_up(on, self.stack, self.units, self.payment));
        bought.into_iter().chain(self.opens.iter().map(|open| open.step(on))).map(Step::Call).collect()
    }
}

fn top_up(on: &Deployment, stack: Address, units: Units, payment: Amount) -> MoveCall {
    call("stack", "top_up").read(on.db).write(stack).coin(payment).pure(&units).clock()
}

impl OpenChannel {
    fn step(&self, on: &Deployment) -> MoveCall {
        let signature = self.signature.map_or_else(Vec::new, |signature| signature.0.to_vec());
        let call = call("stack", "open_channel").read(on.db).write(self.stack).pure(&self.node);
        call.pure(&self.units).pure(&self.max_price).pure(&self.nonce).pure(&signature).clock()
    }
}

impl AdminCall {
    fn step(&self, on: &Deployment) -> MoveCall {
        let call = |function, of| call("admin", function).write(of).held(Held::Admin);
        match self {
            Self::SetParams(params) => call("set_params", on.db).pure(&params.values()),
            Self::SetPaused(paused) => call("set_paused", on.db).pure(paused),
            Self::DisableModel(model) => call("disable_model", on.db).pure(model),
            Self::Migrate => call("migrate", on.db),
            Self::PayFromTreasury { to, amount } => {
                call("pay_from_treasury", on.treasury).pure(to).pure(amount)
            }
        }
    }
}

impl ClaimStep {
    /// The same functions twice: on a stack, which names the channel by its node, and on a dispute.
    fn step(&self, target: &Target, on: &Deployment) -> MoveCall {
        let is_dispute = matches!(target, Target::Dispute { .. });
        let of = |module, function| call(if is_dispute { "dispute" } else { module }, function);
        let named = |channels: &'static str, disputes| if is_dispute { disputes } else { channels };
        let at = |call: MoveCall| match target {
            Target::Channel { stack, node } => call.write(*stack).pure(node),
            Target::Dispute { dispute, .. } => call.write(*dispute),
        };
        // What its own node does names the channel by the badge.
        let own = |function, writes| match target {
            Target::Channel { stack: id, node } | Target::Dispute { dispute: id, node } => {
                of("audit", function).arg(if writes { Arg::Write(*id) } else { Arg::Read(*id) }).badge(*node)
            }
        };
        match self {
            Self::ResolvePay => at(of("claim", "resolve_pay").read(on.db).read(on.beacon)).clock(),
            Self::ResolveAudit => at(of("claim", "resolve_audit").write(on.db).read(on.beacon)).clock(),
            Self::Release if is_dispute => at(of("claim", "release_claim").read(on.db)).clock(),
            Self::Release => at(of("claim", "release_claim").read(on.db).read(on.beacon)).clock(),
            Self::Challenge { payment, shown } => {
                let call = at(of("claim", "challenge_record").write(on.db).read(on.beacon));
                call.coin(*payment).shown(shown).clock()
            }
            Self::RevealRecord { which, shown, location } => {
                own("reveal_record", true).pure(which).shown(shown).pure(location).clock()
            }
            Self::PostRecordPart { which, part } => own("post_record_part", false).pure(which).pure(part),
            Self::CommitVerdict { verifier, commit } => {
                at(of("audit", "commit_verdict")).badge(*verifier).pure(commit).clock()
            }
            Self::RevealVerdict { verifier, verdicts, digests, salt } => {
                let call = at(of("audit", "reveal_verdict").write(on.db)).badge(*verifier);
                call.pure(verdicts).pure(digests).pure(salt).clock()
            }
            Self::MarkLate => at(of("audit", named("mark_late", "mark_audit_late"))).clock(),
            Self::Expire => at(of("audit", named("expire", "expire_audit")).write(on.db)).clock(),
        }
    }
}

impl DisputeCall {
    fn step(&self, on: &Deployment) -> MoveCall {
        let of = |function| call("dispute", function);
        let answer = |function, case: &Case| of(function).write(on.db).case(case).badge(case.node);
        match self {
            Self::Open { request, blob, payment } => {
                let auth = &request.message;
                let call = of("open").write(on.db).write(auth.stack);
                let call = call.held(Held::Object(*blob)).coin(*payment).pure(&auth.node).pure(&auth.hops);
                let call = call.pure(&auth.nonce).pure(&auth.body_hash).pure(&auth.max_units);
                call.pure(&auth.expires_ms).pure(&request.signature).clock()
            }
            Self::AnswerServed { case, blob, record } => {
                let call = of("answer_served").write(on.db).read(on.beacon).case(case).badge(case.node);
                call.held(Held::Object(*blob)).bytes(record).clock()
            }
            Self::AnswerRefused { case, reason, payment } => {
                answer("answer_refused", case).coin(*payment).pure(reason)
            }
            Self::ShowAcknowledged { case, voucher, shown } => {
                answer("show_acknowledged", case).voucher(voucher).shown(shown)
            }
            Self::DemandBody { case } => {
                of("demand_body").read(on.db).write(case.dispute).badge(case.node).clock()
            }
            Self::PostBody { dispute, offset, part, is_last } => {
                of("post_body").write(*dispute).pure(offset).pure(part).pure(is_last).clock()
            }
            Self::MarkLate { dispute } => of("mark_late").write(*dispute).clock(),
            Self::Expire { case } => of("expire").write(on.db).case(case).clock(),
            Self::Withdraw { dispute } => of("withdraw").write(*dispute),
        }
    }
}
