//! Checking a receipt by hand, long after the answer: for `atoma receipt verify`.

use atoma_types::amount::UnitWeights;
use atoma_types::onchain::{Node, Stack};
use atoma_types::wire::{self, RECEIPT_COMMENT};
use atoma_types::{Hash32, Receipt, Signed, Status};
use serde::Serialize;

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    pub detail: String,
}

/// What a receipt is checked against. Only what is given is checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// The node's row on chain; without it the signature cannot be checked and the report fails.
    pub node: Option<&'a Node>,
    /// The stack on chain, if it still exists.
    pub stack: Option<&'a Stack>,
    /// The task's weights, if the stack is gone.
    pub weights: Option<UnitWeights>,
    /// Signed bytes of the request's `RequestAuth`.
    pub request: Option<&'a [u8]>,
    /// Every byte of the answer that the receipt covers.
    pub response: Option<&'a [u8]>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub ok: bool,
    pub checks: Vec<Check>,
    pub receipt: Option<Receipt>,
}

/// Reads a receipt as it travels: base64 alone, or in the SSE comment line, or raw BCS.
pub fn parse(bytes: &[u8]) -> Result<Signed<Receipt>, String> {
    let text = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
    let encoded = text.strip_prefix(RECEIPT_COMMENT.trim_end()).map_or(text, str::trim);
    match wire::decode(encoded) {
        Ok(receipt) => Ok(receipt),
        Err(error) => bcs::from_bytes(bytes).map_err(|_| format!("not a receipt: {error}")),
    }
}

/// Checks a receipt against the chain and whatever else is at hand. Every check must hold.
pub fn verify(bytes: &[u8], evidence: Evidence<'_>) -> Report {
    let signed = match parse(bytes) {
        Ok(signed) => signed,
        Err(detail) => {
            return Report { ok: false, checks: vec![check("readable", false, detail)], receipt: None };
        }
    };
    let receipt = &signed.message;
    let mut checks = vec![check("readable", true, "decoded from BCS")];
    checks.push(signature(&signed, evidence.node));
    checks.push(check("order", receipt.count > 0, format!("answer {} of its channel", receipt.count)));
    checks.push(totals(receipt));
    checks.push(status(receipt));
    if let Some(weights) = evidence.stack.map(|stack| stack.weights).or(evidence.weights) {
        checks.push(units(receipt, weights));
    }
    checks.extend(evidence.stack.map(|stack| granted(receipt, stack)));
    checks.extend(evidence.request.map(|bytes| hash("request_hash", receipt.request_hash, bytes)));
    checks.extend(evidence.response.map(|bytes| hash("response_hash", receipt.response_hash, bytes)));
    Report { ok: checks.iter().all(|check| check.ok), checks, receipt: Some(signed.message) }
}

fn check(name: &'static str, ok: bool, detail: impl Into<String>) -> Check {
    Check { name, ok, detail: detail.into() }
}

fn signature(signed: &Signed<Receipt>, node: Option<&Node>) -> Check {
    let Some(node) = node.filter(|node| node.id == signed.message.node) else {
        return check("signature", false, format!("node {} is not on chain", signed.message.node));
    };
    let ok = signed.verify(&node.receipt_key).is_ok();
    let relation = if ok { "signed" } else { "not signed" };
    check("signature", ok, format!("{relation} with node {}'s key on chain, {}", node.id, node.receipt_key))
}

fn totals(receipt: &Receipt) -> Check {
    let ok =
        receipt.total_units >= receipt.units && (receipt.count > 1 || receipt.total_units == receipt.units);
    check("totals", ok, format!("{} units of {} in the channel so far", receipt.units, receipt.total_units))
}

fn status(receipt: &Receipt) -> Check {
    let ok = receipt.status.is_billable() || receipt.units.is_zero();
    let name = match receipt.status {
        Status::Complete => "complete",
        Status::Aborted => "aborted",
        Status::Failed => "failed",
        Status::Refused => "refused",
    };
    check("status", ok, format!("{name}, {} units", receipt.units))
}

fn units(receipt: &Receipt, weights: UnitWeights) -> Check {
    let computed = weights.units(receipt.input, receipt.output);
    let ok = !receipt.status.is_billable() || computed == Ok(receipt.units);
    let detail = format!(
        "{} input and {} output tokens at weights {} and {} permille are {} units",
        receipt.input,
        receipt.output,
        weights.input,
        weights.output,
        computed.map_or("too many".into(), |units| units.to_string()),
    );
    check("units", ok, detail)
}

