/// Lists of offers and of verifiers, in pages.
///
/// A node holds at most two positions of a list of offers and one of a list of verifiers, and writes them again only
/// once they are dead. When what is dead of a node is evicted, its offers are taken out, the last one moving into the
/// gap: purchases draw at once, so order means nothing. Verifiers stay where they are, because claims draw over the
/// sizes of an earlier moment: there a free position is taken over by a newer verifier, whom older claims skip, or cut
/// off at the end. A draw for an old claim meets who was there, or nobody.
module atoma::slots;

use atoma::errors::{Self, require};
use atoma::math;
use sui::table::{Self, Table};

/// Slots in one page of a list.
const SLOTS_PER_PAGE: u64 = 64;
/// Free positions that a list remembers; others are dead for ever.
const FREE_MAX: u64 = 256;
/// Most positions for each verifier that is opted in: with more dead ones an audit could not fill its seats.
const POSITIONS_PER_VERIFIER: u64 = 4;

/// The lists of one task.
public struct Market has store {
    /// Offers by echelon.
    lists: Table<u64, SlotList>,
    /// Verifiers by echelon.
    verifiers: Table<u64, SlotList>,
    /// By node.
    subscriptions: Table<u64, Subscription>,
    /// Verifiers opted in, by the owner of their nodes.
    verifiers_of: Table<address, u64>,
}

/// Positions from 0, 64 to a page.
public struct SlotList has store {
    pages: Table<u64, vector<Slot>>,
    size: u64,
    /// Nodes that subscribe or are opted in.
    live: u64,
    /// Positions of verifiers that were evicted; empty for offers.
    free: vector<u64>,
}

/// The verifiers of some echelons.
public struct Verifiers has copy, drop {
    /// Opted in.
    live: u64,
    positions: u64,
}

/// One position of a list. As an offer it is live at epoch e if `from_epoch ≤ e < until_epoch`; as a verifier's, for
/// a claim, if `since_ms < made_ms` and `now < until_ms`. The largest `u64` is no end.
public struct Slot has copy, drop, store {
    node: u64,
    /// min(collateral when written, the task's weight cap).
    weight: u64,
    price: u64,
    max_units: u64,
    /// When it was written.
    since_ms: u64,
    from_epoch: u64,
    until_epoch: u64,
    until_ms: u64,
}

/// A node's newest offer for a task. Kept when it ends: its positions are found again.
public struct Subscription has copy, drop, store {
    task: u64,
    node: u64,
    price: u64,
    max_units: u64,
    /// Fixed by the first subscription.
    echelon: u64,
    /// Whether it is opted in as a verifier.
    verifier: bool,
    /// Its one or two positions in the echelon's list of offers.
    slots: vector<u64>,
    /// Its position in the echelon's list of verifiers, if it ever had one.
    verifier_slot: Option<u64>,
}

public(package) fun new_market(echelons: &vector<u64>, ctx: &mut TxContext): Market {
    let mut market = Market {
        lists: table::new(ctx),
        verifiers: table::new(ctx),
        subscriptions: table::new(ctx),
        verifiers_of: table::new(ctx),
    };
    echelons.do_ref!(|echelon| {
        market.lists.add(*echelon, new_list(ctx));
        market.verifiers.add(*echelon, new_list(ctx));
    });
    market
}

fun new_list(ctx: &mut TxContext): SlotList { SlotList { pages: table::new(ctx), size: 0, live: 0, free: vector[] } }

// A task's market.

public(package) fun lists(self: &Market): &Table<u64, SlotList> { &self.lists }

public(package) fun lists_mut(self: &mut Market): &mut Table<u64, SlotList> { &mut self.lists }

public(package) fun verifiers(self: &Market): &Table<u64, SlotList> { &self.verifiers }

public(package) fun verifiers_mut(self: &mut Market): &mut Table<u64, SlotList> { &mut self.verifiers }

public(package) fun has_subscription(self: &Market, node: u64): bool { self.subscriptions.contains(node) }

/// A node's subscription, whether it still runs or not.
public(package) fun subscription(self: &Market, node: u64): &Subscription {
    require(self.subscriptions.contains(node), errors::not_subscribed!());
    &self.subscriptions[node]
}

public(package) fun subscription_mut(self: &mut Market, node: u64): &mut Subscription {
    require(self.subscriptions.contains(node), errors::not_subscribed!());
    &mut self.subscriptions[node]
}

/// Adds a node's subscription, or replaces it.
public(package) fun set_subscription(self: &mut Market, subscription: Subscription) {
    let node = subscription.node;
    if (self.subscriptions.contains(node)) {
        *&mut self.subscriptions[node] = subscription;
    } else {
        self.subscriptions.add(node, subscription);
    }
}

public(package) fun verifiers_in(self: &Market, echelons: &vector<u64>): Verifiers {
    let (mut live, mut positions) = (0, 0);
    echelons.do_ref!(|echelon| {
        let list = list(&self.verifiers, *echelon);
        live = live + list.live;
        positions = positions + list.size;
    });
    Verifiers { live, positions }
}

