// SPDX-License-Identifier: Apache-2.0
//! tonic against the server; matrix.py runs it. Prints TAP.
//!
//! Usage: tonic-client NATIVE TLS CA PID
//!
//! NATIVE and TLS are the addresses of two servers, one of them with a
//! certificate of CA (a PEM file); PID is the process of the first, which the
//! last case ends.

mod sign;
mod tap;
mod user;

use std::env;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use sign::Key;
use tap::{Outcome, Tap, equal, refused};
use user::{Listener, User, now, pb, record};

const VECTORS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/signing.json");
const INSTANCE: &str = "11111111-1111-4111-8111-111111111111";
const RIVAL: &str = "22222222-2222-4222-8222-222222222222";
const CALLS_AT_ONCE: u64 = 500;
const STREAMS: usize = 100; // that the server allows on one connection
const SCHEMA: &str = "0.1";

fn signing() -> Outcome {
    let text = std::fs::read_to_string(VECTORS)?;
    let file: serde_json::Value = serde_json::from_str(&text)?;
    let vectors = file["vectors"].as_array().ok_or("no vectors")?;
    for vector in vectors {
        let field = |name: &str| vector[name].as_str().ok_or("no text");
        let key = Key::from_hex(field("private_key")?);
        equal(key.user_id().as_str(), field("user_id")?)?;
        equal(key.sign(field("text")?).as_str(), field("signature")?)?;
    }
    equal(vectors.is_empty(), false)
}

async fn create(user: &User) -> Outcome {
    let reply = user.set_record(record("one", b"first", 0, SCHEMA), None);
    let reply = reply.await?;
    equal(reply.status(), pb::SetRecordStatus::Success)?;
    equal(reply.new_revision, 1)
}

async fn conflict(user: &User) -> Outcome {
    let reply = user.set_record(record("one", b"other", 7, SCHEMA), None);
    let reply = reply.await?;
    equal(reply.status(), pb::SetRecordStatus::Conflict)?;
    equal(reply.new_revision, 0)
}

async fn update(user: &User) -> Outcome {
    let reply = user.set_record(record("one", b"second", 1, SCHEMA), None);
    equal(reply.await?.new_revision, 2)
}

fn every_byte() -> Vec<u8> {
    (0..=255).collect()
}

async fn unicode_id(user: &User) -> Outcome {
    let record = record("schlüssel-ключ", &every_byte(), 0, "1.2");
    equal(user.set_record(record, None).await?.new_revision, 3)
}

async fn listed(user: &User) -> Outcome {
    let expected = vec![
        record("one", b"second", 2, SCHEMA),
        record("schlüssel-ключ", &every_byte(), 3, "1.2"),
    ];
    equal(user.list_changes(0).await?.into_inner().changes, expected)?;
    equal(user.list_changes(3).await?.into_inner().changes, vec![])
}

async fn nothing_listed(stranger: &User) -> Outcome {
    equal(stranger.list_changes(0).await?.into_inner().changes, vec![])
}

async fn locks(user: &User, stranger: &User) -> Outcome {
    user.set_lock("l", INSTANCE, true).await?;
    equal(user.get_lock("l").await?, true)?;
    equal(stranger.get_lock("l").await?, false)?;
    refused(
        user.set_lock("l", RIVAL, true).await,
        Code::FailedPrecondition,
        "lock held by another instance",
    )?;
    user.set_lock("l", INSTANCE, false).await?;
    equal(user.get_lock("l").await?, false)
}

async fn unary_cases(tap: &mut Tap, user: &User, stranger: &User) {
    tap.case("SetRecord creates a record", create(user)).await;
    tap.case("SetRecord with a stale revision conflicts", conflict(user))
        .await;
    tap.case("SetRecord at its revision replaces", update(user))
        .await;
    let name = "SetRecord with an id beyond ASCII and binary data";
    tap.case(name, unicode_id(user)).await;
    tap.case("ListChanges gives what was written", listed(user))
        .await;
    let name = "ListChanges gives another user nothing";
    tap.case(name, nothing_listed(stranger)).await;
    tap.case("SetLock and GetLock", locks(user, stranger)).await;
}

