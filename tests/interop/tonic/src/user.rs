// SPDX-License-Identifier: Apache-2.0
//! One account on one channel.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::sign::Key;
use crate::tap::{Outcome, equal};

pub mod pb {
    tonic::include_proto!("sync");
}
use pb::syncer_client::SyncerClient;

const CALL_SECONDS: u64 = 10;
const NEXT_SECONDS: u64 = 5;
const LISTEN_SECONDS: u64 = 60;

pub fn now() -> u32 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    age.expect("a clock").as_secs() as u32
}

pub fn record(
    id: &str,
    data: &[u8],
    revision: u64,
    schema: &str,
) -> pb::Record {
    pb::Record {
        id: id.into(),
        data: data.into(),
        revision,
        schema_version: schema.into(),
    }
}

#[derive(Clone)]
pub struct User {
    key: Arc<Key>,
    client: SyncerClient<Channel>,
}

impl User {
    pub fn new(channel: &Channel, key: &Arc<Key>) -> User {
        User {
            key: key.clone(),
            client: SyncerClient::new(channel.clone()),
        }
    }

    /// Compresses what it sends and takes compressed replies.
    pub fn compressing(mut self) -> User {
        self.client = self.client.send_compressed(Gzip).accept_compressed(Gzip);
        self
    }

    pub async fn set_record_at(
        &self,
        record: pb::Record,
        client_id: Option<&str>,
        request_time: u32,
    ) -> Result<pb::SetRecordReply, Status> {
        let text = format!(
            "{}-{}-{}-{}-{request_time}",
            record.id,
            hex::encode(&record.data),
            record.revision,
            record.schema_version
        );
        let request = pb::SetRecordRequest {
            record: Some(record),
            request_time,
            signature: self.key.sign(&text),
            client_id: client_id.map(String::from),
        };
        let reply = self.client.clone().set_record(limited(request)).await?;
        Ok(reply.into_inner())
    }

    pub async fn set_record(
        &self,
        record: pb::Record,
        client_id: Option<&str>,
    ) -> Result<pb::SetRecordReply, Status> {
        self.set_record_at(record, client_id, now()).await
    }

    /// The whole response, for who looks at its headers.
    pub async fn list_changes(
        &self,
        since_revision: u64,
    ) -> Result<Response<pb::ListChangesReply>, Status> {
        let request_time = now();
        let text = format!("{since_revision}-{request_time}");
        let request = pb::ListChangesRequest {
            since_revision,
            request_time,
            signature: self.key.sign(&text),
        };
        self.client.clone().list_changes(limited(request)).await
    }

    pub async fn set_lock(
        &self,
        lock_name: &str,
        instance_id: &str,
        acquire: bool,
    ) -> Result<(), Status> {
        let exclusive = true;
        let request_time = now();
        let text = format!(
            "{lock_name}-{instance_id}-{acquire}-{exclusive}-{request_time}"
        );
        let request = pb::SetLockRequest {
            lock_name: lock_name.into(),
            instance_id: instance_id.into(),
            acquire,
            exclusive,
            ttl_seconds: None,
            request_time,
            signature: self.key.sign(&text),
        };
        self.client.clone().set_lock(limited(request)).await?;
        Ok(())
    }

    pub async fn get_lock(&self, lock_name: &str) -> Result<bool, Status> {
        let request_time = now();
        let text = format!("{lock_name}-{request_time}");
        self.get_lock_signed(lock_name, request_time, self.key.sign(&text))
            .await
    }

    pub async fn get_lock_signed(
        &self,
        lock_name: &str,
        request_time: u32,
        signature: String,
    ) -> Result<bool, Status> {
        let lock_name = lock_name.into();
        let request = pb::GetLockRequest {
            lock_name,
            request_time,
            signature,
        };
        let reply = self.client.clone().get_lock(limited(request)).await?;
        Ok(reply.into_inner().locked)
    }

    pub async fn listen_for(&self, limit: Duration) -> Outcome<Listener> {
        let request_time = now();
        let signature = self.key.sign(&request_time.to_string());
        let mut request = Request::new(pb::ListenChangesRequest {
            request_time,
            signature,
        });
        request.set_timeout(limit);
        let reply = self.client.clone().listen_changes(request).await?;
        Ok(Listener(reply.into_inner()))
    }

    /// A listener that has been greeted.
    pub async fn listen(&self) -> Outcome<Listener> {
        let mut listener =
            self.listen_for(Duration::from_secs(LISTEN_SECONDS)).await?;
        equal(listener.next().await?, None)?;
        Ok(listener)
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(CALL_SECONDS));
    request
}

/// Dropped, it is cancelled.
pub struct Listener(Streaming<pb::Notification>);

impl Listener {
    async fn message(
        &mut self,
    ) -> Outcome<Result<Option<pb::Notification>, Status>> {
        let limit = Duration::from_secs(NEXT_SECONDS);
        let message = timeout(limit, self.0.message()).await;
        message.map_err(|_| "nothing was heard".into())
    }

    /// Whose change it hears of.
    pub async fn next(&mut self) -> Outcome<Option<String>> {
        let notification = self.message().await??.ok_or("it ended")?;
        Ok(notification.client_id)
    }

    /// The status it ends with, after whatever it still hears.
    pub async fn end(&mut self) -> Outcome<Code> {
        loop {
            match self.message().await? {
                Ok(Some(_)) => (),
                Ok(None) => return Ok(Code::Ok),
                Err(status) => return Ok(status.code()),
            }
        }
    }
}
