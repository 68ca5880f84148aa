"""A certificate authority and the certificates of one lab, made with openssl."""

import pathlib

from .process import run


class Authority:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "30", "-subj", "/CN=Sluice lab CA", "-keyout", self._key,
            "-out", self.ca, "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def leaf(self, name, *hosts, algorithm="P-256", days=30, usage="serverAuth"):
        """(chain, key) for the host names; algorithm: P-256 or ED25519; days < 0: expired."""
        key, request, chain = (self.folder / f"{name}.{x}" for x in ("key", "csr", "pem"))
        kind = ["ed25519"] if algorithm == "ED25519" else \
            ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        extensions = self.folder / f"{name}.ext"
        extensions.write_text("basicConstraints=critical,CA:FALSE\n"
                              "keyUsage=critical,digitalSignature\nextendedKeyUsage=" + usage + "\n"
                              "subjectAltName=" + ",".join(f"DNS:{h}" for h in hosts) + "\n")
        run("openssl", "req", "-new", "-newkey", *kind, "-nodes", "-subj", f"/CN={hosts[0]}",
            "-keyout", key, "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key,
            "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", chain)
        return chain, key
