#!/usr/bin/env python3
"""A device in Python with paho: connects, says hello, proves its identity and state over SPDM 1.2, refuses orders that it cannot verify.

    nusec device check ./check --uid 00112233445566778899aabbccddeeff &
    python3 device.py ./check localhost 8883

What it does and why: docs/device-contract.md. It needs paho-mqtt and cryptography (Debian: python3-paho-mqtt, python3-cryptography). A device that
upgrades its firmware needs SPDM sessions too (KEY_EXCHANGE), for the keys of the blocks; they are not in this example.
"""
import hashlib
import json
import os
import pathlib
import ssl
import sys

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

# CBOR (RFC 8949): the part that the contract uses, in its deterministic form.


def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | extra]) + value.to_bytes(size, "big")
    raise ValueError("too large")


def encode(value):
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(encode(key) + encode(value[key]) for key in sorted(value))
    raise ValueError(type(value))


def decode(data):
    value, rest = decode_item(data)
    if rest:
        raise ValueError("bytes left over")
    return value


def decode_item(data):
    major, value, rest = data[0] >> 5, data[0] & 31, data[1:]
    if major == 7:
        return {20: False, 21: True, 22: None}[value], rest
    if value >= 24:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[value]
        value, rest = int.from_bytes(rest[:size], "big"), rest[size:]
    if major == 0:
        return value, rest
    if major in (2, 3):
        if len(rest) < value:
            raise ValueError("cut short")
        return (rest[:value] if major == 2 else rest[:value].decode()), rest[value:]
    items = []
    for _ in range(value * (2 if major == 5 else 1)):
        item, rest = decode_item(rest)
        items.append(item)
    return (dict(zip(items[::2], items[1::2])) if major == 5 else items), rest


# SPDM 1.2 (DSP0274): the responder, with P-256 and SHA-256.

VERSION = 0x12
GET_DIGESTS, GET_CERTIFICATE, CHALLENGE, GET_VERSION = 0x81, 0x82, 0x83, 0x84
GET_MEASUREMENTS, GET_CAPABILITIES, NEGOTIATE_ALGORITHMS = 0xE0, 0xE1, 0xE3
CAPABILITIES = 0x02 | 0x04 | 0x10 | 0x20  # certificates, challenge, signed and fresh measurements
TRANSFER_BYTES = 4096


def sha256(data):
    return hashlib.sha256(data).digest()


