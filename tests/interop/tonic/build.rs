// SPDX-License-Identifier: Apache-2.0
fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&["../../../proto/sync.proto"], &["../../../proto"])
}
