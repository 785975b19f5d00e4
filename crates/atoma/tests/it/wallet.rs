use crate::{assert_one_line_error, run, text};
use std::os::unix::fs::PermissionsExt;
use tempfile::tempdir;

#[test]
fn a_wallet_is_made_once_and_kept_private() {
    let home = tempdir().unwrap();
    assert_one_line_error(&run(home.path(), &["wallet", "address"]), "atoma wallet new");
    let made = run(home.path(), &["wallet", "new"]);
    assert_eq!(made.status.code(), Some(0));
    let file = home.path().join("wallet.key");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_one_line_error(&run(home.path(), &["wallet", "new"]), "exists already");

    let address = text(&run(home.path(), &["wallet", "address"]).stdout);
    assert!(text(&made.stdout).contains(address.trim()));
    assert_eq!(address.trim().len(), 66);
    assert!(!text(&made.stdout).contains("suiprivkey"));
}

#[test]
fn a_secret_is_shown_only_on_demand() {
    let home = tempdir().unwrap();
    run(home.path(), &["wallet", "new"]);
    assert_one_line_error(&run(home.path(), &["wallet", "export"]), "--yes-show-my-secret");
    let shown = run(home.path(), &["wallet", "export", "--yes-show-my-secret"]);
    assert!(text(&shown.stdout).starts_with("suiprivkey1"));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let home = tempdir().unwrap();
    run(home.path(), &["wallet", "new"]);
    let file = home.path().join("wallet.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_one_line_error(&run(home.path(), &["wallet", "address"]), "chmod 600");
}
