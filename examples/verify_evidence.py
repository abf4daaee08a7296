#!/usr/bin/env python3
"""Checks an evidence file of NuSEC (nusec-evidence/1) with Python's standard library and python3-cryptography: no code of NuSEC is used.

    verify_evidence.py FILE root.pem        docs/evidence.md: what each step proves"""
import base64, hashlib, json, sys
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
LOG_SIGNING = "1.3.6.1.4.1.32473.412.7"


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def require(holds, what):
    if not holds:
        sys.exit("NOT PROVEN: " + what)


def included(leaf, index, size, path, root):
    """RFC 9162, 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = sha256(b"\1", p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\1", r, p)
        fn, sn = fn >> 1, sn >> 1
    return index < size and sn == 0 and r == root


def is_newest(stream, siblings, revision, newest, heads):
    """The leaf of this stream in the map of stream heads."""
    key = sha256(stream.encode())
    above = sha256(b"\0", key, revision.to_bytes(8, "big"), newest)
    for depth, sibling in reversed(list(enumerate(map(bytes.fromhex, siblings)))):
        right = key[depth // 8] >> (7 - depth % 8) & 1
        above = sha256(b"\1", sibling, above) if right else sha256(b"\1", above, sibling)
    return above == heads


def log_key(evidence, root, origin):
    """The key that the root certifies for signing checkpoints."""
    for der in evidence["logCertificates"]:
        certificate = x509.load_der_x509_certificate(base64.b64decode(der))
        usage = [oid.dotted_string for oid in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]
        try:
            root.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(certificate.signature_hash_algorithm))
        except InvalidSignature:
            continue
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if LOG_SIGNING in usage and origin == "nusec/log/" + sha256(spki).hex()[:32]:
            return certificate.public_key(), sha256(spki)[:4]
    sys.exit("NOT PROVEN: the root does not certify the key of the log")


def main(file, root_file):
    evidence = json.load(open(file))
    root = x509.load_pem_x509_certificate(open(root_file, "rb").read())
    require(evidence["format"] == "nusec-evidence/1", "not an evidence file of this format")
    text, signatures = evidence["checkpoint"].rsplit("\n\n", 1)
    origin, size, tree, *rest = text.split("\n")
    extensions = dict(line.split(" ", 1) for line in rest)
    size, tree, heads = int(size), base64.b64decode(tree), base64.b64decode(extensions["heads"])
    key, key_id = log_key(evidence, root, origin)
    named = [base64.b64decode(s) for _, name, s in map(str.split, signatures.splitlines()) if name == origin]
    signed = [signature for signature in named if signature[:4] == key_id]
    require(signed, "the checkpoint is not signed by the key of the log")
    key.verify(signed[0][4:], (text + "\n").encode(), ec.ECDSA(hashes.SHA256()))
    history, uid, previous = evidence["history"], evidence["uid"], "0" * 64
    require(history["stream"] == "device-" + uid, "the history is of another device")
    for revision, event in enumerate(history["events"]):
        require(json.loads(event)[:2] == [history["stream"], revision], "an event is at another place")
        previous = sha256((previous + event).encode()).hex()
    newest, path = bytes.fromhex(previous), [bytes.fromhex(h) for h in history["path"]]
    require(included(sha256(b"\0", newest), history["index"], size, path, tree), "the history is not in the log")
    require(is_newest(history["stream"], history["heads"], len(history["events"]) - 1, newest, heads), "something came later")
    for each in evidence["related"]:
        leaf = sha256(b"\0", sha256((each["previous"] + each["event"]).encode()))
        path = [bytes.fromhex(h) for h in each["path"]]
        require(len(each["previous"]) == 64 and uid in each["event"] and included(leaf, each["index"], size, path, tree), "a related event is not in the log")
    for name, content in evidence["blobs"].items():
        require(sha256(base64.b64decode(content)).hex() == name, "a content is not what its hash says")
        require(name in json.dumps(evidence["history"]["events"] + evidence["related"]), "no event names a content")
    print(f"proven: {len(history['events'])} events of device {uid}, nothing later up to {extensions['time']}")


try:
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
except InvalidSignature:
    sys.exit("NOT PROVEN: the signature of the checkpoint is wrong")
except Exception as problem:
    sys.exit(f"NOT PROVEN: not an evidence file, or not a root certificate: {problem!r}")
