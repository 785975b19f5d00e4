// The part of the Move standard library that the package uses, as declarations that bind to the natives of
// the real VM. Signatures equal those of the public framework, so the package builds the same against either.

#[defines_primitive(vector)]
module std::vector {
    #[bytecode_instruction]
    native public fun empty<Element>(): vector<Element>;
    #[bytecode_instruction]
    native public fun length<Element>(v: &vector<Element>): u64;
    #[syntax(index)]
    #[bytecode_instruction]
    native public fun borrow<Element>(v: &vector<Element>, i: u64): &Element;
    #[bytecode_instruction]
    native public fun push_back<Element>(v: &mut vector<Element>, e: Element);
    #[syntax(index)]
    #[bytecode_instruction]
    native public fun borrow_mut<Element>(v: &mut vector<Element>, i: u64): &mut Element;
    #[bytecode_instruction]
    native public fun pop_back<Element>(v: &mut vector<Element>): Element;
    #[bytecode_instruction]
    native public fun destroy_empty<Element>(v: vector<Element>);
    #[bytecode_instruction]
    native public fun swap<Element>(v: &mut vector<Element>, i: u64, j: u64);

    public fun append<Element>(lhs: &mut vector<Element>, mut other: vector<Element>) {
        other.reverse();
        while (other.length() != 0) lhs.push_back(other.pop_back());
        other.destroy_empty();
    }

    public fun reverse<Element>(v: &mut vector<Element>) {
        let len = v.length();
        if (len == 0) return;
        let mut front = 0;
        let mut back = len - 1;
        while (front < back) {
            v.swap(front, back);
            front = front + 1;
            back = back - 1;
        }
    }
}

module std::bcs {
    native public fun to_bytes<MoveValue>(v: &MoveValue): vector<u8>;
}

#[test_only]
module std::unit_test {
    public fun poison() {}
}
