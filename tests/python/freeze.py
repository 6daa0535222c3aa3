"""Makes a frozen vault with the real program: `tests/vaults/v1`, which every later release has to read.

usage: freeze.py --holdfast PROGRAM --to tests/vaults/v1

It replaces what lies at --to but for README.md. It runs as root (for owners and a host name of its own), in the folder
/tmp/holdfast-frozen, whose path stands in the vault. Nothing but Python's own library is used: the manifest tells what
was backed up as the file system had it, not as any reader of vaults sees it.
"""

import argparse
import ctypes
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import time

WORK = "/tmp/holdfast-frozen"
TREE = f"{WORK}/tree"
HOST = "frozen"
POLICY = """\
version = 1
time_zone = "Europe/Helsinki"
trash = "0"
expire_share_max = 1

[keep]
last = 2

[source.dump]
keep.last = 5
"""


def bytes_of(seed, count):
    return random.Random(seed).randbytes(count)


def put(name, content, mode=0o644):
    path = os.path.join(os.fsencode(TREE), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    return path


def islands(name, offsets, size, distinct):
    """A sparse file with 4 KiB of data at each offset."""
    path = put(name, b"")
    with open(path, "r+b") as file:
        for place, offset in enumerate(offsets):
            file.seek(offset)
            file.write(bytes([65 + place % distinct]) * 4096)
        file.truncate(size)


def first_tree():
    put("plain.txt", b"Read me from anywhere.\n")
    put("empty", b"")
    put("tiny", b"x", 0o600)
    put("inline-96", bytes_of(1, 96))
    put("chunk-97", bytes_of(2, 97))
    put("random-20000", bytes_of(3, 20000))
    put("zeros-50000", bytes(50000))
    put("goes", b"only in the first snapshots\n")
    put("set-id", b"#!/bin/sh\n", 0o6755)
    put(b"not-utf8-\xff\xfe", b"a name that is no text\n")
    put("new\nline", b"a name with a line feed\n")
    put("ünï-\u2603 space", "snow".encode())
    put("deep/er/and/deeper/still/leaf", b"leaf\n")
    os.makedirs(f"{TREE}/nothing-in-here")
    os.chmod(f"{TREE}/nothing-in-here", 0o1777)
    for number in range(530):
        put(f"many/entry-{number:04}", b"%d\n" % number if number % 3 else b"")
    islands("sparse/few", [0, 200_704, 999_424], 1_500_000, 3)
    islands("sparse/more-than-an-entry-holds", [8192 + 65_536 * n for n in range(20)], 2_000_000, 20)
    islands("sparse/more-than-a-page-holds", [8192 * n for n in range(2200)], 8192 * 2200, 16)
    islands("sparse/only-a-hole", [], 700_000, 1)
    put("linked/one", b"one file, three names\n" * 50)
    os.link(f"{TREE}/linked/one", f"{TREE}/linked/two")
    os.link(f"{TREE}/linked/one", f"{TREE}/three")
    os.symlink("plain.txt", f"{TREE}/to-plain")
    os.symlink(b"nowhere/\xff", f"{TREE}/to-nowhere")
    os.mkfifo(f"{TREE}/fifo", 0o640)
    os.mknod(f"{TREE}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    put("with-xattrs", b"attributes\n")
    os.setxattr(f"{TREE}/with-xattrs", b"user.bytes", b"\x00\xff\x01")
    os.setxattr(f"{TREE}/with-xattrs", b"user.text", b"value")
    put("owned", b"by someone else\n")
    os.chown(f"{TREE}/owned", 1234, 4321)
    settle()


def second_tree():
    put("plain.txt", b"Read me from anywhere, again.\n")
    put("new", bytes_of(4, 5000))
    put("many/entry-0350-and-a-half", b"in between\n")
    os.remove(f"{TREE}/goes")
    with open(f"{TREE}/random-20000", "r+b") as file:
        file.seek(10_000)
        file.write(b"changed")
    settle()


def settle():
    """Fixed times, odd nanoseconds and one before 1970."""
    for folder, folders, files in os.walk(os.fsencode(TREE), topdown=False):
        for name in files + folders:
            path = os.path.join(folder, name)
            if os.lstat(path).st_nlink > 1 and name in files:
                path_for_time = b"a file with several names"
            else:
                path_for_time = path
            nanos = 1_700_000_000_000_000_000 + int.from_bytes(hashlib.sha256(path_for_time).digest()[:6])
            if name == b"plain.txt":
                # What a backup skips unread by its times must not look unchanged.
                nanos += os.lstat(path).st_size
            if name == b"tiny":
                nanos = -1_500_000_001
            os.utime(path, ns=(nanos, nanos), follow_symlinks=False)


def manifest_of_tree():
    """What the file system says, by path below the tree; paths, names and values in hexadecimal."""
    entries, links = [], {}
    for folder, folders, files in os.walk(os.fsencode(TREE)):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            kind = {
                stat.S_IFREG: "file",
                stat.S_IFDIR: "directory",
                stat.S_IFLNK: "symlink",
                stat.S_IFIFO: "fifo",
                stat.S_IFCHR: "char_device",
            }[stat.S_IFMT(info.st_mode)]
            entry = {
                "path": os.path.relpath(path, os.fsencode(TREE)).hex(),
                "kind": kind,
                "mode": stat.S_IMODE(info.st_mode),
                "mtime": list(divmod(info.st_mtime_ns, 1_000_000_000)),
            }
            if info.st_uid or info.st_gid:
                entry["owner"] = [info.st_uid, info.st_gid]
            if kind == "file":
                entry["size"] = info.st_size
                with open(path, "rb") as file:
                    entry["sha256"] = hashlib.sha256(file.read()).hexdigest()
                if info.st_nlink > 1:
                    entry["linked"] = links.setdefault(info.st_ino, len(links) + 1)
            if kind == "symlink":
                entry["target"] = os.readlink(path).hex()
            if kind in ("file", "directory"):
                xattrs = {os.fsencode(n).hex(): os.getxattr(path, n).hex() for n in sorted(os.listxattr(path))}
                if xattrs:
                    entry["xattrs"] = xattrs
            entries.append(entry)
    return sorted(entries, key=lambda entry: bytes.fromhex(entry["path"]))


def changes(before, after):
    """What to put in place of entries of `before`, and which paths to leave out, to get `after`."""
    known = {entry["path"]: entry for entry in before}
    paths = {entry["path"] for entry in after}
    return {
        "entries": [entry for entry in after if known.get(entry["path"]) != entry],
        "without": sorted(path for path in known if path not in paths),
    }


class Program:
    """The program under a user and a home of its own."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": f"{WORK}/home",
            "USER": "tester",
            "TZ": "UTC",
            "HOLDFAST_COORDINATOR": f"unix:{WORK}/data/holdfast.sock",
            "HOLDFAST_IDENTITY": f"{WORK}/identity.txt",
        }

    def start(self):
        sites = [word for name in ("onsite", "offsite", "spare") for word in ("--site", f"{name}=file:{WORK}/{name}")]
        words = [self.path, "coordinator", "--name", "c1", "--data", f"{WORK}/data", *sites]
        self.coordinator = subprocess.Popen(words, env=self.env, stdin=subprocess.DEVNULL, cwd=WORK)
        for _ in range(600):
            if subprocess.run([self.path, "status"], env=self.env, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("the coordinator does not come up")

    def stop(self):
        self.coordinator.send_signal(signal.SIGINT)
        self.coordinator.wait()

    def run(self, *words, stdin=None):
        done = subprocess.run([self.path, *words], env=self.env, input=stdin, capture_output=True, cwd=WORK)
        if done.returncode != 0:
            raise SystemExit(f"{words}: {done.returncode}\n{done.stderr.decode()}")
        return done.stdout

    def backup(self, *words, stdin=None):
        words = ["backup", "--vault", "frozen", *words, "--wait", "protected", "--wait-timeout", "60s", "--json"]
        return json.loads(self.run(*words, stdin=stdin))["snapshot"]


def make(program):
    """The vault's story. Gives what a reader has to find."""
    with open(f"{WORK}/policy.toml", "w") as file:
        file.write(POLICY)
    program.run("vault", "create", "frozen", "--sites", "onsite,offsite", "--identity-out", "identity.txt",
                "--bundle-out", "bundle.txt", "--policy", "policy.toml")  # fmt: skip
    put("goes-with-the-first", bytes_of(9, 6000))
    first_tree()
    gone = program.backup("--source", "tree", TREE)
    old = program.backup("--source", "old", "--stdin", stdin=bytes_of(8, 9000))
    os.remove(f"{TREE}/goes-with-the-first")
    settle()
    first = program.backup("--source", "tree", "--tag", "first", "--tag", "kept", TREE)
    first_entries = manifest_of_tree()
    dump = bytes_of(5, 30_000)
    piped = program.backup("--source", "dump", "--stdin", "--stdin-filename", "db/dump.sql", stdin=dump)
    program.run("site", "add", "--vault", "frozen", "spare")
    hold = json.loads(program.run("hold", "place", "--vault", "frozen", first, "--why", "to be kept", "--json"))["id"]
    released = json.loads(program.run("hold", "place", "--vault", "frozen", "--source", "dump", "--why", "mistake", "--json"))
    program.run("hold", "release", "--vault", "frozen", released["id"])
    program.run("failover", "--vault", "frozen", "--to", "offsite")
    second_tree()
    second = program.backup("--source", "tree", TREE)
    second_entries = manifest_of_tree()
    program.run("policy", "apply", "--vault", "frozen", "--confirm")
    program.run("forget", old, "--vault", "frozen", "--purge")
    # A collection leaves a checkpoint behind once there are enough records for one.
    for _ in range(10):
        placed = json.loads(program.run("hold", "place", "--vault", "frozen", first, "--why", "for a while", "--json"))
        program.run("hold", "release", "--vault", "frozen", placed["id"])
    program.run("gc", "--vault", "frozen", "--wait")
    wait_for_checkpoint()
    program.run("site", "remove", "--vault", "frozen", "spare", "--why", "it was only tried")
    trashed = program.backup("--source", "other", "--stdin", stdin=b"")
    program.run("forget", trashed, "--vault", "frozen", "--why", "to have one in the trash")
    program.run("key", "kit", "--vault", "frozen", "--out", "kit.txt")
    return {
        "vault": json.loads(program.run("vault", "show", "--vault", "frozen", "--json")).get("id", ""),
        "gone": [gone, old],
        "hold": hold,
        "trashed": [trashed],
        "snapshots": [
            {"id": first, "source": "tree", "tags": ["first", "kept"], "entries": first_entries},
            {"id": piped, "source": "dump", "tags": [], "file": b"/db/dump.sql".hex(), "size": len(dump),
             "sha256": hashlib.sha256(dump).hexdigest()},
            {"id": second, "source": "tree", "tags": [], "like": first, **changes(first_entries, second_entries)},
            {"id": trashed, "source": "other", "tags": [], "file": b"/stdin".hex(), "size": 0,
             "sha256": hashlib.sha256(b"").hexdigest()},
        ],
        "root": TREE.encode().hex(),
        "members": ["offsite", "onsite"],
    }  # fmt: skip


def wait_for_checkpoint():
    for _ in range(600):
        for folder, _, files in os.walk(f"{WORK}/offsite"):
            if os.path.basename(folder) == "checkpoints" and files:
                return
        time.sleep(0.1)
    raise SystemExit("no checkpoint was made")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--holdfast", required=True, help="the built program")
    parser.add_argument("--to", required=True, help="the frozen vault's folder")
    args = parser.parse_args()
    os.mkdir(WORK, 0o755)
    try:
        # The host's name is in every snapshot: let it be one that means nothing.
        clone_newuts = 0x04000000
        if ctypes.CDLL(None, use_errno=True).unshare(clone_newuts) != 0:
            raise SystemExit("run this as root: it needs a host name of its own")
        socket.sethostname(HOST)
        os.umask(0o022)
        for name in ("home", "data", "onsite", "offsite", "spare"):
            os.mkdir(f"{WORK}/{name}")
        os.mkdir(TREE)
        program = Program(args.holdfast)
        program.start()
        try:
            manifest = make(program)
        finally:
            program.stop()
        freeze(manifest, args.to)
    finally:
        shutil.rmtree(WORK)


def freeze(manifest, to):
    os.makedirs(to, exist_ok=True)
    for name in os.listdir(to):
        path = os.path.join(to, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif name != "README.md":
            os.remove(path)
    shutil.copytree(f"{WORK}/offsite", f"{to}/site", ignore=shutil.ignore_patterns(".holdfast-staging", "holdfast-probe"))
    for name in ("identity.txt", "kit.txt", "bundle.txt"):
        shutil.copyfile(f"{WORK}/{name}", f"{to}/{name}")
    with open(f"{to}/manifest.json", "w") as file:
        file.write(lines(manifest))


def lines(manifest):
    """JSON with one entry a line."""
    text = json.dumps(manifest, sort_keys=True)
    for mark in ('{"kind"', '"snapshots"', '{"entries"', '{"file"'):
        text = text.replace(mark, "\n" + mark)
    return text + "\n"


if __name__ == "__main__":
    main()
