//! Publishing both packages, making another market, and upgrading them: the real commands, effects and refusals.

use crate::support::{Done, Net, address, clock, owned};
use atoma_devnet::{BASE_PACKAGE, WALRUS_PACKAGE, base_modules, market_modules};
use atoma_types::onchain::package::empty_module;
use atoma_types::onchain::{Event, Package};
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{
    Address, ExecutionError, ExecutionStatus, IdOperation, Identifier, Object, ObjectData, ObjectOut,
    PackageUpgradeError, UpgradeInfo,
};
use sui_transaction_builder::{Function, ObjectInput, TransactionBuilder};

const STD: Address = Address::from_static("0x1");

fn base() -> Package {
    linked(&base_modules(), &[STD, Address::TWO], &[STD, Address::TWO])
}

/// A market of these modules on the base whose first version is `base`.
fn market(modules: &[&str], base: Address) -> Package {
    let dependencies = [STD, Address::TWO, WALRUS_PACKAGE, base];
    linked(modules, &dependencies, &dependencies)
}

/// Modules that name these packages, published with those.
fn linked(modules: &[&str], named: &[Address], dependencies: &[Address]) -> Package {
    let bytecode = modules.iter().map(|name| empty_module(name, "Some", named)).collect();
    Package::new(bytecode, dependencies.to_vec()).unwrap()
}

fn publish(package: &Package, to: Address) -> TransactionBuilder {
    let mut builder = TransactionBuilder::new();
    let cap = builder.publish(package.bytecode().to_vec(), package.dependencies().to_vec());
    let to = builder.pure(&to);
    builder.transfer_objects(vec![cap], to);
    builder
}

fn error(done: &Done) -> &ExecutionError {
    match &done.effects.status {
        ExecutionStatus::Failure { error, .. } => error,
        ExecutionStatus::Success => panic!("executed"),
    }
}

/// Executes without a dry run, which would refuse what fails.
async fn run(net: &Net, key: &Ed25519PrivateKey, mut builder: TransactionBuilder) -> Done {
    let gas = net.coins(address(key), &crate::support::sui()).await.remove(0);
    builder.set_sender(address(key));
    builder.set_gas_price(1_000);
    builder.set_gas_budget(2_000_000_000);
    builder.add_gas_objects([owned(&gas)]);
    net.sign_and_execute(key, &builder.try_build().unwrap()).await.unwrap()
}

async fn only(net: &Net, owner: Address, tag: &str) -> Object {
    let mut found = net.owned(owner, tag).await;
    assert_eq!(found.len(), 1, "{tag}");
    found.remove(0)
}

fn package_of(done: &Done) -> Address {
    let written = done
        .effects
        .changed_objects
        .iter()
        .find(|change| matches!(change.output_state, ObjectOut::PackageWrite { .. }));
    written.unwrap().object_id
}

