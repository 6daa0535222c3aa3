"""A reader of Holdfast vaults, written from docs/FORMAT.md alone: what that page does not say, this does not know.

usage: reader.py ls      --site file:/PATH --identity FILE [--vault ID]
       reader.py tree    --site file:/PATH --identity FILE [--vault ID] SNAPSHOT
       reader.py extract --site file:/PATH --identity FILE [--vault ID] SNAPSHOT --target DIR
       reader.py check   --site file:/PATH --identity FILE [--vault ID]

Each prints one JSON document. `ls` lists snapshots; `tree` lists a snapshot's entries with the SHA-256 of each regular
file's content; `extract` also writes the regular files below DIR; `check` reads every object of the vault.

It verifies before it believes: the header's signature, each record's signature, place and link, certificates,
recipients, key objects, footers, frames, ciphers, chunk ids, state hashes, checkpoints. It never writes to a site.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import re
import struct
import sys
from dataclasses import dataclass, field

import cbor2
import pyrage
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as open_xchacha
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

LEVEL = 1
MIB = 1 << 20
CHUNK_BYTES_MAX = 8 * MIB
FRAME_PLAIN_MAX = CHUNK_BYTES_MAX + 256 * 1024
NODE_REFS_MAX = 1 << 16
FRAME_CHUNKS_MAX = 4096
PACK_CHUNKS_MAX = (1 << 16) + FRAME_CHUNKS_MAX
RECORD_BYTES_MAX = 64 * MIB
BODY_BYTES_MAX = 256 * MIB
INDEX_DEPTH_MAX = 8
MARKS = {"header": 1, "vault key": 2, "session key": 3, "footer": 4, "record": 5, "segment": 6, "checkpoint": 7, "bundle": 8}


class Damaged(Exception):
    """Bytes are not what they claim to be."""


class TooNew(Exception):
    """Written by a newer release: a reader stops."""


def need(condition, why):
    if not condition:
        raise Damaged(why)


def digest(data):
    return blake3(data).digest()


# --- CBOR and other codings -------------------------------------------------------------------------------------------


def take_cbor(stream, what):
    try:
        return cbor2.CBORDecoder(stream).decode()
    except Exception as error:
        raise Damaged(f"{what}: {error}") from error


def decode(body, known, what):
    """One map of small integer keys, used up to its last byte, without unknown critical keys."""
    need(len(body) <= BODY_BYTES_MAX, f"{what} is too long")
    stream = io.BytesIO(body)
    value = take_cbor(stream, what)
    need(stream.tell() == len(body), f"bytes follow the end of {what}")
    return checked(value, known, what)


def checked(value, known, what):
    need(isinstance(value, dict), f"{what} is no map")
    for key in value:
        need(isinstance(key, int) and key >= 0, f"{what} has a key that is no number")
        if known <= key < 64:
            raise TooNew(f"{what} has the critical field {key}")
    return {key: part for key, part in value.items() if part is not None}


def encode(value):
    """By a writer's rules: definite lengths, shortest integers, keys ascending."""
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(encode(k) + encode(value[k]) for k in sorted(value))
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(map(encode, value))
    return cbor2.dumps(value)


def head(major, count):
    number = bytearray(cbor2.dumps(count))
    number[0] |= major << 5
    return bytes(number)


def strip_mark(kind, data, what):
    need(len(data) >= 10 and data[:8] == b"holdfast", f"{what} has no mark")
    need(data[8] == MARKS[kind], f"{what} is another kind of object: {data[8]}")
    need(data[9] != 0, f"{what} has level 0")
    if data[9] > LEVEL:
        raise TooNew(f"{what} has level {data[9]}")
    return data[10:]


