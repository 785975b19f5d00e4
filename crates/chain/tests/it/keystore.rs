//! The wallet's key and its file.

use atoma_chain::{Wallet, WalletError};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

/// A key in Sui's export format, and its bytes: the vector that Sui itself tests its encoding with.
const KNOWN: &str = "suiprivkey1qzdlfxn2qa2lj5uprl8pyhexs02sg2wrhdy7qaq50cqgnffw4c2477kg9h3";
const KNOWN_SEED: &str = "9bf49a6a0755f953811fce125f2683d50429c3bb49e074147e0089a52eae155f";
/// A key's bytes and the address that other Sui software derives from them.
const OTHER_SEED: &str = "e4fd0e90d32cb98dc6ad64516a421e8c2731870217cdba64203ceb158a866304";
const OTHER_ADDRESS: &str = "0xa402ce953053607dffcdfec89406c579c8d8ddb9c90e01b7aa28f5f1538ac289";

fn seed(hex: &str) -> [u8; 32] {
    let hash: atoma_types::Hash32 = hex.parse().unwrap();
    hash.0
}

#[test]
fn keys_and_addresses_are_suis() {
    let known = Wallet::import(KNOWN).unwrap();
    assert_eq!(known.address(), Wallet::from_seed(seed(KNOWN_SEED)).address());
    assert_eq!(known.export().as_str(), KNOWN);
    assert_eq!(Wallet::from_seed(seed(OTHER_SEED)).address().to_string(), OTHER_ADDRESS);
    for bad in ["", "suiprivkey1", &KNOWN.replace("qzdl", "qzdq"), &KNOWN.replace("suipriv", "sui")] {
        assert!(matches!(Wallet::import(bad), Err(WalletError::Malformed { .. })), "{bad}");
    }
}

#[test]
fn request_keys_follow_from_wallet_and_label() {
    let wallet = Wallet::from_seed([1; 32]);
    assert_eq!(wallet.request_key("a").public_key(), wallet.clone().request_key(b"a").public_key());
    assert_ne!(wallet.request_key("a").public_key(), wallet.request_key("b").public_key());
    assert_ne!(
        wallet.request_key("a").public_key(),
        Wallet::from_seed([2; 32]).request_key("a").public_key()
    );
}

#[test]
fn a_wallet_is_kept_in_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet");
    let wallet = Wallet::load_or_create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Wallet::load(&path).unwrap().address(), wallet.address());
    assert_eq!(Wallet::load_or_create(&path).unwrap().address(), wallet.address());
    let exists = Wallet::generate().unwrap().save_new(&path).unwrap_err();
    assert!(matches!(exists, WalletError::Exists { .. }), "{exists}");
    assert_eq!(Wallet::load(&path).unwrap().address(), wallet.address());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let open = Wallet::load(&path).unwrap_err();
    assert!(open.to_string().contains("chmod 600"), "{open}");
    assert!(Wallet::load_or_create(&path).is_err(), "an unreadable wallet is never replaced");
}

#[test]
fn a_file_that_is_no_key_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wallet");
    std::fs::write(&path, "not a key").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Wallet::load_or_create(&path), Err(WalletError::Malformed { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a key");
    let missing = Wallet::load(folder.path().join("other")).unwrap_err();
    assert!(matches!(missing, WalletError::Io { .. }), "{missing}");
}

#[test]
fn nothing_secret_is_printed() {
    let wallet = Wallet::from_seed([7; 32]);
    let printed = format!("{wallet:?} {wallet:#?}");
    assert!(printed.contains(&wallet.address().to_string()));
    assert!(!printed.contains("suiprivkey") && !printed.contains("7, 7"));
}
