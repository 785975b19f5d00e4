module std::string {
    public use fun bytes as String.as_bytes;

    const EInvalidUTF8: u64 = 1;

    public struct String has copy, drop, store {
        bytes: vector<u8>,
    }

    public fun utf8(bytes: vector<u8>): String {
        assert!(internal_check_utf8(&bytes), EInvalidUTF8);
        String { bytes }
    }

    public fun try_utf8(bytes: vector<u8>): Option<String> {
        if (internal_check_utf8(&bytes)) option::some(String { bytes }) else option::none()
    }

    public fun from_ascii(s: std::ascii::String): String { String { bytes: s.into_bytes() } }

    public fun bytes(s: &String): &vector<u8> { &s.bytes }

    public fun into_bytes(s: String): vector<u8> {
        let String { bytes } = s;
        bytes
    }

    public fun is_empty(s: &String): bool { s.bytes.is_empty() }

    public fun length(s: &String): u64 { s.bytes.length() }

    public fun append(s: &mut String, r: String) { s.bytes.append(r.bytes) }

    native fun internal_check_utf8(v: &vector<u8>): bool;
}

module std::ascii {
    public use fun std::string::from_ascii as String.to_string;

    const EInvalidASCIICharacter: u64 = 0x10000;

    public struct String has copy, drop, store {
        bytes: vector<u8>,
    }

    public fun string(bytes: vector<u8>): String {
        assert!(bytes.all!(|b| *b < 0x80), EInvalidASCIICharacter);
        String { bytes }
    }

    public fun as_bytes(string: &String): &vector<u8> { &string.bytes }

    public fun into_bytes(string: String): vector<u8> {
        let String { bytes } = string;
        bytes
    }

    public fun length(string: &String): u64 { string.bytes.length() }
}

module std::type_name {
    use std::ascii::String;

    public struct TypeName has copy, drop, store {
        name: String,
    }

    public native fun with_defining_ids<T>(): TypeName;
    public native fun with_original_ids<T>(): TypeName;

    public fun as_string(self: &TypeName): &String { &self.name }

    public fun into_string(self: TypeName): String { self.name }

    /// The package's address, 64 hexadecimal digits. Not for primitive types.
    public fun address_string(self: &TypeName): String { piece(self, 0) }

    /// The module's name. Not for primitive types.
    public fun module_string(self: &TypeName): String { piece(self, 1) }

    // Types are written `<64 digits>::module::Name<…>`.
    fun piece(self: &TypeName, index: u64): String {
        let colon = 58;
        let mut piece = vector[];
        let mut at = 0;
        let mut passed = 0;
        let bytes = self.name.as_bytes();
        while (passed <= index) {
            if (bytes[at] == colon) {
                passed = passed + 1;
                at = at + 2;
            } else {
                if (passed == index) piece.push_back(bytes[at]);
                at = at + 1;
            }
        };
        piece.to_ascii_string()
    }
}
