/// Rows of models and tasks: what is sold, at which level, under terms that never change.
module atoma::task_row;

use std::string::String;

/// What a task may offer.
public struct Model has copy, drop, store {
    id: u64,
    label: String,
    creator: address,
    modality: u8,
    weights_root: vector<u8>,
    creator_fee_permille: u64,
    disabled: bool,
}

/// A model at a security level under fixed terms.
public struct Task has copy, drop, store {
    id: u64,
    owner: address,
    role: u8,
    model: u64,
    /// 0 none, 1 confidential compute, 2 sampling consensus.
    level: u8,
    /// Whether answers are bit-reproducible and receipts carry a work digest.
    exact: bool,
    price_ceiling: u64,
    weights: UnitWeights,
    surcharge_permille: u64,
    min_collateral: u64,
    min_reputation: u64,
    /// Nodes that may offer; everyone if empty.
    whitelist: vector<u64>,
    /// Labels of the kinds of hardware whose answers agree with each other.
    echelons: vector<u64>,
    deprecated: bool,
    audit: AuditTerms,
}

/// Permille weights by which a task turns tokens into units.
public struct UnitWeights has copy, drop, store {
    input: u64,
    output: u64,
}

/// How a task tightens the parameters: of each term the larger value holds.
public struct AuditTerms has copy, drop, store {
    p_min_ppb: u64,
    p_stat_ppb: u64,
    verifiers: u64,
    records: u64,
    min_claim: u64,
    challenge_ms: u64,
    hold_ms: u64,
}

public(package) fun new_model(
    id: u64,
    label: String,
    creator: address,
    modality: u8,
    weights_root: vector<u8>,
    creator_fee_permille: u64,
): Model {
    Model { id, label, creator, modality, weights_root, creator_fee_permille, disabled: false }
}

public(package) fun new_task(
    id: u64,
    owner: address,
    role: u8,
    model: u64,
    level: u8,
    exact: bool,
    price_ceiling: u64,
    weights: UnitWeights,
    surcharge_permille: u64,
    min_collateral: u64,
    min_reputation: u64,
    whitelist: vector<u64>,
    echelons: vector<u64>,
    audit: AuditTerms,
): Task {
    Task {
        id,
        owner,
        role,
        model,
        level,
        exact,
        price_ceiling,
        weights,
        surcharge_permille,
        min_collateral,
        min_reputation,
        whitelist,
        echelons,
        deprecated: false,
        audit,
    }
}

public(package) fun new_weights(input: u64, output: u64): UnitWeights { UnitWeights { input, output } }

public(package) fun new_audit_terms(
    p_min_ppb: u64,
    p_stat_ppb: u64,
    verifiers: u64,
    records: u64,
    min_claim: u64,
    challenge_ms: u64,
    hold_ms: u64,
): AuditTerms {
    AuditTerms { p_min_ppb, p_stat_ppb, verifiers, records, min_claim, challenge_ms, hold_ms }
}

// Models.

public(package) fun creator(self: &Model): address { self.creator }

public(package) fun creator_fee_permille(self: &Model): u64 { self.creator_fee_permille }

public(package) fun disabled(self: &Model): bool { self.disabled }

public(package) fun disable(self: &mut Model) { self.disabled = true }

// Tasks.

public(package) fun id(self: &Task): u64 { self.id }

public(package) fun owner(self: &Task): address { self.owner }

public(package) fun role(self: &Task): u8 { self.role }

public(package) fun model(self: &Task): u64 { self.model }

public(package) fun level(self: &Task): u8 { self.level }

public(package) fun exact(self: &Task): bool { self.exact }

public(package) fun price_ceiling(self: &Task): u64 { self.price_ceiling }

public(package) fun weights(self: &Task): UnitWeights { self.weights }

public(package) fun surcharge_permille(self: &Task): u64 { self.surcharge_permille }

public(package) fun min_collateral(self: &Task): u64 { self.min_collateral }

public(package) fun min_reputation(self: &Task): u64 { self.min_reputation }

public(package) fun echelons(self: &Task): &vector<u64> { &self.echelons }

public(package) fun deprecated(self: &Task): bool { self.deprecated }

public(package) fun audit(self: &Task): &AuditTerms { &self.audit }

public(package) fun whitelist(self: &Task): &vector<u64> { &self.whitelist }

/// Whether the whitelist, if there is one, names the node.
public(package) fun allows(self: &Task, node: u64): bool {
    self.whitelist.is_empty() || self.whitelist.contains(&node)
}

public(package) fun deprecate(self: &mut Task) { self.deprecated = true }

public(package) fun set_whitelist(self: &mut Task, nodes: vector<u64>) { self.whitelist = nodes }

// Weights and audit terms.

public(package) fun input(self: &UnitWeights): u64 { self.input }

public(package) fun output(self: &UnitWeights): u64 { self.output }

public(package) fun p_min_ppb(self: &AuditTerms): u64 { self.p_min_ppb }

public(package) fun p_stat_ppb(self: &AuditTerms): u64 { self.p_stat_ppb }

public(package) fun verifiers(self: &AuditTerms): u64 { self.verifiers }

public(package) fun records(self: &AuditTerms): u64 { self.records }

public(package) fun min_claim(self: &AuditTerms): u64 { self.min_claim }

public(package) fun challenge_ms(self: &AuditTerms): u64 { self.challenge_ms }

public(package) fun hold_ms(self: &AuditTerms): u64 { self.hold_ms }