#[tokio::test]
async fn a_published_package_makes_its_own_market_and_is_upgraded_through_its_lock() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let me = address(&alice);
    let base = package_of(&net.run(&alice, publish(&base(), me)).await);
    let base_cap = only(&net, me, "0x2::package::UpgradeCap").await;
    let first = market(&market_modules(), base);
    let published = net.run(&alice, publish(&first, me)).await;
    assert_eq!(published.effects.status, ExecutionStatus::Success);
    let id = package_of(&published);
    let change = published.effects.changed_objects.iter().find(|change| change.object_id == id).unwrap();
    assert_eq!(change.id_operation, IdOperation::Created);
    assert!(matches!(change.output_state, ObjectOut::PackageWrite { version: 1, .. }));
    let ObjectData::Package(stored) = net.object(id).await.unwrap().data().clone() else { panic!("{id}") };
    assert_eq!(stored.linkage_table[&base], UpgradeInfo { upgraded_id: base, upgraded_version: 1 });
    let admin = only(&net, me, &format!("{id}::admin::AdminCap")).await;
    let caps = net.owned(me, "0x2::package::UpgradeCap").await;
    let cap = caps.into_iter().find(|cap| cap.object_id() != base_cap.object_id()).unwrap();
    // Its package, version 1, the compatible policy.
    let expected = [&cap.object_id().into_inner()[..], &id.into_inner(), &1u64.to_le_bytes(), &[0]].concat();
    assert_eq!(cap.as_struct().unwrap().contents(), expected);

    let call = |builder: &mut TransactionBuilder, package, module: &str, name: &str, arguments| {
        let function =
            Function::new(package, Identifier::new(module).unwrap(), Identifier::new(name).unwrap());
        let types = if name == "commit" { vec![] } else { vec![net.usd()] };
        builder.move_call(function.with_type_args(types), arguments)
    };
    let params = atoma_contract::params::devnet().values();
    let mut builder = TransactionBuilder::new();
    let arguments = vec![builder.object(owned(&admin)), builder.pure(&params)];
    call(&mut builder, id, "admin", "create", arguments);
    let made = net.run(&alice, builder).await;
    let Some(Event::MarketCreated(market)) = made.events.first() else { panic!("{:?}", made.events) };
    assert_ne!(market.db, net.devnet.deployment().db);
    let db_object = net.object(market.db).await.unwrap();
    assert_eq!(
        db_object.as_struct().unwrap().object_type().to_string(),
        format!("{id}::db::AtomaDb<{}>", net.usd())
    );
    let shared_at = made.effects.lamport_version;
    let db =
        |builder: &mut TransactionBuilder| builder.object(ObjectInput::shared(market.db, shared_at, false));

    // The cap goes behind the lock, and the next version is proposed.
    let admin = only(&net, me, &format!("{id}::admin::AdminCap")).await;
    let mut builder = TransactionBuilder::new();
    let arguments = vec![db(&mut builder), builder.object(owned(&admin)), builder.object(owned(&cap))];
    call(&mut builder, id, "upgrade", "lock", arguments);
    let locked = net.run(&alice, builder).await;
    let Some(Event::UpgradeLocked(lock)) = locked.events.first() else { panic!("{:?}", locked.events) };
    let locked_at = locked.effects.lamport_version;
    let lock_input =
        |builder: &mut TransactionBuilder| builder.object(ObjectInput::shared(lock.lock, locked_at, true));
    let next = market(&[&market_modules()[..], &["another"]].concat(), base);
    let mut builder = TransactionBuilder::new();
    let arguments = vec![
        db(&mut builder),
        lock_input(&mut builder),
        builder.object(owned(&net.object(admin.object_id()).await.unwrap())),
        builder.pure(&next.digest()),
        clock(&mut builder),
    ];
    call(&mut builder, id, "upgrade", "propose", arguments);
    net.run(&alice, builder).await;

    let admin_now = net.object(admin.object_id()).await.unwrap();
    let upgrade = |package: &Package, admin: &Object, replaces| {
        let mut builder = TransactionBuilder::new();
        let lock = lock_input(&mut builder);
        let arguments = vec![db(&mut builder), lock, builder.object(owned(admin)), clock(&mut builder)];
        let ticket = call(&mut builder, id, "upgrade", "authorize", arguments);
        let (modules, dependencies) = (package.bytecode().to_vec(), package.dependencies().to_vec());
        let receipt = builder.upgrade(modules, dependencies, replaces, ticket);
        call(&mut builder, id, "upgrade", "commit", vec![lock, receipt]);
        builder
    };
    let early = run(&net, &alice, upgrade(&next, &admin_now, id)).await;
    assert!(matches!(error(&early), ExecutionError::MoveAbort { .. }), "{:?}", error(&early));
    let timelock_ms = atoma_contract::params::devnet().timelock_ms;
    net.devnet.advance_clock(std::time::Duration::from_millis(timelock_ms)).await.unwrap();

    // Another package than the proposed one, and another than the cap's.
    let admin_now = net.object(admin.object_id()).await.unwrap();
    let wrong = run(&net, &alice, upgrade(&first, &admin_now, id)).await;
    let kind =
        PackageUpgradeError::DigestDoesNotMatch { digest: sui_sdk_types::Digest::new(first.digest().0) };
    assert_eq!(*error(&wrong), ExecutionError::PackageUpgradeError { kind });
    let admin_now = net.object(admin.object_id()).await.unwrap();
    let other = run(&net, &alice, upgrade(&next, &admin_now, atoma_devnet::PACKAGE)).await;
    assert!(matches!(
        error(&other),
        ExecutionError::PackageUpgradeError { kind: PackageUpgradeError::PackageIdDoesNotMatch { .. } }
    ));

    let admin_now = net.object(admin.object_id()).await.unwrap();
    let upgraded = run(&net, &alice, upgrade(&next, &admin_now, id)).await;
    assert_eq!(upgraded.effects.status, ExecutionStatus::Success);
    let new = package_of(&upgraded);
    assert!(
        upgraded
            .events
            .iter()
            .any(|event| matches!(event, Event::UpgradeCommitted(committed) if committed.package == new))
    );
    // Calls go to the new package; types stay the first one's.
    let admin_now = net.object(admin.object_id()).await.unwrap();
    let mut builder = TransactionBuilder::new();
    let arguments = vec![
        builder.object(ObjectInput::shared(market.db, shared_at, true)),
        builder.object(owned(&admin_now)),
        builder.pure(&true),
    ];
    call(&mut builder, new, "admin", "set_paused", arguments);
    let paused = net.run(&alice, builder).await;
    assert!(matches!(paused.events.first(), Some(Event::PauseSet(_))));
    let mut request = pb::ListPackageVersionsRequest::default();
    request.package_id = Some(id.to_string());
    let versions = net.client.clone().package_client().list_package_versions(request).await.unwrap();
    let versions: Vec<(String, u64)> = versions
        .into_inner()
        .versions
        .iter()
        .map(|listed| (listed.package_id().to_owned(), listed.version()))
        .collect();
    assert_eq!(versions, [(id.to_string(), 1), (new.to_string(), 2)]);
    net.devnet.audit().unwrap();
}

