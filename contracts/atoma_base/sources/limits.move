/// Bounds of every argument. They are constants of the package, not parameters. The checks abort with
/// `EBadArgument`.
module atoma_base::limits;

use atoma_base::errors::{Self, require};
use atoma_base::message;
use std::string::String;

/// Largest unit count, price, or unit weight.
const QUANTITY_MAX: u64 = 1_000_000_000_000;
const LABEL_BYTES_MAX: u64 = 64;
const ENDPOINT_BYTES_MAX: u64 = 256;
const ECHELONS_MAX: u64 = 16;
/// Highest label of an echelon.
const ECHELON_MAX: u64 = 65_535;

/// Largest minimum of collateral that a task may ask for.
public macro fun collateral_minimum_max(): u64 { 1_000_000_000_000_000 }

public macro fun creator_fee_permille_max(): u64 { 200 }

public macro fun surcharge_permille_max(): u64 { 200 }

/// Highest role and modality: chat, embedding, vision, image, speech out, speech in, fine-tuning, training.
public macro fun role_max(): u8 { 7 }

/// Highest security level: none, confidential compute, sampling consensus.
public macro fun level_max(): u8 { 2 }

public macro fun whitelist_max(): u64 { 64 }

public macro fun channels_max(): u64 { 64 }

/// Most openings by nodes that a purchase prepays.
public macro fun opens_max(): u64 { 64 }

/// Most nodes that a Limited purchase draws.
public macro fun drawn_max(): u64 { 16 }

public macro fun seal_key_bytes_max(): u64 { 2_048 }

public macro fun device_types_max(): u64 { 16 }

/// Most registry writes of one node in one epoch.
public macro fun writes_max(): u64 { 8 }

/// Most compensations booked against one node.
public macro fun bookings_max(): u64 { 32 }

/// Where a revealed record is stored.
public macro fun location_bytes_max(): u64 { 128 }

/// A part of a record or body in one call.
public macro fun part_bytes_max(): u64 { 12_288 }

/// A body that can be demanded on chain.
public macro fun body_bytes_max(): u64 { 98_304 }

public macro fun reputation_max(): u64 { 100 }

/// Reputation at registration.
public macro fun reputation_base(): u64 { 50 }

/// A whole, in chances.
public macro fun ppb(): u64 { 1_000_000_000 }

/// The longest window, in ms: 115 days.
public macro fun window_ms_max(): u64 { 10_000_000_000 }

/// Longest time that must pass between two rounds of the beacon: claims wait for the next one.
public macro fun beat_ms_max(): u64 { 3_600_000 }

/// The largest amount among the parameters.
public macro fun amount_max(): u64 { 1_000_000_000_000_000 }

/// Most verifiers of an audit's first round.
public macro fun verifiers_max(): u64 { 4 }

/// Most records that an audit draws.
public macro fun records_max(): u64 { 8 }

/// A model's label.
public fun check_label(label: &String) { check_text(label, LABEL_BYTES_MAX) }

/// An `http://` or `https://` URL of printable ASCII without spaces. Whether it answers, clients find out.
public fun check_endpoint(endpoint: &String) {
    check_text(endpoint, ENDPOINT_BYTES_MAX);
    let bytes = endpoint.as_bytes();
    let start = if (starts_with(bytes, &b"https://")) 8 else if (starts_with(bytes, &b"http://")) 7 else 0;
    require(start > 0 && bytes.length() > start && bytes[start] != 0x2f, errors::bad_argument!());
    require(bytes.all!(|byte| *byte > 0x20 && *byte < 0x7f), errors::bad_argument!());
}

/// A unit count, price or weight.
public fun check_quantity(value: u64) { require(value <= QUANTITY_MAX, errors::bad_argument!()) }

/// 32 bytes that are not a point of small order: anyone could sign for such a key. Bytes that are no point at all
/// verify nothing, to the harm of whoever names them.
public fun check_key(key: &vector<u8>) {
    check_hash(key);
    require(!message::is_small_order(key), errors::bad_argument!());
}

/// Exactly 32 bytes.
public fun check_hash(bytes: &vector<u8>) { require(bytes.length() == 32, errors::bad_argument!()) }

/// A limited number of distinct labels.
public fun check_echelons(echelons: &vector<u64>) {
    require(echelons.length() <= ECHELONS_MAX, errors::bad_argument!());
    echelons.length().do!(|i| {
        require(echelons[i] <= ECHELON_MAX, errors::bad_argument!());
        i.do!(|j| require(echelons[j] != echelons[i], errors::bad_argument!()));
    });
}

/// A text of 1 to `bytes_max` bytes.
fun check_text(text: &String, bytes_max: u64) {
    require(!text.is_empty() && text.length() <= bytes_max, errors::bad_argument!())
}

fun starts_with(bytes: &vector<u8>, prefix: &vector<u8>): bool {
    if (bytes.length() < prefix.length()) return false;
    let mut i = 0;
    while (i < prefix.length()) {
        if (bytes[i] != prefix[i]) return false;
        i = i + 1;
    };
    true
}
