//! Publishing, making the market, upgrading: the commands and their bytes.

use super::*;
use crate::DeployCall;
use atoma_types::onchain::package::empty_module;

#[test]
fn deployment_calls() {
    let of = |call| words(&Call::Deploy(call));
    let package = || Package::new(vec![empty_module("m", "M", &[Address::TWO])], vec![Address::TWO]).unwrap();
    let to = Address::new([8; 32]);
    assert_eq!(
        of(DeployCall::Publish { package: package(), to }),
        ["publish 1 modules on 1", "send #0 [08*32]"]
    );
    let names = atoma_types::onchain::Params::NAMES.len();
    let params = Box::new(atoma_types::onchain::Params::from_values(&vec![1; names]).unwrap());
    let init = of(DeployCall::Init { cap: CAP, params });
    assert!(init[0].starts_with("admin::create cap [29 01 00*7 01 00*7"), "{init:?}");
    assert_eq!(of(DeployCall::LockUpgrades { cap: BADGE }), ["upgrade::lock &db cap badge"]);
    let digest = Hash32([7; 32]);
    assert_eq!(
        of(DeployCall::Propose { lock: STACK, digest }),
        ["upgrade::propose &db &mut stack cap [20 07*32] &clock"]
    );
    assert_eq!(of(DeployCall::Cancel { lock: STACK }), ["upgrade::cancel &db &mut stack cap"]);
    assert_eq!(
        of(DeployCall::Upgrade { lock: STACK, package: package(), replaces: PACKAGE }),
        [
            "upgrade::authorize &db &mut stack cap &clock",
            "upgrade 1 modules on 1 #0",
            "upgrade::commit &mut stack #1"
        ]
    );
    let over = Call::HandOver { to, objects: vec![BADGE] };
    assert_eq!(words(&over), ["send cap badge [08*32]"]);
    assert_eq!(
        words(&Call::Admin(AdminCall::Migrate)),
        [
            "admin::migrate &mut db cap",
            "admin::migrate_treasury &mut db &mut treasury",
            "admin::migrate_beacon &mut db &mut beacon"
        ]
    );
}

#[test]
fn a_package_travels_byte_for_byte() {
    let bytes = empty_module("m", "M", &[Address::TWO]);
    let package = Package::new(vec![bytes.clone()], vec![Address::TWO]).unwrap();
    let call = Call::Deploy(DeployCall::Publish { package, to: ME });
    let wire = bcs::to_bytes(&transaction(&call, &[], false)).unwrap();
    // The command: its tag, one module, one dependency.
    let module = [&[4, 1, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat();
    let command = [&module[..], &[1], &Address::TWO.into_inner()].concat();
    assert!(wire.windows(command.len()).any(|window| window == command));
}

#[test]
fn a_package_that_is_too_large_is_refused_before_anything_is_signed() {
    let name = "m".repeat(100);
    let modules = (0..1_000).map(|at| empty_module(&format!("{name}{at}"), "M", &[])).collect();
    let package = Package::new(modules, vec![]).unwrap();
    let error = Call::Deploy(DeployCall::Publish { package, to: ME }).check(&deployment()).unwrap_err();
    assert!(error.to_string().contains("at most 102400"), "{error}");
}