#[tokio::test]
async fn what_is_not_the_markets_package_is_refused() {
    let net = Net::start().await;
    let alice = net.funded(1).await;
    let me = address(&alice);
    let whole = market(&market_modules(), BASE_PACKAGE);
    let refused = async |package: &Package| error(&run(&net, &alice, publish(package, me)).await).clone();

    for missing in [market(&market_modules()[1..], BASE_PACKAGE), market(&base_modules()[1..], BASE_PACKAGE)]
    {
        assert_eq!(refused(&missing).await, ExecutionError::FeatureNotYetSupported);
    }
    // On no base, and on something else.
    for base in [WALRUS_PACKAGE, atoma_devnet::PACKAGE] {
        let dependencies = [STD, Address::TWO, base];
        let other = linked(&market_modules(), &dependencies, &dependencies);
        assert_eq!(refused(&other).await, ExecutionError::PublishUpgradeMissingDependency);
    }
    let twice = [whole.dependencies(), &[BASE_PACKAGE]].concat();
    let twice = Package::new(whole.bytecode().to_vec(), twice).unwrap();
    assert_eq!(refused(&twice).await, ExecutionError::InvalidLinkage);
    let unlinked = Package::new(whole.bytecode().to_vec(), vec![STD, Address::TWO]).unwrap();
    assert_eq!(refused(&unlinked).await, ExecutionError::PublishUpgradeMissingDependency);
    let unknown = [whole.dependencies(), &[Address::from_static("0x77")]].concat();
    let unknown = Package::new(whole.bytecode().to_vec(), unknown).unwrap();
    assert_eq!(refused(&unknown).await, ExecutionError::PublishUpgradeMissingDependency);

    let large = "m".repeat(110);
    let names: Vec<String> = (0..250).map(|at| format!("{large}{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(market_modules()).collect();
    let large = market(&names, BASE_PACKAGE);
    assert!(matches!(refused(&large).await, ExecutionError::PackageTooBig { .. }));

    let mut builder = TransactionBuilder::new();
    let cap = builder.publish(vec![vec![1, 2, 3]], vec![]);
    let to = builder.pure(&me);
    builder.transfer_objects(vec![cap], to);
    let done = run(&net, &alice, builder).await;
    assert_eq!(*error(&done), ExecutionError::VmVerificationOrDeserializationError);
    assert!(net.owned(me, "0x2::package::UpgradeCap").await.is_empty());

    // A cap in nobody's hands.
    let mut builder = TransactionBuilder::new();
    builder.publish(whole.bytecode().to_vec(), whole.dependencies().to_vec());
    let done = run(&net, &alice, builder).await;
    assert!(matches!(error(&done), ExecutionError::UnusedValueWithoutDrop { .. }));
    net.devnet.audit().unwrap();
}