class Responder:
    def __init__(self, certificates, key, measurements):
        chain = sha256(certificates[0]) + b"".join(certificates)
        self.chain = (4 + len(chain)).to_bytes(2, "little") + b"\0\0" + chain
        self.key = key
        blocks = [bytes([index, 1]) + (3 + len(value)).to_bytes(2, "little") + bytes([kind]) + len(value).to_bytes(2, "little") + value for index, kind, value in measurements]
        self.blocks = {measurement[0]: block for measurement, block in zip(measurements, blocks)}
        self.vca, self.identity, self.measured = b"", b"", b""

    def answer(self, request):
        """One request, one answer (DSP0274 §10)."""
        code = request[1]
        if code != GET_MEASUREMENTS:
            self.measured = b""
        if code == GET_VERSION:
            self.identity = b""
            response = bytes([0x10, 0x04, 0, 0, 0, 1, 0, VERSION])
            self.vca = request + response
        elif code == GET_CAPABILITIES:
            sizes = TRANSFER_BYTES.to_bytes(4, "little")
            response = bytes([VERSION, 0x61, 0, 0, 0, 0, 0, 0]) + CAPABILITIES.to_bytes(4, "little") + sizes + sizes
            self.vca += request + response
        elif code == NEGOTIATE_ALGORITHMS:
            response = self.algorithms(request)
            self.vca += request + response
        elif code == GET_DIGESTS:
            response = bytes([VERSION, 0x01, 0, 1]) + sha256(self.chain)
            self.identity = request + response
        elif code == GET_CERTIFICATE and request[2] == 0:
            offset, length = int.from_bytes(request[4:6], "little"), int.from_bytes(request[6:8], "little")
            portion = self.chain[offset : offset + min(length, TRANSFER_BYTES - 8)]
            left = len(self.chain) - offset - len(portion)
            response = bytes([VERSION, 0x02, 0, 0]) + len(portion).to_bytes(2, "little") + left.to_bytes(2, "little") + portion
            self.identity += request + response
        elif code == CHALLENGE and request[2] == 0:
            summary = sha256(b"".join(self.blocks.values())) if request[3] else b""
            response = bytes([VERSION, 0x03, 0, 1]) + sha256(self.chain) + os.urandom(32) + summary + b"\0\0"
            response += self.sign(b"responder-challenge_auth signing", self.vca + self.identity + request + response)
            self.identity = b""
        elif code == GET_MEASUREMENTS:
            response = self.measure(request)
        else:
            response = bytes([VERSION, 0x7F, 0x07, code])  # UnsupportedRequest
        return response

    def algorithms(self, request):
        """Answers each structure that was offered with nothing selected: they are for sessions."""
        structures = b""
        at = 32 + 4 * (request[28] + request[29])
        for _ in range(request[2]):
            structures += request[at : at + 2] + b"\0\0"
            at += 4
        body = bytes([1, request[7] & 2]) + (2).to_bytes(4, "little") + (0x10).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(12) + bytes(4)
        length = 4 + 2 + len(body) + len(structures)
        return bytes([VERSION, 0x63, len(structures) // 4, 0]) + length.to_bytes(2, "little") + body + structures

    def measure(self, request):
        is_signed, wanted = request[2] & 1, request[3]
        chosen = [] if wanted == 0 else list(self.blocks.values()) if wanted == 0xFF else [self.blocks[wanted]] if wanted in self.blocks else None
        if chosen is None:
            return bytes([VERSION, 0x7F, 0x01, 0])  # InvalidRequest
        record = b"".join(chosen)
        count = len(self.blocks) if wanted == 0 else 0
        response = bytes([VERSION, 0x60, count, 0, len(chosen)]) + len(record).to_bytes(3, "little") + record + os.urandom(32) + b"\0\0"
        self.measured += request + response
        if is_signed:
            response += self.sign(b"responder-measurements signing", self.vca + self.measured)
            self.measured = b""
        return response

    def sign(self, label, transcript):
        prefix = b"dmtf-spdm-v1.2.*" * 4
        message = prefix + bytes(100 - len(prefix) - len(label)) + label + sha256(transcript)
        r, s = utils.decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


# The device.

MAX_ANSWERS = 32
END = "-----END CERTIFICATE-----"


def certificates_in(file):
    return [ssl.PEM_cert_to_DER_cert(part.strip() + "\n" + END) for part in file.read_text().split(END) if part.strip()]


class Device:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        facts = json.loads((self.folder / "device.json").read_text())
        self.uid, self.obj_id = facts["uid"], bytes.fromhex(facts["objId"])
        key = serialization.load_pem_private_key((self.folder / "device.key").read_bytes(), None)
        (root,), (leaf, ica) = certificates_in(self.folder / "root.pem"), certificates_in(self.folder / "device.pem")
        self.image_hash = sha256(b"the image that runs")
        self.responder = Responder([root, ica, leaf], key, [(2, 1, self.image_hash)])
        self.answers = {}
        arguments = {"client_id": self.uid, "clean_session": True, "protocol": mqtt.MQTTv311}
        if hasattr(mqtt, "CallbackAPIVersion"):
            arguments["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
        self.client = mqtt.Client(**arguments)
        self.client.tls_set(str(self.folder / "root.pem"), str(self.folder / "device.pem"), str(self.folder / "device.key"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.reconnect_delay_set(1, 60)
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message

    def publish(self, family, fields, qos=1):
        self.client.publish(f"n1/{self.uid}/up/{family}", encode(fields), qos)

    def on_connect(self, _client, _data, _flags, code):
        if code != 0:
            print(f"refused: CONNACK {code}", flush=True)
            return
        self.publish("hello", {0: 1, 1: "1.0.0", 2: 1, 3: self.image_hash, 4: 1, 5: 0, 6: self.obj_id})

    def on_message(self, _client, _data, message):
        family = message.topic.rsplit("/", 1)[-1]
        try:
            fields = decode(message.payload)
            if family == "spdm":
                self.publish("spdm", {0: fields[0], 1: self.spdm_answer(fields[0], fields[1])})
            elif family == "order":
                # A device verifies the order with the keys of its trust bundle; this one has none and obeys nobody.
                self.publish("order", {0: fields[0], 1: None, 2: "COSE_SIGNATURE"})
            elif family == "err":
                print(f"error: {fields.get(1)}: {fields.get(2)}", flush=True)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            print(f"dn/{family} is ignored: {error!r}", flush=True)

    def spdm_answer(self, cid, request):
        """The same cid gets the same answer: it is the same request again."""
        if cid not in self.answers:
            self.answers[cid] = b"\x05" + self.responder.answer(request[1:])
            if len(self.answers) > MAX_ANSWERS:
                del self.answers[next(iter(self.answers))]
        return self.answers[cid]


if __name__ == "__main__":
    folder, host, port = sys.argv[1:4]
    device = Device(folder)
    device.client.connect_async(host, int(port), keepalive=60)
    device.client.loop_forever(retry_first_connection=True)
