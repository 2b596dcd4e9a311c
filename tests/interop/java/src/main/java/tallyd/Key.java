// SPDX-License-Identifier: Apache-2.0
package tallyd;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.security.SecureRandom;
import java.util.HexFormat;
import org.bouncycastle.asn1.x9.X9ECParameters;
import org.bouncycastle.crypto.digests.SHA256Digest;
import org.bouncycastle.crypto.ec.CustomNamedCurves;
import org.bouncycastle.crypto.signers.HMacDSAKCalculator;
import org.bouncycastle.math.ec.ECPoint;
import org.bouncycastle.util.BigIntegers;

/** A key and its signatures, from docs/PROTOCOL.md and Bouncy Castle. */
final class Key {
    private static final X9ECParameters CURVE =
            CustomNamedCurves.getByName("secp256k1");
    private static final BigInteger N = CURVE.getN();
    private static final String ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769";
    private static final int COMPRESSED = 27 + 4;

    private final BigInteger secret;

    Key(BigInteger secret) {
        this.secret = secret;
    }

    static Key random() {
        return new Key(BigIntegers.createRandomInRange(BigInteger.ONE,
                N.subtract(BigInteger.ONE), new SecureRandom()));
    }

    /** The compressed public key in hexadecimal. */
    String userId() {
        ECPoint key = CURVE.getG().multiply(secret);
        return HexFormat.of().formatHex(key.getEncoded(true));
    }

    /** The nonce is RFC 6979's, s the lower of the two. */
    String sign(String text) {
        byte[] digest = digest(text);
        HMacDSAKCalculator nonces = new HMacDSAKCalculator(new SHA256Digest());
        nonces.init(N, secret, digest);
        BigInteger k = nonces.nextK();
        ECPoint point = CURVE.getG().multiply(k).normalize();
        BigInteger r = point.getAffineXCoord().toBigInteger();
        int odd = point.getAffineYCoord().testBitZero() ? 1 : 0;
        BigInteger s = new BigInteger(1, digest).add(r.multiply(secret))
                .multiply(k.modInverse(N)).mod(N);
        if (s.compareTo(N.shiftRight(1)) > 0) {
            s = N.subtract(s);
            odd ^= 1;
        }
        byte[] compact = new byte[65];
        compact[0] = (byte) (COMPRESSED + odd);
        System.arraycopy(BigIntegers.asUnsignedByteArray(32, r), 0, compact,
                1, 32);
        System.arraycopy(BigIntegers.asUnsignedByteArray(32, s), 0, compact,
                33, 32);
        return zbase32(compact);
    }

    private static byte[] digest(String text) {
        try {
            MessageDigest sha = MessageDigest.getInstance("SHA-256");
            sha.update("realtimesync:".getBytes(StandardCharsets.UTF_8));
            sha.update(text.getBytes(StandardCharsets.UTF_8));
            return sha.digest(sha.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Of a whole number of characters, as 65 bytes are. */
    private static String zbase32(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        int value = 0;
        int bits = 0;
        for (byte next : bytes) {
            value = (value << 8 | next & 0xff) & 0xfff;
            for (bits += 8; bits >= 5; ) {
                bits -= 5;
                text.append(ALPHABET.charAt(value >> bits & 31));
            }
        }
        return text.toString();
    }
}
