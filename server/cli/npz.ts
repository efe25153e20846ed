import { crc32, deflateRawSync } from 'node:zlib';

/** ZIP (PKWARE APPNOTE): signatures of a local header, a central header and the end of the directory. */
const [localSignature, centralSignature, endSignature] = [0x04034b50, 0x02014b50, 0x06054b50];
const zipVersion = 20;
const deflated = 8;
/** The first of January 1980: the same content is the same file. */
const epochDate = 0x21;

interface Entry {
  readonly name: Buffer;
  readonly packed: Buffer;
  readonly checksum: number;
  readonly sizeBytes: number;
  readonly offset: number;
}

/** The fields that local and central header share. */
function commonFields({ name, packed, checksum, sizeBytes }: Omit<Entry, 'offset'>): Buffer {
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(zipVersion, 0);
  fields.writeUInt16LE(deflated, 4);
  fields.writeUInt16LE(epochDate, 8);
  fields.writeUInt32LE(checksum, 10);
  fields.writeUInt32LE(packed.length, 14);
  fields.writeUInt32LE(sizeBytes, 18);
  fields.writeUInt16LE(name.length, 22);
  return fields;
}

const word = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

function centralHeader(entry: Entry): Buffer {
  const rest = Buffer.alloc(14); // comment length, disk, attributes, and behind them the offset
  rest.writeUInt32LE(entry.offset, 10);
  const version = Buffer.alloc(2);
  version.writeUInt16LE(zipVersion);
  return Buffer.concat([word(centralSignature), version, commonFields(entry), rest, entry.name]);
}

/** A .npz file, as `numpy.load` reads it: a ZIP archive of .npy files by the names of their arrays. */
export function writeNpz(arrays: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const parts: Buffer[] = [];
  const entries: Entry[] = [];
  let offset = 0;
  for (const [array, npy] of arrays) {
    const entry = { name: Buffer.from(`${array}.npy`), packed: deflateRawSync(npy), checksum: crc32(npy), sizeBytes: npy.length, offset };
    const local = Buffer.concat([word(localSignature), commonFields(entry), entry.name, entry.packed]);
    entries.push(entry);
    parts.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(entries.map(centralHeader));
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...parts, directory, word(endSignature), end]);
}
