#!/usr/bin/env python3
"""An independent reader and checker of Hyperfile replicas.

Written from docs/format.md alone, sharing nothing with the program: where both agree on an image,
they agree on the format. Reads a replica folder; for each checkpoint prints one JSON line with its
number, size, count of mapped blocks and the SHA-256 of its image, or the error.

usage: independent_reader.py [--writer] [--cno N --image OUT] FOLDER...

--writer  also requires what our own writer promises beyond what readers need: zeroed slack and unused
          slots, exact micro-group ids, complete entries, exact object lengths, full offsets.
--image   writes the image of one checkpoint (0: the head) to a file instead.
"""

import argparse
import hashlib
import json
import os
import struct
import sys

ZERO_BLOCK = 0x3FFFFFFF00000000
MAGIC = 0x48465353
ROOT_CAPACITY = 3
SEGMENT_BYTES_MAX = 512 << 20


class Bad(Exception):
    """The replica contradicts the format."""


def need(condition, what):
    if not condition:
        raise Bad(what)


class Inode:
    FIELDS = struct.Struct("<6Q8I3Q")

    def __init__(self, raw):
        need(len(raw) >= 160, "inode of %d bytes" % len(raw))
        (self.ino, self.blocks, self.size, self.atime, self.ctime, self.mtime,
         _, _, _, config, self.uid, self.gid, self.mode, self.flags,
         self.nlink, self.last_seq, self.last_cno) = self.FIELDS.unpack_from(raw)
        self.raw = raw[:160]
        self.root = raw[104:160]
        need(config >> 24 == 7, "root size in meta config")
        self.meta_shift = config >> 16 & 0xFF
        self.data_shift = config >> 8 & 0xFF
        need(12 <= self.meta_shift <= 20 and 12 <= self.data_shift <= 30, "block shifts")
        self.format = self.root[4]
        need(self.format in (1, 2), "pointer format %d" % self.format)
        self.config_format = config & 0xFF


class Segment:
    HEADER = struct.Struct("<IIIHBBQ160sQQII")

    def __init__(self, folder, number):
        self.number = number
        self.path = os.path.join(folder, "%010d" % number)
        need(os.path.exists(self.path), "segment %d is missing" % number)
        with open(self.path, "rb") as handle:
            self.raw = handle.read()
        need(len(self.raw) >= 208, "segment %d is short" % number)
        (magic, self.checksum, self.summary_bytes, self.flags, self.meta_shift, self.data_shift,
         self.next, inode, self.ino, self.cno, self.nmeta, self.ndata) = \
            self.HEADER.unpack_from(self.raw)
        need(magic == MAGIC, "magic of segment %d" % number)
        need(self.cno == number, "segment %d calls itself %d" % (number, self.cno))
        need(self.summary_bytes == 208 + 16 * self.ndata, "s_bytes of segment %d" % number)
        self.inode = Inode(inode)
        need(self.meta_shift == self.inode.meta_shift, "meta shift of segment %d" % number)
        need(self.data_shift == self.inode.data_shift, "data shift of segment %d" % number)
        self.meta_start = (self.summary_bytes + 4095) // 4096 * 4096
        self.data_start = self.meta_start + (self.nmeta << self.meta_shift)
        self.end = self.data_start + (self.ndata << self.data_shift)
        need(len(self.raw) >= self.end, "segment %d is truncated" % number)
        self.entries = [struct.unpack_from("<QQ", self.raw, 208 + 16 * i)
                        for i in range(self.ndata)]


class Replica:
    def __init__(self, folder):
        self.folder = folder
        self.cache = {}
        with open(os.path.join(folder, "inode"), "rb") as handle:
            self.head = Inode(handle.read())

    def segment(self, number):
        if number not in self.cache:
            if len(self.cache) > 64:
                self.cache.pop(next(iter(self.cache)))
            self.cache[number] = Segment(self.folder, number)
        return self.cache[number]

    def numbers(self):
        return sorted(int(name) for name in os.listdir(self.folder)
                      if name.isdigit() and len(name) == 10)

    def inode_at(self, cno):
        if cno == 0:
            return self.head
        inode = self.segment(cno).inode
        need(inode.last_cno == cno, "segment %d is no published checkpoint" % cno)
        return inode


