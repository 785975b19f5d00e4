/// Abort codes: one list for the whole package and its model. A code's name is the function's in camel case
/// behind an `E`.
module atoma::errors;

/// an amount, unit count or price left its range
public(package) macro fun arithmetic(): u64 { 1 }

/// the object was made by another version of the package
public(package) macro fun version(): u64 { 2 }

/// purchases are paused
public(package) macro fun paused(): u64 { 3 }

/// the caller may not do this
public(package) macro fun not_authorized(): u64 { 4 }

/// an argument is out of its bounds
public(package) macro fun bad_argument(): u64 { 5 }

/// the coin is worth less than what must be paid
public(package) macro fun insufficient_payment(): u64 { 6 }

/// a parameter is out of its bounds
public(package) macro fun bad_params(): u64 { 7 }

/// already done
public(package) macro fun already_done(): u64 { 8 }

/// no such node
public(package) macro fun unknown_node(): u64 { 10 }

/// no such model
public(package) macro fun unknown_model(): u64 { 11 }

/// no such task
public(package) macro fun unknown_task(): u64 { 12 }

/// the node is disabled
public(package) macro fun node_disabled(): u64 { 13 }

/// collateral below the minimum
public(package) macro fun collateral(): u64 { 14 }

/// the model is disabled
public(package) macro fun model_disabled(): u64 { 15 }

/// the task is deprecated
public(package) macro fun task_deprecated(): u64 { 16 }

/// the node is already subscribed to this task
public(package) macro fun already_subscribed(): u64 { 17 }

/// the price is above the task's ceiling
public(package) macro fun price_too_high(): u64 { 18 }

/// the node is not on the task's whitelist
public(package) macro fun not_whitelisted(): u64 { 19 }

/// no eligible node was drawn
public(package) macro fun no_eligible(): u64 { 20 }

/// the node is not subscribed to this task
public(package) macro fun not_subscribed(): u64 { 21 }

/// the node is not eligible for this stack
public(package) macro fun not_eligible(): u64 { 22 }

/// the object belongs to another database
public(package) macro fun wrong_db(): u64 { 23 }

/// not at this security level
public(package) macro fun wrong_level(): u64 { 24 }

/// too many registry writes in this epoch
public(package) macro fun too_many_writes(): u64 { 25 }

/// too few verifiers are opted in
public(package) macro fun not_enough_verifiers(): u64 { 26 }

/// the counter does not rise
public(package) macro fun stale_counter(): u64 { 27 }

/// the node has no seal key
public(package) macro fun no_seal_key(): u64 { 28 }

/// the node has open audits or disputes
public(package) macro fun open_duties(): u64 { 29 }

/// the signature does not verify
public(package) macro fun bad_signature(): u64 { 30 }

/// the grant's nonce is not newer
public(package) macro fun stale_grant(): u64 { 31 }

/// grants would exceed the stack's units
public(package) macro fun over_granted(): u64 { 32 }

/// no open channel with this node
public(package) macro fun unknown_channel(): u64 { 33 }

/// the channel was released or revoked
public(package) macro fun channel_closed(): u64 { 34 }

/// too many channels
public(package) macro fun too_many_channels(): u64 { 35 }

/// the voucher claims more units than granted
public(package) macro fun over_claimed(): u64 { 36 }

/// the voucher has fewer units than one already settled
public(package) macro fun voucher_backwards(): u64 { 37 }

/// the stack is closing or has expired
public(package) macro fun stack_ended(): u64 { 38 }

/// the settlement window is over
public(package) macro fun window_closed(): u64 { 39 }

/// too early: a window is still running
public(package) macro fun too_early(): u64 { 40 }

/// nothing to withdraw
public(package) macro fun nothing_due(): u64 { 41 }

/// already requested
public(package) macro fun already_closing(): u64 { 42 }

/// a dispute keeps units of this channel
public(package) macro fun units_reserved(): u64 { 43 }

/// no claim, or none in this state
public(package) macro fun no_claim(): u64 { 50 }

/// the claim is too small
public(package) macro fun claim_too_small(): u64 { 51 }

/// the beacon has not drawn this round yet
public(package) macro fun no_seed(): u64 { 52 }

/// the claim was drawn for an audit
public(package) macro fun drawn(): u64 { 53 }

/// the claim was not drawn for an audit
public(package) macro fun not_drawn(): u64 { 54 }

/// the node was convicted
public(package) macro fun convicted(): u64 { 55 }

/// already challenged
public(package) macro fun already_challenged(): u64 { 56 }

/// the record was audited already
public(package) macro fun already_audited(): u64 { 57 }

/// the record is not in the transcript, or not in the claim
public(package) macro fun bad_proof(): u64 { 58 }

/// the bytes are not a record
public(package) macro fun bad_record(): u64 { 59 }

/// no audit runs, or not in this phase
public(package) macro fun wrong_phase(): u64 { 60 }

/// not a verifier of this round
public(package) macro fun not_seated(): u64 { 61 }

/// the verifier committed already
public(package) macro fun already_committed(): u64 { 62 }

/// the verdict is not the one committed to
public(package) macro fun bad_commitment(): u64 { 63 }

/// the digest is not the record's
public(package) macro fun bad_digest(): u64 { 64 }

/// the deadline is not over
public(package) macro fun not_late(): u64 { 65 }

/// the challenge window is over
public(package) macro fun challenge_over(): u64 { 66 }

/// the claim is too large for the collateral behind it
public(package) macro fun claim_too_large(): u64 { 67 }

/// no such dispute, or of another stack
public(package) macro fun wrong_dispute(): u64 { 70 }

/// too many disputes
public(package) macro fun too_many_disputes(): u64 { 71 }

/// this request was disputed already
public(package) macro fun already_disputed(): u64 { 72 }

/// the channel has too few free units
public(package) macro fun no_free_units(): u64 { 73 }

/// the blob does not hold or prove what it must
public(package) macro fun bad_blob(): u64 { 74 }

/// the node's queue of disputes is full
public(package) macro fun queue_full(): u64 { 75 }

/// the dispute is in another state
public(package) macro fun wrong_state(): u64 { 76 }

/// the body does not hash to what was signed
public(package) macro fun bad_body(): u64 { 77 }

/// the request cannot be disputed any more
public(package) macro fun dispute_over(): u64 { 78 }

/// no upgrade, or another one, is proposed
public(package) macro fun no_proposal(): u64 { 80 }
