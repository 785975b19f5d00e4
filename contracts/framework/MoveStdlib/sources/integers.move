module std::macros {
    public macro fun num_max<$T>($x: $T, $y: $T): $T {
        let (x, y) = ($x, $y);
        if (x < y) y else x
    }

    public macro fun num_min<$T>($x: $T, $y: $T): $T {
        let (x, y) = ($x, $y);
        if (x < y) x else y
    }

    public macro fun num_diff<$T>($x: $T, $y: $T): $T {
        let (x, y) = ($x, $y);
        if (x < y) y - x else x - y
    }

    public macro fun num_divide_and_round_up<$T>($x: $T, $y: $T): $T {
        let (x, y) = ($x, $y);
        let quotient = x / y;
        if (quotient * y < x) quotient + 1 else quotient
    }

    public macro fun num_pow($base: _, $exponent: u8): _ {
        let base = $base;
        let mut power = 1;
        let mut left = $exponent;
        while (left != 0) {
            power = power * base;
            left = left - 1;
        };
        power
    }

    public macro fun range_do<$T, $R: drop>($start: $T, $stop: $T, $f: |$T| -> $R) {
        let mut i = $start;
        let stop = $stop;
        while (i < stop) {
            $f(i);
            i = i + 1;
        }
    }

    /// `stop` included.
    public macro fun range_do_eq<$T, $R: drop>($start: $T, $stop: $T, $f: |$T| -> $R) {
        let mut i = $start;
        let stop = $stop;
        while (i <= stop) {
            $f(i);
            if (i == stop) break;
            i = i + 1;
        }
    }
}

#[defines_primitive(u8)]
module std::u8 {
    public fun max(x: u8, y: u8): u8 { std::macros::num_max!(x, y) }

    public fun min(x: u8, y: u8): u8 { std::macros::num_min!(x, y) }

    public fun diff(x: u8, y: u8): u8 { std::macros::num_diff!(x, y) }

    public fun divide_and_round_up(x: u8, y: u8): u8 { std::macros::num_divide_and_round_up!(x, y) }

    public fun pow(base: u8, exponent: u8): u8 { std::macros::num_pow!(base, exponent) }

    public macro fun max_value(): u8 { 0xFF }

    public macro fun range_do<$R: drop>($start: u8, $stop: u8, $f: |u8| -> $R) {
        std::macros::range_do!($start, $stop, $f)
    }

    public macro fun range_do_eq<$R: drop>($start: u8, $stop: u8, $f: |u8| -> $R) {
        std::macros::range_do_eq!($start, $stop, $f)
    }

    public macro fun do<$R: drop>($stop: u8, $f: |u8| -> $R) { std::macros::range_do!(0, $stop, $f) }

    public macro fun do_eq<$R: drop>($stop: u8, $f: |u8| -> $R) { std::macros::range_do_eq!(0, $stop, $f) }
}

#[defines_primitive(u16)]
module std::u16 {
    public fun max(x: u16, y: u16): u16 { std::macros::num_max!(x, y) }

    public fun min(x: u16, y: u16): u16 { std::macros::num_min!(x, y) }

    public fun diff(x: u16, y: u16): u16 { std::macros::num_diff!(x, y) }

    public fun divide_and_round_up(x: u16, y: u16): u16 { std::macros::num_divide_and_round_up!(x, y) }

    public fun pow(base: u16, exponent: u8): u16 { std::macros::num_pow!(base, exponent) }

    public fun try_as_u8(x: u16): Option<u8> {
        if (x > 0xFF) option::none() else option::some(x as u8)
    }

    public macro fun max_value(): u16 { 0xFFFF }

    public macro fun range_do<$R: drop>($start: u16, $stop: u16, $f: |u16| -> $R) {
        std::macros::range_do!($start, $stop, $f)
    }

    public macro fun range_do_eq<$R: drop>($start: u16, $stop: u16, $f: |u16| -> $R) {
        std::macros::range_do_eq!($start, $stop, $f)
    }

    public macro fun do<$R: drop>($stop: u16, $f: |u16| -> $R) { std::macros::range_do!(0, $stop, $f) }

    public macro fun do_eq<$R: drop>($stop: u16, $f: |u16| -> $R) { std::macros::range_do_eq!(0, $stop, $f) }
}

#[defines_primitive(u32)]
module std::u32 {
    public fun max(x: u32, y: u32): u32 { std::macros::num_max!(x, y) }

    public fun min(x: u32, y: u32): u32 { std::macros::num_min!(x, y) }

    public fun diff(x: u32, y: u32): u32 { std::macros::num_diff!(x, y) }

    public fun divide_and_round_up(x: u32, y: u32): u32 { std::macros::num_divide_and_round_up!(x, y) }

    public fun pow(base: u32, exponent: u8): u32 { std::macros::num_pow!(base, exponent) }

    public fun try_as_u8(x: u32): Option<u8> {
        if (x > 0xFF) option::none() else option::some(x as u8)
    }

    public fun try_as_u16(x: u32): Option<u16> {
        if (x > 0xFFFF) option::none() else option::some(x as u16)
    }

    public macro fun max_value(): u32 { 0xFFFF_FFFF }

    public macro fun range_do<$R: drop>($start: u32, $stop: u32, $f: |u32| -> $R) {
        std::macros::range_do!($start, $stop, $f)
    }

    public macro fun range_do_eq<$R: drop>($start: u32, $stop: u32, $f: |u32| -> $R) {
        std::macros::range_do_eq!($start, $stop, $f)
    }

    public macro fun do<$R: drop>($stop: u32, $f: |u32| -> $R) { std::macros::range_do!(0, $stop, $f) }

