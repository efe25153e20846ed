/** What an object's owner may know of it. */
export interface BulkObjectState {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  readonly committed: boolean;
}

interface BulkObject {
  readonly digest: Uint8Array;
  readonly bytes: Uint8Array;
  offsetBytes: number;
  committed: boolean;
}

const nameBytes = 8;
const nameOf = (digest: Uint8Array) => Array.from(digest.subarray(0, nameBytes), (byte) => byte.toString(16).padStart(2, '0')).join('');

/** Objects by digest, as controllers hold them in RAM: bounded, the longest unused goes first, an upload resumes where it stopped. */
export class BulkStore {
  private readonly objects = new Map<string, BulkObject>();
  private bytes = 0;
  /** The object of the last chunk: the next one is most likely its own. */
  private arriving: BulkObject | undefined;

  constructor(private readonly limitBytes: number, private readonly sha256: (bytes: Uint8Array) => Uint8Array) {}

  /** Makes room for an object, or finds it. undefined: it is larger than the store. */
  offer(digest: Uint8Array, sizeBytes: number): BulkObjectState | undefined {
    if (sizeBytes > this.limitBytes) return undefined;
    const name = nameOf(digest);
    const known = this.objects.get(name);
    if (known !== undefined && known.bytes.length === sizeBytes) return this.touch(name, known);
    if (known !== undefined) this.drop(name);
    for (const oldest of this.objects.keys()) {
      if (this.bytes + sizeBytes <= this.limitBytes) break;
      this.drop(oldest);
    }
    const object = { digest: digest.slice(), bytes: new Uint8Array(sizeBytes), offsetBytes: 0, committed: false };
    this.objects.set(name, object);
    this.bytes += sizeBytes;
    return stateOf(object);
  }

  /** Takes a chunk that continues an object; any other is dropped, the commit will tell. */
  take(name: Uint8Array, offsetBytes: number, data: Uint8Array): void {
    const object = this.arriving !== undefined && isNamed(this.arriving, name) ? this.arriving : this.objects.get(nameOf(name));
    this.arriving = object;
    if (object === undefined || object.committed || offsetBytes !== object.offsetBytes || offsetBytes + data.length > object.bytes.length) return;
    object.bytes.set(data, offsetBytes);
    object.offsetBytes += data.length;
  }

  /** Checks a complete object. A wrong digest forgets what was sent, so that it can be sent again. */
  commit(digest: Uint8Array): BulkObjectState | 'unknown' | 'incomplete' | 'mismatch' {
    const object = this.objects.get(nameOf(digest));
    if (object === undefined) return 'unknown';
    if (object.committed) return stateOf(object);
    if (object.offsetBytes < object.bytes.length) return 'incomplete';
    if (!isEqual(this.sha256(object.bytes), digest)) {
      object.offsetBytes = 0;
      return 'mismatch';
    }
    object.committed = true;
    return stateOf(object);
  }

  /** A committed object. */
  get(digest: Uint8Array): Uint8Array | undefined {
    const name = nameOf(digest);
    const object = this.objects.get(name);
    if (object === undefined || !object.committed || !isEqual(object.digest, digest)) return undefined;
    this.touch(name, object);
    return object.bytes;
  }

  /** Puts an object of the device's own making into the store. @returns its digest */
  put(bytes: Uint8Array): Uint8Array | undefined {
    const digest = this.sha256(bytes);
    if (this.offer(digest, bytes.length) === undefined) return undefined;
    const object = this.objects.get(nameOf(digest));
    if (object === undefined) return undefined;
    object.bytes.set(bytes);
    object.offsetBytes = bytes.length;
    object.committed = true;
    return digest;
  }

  private touch(name: string, object: BulkObject): BulkObjectState {
    this.objects.delete(name);
    this.objects.set(name, object);
    return stateOf(object);
  }

  private drop(name: string): void {
    const object = this.objects.get(name);
    this.bytes -= object?.bytes.length ?? 0;
    if (object === this.arriving) this.arriving = undefined;
    this.objects.delete(name);
  }
}

const stateOf = ({ offsetBytes, bytes, committed }: BulkObject): BulkObjectState => ({ offsetBytes, sizeBytes: bytes.length, committed });

function isNamed({ digest }: BulkObject, name: Uint8Array): boolean {
  for (let index = 0; index < nameBytes; index += 1) if (digest[index] !== name[index]) return false;
  return name.length === nameBytes;
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
