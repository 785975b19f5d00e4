// The part of the Move standard library that the package and its tests use: own bodies, declarations that bind
// to the natives of the real VM, and the signatures of the public library, so that the package builds the same
// against either.

#[defines_primitive(vector)]
module std::vector;

public use fun std::string::utf8 as vector.to_string;
public use fun std::ascii::string as vector.to_ascii_string;

/// The code of the public library.
const EOutOfBounds: u64 = 0x20000;

#[bytecode_instruction]
public native fun empty<Element>(): vector<Element>;
#[bytecode_instruction]
public native fun length<Element>(v: &vector<Element>): u64;
#[syntax(index)]
#[bytecode_instruction]
public native fun borrow<Element>(v: &vector<Element>, i: u64): &Element;
#[syntax(index)]
#[bytecode_instruction]
public native fun borrow_mut<Element>(v: &mut vector<Element>, i: u64): &mut Element;
#[bytecode_instruction]
public native fun push_back<Element>(v: &mut vector<Element>, e: Element);
#[bytecode_instruction]
public native fun pop_back<Element>(v: &mut vector<Element>): Element;
#[bytecode_instruction]
public native fun destroy_empty<Element>(v: vector<Element>);
#[bytecode_instruction]
public native fun swap<Element>(v: &mut vector<Element>, i: u64, j: u64);

public fun singleton<Element>(e: Element): vector<Element> { vector[e] }

public fun is_empty<Element>(v: &vector<Element>): bool { v.length() == 0 }

public fun append<Element>(lhs: &mut vector<Element>, mut other: vector<Element>) {
    other.reverse();
    while (other.length() != 0) lhs.push_back(other.pop_back());
    other.destroy_empty();
}

public fun reverse<Element>(v: &mut vector<Element>) {
    let len = v.length();
    let mut i = 0;
    while (i < len / 2) {
        v.swap(i, len - 1 - i);
        i = i + 1;
    }
}

public fun contains<Element>(v: &vector<Element>, e: &Element): bool {
    let (found, _) = v.index_of(e);
    found
}

public fun index_of<Element>(v: &vector<Element>, e: &Element): (bool, u64) {
    let mut i = 0;
    while (i < v.length()) {
        if (&v[i] == e) return (true, i);
        i = i + 1;
    };
    (false, 0)
}

public fun remove<Element>(v: &mut vector<Element>, i: u64): Element {
    assert!(i < v.length(), EOutOfBounds);
    let mut at = i + 1;
    while (at < v.length()) {
        v.swap(at - 1, at);
        at = at + 1;
    };
    v.pop_back()
}

public fun insert<Element>(v: &mut vector<Element>, e: Element, i: u64) {
    assert!(i <= v.length(), EOutOfBounds);
    v.push_back(e);
    let mut at = v.length() - 1;
    while (at > i) {
        v.swap(at - 1, at);
        at = at - 1;
    }
}

public fun swap_remove<Element>(v: &mut vector<Element>, i: u64): Element {
    assert!(!v.is_empty(), EOutOfBounds);
    let last = v.length() - 1;
    v.swap(i, last);
    v.pop_back()
}

public fun flatten<T>(v: vector<vector<T>>): vector<T> {
    let mut all = vector[];
    v.do!(|part| all.append(part));
    all
}

public macro fun tabulate<$T>($n: u64, $f: |u64| -> $T): vector<$T> {
    let n = $n;
    let mut made = vector[];
    n.do!(|i| made.push_back($f(i)));
    made
}

/// Takes the elements from the end.
public macro fun destroy<$T, $R: drop>($v: vector<$T>, $f: |$T| -> $R) {
    let mut v = $v;
    while (!v.is_empty()) { $f(v.pop_back()); };
    v.destroy_empty()
}

public macro fun do<$T, $R: drop>($v: vector<$T>, $f: |$T| -> $R) {
    let mut v = $v;
    v.reverse();
    while (!v.is_empty()) { $f(v.pop_back()); };
    v.destroy_empty()
}

public macro fun do_ref<$T, $R: drop>($v: &vector<$T>, $f: |&$T| -> $R) {
    let v = $v;
    v.length().do!(|i| $f(&v[i]))
}

public macro fun do_mut<$T, $R: drop>($v: &mut vector<$T>, $f: |&mut $T| -> $R) {
    let v = $v;
    v.length().do!(|i| $f(&mut v[i]))
}

public macro fun map<$T, $U>($v: vector<$T>, $f: |$T| -> $U): vector<$U> {
    let v = $v;
    let mut mapped = vector[];
    v.do!(|e| mapped.push_back($f(e)));
    mapped
}

public macro fun map_ref<$T, $U>($v: &vector<$T>, $f: |&$T| -> $U): vector<$U> {
    let v = $v;
    let mut mapped = vector[];
    v.do_ref!(|e| mapped.push_back($f(e)));
    mapped
}

public macro fun filter<$T: drop>($v: vector<$T>, $f: |&$T| -> bool): vector<$T> {
    let v = $v;
    let mut kept = vector[];
    v.do!(|e| if ($f(&e)) kept.push_back(e));
    kept
}

public macro fun fold<$T, $Acc>($v: vector<$T>, $init: $Acc, $f: |$Acc, $T| -> $Acc): $Acc {
    let v = $v;
    let mut total = $init;
    v.do!(|e| total = $f(total, e));
    total
}

public macro fun count<$T>($v: &vector<$T>, $f: |&$T| -> bool): u64 {
    let v = $v;
    let mut n = 0;
    v.do_ref!(|e| if ($f(e)) n = n + 1);
    n
}

public macro fun find_index<$T>($v: &vector<$T>, $f: |&$T| -> bool): Option<u64> {
    let v = $v;
    'search: {
        v.length().do!(|i| if ($f(&v[i])) return 'search option::some(i));
        option::none()
    }
}

public macro fun any<$T>($v: &vector<$T>, $f: |&$T| -> bool): bool {
    let v = $v;
    'search: {
        v.do_ref!(|e| if ($f(e)) return 'search true);
        false
    }
}

public macro fun all<$T>($v: &vector<$T>, $f: |&$T| -> bool): bool {
    let v = $v;
    'search: {
        v.do_ref!(|e| if (!$f(e)) return 'search false);
        true
    }
}
