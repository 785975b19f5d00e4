/// What addresses may withdraw of an object's coins: a row an address, none of them empty. The object that stores the
/// rows has the coins.
module atoma_base::dues;

use atoma_base::math;

/// What one address may withdraw.
public struct Due has copy, drop, store {
    to: address,
    amount: u64,
}

public fun sum(dues: &vector<Due>): u64 {
    let mut sum = 0;
    dues.do_ref!(|due| sum = math::add(sum, due.amount));
    sum
}

/// What `to` may withdraw.
public fun of(dues: &vector<Due>, to: address): u64 {
    let at = index(dues, to);
    if (at.is_some()) dues[at.destroy_some()].amount else 0
}

/// Credits an address.
public fun credit(dues: &mut vector<Due>, to: address, amount: u64) {
    if (amount == 0) return;
    let at = index(dues, to);
    if (at.is_some()) {
        let due = &mut dues[at.destroy_some()];
        due.amount = math::add(due.amount, amount);
    } else {
        dues.push_back(Due { to, amount });
    }
}

/// Forgets what `to` is due: it is paid.
public fun clear(dues: &mut vector<Due>, to: address) {
    let at = index(dues, to);
    if (at.is_some()) {
        dues.remove(at.destroy_some());
    }
}

fun index(dues: &vector<Due>, to: address): Option<u64> { dues.find_index!(|due| due.to == to) }
