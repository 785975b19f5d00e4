//! `StateService`: what an address owns, and what is known of coins.

use super::render::{self, mask};
use super::{Service, page_size};
use crate::filter::{TypeFilter, address, coin_type};
use crate::ledger::genesis::{CoinInfo, metadata_tag};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::{Address, TypeTag};
use tonic::{Request, Response, Status};

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::state_service_server::StateService for Service {
    async fn list_owned_objects(
        &self,
        request: Request<pb::ListOwnedObjectsRequest>,
    ) -> Reply<pb::ListOwnedObjectsResponse> {
        let request = request.into_inner();
        let owner = owner(request.owner.as_deref())?;
        let mask = mask(request.read_mask, "object_id,version,object_type");
        let wanted = request
            .object_type
            .filter(|text| !text.is_empty())
            .map(|text| TypeFilter::parse(&text))
            .transpose()?;
        let after = request.page_token.as_deref().map(last_of_page).transpose()?;
        let size = page_size(request.page_size);
        let ledger = self.chain.read();
        let mut found = ledger.owned_by(owner, after).filter(|object| {
            let tag = object.as_struct().map(|data| data.object_type());
            wanted.as_ref().is_none_or(|wanted| tag.is_some_and(|tag| wanted.matches(tag)))
        });
        let page: Vec<_> = found.by_ref().take(size).collect();
        let mut reply = pb::ListOwnedObjectsResponse::default();
        if found.next().is_some() {
            reply.next_page_token = page.last().map(|object| object.object_id().into_inner().to_vec().into());
        }
        reply.objects = page.into_iter().map(|object| render::object(object, &mask)).collect();
        Ok(Response::new(reply))
    }

    async fn get_balance(&self, request: Request<pb::GetBalanceRequest>) -> Reply<pb::GetBalanceResponse> {
        let request = request.into_inner();
        let owner = owner(request.owner.as_deref())?;
        let coin = coin_type(request.coin_type.as_deref().unwrap_or_default())?;
        let balance = self.chain.read().balances(owner).get(&coin).copied().unwrap_or(0);
        let mut reply = pb::GetBalanceResponse::default();
        reply.balance = Some(balance_of(&coin, balance));
        Ok(Response::new(reply))
    }

    async fn list_balances(
        &self,
        request: Request<pb::ListBalancesRequest>,
    ) -> Reply<pb::ListBalancesResponse> {
        let request = request.into_inner();
        let owner = owner(request.owner.as_deref())?;
        // There are two coin types: everything fits on one page.
        let balances = self.chain.read().balances(owner);
        let mut reply = pb::ListBalancesResponse::default();
        if request.page_token.is_none_or(|token| token.is_empty()) {
            reply.balances = balances.iter().map(|(coin, balance)| balance_of(coin, *balance)).collect();
        }
        Ok(Response::new(reply))
    }

    async fn get_coin_info(
        &self,
        request: Request<pb::GetCoinInfoRequest>,
    ) -> Reply<pb::GetCoinInfoResponse> {
        let request = request.into_inner();
        let coin = coin_type(request.coin_type.as_deref().unwrap_or_default())?;
        let info =
            CoinInfo::of(&coin).ok_or_else(|| Status::not_found(format!("Coin type {coin} not found")))?;
        let tag = metadata_tag(coin.clone());
        let ledger = self.chain.read();
        let metadata =
            ledger.objects().find(|object| object.as_struct().is_some_and(|data| *data.object_type() == tag));
        let mut reply = pb::GetCoinInfoResponse::default();
        reply.coin_type = Some(coin.to_string());
        reply.metadata = metadata.map(|object| render::coin_metadata(object.object_id(), info));
        let mut treasury = pb::CoinTreasury::default();
        treasury.total_supply = Some(info.supply);
        treasury.set_supply_state(pb::coin_treasury::SupplyState::Fixed);
        reply.treasury = Some(treasury);
        let mut regulated = pb::RegulatedCoinMetadata::default();
        regulated.set_coin_regulated_state(pb::regulated_coin_metadata::CoinRegulatedState::Unregulated);
        reply.regulated_metadata = Some(regulated);
        Ok(Response::new(reply))
    }

    /// The rows of the database are read through the package's views; they are no objects here.
    async fn list_dynamic_fields(
        &self,
        request: Request<pb::ListDynamicFieldsRequest>,
    ) -> Reply<pb::ListDynamicFieldsResponse> {
        address(request.into_inner().parent())?;
        Ok(Response::new(pb::ListDynamicFieldsResponse::default()))
    }
}

fn owner(text: Option<&str>) -> Result<Address, Status> {
    address(text.ok_or_else(|| Status::invalid_argument("missing owner"))?)
}

fn last_of_page(token: &[u8]) -> Result<Address, Status> {
    Address::from_bytes(token).map_err(|_| Status::invalid_argument("invalid page_token"))
}

fn balance_of(coin: &TypeTag, balance: u64) -> pb::Balance {
    let mut message = pb::Balance::default();
    message.coin_type = Some(coin.to_string());
    message.balance = Some(balance);
    message.coin_balance = Some(balance);
    message.address_balance = Some(0);
    message
}
