/// Lists of offers and of verifiers, in pages.
///
/// A node holds at most two positions of a list of offers and one of a list of verifiers, and writes them again only
/// once they are dead. When what is dead of a node is evicted, its offers are taken out, the last one moving into the
/// gap: purchases draw at once, so order means nothing. Verifiers stay where they are, because claims draw over the
/// sizes of an earlier moment: there a free position is taken over by a newer verifier, whom older claims skip, or cut
/// off at the end. A draw for an old claim meets who was there, or nobody.
module atoma_base::slots;

use atoma_base::errors::{Self, require};
use atoma_base::math;
use sui::table::{Self, Table};

/// Slots in one page of a list.
const SLOTS_PER_PAGE: u64 = 64;
/// Free positions that a list remembers, and positions that one call cuts off at the end of a list at most.
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

public fun new_market(echelons: &vector<u64>, ctx: &mut TxContext): Market {
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

public fun lists(self: &Market): &Table<u64, SlotList> { &self.lists }

public fun verifiers(self: &Market): &Table<u64, SlotList> { &self.verifiers }

public fun has_subscription(self: &Market, node: u64): bool { self.subscriptions.contains(node) }

/// A node's subscription, whether it still runs or not.
public fun subscription(self: &Market, node: u64): &Subscription {
    require(self.subscriptions.contains(node), errors::not_subscribed!());
    &self.subscriptions[node]
}

fun subscription_mut(self: &mut Market, node: u64): &mut Subscription {
    require(self.subscriptions.contains(node), errors::not_subscribed!());
    &mut self.subscriptions[node]
}

/// The node's subscription with these terms: the one it has, or a first one. Its echelon never changes.
public fun offered(
    self: &Market,
    task: u64,
    node: u64,
    price: u64,
    max_units: u64,
    echelon: u64,
): Subscription {
    if (!self.subscriptions.contains(node)) {
        let (slots, verifier_slot) = (vector[], option::none());
        return Subscription { task, node, price, max_units, echelon, verifier: false, slots, verifier_slot }
    };
    let mut subscription = self.subscriptions[node];
    require(subscription.echelon == echelon, errors::bad_argument!());
    subscription.set_offer(price, max_units);
    subscription
}

public fun has_offers(self: &Market, node: u64): bool { !self.subscription(node).slots.is_empty() }

/// Position of the offer that has no end yet.
public fun running(self: &Market, subscription: &Subscription): Option<u64> {
    let list = list(&self.lists, subscription.echelon);
    let at = subscription.slots.find_index!(|position| list.slot(*position).until_epoch == math::max!());
    at.map!(|at| subscription.slots[at])
}

/// The same, else `ENotSubscribed`.
public fun must_run(self: &Market, subscription: &Subscription): u64 {
    let current = self.running(subscription);
    require(current.is_some(), errors::not_subscribed!());
    current.destroy_some()
}

/// The offer that holds at `epoch`.
public fun live_offer(self: &Market, subscription: &Subscription, epoch: u64): Option<Slot> {
    let list = list(&self.lists, subscription.echelon);
    let at = subscription.slots.find_index!(|position| list.slot(*position).is_live_at(epoch));
    at.map!(|at| *list.slot(subscription.slots[at]))
}

/// The first epoch from `epoch` on in which none of the node's offers holds, all of them having an end.
public fun free_epoch(self: &Market, subscription: &Subscription, epoch: u64): u64 {
    let list = list(&self.lists, subscription.echelon);
    let mut free = epoch;
    subscription.slots.do_ref!(|position| free = free.max(list.slot(*position).until_epoch));
    free
}

/// The position that a new offer may take: one of the node's that is dead, or was never in force, else none, for a
/// new one. A node with two offers alive, one ending and one to come, gets its coming one back.
public fun free_position(self: &Market, subscription: &Subscription, epoch: u64): Option<u64> {
    let list = list(&self.lists, subscription.echelon);
    let at = subscription.slots.find_index!(|position| {
        let slot = list.slot(*position);
        slot.until_epoch <= epoch || slot.from_epoch > epoch
    });
    require(at.is_some() || subscription.slots.length() < 2, errors::already_subscribed!());
    at.map!(|at| subscription.slots[at])
}

/// Writes the slot at its position, or at a new one, and the subscription. Returns the position.
public fun write_offer(
    self: &mut Market,
    mut subscription: Subscription,
    slot: Slot,
    position: Option<u64>,
): u64 {
    let position = list_mut(&mut self.lists, subscription.echelon).put(position, slot);
    if (!subscription.slots.contains(&position)) subscription.slots.push_back(position);
    let node = subscription.node;
    if (self.subscriptions.contains(node)) {
        *&mut self.subscriptions[node] = subscription;
    } else {
        self.subscriptions.add(node, subscription);
    };
    position
}

/// One more node subscribes.
public fun enter(self: &mut Market, echelon: u64) {
    let list = list_mut(&mut self.lists, echelon);
    list.live = list.live + 1;
}

/// An offer holds no longer than to `until_epoch`.
public fun end_slot(self: &mut Market, subscription: &Subscription, position: u64, until_epoch: u64) {
    list_mut(&mut self.lists, subscription.echelon).slot_mut(position).until_epoch = until_epoch;
}

/// The same, and the node subscribes no more.
public fun end_offer(self: &mut Market, node: u64, position: u64, until_epoch: u64) {
    let echelon = self.subscription(node).echelon;
    let list = list_mut(&mut self.lists, echelon);
    list.slot_mut(position).until_epoch = until_epoch;
    list.live = list.live - 1;
}

/// Takes one of the node's offers out of its list. Returns whose offer moved into the gap, if any, from where and to
/// where.
public fun take_out_offer(self: &mut Market, node: u64): (Option<u64>, u64, u64) {
    let subscription = self.subscription_mut(node);
    let (echelon, to) = (subscription.echelon, subscription.slots.pop_back());
    let list = list_mut(&mut self.lists, echelon);
    let moved = list.swap_remove(to);
    let from = list.size;
    moved.do!(|other| {
        let subscription = self.subscription_mut(other);
        subscription.slots.do_mut!(|slot| if (*slot == from) *slot = to);
    });
    (moved, from, to)
}

/// Opts the node in as a verifier: at its position, at a free one, or at a new one. Returns echelon and position.
public fun join(self: &mut Market, node: u64, owner: address, weight: u64, clock_ms: u64): (u64, u64) {
    let Subscription { price, max_units, echelon, verifier_slot, .. } = *self.subscription(node);
    let slot = new_slot(node, weight, price, max_units, clock_ms, 0);
    let list = list_mut(&mut self.verifiers, echelon);
    let position = if (verifier_slot.is_some()) list.put(verifier_slot, slot) else list.place(slot);
    list.live = list.live + 1;
    let subscription = self.subscription_mut(node);
    subscription.verifier = true;
    subscription.verifier_slot = option::some(position);
    let owned = self.verifiers_owned(owner);
    self.set_verifiers_owned(owner, owned + 1);
    (echelon, position)
}

/// Opts it out: not counted any more, drawn until `until_ms`.
public fun leave(self: &mut Market, node: u64, owner: address, until_ms: u64) {
    let subscription = self.subscription_mut(node);
    let (echelon, position) = (subscription.echelon, subscription.verifier_slot);
    require(position.is_some(), errors::not_subscribed!());
    subscription.verifier = false;
    let list = list_mut(&mut self.verifiers, echelon);
    list.slot_mut(position.destroy_some()).until_ms = until_ms;
    list.live = list.live - 1;
    let owned = self.verifiers_owned(owner);
    self.set_verifiers_owned(owner, math::saturating_sub(owned, 1));
}

/// Whether the slot of a node that is, or was, a verifier can be drawn for no claim any more.
public fun is_verifier_over(self: &Market, subscription: &Subscription, clock_ms: u64): bool {
    let list = list(&self.verifiers, subscription.echelon);
    list.slot(*subscription.verifier_slot.borrow()).until_ms <= clock_ms
}

/// Whether a free position is lower than the verifier's. Aborts `ENotSubscribed` if it has none.
public fun can_move_down(self: &Market, subscription: &Subscription): bool {
    let position = subscription.verifier_slot;
    require(position.is_some(), errors::not_subscribed!());
    let list = list(&self.verifiers, subscription.echelon);
    !list.free.is_empty() && list.free[list.lowest()] < position.destroy_some()
}

/// The node has no position in the list of verifiers any more.
public fun forget_verifier(self: &mut Market, node: u64) {
    self.subscription_mut(node).verifier_slot = option::none();
}

/// Gives the position that a verifier had free.
public fun free_verifier(self: &mut Market, before: &Subscription) {
    list_mut(&mut self.verifiers, before.echelon).release(*before.verifier_slot.borrow());
}

public fun verifiers_in(self: &Market, echelons: &vector<u64>): Verifiers {
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
public fun opted_in(self: &Verifiers): u64 { self.live }

public fun suffice(self: &Verifiers, owned: u64, min_verifiers: u64): bool {
    math::saturating_sub(self.live, owned) >= min_verifiers
        && self.positions <= self.live * POSITIONS_PER_VERIFIER
}

/// Verifiers opted in, of this owner, in all echelons.
public fun verifiers_owned(self: &Market, owner: address): u64 {
    if (self.verifiers_of.contains(owner)) self.verifiers_of[owner] else 0
}

fun set_verifiers_owned(self: &mut Market, owner: address, owned: u64) {
    if (self.verifiers_of.contains(owner)) {
        *&mut self.verifiers_of[owner] = owned;
    } else {
        self.verifiers_of.add(owner, owned);
    }
}

// Lists.

/// The list of an echelon of the task.
public fun list(lists: &Table<u64, SlotList>, echelon: u64): &SlotList {
    require(lists.contains(echelon), errors::bad_argument!());
    &lists[echelon]
}

fun list_mut(lists: &mut Table<u64, SlotList>, echelon: u64): &mut SlotList {
    require(lists.contains(echelon), errors::bad_argument!());
    &mut lists[echelon]
}

/// Present sizes of the lists of `echelons`, in their order.
public fun sizes(lists: &Table<u64, SlotList>, echelons: &vector<u64>): vector<u64> {
    echelons.map_ref!(|echelon| list(lists, *echelon).size)
}

/// The sum of all sizes: how many positions the lists have, laid end to end.
public fun total(sizes: &vector<u64>): u64 {
    let mut sum = 0;
    sizes.do_ref!(|size| sum = math::add(sum, *size));
    sum
}

/// Where `position` of the lists of `echelons` is, laid end to end with these `sizes`: its list's echelon, its
/// position in that list, and whether it is there: it may have been cut off since.
public fun locate(
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

public fun size(self: &SlotList): u64 { self.size }

fun has_slot(self: &SlotList, position: u64): bool {
    let page = position / SLOTS_PER_PAGE;
    self.pages.contains(page) && position % SLOTS_PER_PAGE < self.pages[page].length()
}

public fun slot(self: &SlotList, position: u64): &Slot {
    require(self.has_slot(position), errors::not_subscribed!());
    &self.pages[position / SLOTS_PER_PAGE][position % SLOTS_PER_PAGE]
}

fun slot_mut(self: &mut SlotList, position: u64): &mut Slot {
    require(self.has_slot(position), errors::not_subscribed!());
    &mut self.pages[position / SLOTS_PER_PAGE][position % SLOTS_PER_PAGE]
}

/// Writes the slot at the position, or at a new one if there is none. Returns its position.
fun put(self: &mut SlotList, position: Option<u64>, slot: Slot): u64 {
    if (position.is_some()) {
        let position = position.destroy_some();
        *self.slot_mut(position) = slot;
        return position
    };
    self.push(slot)
}

/// Where the lowest free position stands among those remembered. There must be one.
fun lowest(self: &SlotList): u64 {
    let mut lowest = 0;
    self.free.length().do!(|i| if (self.free[i] < self.free[lowest]) lowest = i);
    lowest
}

/// Puts a verifier on the lowest free position, or on a new one, and goes on cutting what no call could cut at once.
/// Returns its position.
fun place(self: &mut SlotList, slot: Slot): u64 {
    let free = if (self.free.is_empty()) {
        option::none()
    } else {
        let lowest = self.lowest();
        option::some(self.free.swap_remove(lowest))
    };
    let position = self.put(free, slot);
    self.cut();
    position
}

/// Vacates a position of a list of verifiers, remembers it, and cuts vacated ones off at the end.
fun release(self: &mut SlotList, position: u64) {
    self.slot_mut(position).until_ms = 0;
    if (self.free.length() < FREE_MAX) self.free.push_back(position);
    self.cut();
}

/// Cuts off vacated positions at the end, remembered or not.
fun cut(self: &mut SlotList) {
    let mut left = FREE_MAX;
    while (left > 0 && self.size > 0 && self.slot(self.size - 1).until_ms == 0) {
        self.pop();
        let (is_free, index) = self.free.index_of(&self.size);
        if (is_free) { self.free.swap_remove(index); };
        left = left - 1;
    }
}

/// Takes a slot out of a list of offers: the last one moves to its position. Returns the node of the one that moved,
/// if any.
fun swap_remove(self: &mut SlotList, position: u64): Option<u64> {
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
public fun new_slot(
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

public fun is_live_at(self: &Slot, epoch: u64): bool { self.from_epoch <= epoch && epoch < self.until_epoch }

public fun may_verify(self: &Slot, made_ms: u64, clock_ms: u64): bool {
    self.since_ms < made_ms && clock_ms < self.until_ms
}

public fun slot_node(self: &Slot): u64 { self.node }

public fun weight(self: &Slot): u64 { self.weight }

public fun slot_price(self: &Slot): u64 { self.price }

public fun slot_max_units(self: &Slot): u64 { self.max_units }

// Subscriptions.

public fun echelon(self: &Subscription): u64 { self.echelon }

/// Whether it has a position in the list of verifiers.
public fun has_position(self: &Subscription): bool { self.verifier_slot.is_some() }

public fun is_verifier(self: &Subscription): bool { self.verifier }

public fun set_offer(self: &mut Subscription, price: u64, max_units: u64) {
    self.price = price;
    self.max_units = max_units;
}

#[test_only]
public fun live(self: &SlotList): u64 { self.live }
