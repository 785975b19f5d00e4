module sui::clock {
    public struct Clock has key {
        id: UID,
        timestamp_ms: u64,
    }

    public fun timestamp_ms(clock: &Clock): u64 { clock.timestamp_ms }

    #[test_only]
    public fun create_for_testing(ctx: &mut TxContext): Clock { Clock { id: object::new(ctx), timestamp_ms: 0 } }

    #[test_only]
    public fun share_for_testing(clock: Clock) { transfer::share_object(clock) }

    #[test_only]
    public fun increment_for_testing(clock: &mut Clock, tick: u64) {
        clock.timestamp_ms = clock.timestamp_ms + tick;
    }

    #[test_only]
    /// Time does not go back.
    public fun set_for_testing(clock: &mut Clock, timestamp_ms: u64) {
        assert!(timestamp_ms >= clock.timestamp_ms, 0);
        clock.timestamp_ms = timestamp_ms;
    }

    #[test_only]
    public fun destroy_for_testing(clock: Clock) {
        let Clock { id, timestamp_ms: _ } = clock;
        id.delete()
    }
}

module sui::event {
    public native fun emit<T: copy + drop>(event: T);

    #[test_only]
    /// Events of the transaction so far.
    public native fun num_events(): u32;

    #[test_only]
    /// Events of one type of the transaction so far, in order.
    public native fun events_by_type<T: copy + drop>(): vector<T>;
}

module sui::random {
    use sui::hmac::hmac_sha3_256;
    use sui::versioned::{Self, Versioned};

    const ENotSystemAddress: u64 = 0;
    const VERSION: u64 = 1;
    const BLOCK_BYTES: u64 = 32;

    public struct Random has key {
        id: UID,
        inner: Versioned,
    }

    public struct RandomInner has store {
        version: u64,
        epoch: u64,
        randomness_round: u64,
        random_bytes: vector<u8>,
    }

    public struct RandomGenerator has drop {
        seed: vector<u8>,
        counter: u16,
        buffer: vector<u8>,
    }

    public fun new_generator(r: &Random, ctx: &mut TxContext): RandomGenerator {
        let inner: &RandomInner = r.inner.load_value();
        let seed = hmac_sha3_256(&inner.random_bytes, &std::bcs::to_bytes(&ctx.fresh_object_address()));
        RandomGenerator { seed, counter: 0, buffer: vector[] }
    }

    /// Whole blocks first; what is left over comes from the end of the buffer.
    public fun generate_bytes(g: &mut RandomGenerator, num_of_bytes: u16): vector<u8> {
        let wanted = num_of_bytes as u64;
        let mut bytes = vector[];
        (wanted / BLOCK_BYTES).do!(|_| bytes.append(next_block(g)));
        let rest = wanted - bytes.length();
        if (g.buffer.length() < rest) {
            let block = next_block(g);
            g.buffer.append(block);
        };
        rest.do!(|_| bytes.push_back(g.buffer.pop_back()));
        bytes
    }

    fun next_block(g: &mut RandomGenerator): vector<u8> {
        g.counter = g.counter + 1;
        hmac_sha3_256(&g.seed, &std::bcs::to_bytes(&g.counter))
    }

    #[test_only]
    /// Shares the object with no randomness in it yet; the sender must be @0x0.
    public fun create_for_testing(ctx: &mut TxContext) {
        assert!(ctx.sender() == @0x0, ENotSystemAddress);
        let inner = RandomInner {
            version: VERSION,
            epoch: ctx.epoch(),
            randomness_round: 0,
            random_bytes: vector[],
        };
        transfer::share_object(Random {
            id: object::randomness_state(),
            inner: versioned::create(VERSION, inner, ctx),
        })
    }

    #[test_only]
    public fun update_randomness_state_for_testing(
        self: &mut Random,
        new_round: u64,
        new_bytes: vector<u8>,
        ctx: &TxContext,
    ) {
        assert!(ctx.sender() == @0x0, ENotSystemAddress);
        let inner: &mut RandomInner = self.inner.load_value_mut();
        inner.epoch = ctx.epoch();
        inner.randomness_round = new_round;
        inner.random_bytes = new_bytes;
    }

    #[test_only]
    public fun new_generator_from_seed_for_testing(seed: vector<u8>): RandomGenerator {
        RandomGenerator { seed, counter: 0, buffer: vector[] }
    }
}
