// Headers made by hand after their formats' documentation; format_test.ts uses real mkfs programs.

import { assertEquals } from "../../support/assert.ts";
import { viewOf } from "../../../src/base/struct.ts";
import { foreignContents, SIGNATURE_HEAD_BYTES } from "../../../src/format/foreign_signature.ts";

type Header = (view: DataView, text: (at: number, value: string) => void) => void;

function found(header: Header): string {
  const head = new Uint8Array(SIGNATURE_HEAD_BYTES);
  header(viewOf(head), (at, value) => head.set(new TextEncoder().encode(value), at));
  return foreignContents(head).map(({ type, endBytes }) => `${type} ${endBytes}`).join(", ");
}

function partition(view: DataView, entry: number, start: number, count: number): void {
  const at = 446 + 16 * entry;
  view.setUint8(at + 4, 0x83);
  view.setUint32(at + 8, start, true);
  view.setUint32(at + 12, count, true);
  view.setUint16(510, 0xaa55, true);
}

const ROWS: readonly (readonly [string, Header])[] = [
  ["", () => {}],
  ["ext2/3/4 4096000", (view) => {
    view.setUint16(1024 + 56, 0xef53, true);
    view.setUint32(1024 + 4, 1000, true);
    view.setUint32(1024 + 24, 2, true);
    view.setUint32(1024 + 336, 9, true);
  }],
  ["ext2/3/4 17592190140416", (view) => {
    view.setUint16(1024 + 56, 0xef53, true);
    view.setUint32(1024 + 4, 1000, true);
    view.setUint32(1024 + 24, 2, true);
    view.setUint32(1024 + 96, 0x80, true);
    view.setUint32(1024 + 336, 1, true);
  }],
  ["xfs 8192000", (view, text) => {
    text(0, "XFSB");
    view.setUint32(4, 4096);
    view.setBigUint64(8, 2000n);
  }],
  ["btrfs 123456", (view, text) => {
    text(65536 + 64, "_BHRfS_M");
    view.setBigUint64(65536 + 112, 123456n, true);
  }],
  ["ntfs 512512", (view, text) => {
    text(3, "NTFS    ");
    view.setUint16(11, 512, true);
    view.setBigUint64(40, 1000n, true);
    view.setUint16(510, 0xaa55, true);
  }],
  ["exfat 4096000", (view, text) => {
    text(3, "EXFAT   ");
    view.setBigUint64(72, 1000n, true);
    view.setUint8(108, 12);
  }],
  ["vfat 1024000", (view, text) => {
    text(54, "FAT16   ");
    view.setUint16(11, 512, true);
    view.setUint16(19, 2000, true);
    view.setUint16(510, 0xaa55, true);
  }],
  ["vfat 51200000", (view, text) => {
    text(82, "FAT32   ");
    view.setUint16(11, 512, true);
    view.setUint32(32, 100000, true);
  }],
  ["swap 4096000", (view, text) => {
    text(4086, "SWAPSPACE2");
    view.setUint32(1028, 999, true);
  }],
  ["f2fs 4096000", (view) => {
    view.setUint32(1024, 0xf2f52010, true);
    view.setUint32(1024 + 16, 12, true);
    view.setBigUint64(1024 + 36, 1000n, true);
  }],
  ["squashfs 777", (view, text) => {
    text(0, "hsqs");
    view.setBigUint64(40, 777n, true);
  }],
  ["gpt 1024000, dos partition table 1024000", (view, text) => {
    text(512, "EFI PART");
    view.setBigUint64(512 + 32, 1999n, true);
    partition(view, 0, 1, 1999);
  }],
  ["gpt 4096000", (view, text) => {
    text(4096, "EFI PART");
    view.setBigUint64(4096 + 32, 999n, true);
  }],
  ["dos partition table 1536000", (view) => {
    partition(view, 0, 2048, 0);
    partition(view, 1, 1000, 2000);
    partition(view, 3, 1, 999);
  }],
  ["", (view) => {
    partition(view, 0, 1, 1);
    view.setUint8(446, 0x33);
  }],
  ["xfs null", (_, text) => text(0, "XFSB")],
  ["btrfs null", (view, text) => {
    text(65536 + 64, "_BHRfS_M");
    view.setBigUint64(65536 + 112, 2n ** 63n, true);
  }],
];

Deno.test("foreignContents() reads where file systems and partition tables end", () => {
  for (const [expected, header] of ROWS) assertEquals(found(header), expected);
});

Deno.test("foreignContents() takes a head of any length", () => {
  for (const length of [4096, 8192, 65536]) {
    assertEquals(foreignContents(new Uint8Array(length)), []);
  }
});