/// Whether an audit can be filled from them: enough are opted in besides the `owned` ones of the serving node's owner
/// (of all echelons: too few is the safe side), and not too many positions are dead.
public(package) fun opted_in(self: &Verifiers): u64 { self.live }

public(package) fun suffice(self: &Verifiers, owned: u64, min_verifiers: u64): bool {
    math::saturating_sub(self.live, owned) >= min_verifiers
        && self.positions <= self.live * POSITIONS_PER_VERIFIER
}

/// Verifiers opted in, of this owner, in all echelons.
public(package) fun verifiers_owned(self: &Market, owner: address): u64 {
    if (self.verifiers_of.contains(owner)) self.verifiers_of[owner] else 0
}

public(package) fun set_verifiers_owned(self: &mut Market, owner: address, owned: u64) {
    if (self.verifiers_of.contains(owner)) {
        *&mut self.verifiers_of[owner] = owned;
    } else {
        self.verifiers_of.add(owner, owned);
    }
}

// Lists.

/// The list of an echelon of the task.
public(package) fun list(lists: &Table<u64, SlotList>, echelon: u64): &SlotList {
    require(lists.contains(echelon), errors::bad_argument!());
    &lists[echelon]
}

public(package) fun list_mut(lists: &mut Table<u64, SlotList>, echelon: u64): &mut SlotList {
    require(lists.contains(echelon), errors::bad_argument!());
    &mut lists[echelon]
}

/// Present sizes of the lists of `echelons`, in their order.
public(package) fun sizes(lists: &Table<u64, SlotList>, echelons: &vector<u64>): vector<u64> {
    echelons.map_ref!(|echelon| list(lists, *echelon).size)
}

/// The sum of all sizes: how many positions the lists have, laid end to end.
public(package) fun total(sizes: &vector<u64>): u64 {
    let mut sum = 0;
    sizes.do_ref!(|size| sum = math::add(sum, *size));
    sum
}

/// Where `position` of the lists of `echelons` is, laid end to end with these `sizes`: its list's echelon, its
/// position in that list, and whether it is there: it may have been cut off since.
public(package) fun locate(
    lists: &Table<u64, SlotList>,
    echelons: &vector<u64>,
    sizes: &vector<u64>,
    position: u64,
): (u64, u64, bool) {
    let mut rest = position;
    let mut i = 0;
    let count = echelons.length().min(sizes.length());
    while (i < count && rest >= sizes[i]) {
        rest = rest - sizes[i];
        i = i + 1;
    };
    require(i < count, errors::bad_argument!());
    (echelons[i], rest, list(lists, echelons[i]).has_slot(rest))
}

/// The position that a new offer may take: one of the node's that is dead, or was never in force, else none, for a
/// new one. A node with two offers alive, one ending and one to come, gets its coming one back.
public(package) fun free_position(self: &SlotList, positions: &vector<u64>, epoch: u64): Option<u64> {
    let mut i = 0;
    while (i < positions.length()) {
        let slot = self.slot(positions[i]);
        if (slot.until_epoch <= epoch || slot.from_epoch > epoch) return option::some(positions[i]);
        i = i + 1;
    };
    require(positions.length() < 2, errors::already_subscribed!());
    option::none()
}

public(package) fun size(self: &SlotList): u64 { self.size }

/// One more node subscribes or is opted in.
public(package) fun enter(self: &mut SlotList) { self.live = self.live + 1 }

public(package) fun leave(self: &mut SlotList) { self.live = self.live - 1 }

public(package) fun has_slot(self: &SlotList, position: u64): bool {
    let page = position / SLOTS_PER_PAGE;
    self.pages.contains(page) && position % SLOTS_PER_PAGE < self.pages[page].length()
}

public(package) fun slot(self: &SlotList, position: u64): &Slot {
    require(self.has_slot(position), errors::not_subscribed!());
    &self.pages[position / SLOTS_PER_PAGE][position % SLOTS_PER_PAGE]
}

public(package) fun slot_mut(self: &mut SlotList, position: u64): &mut Slot {
    require(self.has_slot(position), errors::not_subscribed!());
    &mut self.pages[position / SLOTS_PER_PAGE][position % SLOTS_PER_PAGE]
}

/// Writes the slot at the position, or at a new one if there is none. Returns its position.
public(package) fun put(self: &mut SlotList, position: Option<u64>, slot: Slot): u64 {
    if (position.is_some()) {
        let position = position.destroy_some();
        *self.slot_mut(position) = slot;
        return position
    };
    self.push(slot)
}

/// Puts a verifier on the last free position, or on a new one. Returns its position.
public(package) fun place(self: &mut SlotList, slot: Slot): u64 {
    if (self.free.is_empty()) return self.push(slot);
    let position = self.free.pop_back();
    *self.slot_mut(position) = slot;
    position
}

