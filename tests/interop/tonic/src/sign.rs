// SPDX-License-Identifier: Apache-2.0
//! Keys and signatures, from docs/PROTOCOL.md and the crate k256.

use k256::ecdsa::SigningKey;
use k256::elliptic_curve::Generate;
use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
const COMPRESSED: u8 = 27 + 4;

pub struct Key(SigningKey);

impl Key {
    pub fn random() -> Key {
        Key(SigningKey::generate())
    }

    /// Panics when it is no key.
    pub fn from_hex(secret: &str) -> Key {
        let bytes = hex::decode(secret).expect("hexadecimal");
        Key(SigningKey::from_slice(&bytes).expect("a key"))
    }

    /// The compressed public key in hexadecimal.
    pub fn user_id(&self) -> String {
        hex::encode(self.0.verifying_key().to_sec1_point(true))
    }

    pub fn sign(&self, text: &str) -> String {
        let (signature, recovery) =
            self.0.sign_prehash_recoverable(&digest(text));
        let mut compact = vec![COMPRESSED + recovery.to_byte()];
        compact.extend(signature.to_bytes());
        zbase32(&compact)
    }
}

fn digest(text: &str) -> [u8; 32] {
    let once = Sha256::new()
        .chain_update("realtimesync:")
        .chain_update(text)
        .finalize();
    Sha256::digest(once).into()
}

/// Of a whole number of characters, as 65 bytes are.
fn zbase32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut value, mut bits) = (0u32, 0);
    for byte in bytes {
        value = (value << 8 | u32::from(*byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(value >> bits & 31) as usize]));
        }
    }
    text
}
