#[test_only]
module framework_tests::std_tests;

use std::unit_test::assert_eq;
use sui::coin::Coin;
use sui::sui::SUI;

#[test]
fun vectors() {
    let mut v = vector[2u64, 3, 4, 5];
    assert_eq!(v.remove(1), 3);
    v.insert(9, 0);
    assert_eq!(v, vector[9, 2, 4, 5]);
    assert_eq!(v.swap_remove(0), 9);
    assert_eq!(v, vector[5, 2, 4]);
    assert_eq!(v.contains(&2), true);
    let (found, at) = v.index_of(&4);
    assert!(found && at == 2);
    v.reverse();
    v.append(vector[7]);
    assert_eq!(v, vector[4, 2, 5, 7]);
    assert_eq!(vector[vector[1u8], vector[], vector[2, 3]].flatten(), vector[1, 2, 3]);
}

#[test]
fun vector_macros() {
    let v = vector[1u64, 2, 3, 4];
    let mut sum = 0;
    v.do!(|x| sum = sum + x);
    v.do_ref!(|x| sum = sum + *x);
    assert_eq!(sum, 20);
    let mut w = v;
    w.do_mut!(|x| *x = *x + 1);
    assert_eq!(w, vector[2, 3, 4, 5]);
    assert_eq!(v.map!(|x| x * 2), vector[2, 4, 6, 8]);
    assert_eq!(v.map_ref!(|x| *x as u8), vector[1, 2, 3, 4]);
    assert_eq!(v.filter!(|x| *x > 2), vector[3, 4]);
    assert_eq!(v.fold!(0, |total, x| total * 10 + x), 1234);
    assert_eq!(v.count!(|x| *x > 1), 3);
    assert_eq!(v.find_index!(|x| *x == 3), option::some(2));
    assert!(v.any!(|x| *x == 3) && !v.all!(|x| *x == 3));
    assert_eq!(vector::tabulate!(3, |i| i * i), vector[0, 1, 4]);
}

#[test]
fun integers() {
    assert_eq!(7u64.divide_and_round_up(2), 4);
    assert_eq!(3u64.max(4), 4);
    assert_eq!(3u128.min(4), 3);
    assert_eq!(2u256.pow(10), 1024);
    assert_eq!(255u64.try_as_u8(), option::some(255));
    assert_eq!(256u64.try_as_u8(), option::none());
    assert_eq!(std::u64::max_value!().try_as_u32(), option::none());
    let mut sum = 0;
    5u8.do!(|i| sum = sum + i);
    5u8.do_eq!(|i| sum = sum + i);
    255u8.range_do_eq!(255, |_| sum = sum + 1);
    assert_eq!(sum, 26);
}

#[test, expected_failure(arithmetic_error, location = framework_tests::std_tests)]
fun overflow_aborts() {
    let x = std::u64::max_value!();
    assert!(x + (1u8 as u64) == 0);
}

#[test]
fun options() {
    assert_eq!(option::some(3u64).destroy_or!(abort 3), 3);
    assert_eq!(option::none<u64>().destroy_or!(4), 4);
    let mut o = option::some(3u64);
    assert!(o.is_some_and!(|x| *x == 3));
    assert_eq!(o.swap(4), 3);
    assert_eq!(o.map!(|x| x + 1), option::some(5));
    assert_eq!(o.extract(), 4);
    assert!(o.is_none());
}

#[test]
fun texts() {
    let text = b"h\xc3\xa9".to_string();
    assert_eq!(text.length(), 3);
    assert_eq!(*text.as_bytes(), b"h\xc3\xa9");
    assert_eq!(std::string::try_utf8(x"ff"), option::none());
    let name = std::type_name::with_defining_ids<Coin<SUI>>();
    assert_eq!(name.module_string().into_bytes(), b"coin");
    assert_eq!(name.as_string().length(), 64 + 12 + 1 + 64 + 10 + 1);
    assert_eq!(name.address_string(), @sui.to_ascii_string());
    assert_eq!((@0xa9).to_ascii_string().into_bytes(), b"00000000000000000000000000000000000000000000000000000000000000a9");
}

#[test]
fun peeled_bytes() {
    let mut bytes = sui::bcs::new(x"01020300000000000004ffffff7f0101020502");
    assert_eq!(bytes.peel_bool(), true);
    assert_eq!(bytes.peel_u64(), 770);
    assert_eq!(bytes.peel_vec_u8(), x"ffffff7f");
    assert_eq!(bytes.peel_option!(|b| b.peel_u8()), option::some(1));
    assert_eq!(bytes.peel_u16(), 1282);
    assert_eq!(bytes.into_remainder_bytes(), x"02");
}

#[test]
fun maps_and_sets() {
    let mut map = sui::vec_map::empty();
    map.insert(1u8, 10u64);
    map.insert(2, 20);
    *(&mut map[&2]) = 21;
    assert_eq!(map[&2], 21);
    assert_eq!(map.keys(), vector[1, 2]);
    let (_, ten) = map.remove(&1);
    assert_eq!(ten, 10);
    let mut set = sui::vec_set::from_keys(vector[1u8, 2]);
    set.remove(&1);
    assert_eq!(set.into_keys(), vector[2]);
}

#[test]
fun hashes() {
    let abc = b"abc";
    assert_eq!(sui::hash::blake2b256(&abc), x"bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    assert_eq!(sui::hash::keccak256(&abc), x"4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
    assert_eq!(std::hash::sha2_256(abc), x"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(std::hash::sha3_256(abc), x"3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
}