    public macro fun do_eq<$R: drop>($stop: u32, $f: |u32| -> $R) { std::macros::range_do_eq!(0, $stop, $f) }
}

#[defines_primitive(u64)]
module std::u64 {
    public fun max(x: u64, y: u64): u64 { std::macros::num_max!(x, y) }

    public fun min(x: u64, y: u64): u64 { std::macros::num_min!(x, y) }

    public fun diff(x: u64, y: u64): u64 { std::macros::num_diff!(x, y) }

    public fun divide_and_round_up(x: u64, y: u64): u64 { std::macros::num_divide_and_round_up!(x, y) }

    public fun pow(base: u64, exponent: u8): u64 { std::macros::num_pow!(base, exponent) }

    public fun try_as_u8(x: u64): Option<u8> {
        if (x > 0xFF) option::none() else option::some(x as u8)
    }

    public fun try_as_u16(x: u64): Option<u16> {
        if (x > 0xFFFF) option::none() else option::some(x as u16)
    }

    public fun try_as_u32(x: u64): Option<u32> {
        if (x > 0xFFFF_FFFF) option::none() else option::some(x as u32)
    }

    public macro fun max_value(): u64 { 0xFFFF_FFFF_FFFF_FFFF }

    public macro fun range_do<$R: drop>($start: u64, $stop: u64, $f: |u64| -> $R) {
        std::macros::range_do!($start, $stop, $f)
    }

    public macro fun range_do_eq<$R: drop>($start: u64, $stop: u64, $f: |u64| -> $R) {
        std::macros::range_do_eq!($start, $stop, $f)
    }

    public macro fun do<$R: drop>($stop: u64, $f: |u64| -> $R) { std::macros::range_do!(0, $stop, $f) }

    public macro fun do_eq<$R: drop>($stop: u64, $f: |u64| -> $R) { std::macros::range_do_eq!(0, $stop, $f) }
}

#[defines_primitive(u128)]
module std::u128 {
    public fun max(x: u128, y: u128): u128 { std::macros::num_max!(x, y) }

    public fun min(x: u128, y: u128): u128 { std::macros::num_min!(x, y) }

    public fun diff(x: u128, y: u128): u128 { std::macros::num_diff!(x, y) }

    public fun divide_and_round_up(x: u128, y: u128): u128 { std::macros::num_divide_and_round_up!(x, y) }

    public fun pow(base: u128, exponent: u8): u128 { std::macros::num_pow!(base, exponent) }

    public fun try_as_u8(x: u128): Option<u8> {
        if (x > 0xFF) option::none() else option::some(x as u8)
    }

    public fun try_as_u16(x: u128): Option<u16> {
        if (x > 0xFFFF) option::none() else option::some(x as u16)
    }

    public fun try_as_u32(x: u128): Option<u32> {
        if (x > 0xFFFF_FFFF) option::none() else option::some(x as u32)
    }

    public fun try_as_u64(x: u128): Option<u64> {
        if (x > 0xFFFF_FFFF_FFFF_FFFF) option::none() else option::some(x as u64)
    }

    public macro fun max_value(): u128 { 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF }

    public macro fun range_do<$R: drop>($start: u128, $stop: u128, $f: |u128| -> $R) {
        std::macros::range_do!($start, $stop, $f)
    }

    public macro fun range_do_eq<$R: drop>($start: u128, $stop: u128, $f: |u128| -> $R) {
        std::macros::range_do_eq!($start, $stop, $f)
    }

    public macro fun do<$R: drop>($stop: u128, $f: |u128| -> $R) { std::macros::range_do!(0, $stop, $f) }

    public macro fun do_eq<$R: drop>($stop: u128, $f: |u128| -> $R) { std::macros::range_do_eq!(0, $stop, $f) }
}

#[defines_primitive(u256)]
module std::u256 {
    public fun max(x: u256, y: u256): u256 { std::macros::num_max!(x, y) }

    public fun min(x: u256, y: u256): u256 { std::macros::num_min!(x, y) }

    public fun diff(x: u256, y: u256): u256 { std::macros::num_diff!(x, y) }

    public fun divide_and_round_up(x: u256, y: u256): u256 { std::macros::num_divide_and_round_up!(x, y) }

    public fun pow(base: u256, exponent: u8): u256 { std::macros::num_pow!(base, exponent) }

    public fun try_as_u8(x: u256): Option<u8> {
        if (x > 0xFF) option::none() else option::some(x as u8)
    }

    public fun try_as_u16(x: u256): Option<u16> {
        if (x > 0xFFFF) option::none() else option::some(x as u16)
    }

    public fun try_as_u32(x: u256): Option<u32> {
        if (x > 0xFFFF_FFFF) option::none() else option::some(x as u32)
    }

    public fun try_as_u64(x: u256): Option<u64> {
        if (x > 0xFFFF_FFFF_FFFF_FFFF) option::none() else option::some(x as u64)
    }

    public fun try_as_u128(x: u256): Option<u128> {
        if (x > 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF) option::none() else option::some(x as u128)
    }

    public macro fun max_value(): u256 { 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF }

    public macro fun range_do<$R: drop>($start: u256, $stop: u256, $f: |u256| -> $R) {
        std::macros::range_do!($start, $stop, $f)
    }

    public macro fun range_do_eq<$R: drop>($start: u256, $stop: u256, $f: |u256| -> $R) {
        std::macros::range_do_eq!($start, $stop, $f)
    }

    public macro fun do<$R: drop>($stop: u256, $f: |u256| -> $R) { std::macros::range_do!(0, $stop, $f) }

    public macro fun do_eq<$R: drop>($stop: u256, $f: |u256| -> $R) { std::macros::range_do_eq!(0, $stop, $f) }
}
