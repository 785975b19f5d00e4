module std::bcs {
    public native fun to_bytes<MoveValue>(v: &MoveValue): vector<u8>;
}

module std::hash {
    public native fun sha2_256(data: vector<u8>): vector<u8>;
    public native fun sha3_256(data: vector<u8>): vector<u8>;
}

module std::debug {
    public native fun print<T>(x: &T);
}

#[test_only]
module std::unit_test {
    /// Stops a package that was compiled for tests from being published.
    public native fun poison();

    /// Drops a value of any type.
    public native fun destroy<T>(v: T);

    public macro fun assert_eq<$T: drop>($t1: $T, $t2: $T) {
        let left = $t1;
        let right = $t2;
        assert_ref_eq!(&left, &right)
    }

    public macro fun assert_ref_eq<$T>($t1: &$T, $t2: &$T) {
        let left = $t1;
        let right = $t2;
        if (left != right) {
            std::debug::print(left);
            std::debug::print(right);
            assert!(false)
        }
    }
}