class Walk:
    """All blocks of one checkpoint: maps block index to bytes, checking every node on the way."""

    def __init__(self, replica, inode, strict):
        self.replica = replica
        self.inode = inode
        self.strict = strict
        self.format = inode.format
        self.data_bytes = 1 << inode.data_shift
        self.meta_bytes = 1 << inode.meta_shift
        self.mapped = {}
        self.zero_pointers = 0
        self.nodes = 0
        self.levels = 0
        self.run()

    def place(self, pointer, youngest):
        need(pointer >> 62 == 1, "pointer %#x" % pointer)
        number = pointer >> 32 & 0x3FFFFFFF
        need(1 <= number <= youngest, "pointer to segment %d from %d" % (number, youngest))
        low = pointer & 0xFFFFFFFF
        if self.format == 1:
            need(low % 4096 == 0, "offset %d" % low)
            return number, low, None
        return number, (low >> 14) * 4096, low & 0x3FFF

    def run(self):
        root = self.inode.root
        flags, level, count, user = struct.unpack_from("<BBHI", root)
        if self.strict:
            need(user >> 8 == 0, "user data of the root")
        youngest = self.inode.last_cno
        if not flags & 1:
            for index, pointer in enumerate(struct.unpack_from("<6Q", root, 8)):
                if pointer != 0:
                    self.leaf_value(index, pointer, youngest)
            if self.strict:
                need(flags == 0 and count == 0, "header of a direct root")
            return
        self.levels = level
        need(1 <= level <= 13, "root level %d" % level)
        need(flags == (3 if level == 1 else 1), "root flags %d" % flags)
        self.entries(root, ROOT_CAPACITY, level, count, None, None, youngest, "root")

    def entries(self, raw, capacity, level, count, first, limit, youngest, name):
        need(1 <= count <= capacity, "%s has %d children" % (name, count))
        keys = struct.unpack_from("<%dQ" % capacity, raw, 8)
        values = struct.unpack_from("<%dQ" % capacity, raw, 8 + 8 * capacity)
        if first is not None:
            need(keys[0] == first, "%s: first key %d, parent says %d" % (name, keys[0], first))
        for i in range(1, count):
            need(keys[i - 1] < keys[i], "%s: keys do not ascend" % name)
        if limit is not None:
            need(keys[count - 1] < limit, "%s reaches into its neighbour" % name)
        if self.strict:
            need(not any(keys[count:]) and not any(values[count:]), "%s: unused slots" % name)
            need(not any(raw[8 + 16 * capacity:]), "%s: slack" % name)
        for i in range(count):
            if level == 1:
                self.leaf_value(keys[i], values[i], youngest)
                continue
            end = keys[i + 1] if i + 1 < count else limit
            self.child(values[i], level - 1, keys[i], end, youngest)

    def child(self, pointer, level, first, limit, youngest):
        number, offset, group = self.place(pointer, youngest)
        segment = self.replica.segment(number)
        seq, rest = divmod(offset - segment.meta_start, self.meta_bytes)
        name = "node at %d of segment %d" % (offset, number)
        need(0 <= seq < segment.nmeta and rest == 0, name + " is outside the nodes")
        if self.strict and group is not None:
            need(group == (seq >> 4) % 16384, name + " has group %d" % group)
        raw = segment.raw[offset:offset + self.meta_bytes]
        flags, own_level, count, user = struct.unpack_from("<BBHI", raw)
        need(own_level == level, "%s has level %d, not %d" % (name, own_level, level))
        need(flags == (2 if level == 1 else 0), "%s has flags %d" % (name, flags))
        if self.strict:
            need(user == 0, name + " has user data")
        self.nodes += 1
        capacity = (self.meta_bytes - 8) // 16
        self.entries(raw, capacity, level, count, first, limit, number, name)

    def leaf_value(self, block, pointer, youngest):
        need(block not in self.mapped, "block %d is mapped twice" % block)
        if pointer == ZERO_BLOCK:
            self.zero_pointers += 1
            return
        number, offset, group = self.place(pointer, youngest)
        segment = self.replica.segment(number)
        index, rest = divmod(offset - segment.data_start, self.data_bytes)
        name = "block %d at %d of segment %d" % (block, offset, number)
        need(0 <= index < segment.ndata and rest == 0, name + " is outside the data")
        need(segment.entries[index] == (block, pointer), name + " has another entry")
        if self.strict and group is not None:
            need(group == (segment.nmeta + index >> 4) % 16384, name + " has group %d" % group)
        self.mapped[block] = (number, offset)

    def blocks(self):
        """Pairs of block index and bytes, in order."""
        for block in sorted(self.mapped):
            number, offset = self.mapped[block]
            yield block, self.replica.segment(number).raw[offset:offset + self.data_bytes]

    def write_image(self, out):
        """The image, sparse."""
        size = self.inode.size
        for block, data in self.blocks():
            start = block * self.data_bytes
            out.seek(start)
            out.write(data[:max(0, size - start)])
        out.truncate(size)

    def digest(self):
        """A hash of the size and of every block that is not all zeros, below the size."""
        size = self.inode.size
        total = hashlib.sha256(struct.pack("<Q", size))
        zeros = bytes(self.data_bytes)
        for block, data in self.blocks():
            start = block * self.data_bytes
            if start >= size:
                continue
            data = data[:size - start].ljust(self.data_bytes, b"\0")
            if data != zeros:
                total.update(struct.pack("<Q", block))
                total.update(data)
        return total.hexdigest()


