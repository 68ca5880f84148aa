"""Task tokens of an outside issuer, signed with openssl."""

import base64
import json
import pathlib
import time
import uuid

from .process import run


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _integers_of_der(der):
    """The two numbers of an ECDSA signature as 32 bytes each (RFC 7518 section 3.4)."""
    position, numbers = 2, []
    for _ in range(2):
        length = der[position + 1]
        numbers.append(int.from_bytes(der[position + 2:position + 2 + length], "big"))
        position += 2 + length
    return b"".join(n.to_bytes(32, "big") for n in numbers)


class Issuer:
    """An ES256 key pair and what it signs."""

    def __init__(self, folder, issuer="https://id.example", kid="lab-1", audience="sluice"):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.issuer, self.kid, self.audience = issuer, kid, audience
        self._key = folder / "issuer.key"
        self._folder = folder
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self._key)
        run("openssl", "ec", "-in", self._key, "-pubout", "-outform", "DER",
            "-out", folder / "issuer.der")
        point = (folder / "issuer.der").read_bytes()[-64:]
        self.jwk = {"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
                    "x": b64(point[:32]), "y": b64(point[32:])}

    def document(self, name="platform"):
        return {"kind": "issuer", "name": name,
                "spec": {"issuer": self.issuer, "audiences": [self.audience],
                         "algorithms": ["ES256"], "jwks": {"keys": [self.jwk]}}}

    def sign(self, header, claims):
        signed = ".".join(b64(json.dumps(part, separators=(",", ":")).encode())
                          for part in (header, claims))
        message, signature = self._folder / "message", self._folder / "signature"
        message.write_bytes(signed.encode())
        run("openssl", "dgst", "-sha256", "-sign", self._key, "-out", signature, message)
        return signed + "." + b64(_integers_of_der(signature.read_bytes()))

    def token(self, agent_class, life=300, header=None, **claims):
        now = int(time.time())
        body = {"iss": self.issuer, "aud": self.audience, "iat": now, "exp": now + life,
                "jti": str(uuid.uuid4()), "txn": str(uuid.uuid4()), "sub": "agent-1",
                "tctx": {"agent_class": agent_class}}
        body.update(claims)
        body = {k: v for k, v in body.items() if v is not None}
        return self.sign(header or {"alg": "ES256", "kid": self.kid, "typ": "txntoken+jwt"}, body)