fn granted(receipt: &Receipt, stack: &Stack) -> Check {
    let channel = stack.channel(receipt.node).filter(|_| receipt.stack == stack.id && receipt.db == stack.db);
    match channel {
        Some(channel) => check(
            "granted",
            receipt.total_units <= channel.granted,
            format!("{} units of {} granted", receipt.total_units, channel.granted),
        ),
        None => check("granted", false, "the stack has no channel with this node"),
    }
}

fn hash(name: &'static str, claimed: Hash32, bytes: &[u8]) -> Check {
    let found = Hash32::of(bytes);
    check(
        name,
        found == claimed,
        format!("{} bytes hash to {found}, the receipt says {claimed}", bytes.len()),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use atoma_types::message::Message as _;
    use atoma_types::onchain::{Attestation, Seal};
    use atoma_types::{Address, Amount, NodeId, SecretKey, Units};

    fn node(key: &SecretKey) -> Node {
        Node {
            id: NodeId(3),
            owner: Address::TWO,
            payout: Address::TWO,
            endpoint: "http://127.0.0.1:1".into(),
            receipt_key: key.public_key(),
            seal: Seal::default(),
            attestation: Attestation::default(),
            collateral: Amount(1),
            raised_ms: 0,
            bookings: vec![],
            timeout_pot: Amount::ZERO,
            timeout_until_ms: 0,
            convictions: 0,
            reputation: 50,
            reputation_epoch: 0,
            answer_interval_ms: 1_000,
            queue_tail_ms: 0,
            disabled_ms: 0,
            exit_ms: 0,
            exit_epoch: 0,
            open_audits: 0,
            open_disputes: 0,
            writes: 0,
            writes_epoch: 0,
            registered_epoch: 0,
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            db: Address::TWO,
            stack: Address::THREE,
            node: NodeId(3),
            request_hash: Hash32::of(b"request"),
            response_hash: Hash32::of(b"response"),
            input: 4,
            output: 6,
            units: Units(10),
            total_units: Units(10),
            count: 1,
            root: Hash32::ZERO,
            work: Hash32::ZERO,
            replica_hash: Hash32::ZERO,
            status: Status::Complete,
            finished_ms: 1,
        }
    }

    #[test]
    fn a_true_receipt_passes_and_any_flipped_byte_fails() {
        let key = SecretKey::from_seed([5; 32]);
        let node = node(&key);
        let evidence = Evidence {
            node: Some(&node),
            weights: Some(UnitWeights::default()),
            request: Some(b"request"),
            response: Some(b"response"),
            ..Evidence::default()
        };
        let bytes = bcs::to_bytes(&receipt().sign(&key)).unwrap();
        let report = verify(&bytes, evidence);
        assert!(report.ok, "{report:?}");
        assert!(verify(wire::receipt_comment(&receipt().sign(&key)).as_bytes(), evidence).ok);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(!verify(&flipped, evidence).ok, "byte {at}");
        }
        assert!(!verify(b"nonsense", evidence).ok);
    }

    #[test]
    fn each_check_fails_by_its_name() {
        let key = SecretKey::from_seed([5; 32]);
        let node = node(&key);
        let failing = |receipt: Receipt, response: &[u8]| {
            let evidence = Evidence {
                node: Some(&node),
                weights: Some(UnitWeights::default()),
                response: Some(response),
                ..Evidence::default()
            };
            let report = verify(wire::encode(&receipt.sign(&key)).as_bytes(), evidence);
            report.checks.into_iter().filter(|check| !check.ok).map(|check| check.name).collect::<Vec<_>>()
        };
        assert_eq!(failing(receipt(), b"response"), Vec::<&str>::new());
        assert_eq!(failing(receipt(), b"other"), ["response_hash"]);
        assert_eq!(failing(Receipt { units: Units(9), ..receipt() }, b"response"), ["totals", "units"]);
        assert_eq!(failing(Receipt { status: Status::Failed, ..receipt() }, b"response"), ["status"]);
        assert_eq!(failing(Receipt { node: NodeId(4), ..receipt() }, b"response"), ["signature"]);
    }
}