@dataclass
class Bytes:
    """Bytes that are taken from the front."""

    data: bytes
    at: int = 0

    def take(self, count):
        need(count <= len(self.data) - self.at, "something ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                need(value < 1 << 64, "a varint is too large")
                return value
        raise Damaged("a varint is too long")

    def difference(self, before):
        coded = self.varint()
        return (before + ((coded >> 1) ^ -(coded & 1))) % (1 << 64)

    def rest(self):
        return len(self.data) - self.at

    def end(self, what):
        need(self.rest() == 0, f"bytes follow the end of {what}")


def bitmap(data):
    """A set of 64-bit numbers in roaring's portable form."""
    src, found = Bytes(data), set()
    for _ in range(src.number("Q")):
        high = src.number("I") << 32
        cookie = src.number("I")
        if cookie == 12346:
            count, runs = src.number("I"), b""
        else:
            need(cookie & 0xFFFF == 12347, "a bitmap has an unknown cookie")
            count = (cookie >> 16) + 1
            runs = src.take((count + 7) // 8)
        heads = [(src.number("H"), src.number("H") + 1) for _ in range(count)]
        if not runs or count >= 4:
            src.take(4 * count)
        for place, (key, cardinality) in enumerate(heads):
            base = high | key << 16
            if runs and runs[place // 8] >> place % 8 & 1:
                for _ in range(src.number("H")):
                    start, more = src.number("H"), src.number("H")
                    found.update(range(base + start, base + start + more + 1))
            elif cardinality <= 4096:
                found.update(base + src.number("H") for _ in range(cardinality))
            else:
                bits = src.take(8192)
                found.update(base + n for n in range(1 << 16) if bits[n // 8] >> n % 8 & 1)
    src.end("a bitmap")
    return found


def verify(key, purpose, message, signature, what):
    try:
        VerifyKey(key).verify(purpose + b"\0" + message, signature)
    except (BadSignatureError, ValueError, TypeError) as error:
        raise Damaged(f"the signature of {what} does not verify") from error


# --- identity and site ------------------------------------------------------------------------------------------------


@dataclass
class Identity:
    age: pyrage.x25519.Identity
    vault: str | None
    root_public: bytes | None

    @classmethod
    def read(cls, path):
        with open(path, "rb") as file:
            data = file.read()
        need(not data.startswith(b"age-encryption.org/v1"), "the identity is under a passphrase; open it with age first")
        text = data.decode()
        found = text.find("AGE-SECRET-KEY-1")
        need(found >= 0, "the identity file holds no secret key")
        secret = "".join(text[found:].split())[: 16 + 58]

        def fact(name):
            mark = f"# holdfast-{name}:"
            if mark not in text:
                return None
            value = text.split(mark, 1)[1].split("#")[0].split("AGE-SECRET-KEY-1")[0]
            return "".join(value.split())

        public, hidden = fact("root-public"), fact("root-secret")
        public = bytes.fromhex(public) if public else None
        if hidden:
            raw = base64.b32decode(hidden + "=" * (-len(hidden) % 8))
            need(digest(raw[:32])[:4] == raw[32:], "the root secret was mistyped")
            need(bytes(SigningKey(raw[:32]).verify_key) == public, "root secret and public key do not belong together")
        return cls(pyrage.x25519.Identity.from_str(secret), fact("vault"), public)

    def open(self, sealed, what):
        try:
            return pyrage.decrypt(sealed, [self.age])
        except pyrage.DecryptError as error:
            raise Damaged(f"{what} does not open: {error}") from error


@dataclass
class Site:
    folder: str

    @classmethod
    def at(cls, url):
        need(url.startswith("file:"), "this reader knows file: sites only")
        return cls(re.sub("^//", "", url[len("file:") :]))

    def get(self, name):
        """The object's bytes, or None if it is not there."""
        try:
            with open(os.path.join(self.folder, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def part(self, name, start, count):
        try:
            with open(os.path.join(self.folder, name), "rb") as file:
                file.seek(start)
                data = file.read(count)
        except FileNotFoundError as error:
            raise Damaged(f"{name} is missing") from error
        need(len(data) == count, f"{name} ends early")
        return data

    def list(self, folder=""):
        path = os.path.join(self.folder, folder)
        names = os.listdir(path) if os.path.isdir(path) else []
        return sorted(name for name in names if not name.startswith(".holdfast-"))


# --- header, keys -----------------------------------------------------------------------------------------------------


@dataclass
class Header:
    vault: bytes
    name: str
    root: bytes
    hash: bytes

    @classmethod
    def open(cls, data, vault_hex):
        what = "the vault header"
        src = Bytes(strip_mark("header", data, what))
        signature, body = src.take(64), src.take(src.rest())
        fields = decode(body, 6, what)
        if fields[0] > LEVEL:
            raise TooNew(f"{what} has level {fields[0]}")
        if fields[3] != 1:
            raise TooNew(f"suite {fields[3]} is unknown")
        verify(fields[4], b"holdfast header", body, signature, what)
        need(fields[1].hex() == vault_hex, f"{what} is another vault's")
        return cls(fields[1], fields[2], fields[4], digest(body))


@dataclass
class ScopeKeys:
    data: bytes
    node: bytes

    @classmethod
    def derive(cls, id_secret, scope):
        material = id_secret + scope.encode()
        data = blake3(material, derive_key_context="holdfast 2026-11 data chunk id key").digest()
        node = blake3(material, derive_key_context="holdfast 2026-11 node id key").digest()
        return cls(data, node)

    def chunk_id(self, kind, plain, refs):
        if kind == 0:
            return blake3(plain, key=self.data).digest()
        counted = struct.pack("<Q", len(refs)) + b"".join(refs)
        return blake3(counted + plain, key=self.node).digest()


def open_suite_1(secret, nonce, aad, sealed):
    return open_xchacha(sealed, aad, nonce, secret)


def open_suite_2(secret, nonce, aad, sealed):
    return AESGCM(blake3(nonce, key=secret).digest()).decrypt(bytes(12), sealed, aad)


SUITES = {1: open_suite_1, 2: open_suite_2}


def check_certificate(certificate, header, writer, what):
    need(certificate[0] == header.vault, f"the certificate of {what} is another vault's")
    message = encode([certificate[0], certificate[1], certificate[2], certificate[3]])
    verify(header.root, b"holdfast certificate", message, certificate[4], f"the certificate of {what}")
    need(certificate[1] == writer, f"{what} is signed by another than its certificate names")


# --- records, chain ---------------------------------------------------------------------------------------------------

# For each kind of fact: how many keys this reader knows.
FACT_KEYS = {1: 3, 2: 6, 3: 1, 4: 3, 5: 3, 6: 5, 7: 6, 8: 2, 9: 9, 10: 3, 11: 4, 12: 2, 13: 6, 14: 2, 15: 7, 16: 2, 17: 2, 18: 2, 19: 3, 20: 4, 21: 3}


@dataclass
class Record:
    epoch: int
    slot: int
    previous: bytes
    nonce: bytes
    time: int
    writer: bytes
    facts: list
    hash: bytes
    raw_facts: list = field(default_factory=list)

    @classmethod
    def open(cls, data, header, at):
        what = f"record {at[0]}/{at[1]}"
        src = Bytes(strip_mark("record", data, what))
        length = src.number("I")
        need(length <= RECORD_BYTES_MAX, f"the length of {what} is impossible")
        body, signature, tail = src.take(length), src.take(64), src.take(src.rest())
        level = take_cbor(io.BytesIO(body), what).get(0)
        if level > LEVEL:
            raise TooNew(f"{what} has level {level}")
        fields = decode(body, 10, what)
        need(fields[1] == header.vault and (fields[2], fields[3]) == at, f"{what} belongs elsewhere")
        verify(fields[7], b"holdfast record", digest(body), signature, what)
        wanted = fields.get(9)
        if wanted is None:
            need(not tail, f"bytes follow {what}")
        else:
            need(len(tail) == wanted[0] and digest(tail) == wanted[1], f"the tail of {what} is not its own")
        facts, raw = [], []
        for fact in fields[8]:
            need(isinstance(fact, list) and len(fact) == 2, f"{what} holds a fact that is no pair")
            kind, entry = fact
            if kind not in FACT_KEYS:
                raise TooNew(f"{what} holds a fact of the unknown kind {kind}")
            raw.append(encode(fact))
            facts.append((kind, checked(entry, FACT_KEYS[kind], f"a fact of {what}")))
        return cls(fields[2], fields[3], fields[4], fields[5], fields[6], fields[7], facts, digest(body), raw)

    def only(self, kind):
        """The fact of that kind, if it is the record's only one."""
        return self.facts[0][1] if len(self.facts) == 1 and self.facts[0][0] == kind else None


class Log:
    """The history as it stands at a site."""

    def __init__(self, site, header):
        self.site, self.header = site, header
        self.folder = f"{header.vault.hex()}/log"

    def raw(self, epoch, slot):
        return self.site.get(f"{self.folder}/{epoch:020}/{slot:020}")

    def slots(self, epoch):
        return [int(name) for name in self.site.list(f"{self.folder}/{epoch:020}")]

    def records(self):
        """Every record of the history, in order, each checked against the chain."""
        epoch, slot = 1, 0
        previous, time, claim, sealed = self.header.hash, -(1 << 63), None, None
        while True:
            slots = self.slots(epoch)
            if not slots:
                return
            ends_at, survivor = self.branch(epoch, slots[-1])
            while True:
                if ends_at is not None and slot == ends_at:
                    data = survivor
                else:
                    data = self.raw(epoch, slot)
                if data is None:
                    need(all(other < slot for other in slots), f"record {epoch}/{slot} is missing, yet later ones are there")
                    return
                record = Record.open(data, self.header, (epoch, slot))
                what = f"record {epoch}/{slot}"
                need(record.previous == previous, f"{what} does not link to the record before it")
                need(record.time >= time, f"the time of {what} is before that of the record before it")
                seal = record.only(2)
                if seal is not None:
                    check_certificate(seal[3], self.header, record.writer, what)
                    need(seal[0] > epoch and seal[1] == record.nonce, f"{what} does not name a later epoch of its own claim")
                    need(seal[2] == slot, f"{what} belongs to a branch")
                elif slot == 0:
                    opened = record.only(1)
                    need(opened is not None, f"{what} is neither a claim nor a seal")
                    check_certificate(opened[2], self.header, record.writer, what)
                    need(sealed is None or sealed[1] == record.nonce, f"{what} is not the claim that the seal names")
                    claim = (record.nonce, record.writer)
                else:
                    need(record.only(1) is None, f"{what} is a claim where none may stand")
                    need((record.nonce, record.writer) == claim, f"{what} was not written by the epoch's claimant")
                previous, time, sealed = record.hash, record.time, seal
                yield record
                if seal is not None:
                    epoch, slot = seal[0], 0
                    break
                slot += 1

    def branch(self, epoch, last):
        """Where the epoch's history ends although slots follow there, and the seal that stands there."""
        record = Record.open(self.raw(epoch, last), self.header, (epoch, last))
        seal = record.only(2)
        if seal is None or seal[2] == last:
            return None, None
        check_certificate(seal[3], self.header, record.writer, f"the branch seal at {epoch}/{last}")
        need(5 in seal, f"the branch seal at {epoch}/{last} names no survivor")
        return seal[2], seal[5]


# --- the fold ---------------------------------------------------------------------------------------------------------


@dataclass
class Pack:
    name: str
    id: tuple
    fact: dict
    condemned: bool = False


class Fold:
    """The state of a vault after the records taken so far."""

    def __init__(self, header):
        self.header = header
        self.recipients = None
        self.members, self.policy = {}, ""
        self.sessions, self.snapshots, self.holds = {}, {}, {}
        self.keys, self.condemned_keys = {}, set()
        self.packs = []
        self.chunks = []  # by ordinal: [id, pack ordinal, frame, length]
        self.by_id = {}
        self.absent = set()
        self.sums = [0] * 8
        self.checkpoints = []
        self.epochs = []
        self.hashes = {}  # state hash and record hash by position

    def add(self, domain, entry):
        domain = domain.encode()
        mixed = blake3(struct.pack("<I", len(domain)) + domain + entry).digest(length=64)
        for place, part in enumerate(struct.unpack("<8Q", mixed)):
            self.sums[place] = (self.sums[place] + part) % (1 << 64)

    def state_hash(self):
        return struct.pack("<8Q", *self.sums)

    def live(self, ordinal):
        return ordinal < len(self.chunks) and ordinal not in self.absent

    def take(self, record):
        for (kind, fact), raw in zip(record.facts, record.raw_facts):
            if kind != 19:
                self.add("fact", encode([record.epoch, record.slot]) + raw)
            self.apply(record, kind, fact)
        self.hashes[(record.epoch, record.slot)] = (self.state_hash(), record.hash)

    def apply(self, record, kind, fact):
        what = f"record {record.epoch}/{record.slot}"
        if kind == 1:
            self.epochs.append(record.epoch)
        elif kind == 3 and fact[0] > LEVEL:
            raise TooNew(f"{what} raises the level to {fact[0]}")
        elif kind == 4:
            self.members[fact[0]] = fact[1]
        elif kind == 5:
            need(self.members.pop(fact[0], None) is not None, f"{what}: the site is no member")
        elif kind == 6:
            message = encode([self.header.vault, fact[0], fact[1], fact[2], fact[3]])
            verify(self.header.root, b"holdfast recipients", message, fact[4], f"the recipients of {what}")
            need(self.recipients is None or self.recipients[0] < fact[0], f"{what}: the generation does not rise")
            self.recipients = fact
        elif kind == 7:
            need(fact[0] not in self.sessions and fact[0] not in self.snapshots, f"{what}: the session was used before")
            key = (fact[3], fact[2])
            need(self.keys.get(fact[3][0], key) == key, f"{what}: the key was used before")
            need(fact[3][0] not in self.condemned_keys, f"{what}: the key was condemned")
            self.sessions[fact[0]] = fact
            self.keys[fact[3][0]] = key
        elif kind == 8:
            need(0 not in fact or fact[0] in self.sessions, f"{what}: the session is not open")
            for pack in fact[1]:
                self.add_pack(record, pack)
        elif kind == 9:
            session = self.sessions.pop(fact[0], None)
            need(session is not None, f"{what}: the session is not open")
            need(self.live(fact[1]) and self.chunks[fact[1]][0] == fact[2], f"{what}: the root is not live")
            self.snapshots[fact[0]] = {"commit": fact, "session": session, "trash": False}
        elif kind == 10:
            need(self.sessions.pop(fact[0], None) is not None, f"{what}: the session is not open")
        elif kind in (11, 12):
            for snapshot in fact[0]:
                need(snapshot in self.snapshots, f"{what}: the snapshot does not exist")
                self.snapshots[snapshot]["trash"] = kind == 11
        elif kind == 13:
            self.holds[fact[0]] = fact
        elif kind == 14:
            need(self.holds.pop(fact[0], None) is not None, f"{what}: the hold does not exist")
        elif kind == 15:
            self.condemn(what, fact)
        elif kind == 16:
            need(all(self.packs[pack].condemned for pack in fact[0]), f"{what}: a pack was not condemned")
            need(all(key in self.condemned_keys for key in fact[1]), f"{what}: a key was not condemned")
        elif kind == 18:
            self.policy = fact[0]
        elif kind == 19:
            state, _ = self.hashes[tuple(fact[0])]
            need(state == fact[2], f"{what}: the checkpoint's state is not that of this fold")
            self.checkpoints.append((tuple(fact[0]), fact[1]))

    def condemn(self, what, fact):
        given_up = bitmap(fact[0])
        need(fact[5] <= len(self.chunks) and all(n < fact[5] for n in given_up), f"{what} gives up what is above its bound")
        for snapshot in fact[1]:
            gone = self.snapshots.pop(snapshot, None)
            need(gone is not None and gone["trash"], f"{what} gives up a snapshot that is not in the trash")
        self.absent |= given_up
        for pack in fact[2]:
            need(not self.packs[pack].condemned, f"{what}: a pack was condemned before")
            self.packs[pack].condemned = True
        self.condemned_keys.update(fact[3])

    def add_pack(self, record, fact):
        name = f"{self.header.vault.hex()}/packs/{record.epoch:020}-{record.nonce.hex()}/{fact[0]:010}"
        what = f"the pack {name} in the log"
        for key in fact[3]:
            need(key in self.keys and key not in self.condemned_keys, f"{what} names a key that is not there")
            need(self.keys[key][1] == fact[2], f"{what} names a key of another scope")
        place = len(self.packs)
        self.packs.append(Pack(name, (record.epoch, record.nonce, fact[0]), fact))
        frames, chunks, refs = Bytes(fact[8]), Bytes(fact[9]), Bytes(fact[10])
        total, frame = 0, 0
        while frames.rest():
            total += frames.varint()
            count = frames.varint()
            need(1 <= count <= FRAME_CHUNKS_MAX, f"{what} has an impossible frame")
            for _ in range(count):
                length = chunks.varint()
                named, length = length & 3, length >> 2
                need(length <= CHUNK_BYTES_MAX, f"{what} has an impossibly long chunk")
                need(named < 3, f"{what} names a chunk in no known way")
                if named == 2:
                    continue
                if named == 1:
                    ordinal = chunks.varint()
                    need(self.live(ordinal), f"{what} names the chunk {ordinal}, which is not live")
                    self.chunks[ordinal][1:3] = [place, frame]
                    continue
                ordinal, chunk = len(self.chunks), chunks.take(32)
                if fact[1] == 1:
                    before = 0
                    for _ in range(refs.varint()):
                        before = refs.difference(before)
                        need(before < ordinal and self.live(before), f"{what} refers to what is not live")
                self.chunks.append([chunk, place, frame, length])
                self.by_id.setdefault(chunk, []).append(ordinal)
                self.add("chunk", struct.pack("<Q", ordinal) + chunk)
            frame += 1
        need(total == fact[5], f"the frames of {what} do not fill it")
        chunks.end(what)
        refs.end(what)

    def find(self, scope, chunk):
        for ordinal in reversed(self.by_id.get(chunk, [])):
            _, pack, frame, _ = self.chunks[ordinal]
            if self.live(ordinal) and self.packs[pack].fact[2] == scope:
                return pack, frame
        raise Damaged(f"chunk {chunk.hex()} is not in the log")


# --- packs, frames ----------------------------------------------------------------------------------------------------


@dataclass
class Frame:
    offset: int
    length: int
    key: bytes
    hash: bytes
    chunks: list  # [id, length, references]


@dataclass
class Footer:
    kind: int
    scope: str
    frames: list

    @classmethod
    def open(cls, data, vault, pack_id):
        what = "a pack's footer"
        src = Bytes(strip_mark("footer", data, what))
        need(src.take(16) == vault, f"{what} is another vault's")
        need((src.number("Q"), src.take(16), src.number("Q")) == pack_id, f"{what} is another pack's")
        kind = src.take(1)[0]
        if kind > 1:
            raise TooNew(f"chunk kind {kind} is unknown")
        scope = src.take(src.varint()).decode()
        keys = [src.take(16) for _ in range(src.varint())]
        frames, offset, count = [], 0, 0
        for _ in range(src.varint()):
            length, key, chunks = src.varint(), src.varint(), src.varint()
            need(41 <= length <= FRAME_PLAIN_MAX + 41 and 1 <= chunks <= FRAME_CHUNKS_MAX, f"{what} has an impossible frame")
            need(key < len(keys), f"{what} names no key")
            frames.append(Frame(offset, length, keys[key], src.take(32), [None] * chunks))
            offset, count = offset + length, count + chunks
            need(count <= PACK_CHUNKS_MAX, f"{what} has too many chunks")
        for frame in frames:
            frame.chunks = [[src.take(32), src.varint(), []] for _ in frame.chunks]
        if kind == 1:
            for frame in frames:
                for chunk in frame.chunks:
                    refs = src.varint()
                    need(refs <= NODE_REFS_MAX, f"a node in {what} has too many references")
                    chunk[2] = [src.take(32) for _ in range(refs)]
        src.end(what)
        return cls(kind, scope, frames)


class Vault:
    """A vault at a site, opened with an identity."""

    def __init__(self, site, identity, wanted=None):
        self.site, self.identity = site, identity
        there = [n for n in site.list() if re.fullmatch("[0-9a-f]{32}", n) and site.get(f"{n}/vault") is not None]
        wanted = wanted or identity.vault or (there[0] if len(there) == 1 else None)
        need(wanted in there, f"there is no vault {wanted} at the site")
        self.header = Header.open(site.get(f"{wanted}/vault"), wanted)
        need(identity.root_public in (None, self.header.root), "the root key is not the one that the identity names")
        self.fold = Fold(self.header)
        for record in Log(site, self.header).records():
            self.fold.take(record)
        need(self.fold.recipients is not None, "the log names no recipients")
        self.id_secret = self.open_secrets()
        self.footers, self.data_keys, self.scopes = {}, {}, {}
        self.opened = {}

    def open_secrets(self):
        generation, wanted = self.fold.recipients[0], self.fold.recipients[2]
        name = f"{self.header.vault.hex()}/keys/vault/{generation:010}"
        data = self.site.get(name)
        need(data is not None and digest(data) == wanted, f"{name} is not the one that the log names")
        body = decode(strip_mark("vault key", data, name), 3, name)
        plain = decode(self.identity.open(body[2], name), 4, "the vault's secrets")
        need((body[0], body[1]) == (plain[0], plain[1]) == (self.header.vault, generation), f"{name} belongs elsewhere")
        return plain[2]

    def scope_keys(self, scope):
        if scope not in self.scopes:
            self.scopes[scope] = ScopeKeys.derive(self.id_secret, scope)
        return self.scopes[scope]

    def data_key(self, key, scope):
        if key not in self.data_keys:
            need(key in self.fold.keys, f"key {key.hex()} is not in the log")
            reference, _ = self.fold.keys[key]
            name = f"{self.header.vault.hex()}/keys/{key.hex()}/{reference[1]:010}"
            data = self.site.get(name)
            need(data is not None and digest(data) == reference[2], f"{name} is not the one that the log names")
            body = decode(strip_mark("session key", data, name), 4, name)
            need((body[0], body[1], body[2]) == (self.header.vault, key, reference[1]), f"{name} belongs elsewhere")
            plain = decode(self.identity.open(body[3], name), 5, "a data key")
            need((plain[0], plain[1]) == (self.header.vault, key), f"{name} belongs elsewhere")
            suite = plain.get(4, 1)
            if suite not in SUITES:
                raise TooNew(f"cipher suite {suite} is unknown")
            self.data_keys[key] = (plain[3], SUITES[suite], plain[2])
        secret, suite, own = self.data_keys[key]
        need(own == scope, f"key {key.hex()} is of another scope")
        return secret, suite

    def footer(self, ordinal):
        if ordinal not in self.footers:
            pack = self.fold.packs[ordinal]
            data = self.site.part(pack.name, pack.fact[5], pack.fact[6])
            need(digest(data) == pack.fact[7], f"the footer of {pack.name} is not the one that the log names")
            self.footers[ordinal] = Footer.open(data, self.header.vault, pack.id)
        return self.footers[ordinal]

    def frame(self, ordinal, place):
        """The chunks of a frame by id: plaintext and references."""
        if (ordinal, place) in self.opened:
            return self.opened[ordinal, place]
        pack, footer = self.fold.packs[ordinal], self.footer(ordinal)
        need(place < len(footer.frames), f"{pack.name} has no frame {place}")
        frame = footer.frames[place]
        what = f"frame {place} of {pack.name}"
        sealed = self.site.part(pack.name, frame.offset, frame.length)
        need(digest(sealed) == frame.hash, f"{what} does not have its hash")
        aad = self.header.vault + frame.key + bytes([footer.kind]) + struct.pack("<I", len(frame.chunks))
        aad += b"".join(chunk + struct.pack("<I", length) for chunk, length, _ in frame.chunks)
        try:
            secret, open_sealed = self.data_key(frame.key, footer.scope)
            plain = open_sealed(secret, sealed[:24], aad, sealed[24:])
        except (CryptoError, InvalidTag) as error:
            raise Damaged(f"the cipher's check of {what} fails") from error
        total = sum(length for _, length, _ in frame.chunks)
        need(plain and total <= FRAME_PLAIN_MAX, f"{what} is impossible")
        if plain[0] == 1:
            plain = zstandard.ZstdDecompressor().decompress(plain[1:], max_output_size=total) if total else b""
        elif plain[0] == 0:
            plain = plain[1:]
        else:
            raise TooNew(f"the codec {plain[0]} of {what} is unknown")
        need(len(plain) == total, f"{what} is not as long as its chunks")
        src, found = Bytes(plain), {}
        for chunk, length, refs in frame.chunks:
            part = src.take(length)
            own = self.scope_keys(footer.scope).chunk_id(footer.kind, part, refs)
            need(own == chunk, f"a chunk of {what} hashes to another id")
            found[chunk] = (footer.kind, part, refs)
        self.opened[ordinal, place] = found
        return found

    def chunk(self, scope, chunk, kind):
        found = self.frame(*self.fold.find(scope, chunk)).get(chunk)
        need(found is not None and found[0] == kind, f"chunk {chunk.hex()} is not where the log says")
        return found[1], found[2]

    def node(self, scope, chunk):
        plain, refs = self.chunk(scope, chunk, 1)
        node = decode(plain, 5, "a node")
        need(len(node) == 1, "a node says none or several things at once")
        return next(iter(node.items())), refs


# --- trees ------------------------------------------------------------------------------------------------------------


def reference(refs, place):
    need(0 <= place < len(refs), "a node refers to what it does not list")
    return refs[place]


class Snapshot:
    def __init__(self, vault, id):
        self.vault, self.id = vault, id
        known = vault.fold.snapshots[id]
        self.commit, self.session, self.trash = known["commit"], known["session"], known["trash"]
        self.scope = self.session[2]

    def root(self):
        (kind, root), refs = self.vault.node(self.scope, self.commit[2])
        need(kind == 0, "the root is another kind of node")
        return root, reference(refs, root[0])

    def entries(self):
        """Every entry with its path, a directory before what is in it."""
        _, top = self.root()
        yield from self.below(b"", top)

    def below(self, path, directory):
        last = b""
        for entry, refs in self.pages(directory, 0):
            name = entry[0]
            need(name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name, "an entry has an impossible name")
            need(name > last, "entries are not in order")
            last = name
            yield path + b"/" + name, entry, refs
            if entry[1] == 1 and entry.get(13) is not None:
                yield from self.below(path + b"/" + name, reference(refs, entry[13]))

    def pages(self, chunk, depth):
        need(depth <= INDEX_DEPTH_MAX, "an index is too deep")
        (kind, node), refs = self.vault.node(self.scope, chunk)
        if kind == 1:
            for entry in node[0]:
                yield entry, refs
            return
        need(kind == 2 and len(node[0]) == len(refs), "a directory is another kind of node")
        for place, part in enumerate(refs):
            upper = node[0][place + 1] if place + 1 < len(refs) else None
            for entry, own in self.pages(part, depth + 1):
                need(entry[0] >= node[0][place] and (upper is None or entry[0] < upper), "an entry is out of its page's bounds")
                yield entry, own

    def content(self, entry, refs):
        """The parts of a file's content: bytes, or a number for that many zeros of a hole."""
        content = entry.get(12) or {}
        need(len(content) <= 1, "a content is told in several ways")
        total = 0
        if 0 in content:
            pieces = [content[0]]
        else:
            pieces = self.pieces(content, refs, entry[9])
        for piece in pieces:
            total += piece if isinstance(piece, int) else len(piece)
            yield piece
        need(total == entry[9], "the pieces of a file do not add up to its size")

    def pieces(self, content, refs, size):
        if 1 in content:
            yield from self.run(content[1], refs)
        elif 2 in content:
            yield from self.extents(reference(refs, content[2]), size, 0)

    def extents(self, chunk, size, depth):
        need(depth <= INDEX_DEPTH_MAX, "an index is too deep")
        (kind, node), refs = self.vault.node(self.scope, chunk)
        if kind == 3:
            need(sum(piece[2] for piece in node[0]) == size, "the pieces of a page do not add up")
            yield from self.run(node[0], refs)
            return
        need(kind == 4 and len(node[0]) == len(refs) and sum(node[0]) == size, "an index of extents does not add up")
        for length, part in zip(node[0], refs):
            yield from self.extents(part, length, depth + 1)

    def run(self, pieces, refs):
        for place, offset, length in pieces:
            need(length > 0, "a piece is empty")
            if place is None:
                yield length
                continue
            plain, _ = self.vault.chunk(self.scope, reference(refs, place), 0)
            need(offset + length <= len(plain), "a piece reaches beyond its chunk")
            yield plain[offset : offset + length]


KINDS = ["file", "directory", "symlink", "fifo", "block_device", "char_device", "socket"]


def show(vault):
    """The vault's snapshots and the rest of what a person asks for."""
    snapshots = []
    for id in vault.fold.snapshots:
        snapshot = Snapshot(vault, id)
        commit, session = snapshot.commit, snapshot.session
        snapshots.append(
            {
                "id": id.hex(),
                "source": session[1],
                "agent": session[4],
                "scope": session[2],
                "tags": session[5],
                "time_millis": commit[8],
                "files": commit[3],
                "directories": commit[4],
                "bytes": commit[5],
                "problems": commit[6],
                "trash": snapshot.trash,
            }
        )
    snapshots.sort(key=lambda one: one["time_millis"])
    return {
        "vault": vault.header.vault.hex(),
        "name": vault.header.name,
        "epochs": vault.fold.epochs,
        "members": vault.fold.members,
        "policy": vault.fold.policy,
        "holds": len(vault.fold.holds),
        "snapshots": snapshots,
    }


def tree(snapshot, target=None):
    """The snapshot's entries; with a target its regular files are written below it, and their directories."""
    listed = []
    for path, entry, refs in snapshot.entries():
        one = {
            "path": path.hex(),
            "kind": KINDS[entry[1]],
            "mode": entry[2],
            "uid": entry[3],
            "gid": entry[4],
            "mtime": [entry[7], entry[8]],
            "size": entry[9],
        }
        if entry.get(10):
            one["xattrs"] = {xattr[0].hex(): xattr[1].hex() for xattr in entry[10]}
        if entry.get(11) is not None:
            one["hard_link"] = entry[11]
        if entry.get(14) is not None:
            one["target"] = entry[14].hex()
        place = os.fsencode(target) + path if target else None
        if one["kind"] == "directory" and place:
            os.makedirs(place)
        if one["kind"] == "file":
            hasher = hashlib.sha256()
            file = open(place, "xb") if place else None
            for piece in snapshot.content(entry, refs):
                if isinstance(piece, int):
                    for _ in range(piece // MIB):
                        hasher.update(bytes(MIB))
                    hasher.update(bytes(piece % MIB))
                    if file:
                        file.seek(piece, os.SEEK_CUR)
                else:
                    hasher.update(piece)
                    if file:
                        file.write(piece)
            if file:
                file.truncate(entry[9])
                file.close()
            one["sha256"] = hasher.hexdigest()
        listed.append(one)
    return listed


# --- checking everything ----------------------------------------------------------------------------------------------


def check(vault):
    """Reads every live pack and every checkpoint of the vault."""
    counts = {"packs": 0, "frames": 0, "chunks": 0, "records": len(vault.fold.hashes), "checkpoints": 0, "segments": 0}
    for ordinal, pack in enumerate(vault.fold.packs):
        if pack.condemned:
            continue
        counts["packs"] += 1
        data = vault.site.get(pack.name)
        need(data is not None and len(data) == pack.fact[4], f"{pack.name} does not have its length")
        need(data[-8:] == b"hfpack01" and struct.unpack("<Q", data[-16:-8])[0] == pack.fact[6], f"{pack.name} has no trailer")
        for place in range(len(vault.footer(ordinal).frames)):
            counts["frames"] += 1
            counts["chunks"] += len(vault.frame(ordinal, place))
    for covers, wanted in vault.fold.checkpoints:
        name = f"{vault.header.vault.hex()}/checkpoints/{covers[0]:020}-{covers[1]:020}"
        data = vault.site.get(name)
        if data is None:
            continue
        counts["checkpoints"] += 1
        need(digest(data) == wanted, f"{name} is not the one that the log names")
        counts["segments"] += check_checkpoint(vault, covers, decode(strip_mark("checkpoint", data, name), 6, name), name)
    return counts


def check_checkpoint(vault, covers, manifest, name):
    state, record = vault.fold.hashes[covers]
    need(manifest[0] == vault.header.vault and tuple(manifest[1]) == covers, f"{name} belongs elsewhere")
    need((manifest[3], manifest[2]) == (state, record), f"{name} is of another history")
    following = 0
    for one in sorted(manifest[4], key=lambda one: one.get(3) or 0):
        path = f"{vault.header.vault.hex()}/segments/{one[1].hex()}"
        data = vault.site.get(path)
        need(data is not None and len(data) == one[2] and digest(data) == one[1], f"{path} is not its own name's")
        body = strip_mark("segment", data, path)
        need(body[0] == one[0], f"{path} is of another kind")
        if one[0] == 0:
            need(one[3] == following, f"{path} does not follow the segment before it")
            following += check_index(vault, body[1:], one, path)
        elif one[0] == 2:
            need(bitmap(body[1:]) <= vault.fold.absent, f"{path} gives up what the log does not")
        else:
            need(set(take_cbor(io.BytesIO(body[1:]), path)) == {0, 1}, f"{path} is no catalog")
    need(following == manifest[5], f"the index of {name} is not whole")
    return len(manifest[4])


def check_index(vault, body, reference_, path):
    src = Bytes(body)
    first, n, k, r, m = (src.number("Q") for _ in range(5))
    need((first, n) == (reference_[3], reference_[4]), f"{path} spans other ordinals")
    ids = [src.take(32) for _ in range(n)]
    need(ids == sorted(ids), f"the ids of {path} are not sorted")
    ordinals = [src.number("I") for _ in range(n)]
    entries = [[src.number("I") for _ in range(4)] for _ in range(n)]
    nodes = [(src.number("I"), src.number("Q")) for _ in range(k)]
    refs = Bytes(src.take(r))
    for _ in range(m):
        src.number("Q"), src.number("I"), src.number("I")
    src.end(path)
    for place, ordinal in enumerate(ordinals):
        chunk, _, _, length = vault.fold.chunks[first + ordinal]
        need(ids[place] == chunk and entries[ordinal][3] == place, f"{path} has another id for {first + ordinal}")
        need(entries[ordinal][2] == length, f"{path} has another length for {first + ordinal}")
    for ordinal, start in nodes:
        need(refs.at == start, f"the references of {path} do not lie where it says")
        before = 0
        for _ in range(refs.varint()):
            before = refs.difference(before)
            need(before < first + ordinal, f"{path} refers to what came later")
    refs.end(path)
    return n


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ["ls", "tree", "extract", "check"]:
        command = commands.add_parser(name)
        command.add_argument("--site", required=True)
        command.add_argument("--identity", required=True)
        command.add_argument("--vault")
        if name in ("tree", "extract"):
            command.add_argument("snapshot", help="the beginning of its id")
        if name == "extract":
            command.add_argument("--target", required=True, help="a folder that is empty or not there")
    args = parser.parse_args()
    vault = Vault(Site.at(args.site), Identity.read(args.identity), args.vault)
    if args.command == "ls":
        told = show(vault)
    elif args.command == "check":
        told = check(vault)
    else:
        found = [id for id in vault.fold.snapshots if id.hex().startswith(args.snapshot)]
        need(len(found) == 1, f"{len(found)} snapshots begin with {args.snapshot}")
        target = getattr(args, "target", None)
        if target:
            os.makedirs(target, exist_ok=True)
            need(not os.listdir(target), "the target is not empty")
        told = tree(Snapshot(vault, found[0]), target)
    json.dump(told, sys.stdout)
    print()


if __name__ == "__main__":
    try:
        main()
    except (Damaged, TooNew) as error:
        sys.exit(f"reader.py: {error}")