async fn bad_signature(user: &User) -> Outcome {
    refused(
        user.get_lock_signed("l", now(), "y".repeat(104)).await,
        Code::Unauthenticated,
        "invalid signature",
    )
}

async fn old_time(user: &User) -> Outcome {
    refused(
        user.set_record_at(record("x", b"d", 0, SCHEMA), None, 1)
            .await,
        Code::InvalidArgument,
        "request time too far from server time",
    )
}

async fn empty_name(user: &User) -> Outcome {
    refused(
        user.get_lock("").await,
        Code::InvalidArgument,
        "lock_name must not be empty",
    )
}

async fn much_data(user: &User) -> Outcome {
    refused(
        user.set_record(record("x", &[0; 65537], 0, SCHEMA), None)
            .await,
        Code::InvalidArgument,
        "record data exceeds maximum size of 65536 bytes",
    )
}

async fn large_message(user: &User) -> Outcome {
    let reply = user.set_record(record("x", &[0; 300_000], 0, SCHEMA), None);
    let status = reply.await.err().ok_or("it was not refused")?;
    equal(status.code(), Code::ResourceExhausted)
}

async fn unknown_method(channel: &Channel) -> Outcome {
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let codec: ProstCodec<pb::GetLockRequest, pb::GetLockReply> =
        ProstCodec::default();
    let path = PathAndQuery::from_static("/sync.Syncer/Nothing");
    let request = Request::new(pb::GetLockRequest::default());
    let status = client.unary(request, path, codec).await.err();
    let status = status.ok_or("it was not refused")?;
    equal(status.code(), Code::Unimplemented)
}

async fn refusal_cases(tap: &mut Tap, user: &User, channel: &Channel) {
    tap.case("a bad signature is UNAUTHENTICATED", bad_signature(user))
        .await;
    tap.case("an old time is INVALID_ARGUMENT", old_time(user))
        .await;
    let name = "an empty lock name is INVALID_ARGUMENT";
    tap.case(name, empty_name(user)).await;
    tap.case("too much data is INVALID_ARGUMENT", much_data(user))
        .await;
    let name = "a message over the limit is RESOURCE_EXHAUSTED";
    tap.case(name, large_message(user)).await;
    let name = "an unknown method is UNIMPLEMENTED";
    tap.case(name, unknown_method(channel)).await;
}

async fn told(user: &User, listeners: &mut [&mut Listener]) -> Outcome {
    let record = record("told", b"d", 0, SCHEMA);
    user.set_record(record, Some("tonic")).await?;
    for listener in listeners {
        equal(listener.next().await?.as_deref(), Some("tonic"))?;
    }
    Ok(())
}

async fn unnamed(user: &User, listeners: &mut [&mut Listener]) -> Outcome {
    user.set_record(record("unnamed", b"d", 0, SCHEMA), None)
        .await?;
    for listener in listeners {
        equal(listener.next().await?, None)?;
    }
    Ok(())
}

async fn cancelled(
    user: &User,
    one: Listener,
    other: &mut Listener,
) -> Outcome {
    drop(one);
    let record = record("after", b"d", 0, SCHEMA);
    user.set_record(record, Some("after")).await?;
    equal(other.next().await?.as_deref(), Some("after"))
}

async fn deadline(user: &User) -> Outcome {
    let mut listener = user.listen_for(Duration::from_millis(500)).await?;
    equal(listener.next().await?, None)?;
    equal(listener.end().await?, Code::DeadlineExceeded)
}

async fn many_cancelled(user: &User) -> Outcome {
    for _ in 0..3 {
        try_join_all((0..STREAMS).map(|_| user.listen())).await?;
    }
    Ok(())
}

