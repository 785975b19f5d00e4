/// Abort codes: one list for the whole package and its model. A code's name is the function's in camel case
/// behind an `E`.
module atoma_base::errors;

/// Aborts with the code unless the condition holds. A call is a few bytes where `assert!` is a dozen, and there are
/// hundreds.
public fun require(condition: bool, code: u8) { assert!(condition, code as u64) }

/// an amount, unit count or price left its range
public macro fun arithmetic(): u8 { 1 }

/// the object was made by another version of the package
public macro fun version(): u8 { 2 }

/// purchases are paused
public macro fun paused(): u8 { 3 }

/// the caller may not do this
public macro fun not_authorized(): u8 { 4 }

/// an argument is out of its bounds
public macro fun bad_argument(): u8 { 5 }

/// the coin is worth less than what must be paid
public macro fun insufficient_payment(): u8 { 6 }

/// a parameter is out of its bounds
public macro fun bad_params(): u8 { 7 }

/// already done
public macro fun already_done(): u8 { 8 }

/// no such node
public macro fun unknown_node(): u8 { 10 }

/// no such model
public macro fun unknown_model(): u8 { 11 }

/// no such task
public macro fun unknown_task(): u8 { 12 }

/// the node is disabled
public macro fun node_disabled(): u8 { 13 }

/// collateral below the minimum
public macro fun collateral(): u8 { 14 }

/// the model is disabled
public macro fun model_disabled(): u8 { 15 }

/// the task is deprecated
public macro fun task_deprecated(): u8 { 16 }

/// the node is already subscribed to this task
public macro fun already_subscribed(): u8 { 17 }

/// the price is above the task's ceiling
public macro fun price_too_high(): u8 { 18 }

/// the node is not on the task's whitelist
public macro fun not_whitelisted(): u8 { 19 }

/// no eligible node was drawn
public macro fun no_eligible(): u8 { 20 }

/// the node is not subscribed to this task
public macro fun not_subscribed(): u8 { 21 }

/// the node is not eligible for this stack
public macro fun not_eligible(): u8 { 22 }

/// the object belongs to another database
public macro fun wrong_db(): u8 { 23 }

/// not at this security level
public macro fun wrong_level(): u8 { 24 }

/// too many registry writes in this epoch
public macro fun too_many_writes(): u8 { 25 }

/// too few verifiers are opted in
public macro fun not_enough_verifiers(): u8 { 26 }

/// the counter does not rise
public macro fun stale_counter(): u8 { 27 }

/// the node has no seal key
public macro fun no_seal_key(): u8 { 28 }

/// the node has open audits or disputes
public macro fun open_duties(): u8 { 29 }

/// the signature does not verify
public macro fun bad_signature(): u8 { 30 }

/// the grant's nonce is not newer
public macro fun stale_grant(): u8 { 31 }

/// grants would exceed the stack's units
public macro fun over_granted(): u8 { 32 }

/// no open channel with this node
public macro fun unknown_channel(): u8 { 33 }

/// the channel was released or revoked
public macro fun channel_closed(): u8 { 34 }

/// too many channels
public macro fun too_many_channels(): u8 { 35 }

/// the voucher claims more units than granted
public macro fun over_claimed(): u8 { 36 }

/// the voucher has fewer units than one already settled
public macro fun voucher_backwards(): u8 { 37 }

/// the stack is closing or has expired
public macro fun stack_ended(): u8 { 38 }

/// the settlement window is over
public macro fun window_closed(): u8 { 39 }

/// too early: a window is still running
public macro fun too_early(): u8 { 40 }

/// nothing to withdraw
public macro fun nothing_due(): u8 { 41 }

/// already requested
public macro fun already_closing(): u8 { 42 }

/// a dispute keeps units of this channel
public macro fun units_reserved(): u8 { 43 }

/// no claim, or none in this state
public macro fun no_claim(): u8 { 50 }

/// the claim is too small
public macro fun claim_too_small(): u8 { 51 }

/// the beacon has not drawn this round yet
public macro fun no_seed(): u8 { 52 }

/// the claim was drawn for an audit
public macro fun drawn(): u8 { 53 }

/// the claim was not drawn for an audit
public macro fun not_drawn(): u8 { 54 }

/// the node was convicted
public macro fun convicted(): u8 { 55 }

/// already challenged
public macro fun already_challenged(): u8 { 56 }

/// the record was audited already
public macro fun already_audited(): u8 { 57 }

/// the record is not in the transcript, or not in the claim
public macro fun bad_proof(): u8 { 58 }

/// the bytes are not a record
public macro fun bad_record(): u8 { 59 }

/// no audit runs, or not in this phase
public macro fun wrong_phase(): u8 { 60 }

/// not a verifier of this round
public macro fun not_seated(): u8 { 61 }

/// the verifier committed already
public macro fun already_committed(): u8 { 62 }

/// the verdict is not the one committed to
public macro fun bad_commitment(): u8 { 63 }

/// the digest is not the record's
public macro fun bad_digest(): u8 { 64 }

/// the deadline is not over
public macro fun not_late(): u8 { 65 }

/// the challenge window is over
public macro fun challenge_over(): u8 { 66 }

/// the claim is too large for the collateral behind it
public macro fun claim_too_large(): u8 { 67 }

/// no such dispute, or of another stack
public macro fun wrong_dispute(): u8 { 70 }

/// too many disputes
public macro fun too_many_disputes(): u8 { 71 }

/// this request was disputed already
public macro fun already_disputed(): u8 { 72 }

/// the channel has too few free units
public macro fun no_free_units(): u8 { 73 }

/// the blob does not hold or prove what it must
public macro fun bad_blob(): u8 { 74 }

/// the dispute is in another state
public macro fun wrong_state(): u8 { 76 }

/// the body does not hash to what was signed
public macro fun bad_body(): u8 { 77 }

/// the request cannot be disputed any more
public macro fun dispute_over(): u8 { 78 }

/// no upgrade, or another one, is proposed
public macro fun no_proposal(): u8 { 80 }