/// The free position that is taken next.
public(package) fun next_free(self: &SlotList): Option<u64> {
    let count = self.free.length();
    if (count == 0) option::none() else option::some(self.free[count - 1])
}

/// Remembers a dead position of a list of verifiers, and cuts free ones off at the end.
public(package) fun release(self: &mut SlotList, position: u64) {
    if (self.free.length() < FREE_MAX) self.free.push_back(position);
    while (self.size > 0) {
        let (is_free, index) = self.free.index_of(&(self.size - 1));
        if (!is_free) break;
        self.free.swap_remove(index);
        self.pop();
    }
}

/// Takes a slot out of a list of offers: the last one moves to its position. Returns the node of the one that moved,
/// if any.
public(package) fun swap_remove(self: &mut SlotList, position: u64): Option<u64> {
    let last = self.pop();
    if (position == self.size) return option::none();
    *self.slot_mut(position) = last;
    option::some(last.node)
}

/// Takes the last slot off.
fun pop(self: &mut SlotList): Slot {
    require(self.size > 0, errors::bad_argument!());
    let last = self.size - 1;
    let page = last / SLOTS_PER_PAGE;
    let slot = self.pages[page].pop_back();
    if (self.pages[page].is_empty()) {
        self.pages.remove(page);
    };
    self.size = last;
    slot
}

/// Appends a slot and returns its position.
fun push(self: &mut SlotList, slot: Slot): u64 {
    let position = self.size;
    let page = position / SLOTS_PER_PAGE;
    if (self.pages.contains(page)) {
        self.pages[page].push_back(slot);
    } else {
        self.pages.add(page, vector[slot]);
    };
    self.size = position + 1;
    position
}

// Slots.

/// A slot without an end.
public(package) fun new_slot(
    node: u64,
    weight: u64,
    price: u64,
    max_units: u64,
    since_ms: u64,
    from_epoch: u64,
): Slot {
    let (until_epoch, until_ms) = (math::max!(), math::max!());
    Slot { node, weight, price, max_units, since_ms, from_epoch, until_epoch, until_ms }
}

public(package) fun is_live_at(self: &Slot, epoch: u64): bool { self.from_epoch <= epoch && epoch < self.until_epoch }

public(package) fun may_verify(self: &Slot, made_ms: u64, clock_ms: u64): bool {
    self.since_ms < made_ms && clock_ms < self.until_ms
}

public(package) fun slot_node(self: &Slot): u64 { self.node }

public(package) fun weight(self: &Slot): u64 { self.weight }

public(package) fun slot_price(self: &Slot): u64 { self.price }

public(package) fun slot_max_units(self: &Slot): u64 { self.max_units }

public(package) fun until_epoch(self: &Slot): u64 { self.until_epoch }

public(package) fun until_ms(self: &Slot): u64 { self.until_ms }

public(package) fun set_until_epoch(self: &mut Slot, epoch: u64) { self.until_epoch = epoch }

public(package) fun set_until_ms(self: &mut Slot, ms: u64) { self.until_ms = ms }

// Subscriptions.

/// A first subscription, not yet in any list.
public(package) fun new_subscription(
    task: u64,
    node: u64,
    price: u64,
    max_units: u64,
    echelon: u64,
): Subscription {
    Subscription {
        task,
        node,
        price,
        max_units,
        echelon,
        verifier: false,
        slots: vector[],
        verifier_slot: option::none(),
    }
}

public(package) fun price(self: &Subscription): u64 { self.price }

public(package) fun max_units(self: &Subscription): u64 { self.max_units }

public(package) fun echelon(self: &Subscription): u64 { self.echelon }

public(package) fun is_verifier(self: &Subscription): bool { self.verifier }

public(package) fun positions(self: &Subscription): &vector<u64> { &self.slots }

public(package) fun verifier_slot(self: &Subscription): Option<u64> { self.verifier_slot }

public(package) fun set_offer(self: &mut Subscription, price: u64, max_units: u64) {
    self.price = price;
    self.max_units = max_units;
}

public(package) fun add_position(self: &mut Subscription, position: u64) {
    if (!self.slots.contains(&position)) self.slots.push_back(position);
}

public(package) fun join_at(self: &mut Subscription, position: u64) {
    self.verifier = true;
    self.verifier_slot = option::some(position);
}

/// Says where an offer moved.
public(package) fun move_position(self: &mut Subscription, from: u64, to: u64) {
    self.slots.do_mut!(|slot| if (*slot == from) *slot = to);
}

/// Takes the last of the positions, if there is one.
public(package) fun pop_position(self: &mut Subscription): Option<u64> {
    if (self.slots.is_empty()) option::none() else option::some(self.slots.pop_back())
}

/// Takes the position in the list of verifiers, if there is one.
public(package) fun take_verifier_slot(self: &mut Subscription): Option<u64> {
    let position = self.verifier_slot;
    self.verifier_slot = option::none();
    position
}

public(package) fun unjoin(self: &mut Subscription) { self.verifier = false }

#[test_only]
public fun live(self: &SlotList): u64 { self.live }