async fn many_at_once(user: &User) -> Outcome {
    let calls = (0..CALLS_AT_ONCE).map(|at| {
        user.set_record(record(&format!("{at}"), b"d", 0, SCHEMA), None)
    });
    let mut revisions: Vec<u64> = try_join_all(calls)
        .await?
        .iter()
        .map(|r| r.new_revision)
        .collect();
    revisions.sort();
    equal(revisions, (1..=CALLS_AT_ONCE).collect())?;
    let changes = user.list_changes(0).await?.into_inner().changes;
    equal(changes.len() as u64, CALLS_AT_ONCE)
}

async fn compression(user: User) -> Outcome {
    let user = user.compressing();
    user.set_record(record("zip", &[0; 20_000], 0, SCHEMA), None)
        .await?;
    let reply = user.list_changes(0).await?;
    let encoding = reply.metadata().get("grpc-encoding");
    equal(encoding.map(|value| value.as_bytes()), Some(b"gzip"))?;
    let changes = reply.into_inner().changes;
    equal(
        changes.last(),
        Some(&record("zip", &[0; 20_000], 1, SCHEMA)),
    )?;
    let mut listener = user.listen().await?;
    told(&user, &mut [&mut listener]).await
}

async fn secure(address: &str, ca: &str) -> Outcome {
    let pem = std::fs::read(ca)?;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    let channel = Endpoint::new(format!("https://{address}"))?
        .tls_config(tls)?
        .connect()
        .await?;
    let user = User::new(&channel, &Arc::new(Key::random()));
    let mut listener = user.listen().await?;
    create(&user).await?;
    equal(listener.next().await?, None)?;
    told(&user, &mut [&mut listener]).await?;
    equal(user.list_changes(1).await?.into_inner().changes.len(), 1)?;
    locks(&user, &user_of(&channel)).await
}

async fn drained(pid: &str, listener: &mut Listener) -> Outcome {
    equal(Command::new("kill").arg(pid).status()?.success(), true)?;
    equal(listener.end().await?, Code::Unavailable)
}

fn user_of(channel: &Channel) -> User {
    User::new(channel, &Arc::new(Key::random()))
}

async fn run(tap: &mut Tap, arguments: &[String]) -> Outcome {
    let [native, tls, ca, pid] = arguments else {
        return Err("Usage: tonic-client NATIVE TLS CA PID".into());
    };
    tap.case("the signing agrees with other implementations", async {
        signing()
    })
    .await;
    let endpoint = Endpoint::new(format!("http://{native}"))?;
    let (one, two) = (endpoint.connect().await?, endpoint.connect().await?);
    let key = Arc::new(Key::random());
    let (user, second) = (User::new(&one, &key), User::new(&two, &key));
    unary_cases(tap, &user, &user_of(&one)).await;
    refusal_cases(tap, &user, &one).await;

    let (mut first, mut last) = (user.listen().await?, second.listen().await?);
    let name = "both hear of a change and whose it is";
    tap.case(name, told(&user, &mut [&mut first, &mut last]))
        .await;
    let name = "a change without a client id is told without one";
    tap.case(name, unnamed(&user, &mut [&mut first, &mut last]))
        .await;
    let name = "one cancels, the other hears on";
    tap.case(name, cancelled(&user, first, &mut last)).await;
    tap.case("a listener's deadline ends it", deadline(&user))
        .await;
    let name = "cancelled listeners make room for others at once";
    tap.case(name, many_cancelled(&user)).await;
    tap.case(
        "calls at once on one connection",
        many_at_once(&user_of(&one)),
    )
    .await;
    let name = "a channel that compresses with gzip";
    tap.case(name, compression(user_of(&one))).await;
    tap.case("all calls over TLS", secure(tls, ca)).await;
    let name = "SIGTERM ends a listener with UNAVAILABLE";
    tap.case(name, drained(pid, &mut last)).await;
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let mut tap = Tap::default();
    if let Err(error) = run(&mut tap, &arguments).await {
        println!("Bail out! {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(tap.end())
}
