//! `MovePackageService`: signatures, so that clients can encode plain arguments by themselves.

use super::Service;
use crate::filter::address;
use crate::ledger::{Ledger, object};
use crate::package::{self, By, Function, ObjectKind, Param};
use atoma_types::Address;
use pb::open_signature::Reference;
use pb::open_signature_body::Type;
use std::collections::BTreeSet;
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{StructTag, TypeTag};
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::move_package_service_server::MovePackageService for Service {
    async fn get_package(&self, request: Request<pb::GetPackageRequest>) -> Reply<pb::GetPackageResponse> {
        let request = request.into_inner();
        let ledger = self.chain.read();
        let id = known_package(&ledger, request.package_id())?;
        let (code, origin) = (ledger.world().code(id), ledger.world().origin(id));
        let mut found = pb::Package::default();
        found.storage_id = Some(id.to_string());
        found.original_id = Some(origin.to_string());
        found.version = Some(version(&ledger, id));
        found.modules = package::modules(code).into_iter().map(|name| module(code, origin, name)).collect();
        Ok(Response::new(pb::GetPackageResponse::new(found)))
    }

    async fn get_function(&self, request: Request<pb::GetFunctionRequest>) -> Reply<pb::GetFunctionResponse> {
        let request = request.into_inner();
        let ledger = self.chain.read();
        let id = known_package(&ledger, request.package_id())?;
        let (module, name) = (request.module_name(), request.name());
        let found = ledger.world().find(id, module, name);
        let (_, function) =
            found.ok_or_else(|| Status::not_found(format!("Function {id}::{module}::{name} not found")))?;
        let mut reply = pb::GetFunctionResponse::default();
        reply.function = Some(descriptor(function, ledger.world().origin(id)));
        Ok(Response::new(reply))
    }

    async fn list_package_versions(
        &self,
        request: Request<pb::ListPackageVersionsRequest>,
    ) -> Reply<pb::ListPackageVersionsResponse> {
        let ledger = self.chain.read();
        let id = known_package(&ledger, request.into_inner().package_id())?;
        let world = ledger.world();
        let origin = world.origin(id);
        let upgraded = world.packages.iter().filter(|(_, of)| of.origin == origin).map(|(id, _)| *id);
        let all: BTreeSet<Address> = upgraded.chain([origin]).collect();
        let mut reply = pb::ListPackageVersionsResponse::default();
        reply.versions = all.into_iter().map(|id| listed(&ledger, id)).collect();
        reply.versions.sort_by_key(|listed| listed.version);
        Ok(Response::new(reply))
    }
}

fn listed(ledger: &Ledger, id: Address) -> pb::PackageVersion {
    let mut listed = pb::PackageVersion::default();
    listed.package_id = Some(id.to_string());
    listed.version = Some(version(ledger, id));
    listed
}

fn version(ledger: &Ledger, id: Address) -> u64 {
    let package = ledger.object(id).and_then(object::as_package);
    package.map_or(1, |package| package.version)
}

fn known_package(ledger: &Ledger, text: &str) -> Result<Address, Status> {
    let id = address(text)?;
    match ledger.world().has_package(id) {
        true => Ok(id),
        false => Err(Status::not_found(format!("Package {id} not found"))),
    }
}

fn module(package: Address, origin: Address, name: &'static str) -> pb::Module {
    let mut module = pb::Module::default();
    module.name = Some(name.to_owned());
    let of_module =
        package::functions().filter(|function| function.package == package && function.module == name);
    module.functions = of_module.map(|function| descriptor(function, origin)).collect();
    module
}

fn descriptor(function: &Function, origin: Address) -> pb::FunctionDescriptor {
    use pb::function_descriptor::Visibility;
    let mut message = pb::FunctionDescriptor::default();
    message.name = Some(function.name.to_owned());
    message.set_visibility(if function.private_entry { Visibility::Private } else { Visibility::Public });
    message.is_entry = Some(function.private_entry);
    message.type_parameters = vec![pb::TypeParameter::default(); function.type_arguments];
    message.parameters = function.params.iter().map(|param| parameter(*param, origin)).collect();
    message.parameters.push(context());
    message.returns = function.returns.tag().iter().map(|tag| signature(None, body(tag))).collect();
    message
}

fn parameter(param: Param, origin: Address) -> pb::OpenSignature {
    match param {
        Param::Pure(kind) => signature(None, body(&kind.tag())),
        Param::Brittle(kind) => signature(None, body(&kind.tag())),
        Param::Object(kind, by) => {
            let reference = match by {
                By::Ref => Some(Reference::Immutable),
                By::Mut => Some(Reference::Mutable),
                By::Value => None,
            };
            signature(reference, object_body(kind, origin))
        }
    }
}

/// The trailing `&mut TxContext`, which callers leave out.
fn context() -> pb::OpenSignature {
    signature(
        Some(Reference::Mutable),
        datatype(&object::tag(Address::TWO, "tx_context", "TxContext", Vec::new())),
    )
}

fn signature(reference: Option<Reference>, body: pb::OpenSignatureBody) -> pb::OpenSignature {
    let mut message = pb::OpenSignature::default();
    message.reference = reference.map(i32::from);
    message.body = Some(body);
    message
}

/// The type with the function's own type parameter in place of the coin.
fn object_body(kind: ObjectKind, origin: Address) -> pb::OpenSignatureBody {
    let tag = kind.tag(origin, &TypeTag::U8);
    let mut message = datatype(&tag);
    if !tag.type_params().is_empty() {
        let mut parameter = pb::OpenSignatureBody::default();
        parameter.set_type(Type::Parameter);
        parameter.type_parameter = Some(0);
        message.type_parameter_instantiation = vec![parameter];
    }
    message
}

fn datatype(tag: &StructTag) -> pb::OpenSignatureBody {
    let mut message = pb::OpenSignatureBody::default();
    message.set_type(Type::Datatype);
    message.type_name = Some(format!("{}::{}::{}", tag.address(), tag.module(), tag.name()));
    message
}

fn body(tag: &TypeTag) -> pb::OpenSignatureBody {
    let mut message = pb::OpenSignatureBody::default();
    match tag {
        TypeTag::Bool => message.set_type(Type::Bool),
        TypeTag::U8 => message.set_type(Type::U8),
        TypeTag::U32 => message.set_type(Type::U32),
        TypeTag::U256 => message.set_type(Type::U256),
        TypeTag::U64 => message.set_type(Type::U64),
        TypeTag::Address => message.set_type(Type::Address),
        TypeTag::Vector(element) => {
            message.set_type(Type::Vector);
            message.type_parameter_instantiation = vec![body(element)];
        }
        TypeTag::Struct(tag) => return datatype(tag),
        _ => {}
    }
    message
}