def check_written_segment(segment):
    """What our writer promises about each segment it puts."""
    name = "segment %d: " % segment.number
    need(segment.checksum == 0 and segment.flags == 0, name + "checksum or flags")
    need(segment.next == 0 and segment.ino == 0, name + "next or ino")
    trailer = segment.raw[segment.end:]
    if segment.inode.last_cno != segment.number and trailer:
        # Staged: its own root, with the numbers of the checkpoint before.
        need(len(trailer) == 160, name + "%d bytes after the blocks" % len(trailer))
        staged = Inode(trailer)
        before = (segment.inode.last_seq, segment.inode.last_cno)
        need((staged.last_seq, staged.last_cno) == before, name + "numbers of the staged inode")
    else:
        need(not trailer, name + "length %d, not %d" % (len(segment.raw), segment.end))
    need(segment.end <= SEGMENT_BYTES_MAX, name + "longer than the cap")
    need(not any(segment.raw[segment.summary_bytes:segment.meta_start]), name + "padding")
    previous = -1
    for index, (block, pointer) in enumerate(segment.entries):
        need(block > previous, name + "entries do not ascend")
        previous = block
        offset = segment.data_start + (index << segment.data_shift)
        low = offset
        if segment.inode.format == 2:
            low = offset // 4096 << 14 | (segment.nmeta + index >> 4) % 16384
        need(pointer == 1 << 62 | segment.number << 32 | low, name + "entry %d" % index)
    if segment.inode.last_cno == segment.number:
        need(segment.inode.last_seq == segment.number, name + "last_seq")
        need(segment.inode.blocks == (segment.inode.size + 511) // 512, name + "i_blocks")


def report(folder, strict):
    replica = Replica(folder)
    results = []
    published = [0]
    for number in replica.numbers():
        if number > replica.head.last_cno:
            continue
        try:
            segment = replica.segment(number)
            if strict:
                check_written_segment(segment)
            if segment.inode.last_cno == number:
                published.append(number)
        except Bad as bad:
            results.append({"cno": number, "error": str(bad)})
    for cno in published:
        try:
            inode = replica.inode_at(cno)
            walk = Walk(replica, inode, strict)
            results.append({"cno": cno, "size": inode.size, "mapped": len(walk.mapped),
                            "zero_pointers": walk.zero_pointers, "nodes": walk.nodes,
                            "levels": walk.levels, "digest": walk.digest()})
        except Bad as bad:
            results.append({"cno": cno, "error": str(bad)})
    if strict and replica.head.last_cno:
        head, last = replica.head, replica.segment(replica.head.last_cno).inode
        if head.root != last.root or head.last_seq != last.last_seq:
            results.append({"cno": 0, "error": "the inode is not that of its segment"})
    return {"folder": folder, "checkpoints": results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writer", action="store_true")
    parser.add_argument("--cno", type=int, default=0)
    parser.add_argument("--image")
    parser.add_argument("folders", nargs="+")
    options = parser.parse_args()
    failed = False
    for folder in options.folders:
        if options.image:
            replica = Replica(folder)
            walk = Walk(replica, replica.inode_at(options.cno), options.writer)
            with open(options.image, "wb") as out:
                walk.write_image(out)
            continue
        result = report(folder, options.writer)
        failed = failed or any("error" in row for row in result["checkpoints"])
        print(json.dumps(result))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Bad as bad:
        print("independent_reader: %s" % bad, file=sys.stderr)
        sys.exit(1)
