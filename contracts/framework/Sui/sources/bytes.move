#[defines_primitive(address)]
module sui::address {
    public use fun sui::object::id_from_address as address.to_id;

    public native fun to_u256(a: address): u256;
    public native fun from_u256(n: u256): address;
    /// Aborts unless there are 32 bytes.
    public native fun from_bytes(bytes: vector<u8>): address;

    public fun to_bytes(a: address): vector<u8> { std::bcs::to_bytes(&a) }

    /// 64 hexadecimal digits, lower case.
    public fun to_ascii_string(a: address): std::ascii::String {
        let mut digits = vector[];
        to_bytes(a).do!(|byte| {
            digits.push_back(digit(byte / 16));
            digits.push_back(digit(byte % 16));
        });
        digits.to_ascii_string()
    }

    fun digit(value: u8): u8 { if (value < 10) 48 + value else 87 + value }

    public fun length(): u64 { 32 }
}

module sui::hash {
    public native fun blake2b256(data: &vector<u8>): vector<u8>;
    public native fun keccak256(data: &vector<u8>): vector<u8>;
}

module sui::hmac {
    public native fun hmac_sha3_256(key: &vector<u8>, msg: &vector<u8>): vector<u8>;
}

module sui::ed25519 {
    public native fun ed25519_verify(signature: &vector<u8>, public_key: &vector<u8>, msg: &vector<u8>): bool;
}

module sui::bcs {
    const EOutOfRange: u64 = 0;
    const ENotBool: u64 = 1;
    const ELenOutOfRange: u64 = 2;

    /// What is left to read, last byte first.
    public struct BCS has copy, drop, store {
        bytes: vector<u8>,
    }

    public fun to_bytes<T>(value: &T): vector<u8> { std::bcs::to_bytes(value) }

    public fun new(mut bytes: vector<u8>): BCS {
        bytes.reverse();
        BCS { bytes }
    }

    public fun into_remainder_bytes(bcs: BCS): vector<u8> {
        let BCS { mut bytes } = bcs;
        bytes.reverse();
        bytes
    }

    public fun peel_address(bcs: &mut BCS): address { sui::address::from_bytes(take(bcs, 32)) }

    public fun peel_bool(bcs: &mut BCS): bool {
        let byte = bcs.peel_u8();
        assert!(byte < 2, ENotBool);
        byte == 1
    }

    public fun peel_u8(bcs: &mut BCS): u8 { peel_integer(bcs, 1) as u8 }

    public fun peel_u16(bcs: &mut BCS): u16 { peel_integer(bcs, 2) as u16 }

    public fun peel_u32(bcs: &mut BCS): u32 { peel_integer(bcs, 4) as u32 }

    public fun peel_u64(bcs: &mut BCS): u64 { peel_integer(bcs, 8) as u64 }

    public fun peel_u128(bcs: &mut BCS): u128 { peel_integer(bcs, 16) as u128 }

    public fun peel_u256(bcs: &mut BCS): u256 { peel_integer(bcs, 32) }

    /// ULEB128, at most five bytes.
    public fun peel_vec_length(bcs: &mut BCS): u64 {
        let mut total = 0;
        let mut shift = 0;
        loop {
            assert!(shift < 35, ELenOutOfRange);
            let byte = bcs.peel_u8() as u64;
            total = total | ((byte & 0x7f) << shift);
            if (byte < 0x80) break;
            shift = shift + 7;
        };
        total
    }

    public macro fun peel_vec<$T>($bcs: &mut BCS, $peel: |&mut BCS| -> $T): vector<$T> {
        let bcs = $bcs;
        let length = bcs.peel_vec_length();
        let mut values = vector[];
        length.do!(|_| values.push_back($peel(bcs)));
        values
    }

    public fun peel_vec_address(bcs: &mut BCS): vector<address> { bcs.peel_vec!(|bcs| bcs.peel_address()) }

    public fun peel_vec_bool(bcs: &mut BCS): vector<bool> { bcs.peel_vec!(|bcs| bcs.peel_bool()) }

    public fun peel_vec_u8(bcs: &mut BCS): vector<u8> {
        let length = bcs.peel_vec_length();
        take(bcs, length)
    }

    public fun peel_vec_vec_u8(bcs: &mut BCS): vector<vector<u8>> { bcs.peel_vec!(|bcs| bcs.peel_vec_u8()) }

    public fun peel_vec_u32(bcs: &mut BCS): vector<u32> { bcs.peel_vec!(|bcs| bcs.peel_u32()) }

    public fun peel_vec_u64(bcs: &mut BCS): vector<u64> { bcs.peel_vec!(|bcs| bcs.peel_u64()) }

    public fun peel_vec_u128(bcs: &mut BCS): vector<u128> { bcs.peel_vec!(|bcs| bcs.peel_u128()) }

    public fun peel_enum_tag(bcs: &mut BCS): u32 {
        let tag = bcs.peel_vec_length();
        assert!(tag <= 0xFFFF_FFFF, EOutOfRange);
        tag as u32
    }

    public macro fun peel_option<$T>($bcs: &mut BCS, $peel: |&mut BCS| -> $T): Option<$T> {
        let bcs = $bcs;
        if (bcs.peel_bool()) option::some($peel(bcs)) else option::none()
    }

    public fun peel_option_address(bcs: &mut BCS): Option<address> { bcs.peel_option!(|bcs| bcs.peel_address()) }

    public fun peel_option_u64(bcs: &mut BCS): Option<u64> { bcs.peel_option!(|bcs| bcs.peel_u64()) }

    fun take(bcs: &mut BCS, count: u64): vector<u8> {
        assert!(bcs.bytes.length() >= count, EOutOfRange);
        vector::tabulate!(count, |_| bcs.bytes.pop_back())
    }

    fun peel_integer(bcs: &mut BCS, count: u8): u256 {
        assert!(bcs.bytes.length() >= count as u64, EOutOfRange);
        let mut value = 0;
        count.do!(|i| value = value | ((bcs.bytes.pop_back() as u256) << (8 * i)));
        value
    }
}
