// Written by the tests of the types crate from the vectors in its folder.
#[test_only]
module atoma_base::message_tests;

use atoma_base::message;

const KEY: vector<u8> = x"ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c";

#[test]
fun grant_bytes_and_signature() {
    let key = KEY;
    let bytes = message::grant_bytes(&message::grant(@0xd0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0, @0x5757575757575757575757575757575757575757575757575757575757575757, 3, 1000000, 250, 1));
    assert!(bytes == x"61746f6d612f312f4772616e7400d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d05757575757575757575757575757575757575757575757575757575757575757030000000000000040420f0000000000fa000000000000000100000000000000", 0);
    assert!(message::verifies(&bytes, &x"57c7feccbfabb6aa747ce281d7f3ee30d6a21b469ee2393113b58330e05285a7b741809e9f6c8ddbd0f80fe26864970d51a6ebe0ebc28b22a8bb778cf5af3c0b", &key), 1);
    assert!(!message::verifies(&x"00", &x"57c7feccbfabb6aa747ce281d7f3ee30d6a21b469ee2393113b58330e05285a7b741809e9f6c8ddbd0f80fe26864970d51a6ebe0ebc28b22a8bb778cf5af3c0b", &key), 2);
    assert!(!message::verifies(&bytes, &x"00", &key), 3);
}

#[test]
fun request_auth_bytes_and_signature() {
    let key = KEY;
    let bytes = message::request_auth_bytes(&message::request_auth(@0xd0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0, @0x5757575757575757575757575757575757575757575757575757575757575757, 3, 1, 42, x"05d03dc068360f1ae3fe79985eeaac6327a3b9768292783ee4013c6f7fb88c9d", 512, 1790000060000));
    assert!(bytes == x"61746f6d612f312f526571756573744175746800d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d057575757575757575757575757575757575757575757575757575757575757570300000000000000012a000000000000002005d03dc068360f1ae3fe79985eeaac6327a3b9768292783ee4013c6f7fb88c9d0002000000000000605651c4a0010000", 0);
    assert!(message::verifies(&bytes, &x"e48513b555dbd13f57abbe42ccdbf9bb860bdabb5d467063d08a05744bb3951b132b94426925550574b235d9edf8080bc96680b4466fad09058b265baacfd307", &key), 1);
    assert!(!message::verifies(&x"00", &x"e48513b555dbd13f57abbe42ccdbf9bb860bdabb5d467063d08a05744bb3951b132b94426925550574b235d9edf8080bc96680b4466fad09058b265baacfd307", &key), 2);
    assert!(!message::verifies(&bytes, &x"00", &key), 3);
}

#[test]
fun voucher_bytes_and_signature() {
    let key = KEY;
    let bytes = message::voucher_bytes(&message::voucher(@0xd0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0, @0x5757575757575757575757575757575757575757575757575757575757575757, 3, 110, 5, x"ffb865a3be9dcdf2e531625594029ea1f8821b729c5a781d250ddb9be29df385"));
    assert!(bytes == x"61746f6d612f312f566f756368657200d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0575757575757575757575757575757575757575757575757575757575757575703000000000000006e00000000000000050000000000000020ffb865a3be9dcdf2e531625594029ea1f8821b729c5a781d250ddb9be29df385", 0);
    assert!(message::verifies(&bytes, &x"da85e20767068da3aadce27fb04c9c0dd225c1814e5db8a93e86a39789d2b16499bcc15d4c78e46683bd6aa6629f0bc40cb1c14e080320f6857ceeacdb06f50a", &key), 1);
    assert!(!message::verifies(&x"00", &x"da85e20767068da3aadce27fb04c9c0dd225c1814e5db8a93e86a39789d2b16499bcc15d4c78e46683bd6aa6629f0bc40cb1c14e080320f6857ceeacdb06f50a", &key), 2);
    assert!(!message::verifies(&bytes, &x"00", &key), 3);
}

#[test]
fun inclusion_under_the_signed_root() {
    let leaf = message::leaf_hash(x"206cddb367afbd583bb48f9bbd7d5ba3b1d0738b4881b1cddd38169526d815813720d10ebe8df58411acde6cedea50a6172d7c5778bf73b54d0bce7943bd2df58320150000000000000009000000000000001e000000000000003c00000000000000030000000000000000200000000000000000000000000000000000000000000000000000000000000000");
    let proof = vector[x"4e080b49b1501d09f9f8645c4c1971c58178417a642e59adeea84d36acc8e9fc", x"a679eafd76d4ddc80c7380c330aa537bab52a96c9cb8381206abbfb55e950a79", x"9ccfc5a7f7c9d51f716bed0bed26d0248b20989d889e5af597cc6f773bb2a0a5"];
    let root = x"ffb865a3be9dcdf2e531625594029ea1f8821b729c5a781d250ddb9be29df385";
    assert!(message::includes(leaf, 2, 5, &proof, &root), 0);
    assert!(!message::includes(leaf, 1, 5, &proof, &root), 1);
    assert!(!message::includes(leaf, 2, 4, &proof, &root), 2);
    assert!(!message::includes(leaf, 2, 5, &vector[], &root), 3);
}
