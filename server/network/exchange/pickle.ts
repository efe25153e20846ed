import { MacroError } from '../../../proto/error.js';
import { refuseModel } from './refusal.js';

/**
 * A pickle is a program for a small stack machine. This one knows the instructions of protocol 2 that build data (Python's `pickletools` documents them),
 * and no way to reach code: a global is a name that must be on a list, a call is answered by the caller of `readPickle`, and everything else is refused
 * where it stands.
 */
export type PickleValue = null | boolean | number | string | PickleTuple | PickleList | PickleDictionary | PickleGlobal | PickleObject;
export class PickleTuple { constructor(readonly items: readonly PickleValue[]) {} }
export class PickleList { readonly items: PickleValue[] = []; }
export class PickleDictionary { readonly entries = new Map<string | number, PickleValue>(); }
export class PickleGlobal { constructor(readonly name: string) {} }
/** What a call or a persistent id became. */
export class PickleObject { constructor(readonly what: object) {} }

/** What a pickle may ask for. Refusals name the offset by themselves. */
export interface PickleGuests {
  /** Names that may be mentioned, as "module name". */
  readonly globals: ReadonlySet<string>;
  /** @returns undefined where this may not be called so */
  call(name: string, given: readonly PickleValue[]): PickleValue | undefined;
  /** An object that the pickle only points to. @returns undefined where there is none */
  object(id: PickleValue): PickleValue | undefined;
}

export const pickleLimits = { bytes: 4 * 2 ** 20, stack: 65_536, memo: 65_536, nameCharacters: 256 } as const;

class Pickle {
  private offset = 0;
  private at = 0;
  private stack: PickleValue[] = [];
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private isOver = false;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array, private readonly file: string, private readonly guests: PickleGuests) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): PickleValue {
    while (!this.isOver) {
      this.at = this.offset;
      const code = this.take(1)[0];
      const instruction = instructions.get(code);
      if (instruction === undefined) return this.forbid(`has the instruction 0x${code.toString(16).padStart(2, '0')}, which no tensor needs`);
      instruction(this);
      if (this.stack.length > pickleLimits.stack || this.marks.length > pickleLimits.stack) this.refuse(`has more than ${pickleLimits.stack} values at once`);
    }
    if (this.stack.length !== 1 || this.marks.length > 0) this.refuse(`ends with ${this.stack.length} values and ${this.marks.length} marks, not one value`);
    if (this.offset !== this.bytes.length) this.refuse('is followed by more bytes');
    return this.stack[0];
  }

  refuse(problem: string): never {
    return refuseModel(this.file, `, offset ${this.at}: the pickle ${problem}`, { field: this.file });
  }

  forbid(problem: string): never {
    throw new MacroError('UNSAFE_PICKLE', `${this.file}, offset ${this.at}: the pickle ${problem}`, { field: this.file });
  }

  take(count: number): Uint8Array {
    if (count > this.bytes.length - this.offset) this.refuse(`needs ${count} more bytes and has ${this.bytes.length - this.offset}`);
    return this.bytes.subarray(this.offset, (this.offset += count));
  }

  integer(size: 1 | 2 | 4, isSigned = false): number {
    const from = this.offset;
    this.take(size);
    if (size === 4) return isSigned ? this.view.getInt32(from, true) : this.view.getUint32(from, true);
    return size === 2 ? this.view.getUint16(from, true) : this.view.getUint8(from);
  }

  /** Little-endian two's complement of so many bytes. */
  long(): number {
    const digits = this.take(this.integer(1));
    if (digits.length > 8) this.refuse(`has an integer of ${digits.length} bytes, the limit is 8`);
    const unsigned = digits.reduceRight((sum, digit) => (sum << 8n) | BigInt(digit), 0n);
    const value = BigInt.asIntN(8 * digits.length, unsigned);
    return Number.isSafeInteger(Number(value)) ? Number(value) : this.refuse(`has the integer ${value}, beyond ±2^53`);
  }

  real(): number {
    const from = this.offset;
    this.take(8);
    return this.view.getFloat64(from, false);
  }

  text(): string {
    const bytes = this.take(this.integer(4));
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      return this.refuse('has a text that is not UTF-8');
    }
  }

  private line(): string {
    const end = this.bytes.indexOf(10, this.offset);
    if (end < 0 || end - this.offset > pickleLimits.nameCharacters) this.refuse(`has a name of more than ${pickleLimits.nameCharacters} characters`);
    const text = new TextDecoder('latin1').decode(this.take(end - this.offset));
    this.offset += 1;
    return text;
  }

  push(value: PickleValue): void {
    this.stack.push(value);
  }

  pop(): PickleValue {
    const floor = this.marks.at(-1) ?? 0;
    return this.stack.length > floor ? (this.stack.pop() as PickleValue) : this.refuse('takes a value that is not there');
  }

  mark(): void {
    this.marks.push(this.stack.length);
  }

  /** What stands above the last mark. */
  popMark(): PickleValue[] {
    const mark = this.marks.pop();
    return mark === undefined ? this.refuse('takes a mark that is not there') : this.stack.splice(mark);
  }

  protocol(): void {
    const version = this.integer(1);
    if (this.at !== 0) this.refuse('states its protocol in the middle');
    if (version !== 2) this.refuse(`has protocol ${version}, expected 2, as torch.save writes it`);
  }

  remember(index: number): void {
    if (this.memo.size >= pickleLimits.memo && !this.memo.has(index)) this.refuse(`remembers more than ${pickleLimits.memo} values`);
    const value = this.pop();
    this.memo.set(index, value);
    this.push(value);
  }

  recall(index: number): void {
    const value = this.memo.get(index);
    this.push(value === undefined ? this.refuse(`recalls value ${index}, which it has not remembered`) : value);
  }

  global(): void {
    const name = `${this.line()} ${this.line()}`;
    if (!this.guests.globals.has(name)) this.forbid(`asks for ${name.trim().replace(' ', '.')}, which is no part of a tensor`);
    this.push(new PickleGlobal(name));
  }

  call(): void {
    const given = this.pop();
    const called = this.pop();
    if (!(called instanceof PickleGlobal) || !(given instanceof PickleTuple)) this.forbid('calls what is no function');
    this.push(this.guests.call(called.name, given.items) ?? this.forbid(`calls ${called.name.replace(' ', '.')} as no tensor needs it`));
  }

  object(): void {
    this.push(this.guests.object(this.pop()) ?? this.refuse('points to an object that is not in the file'));
  }

  /** State of an object: PyTorch gives its dictionaries an attribute with versions, which says nothing of tensors. */
  dropState(): void {
    this.pop();
    const target = this.pop();
    if (!(target instanceof PickleDictionary)) this.forbid('sets the state of what is no dictionary');
    this.push(target);
  }

  append(items: readonly PickleValue[]): void {
    const list = this.pop();
    if (!(list instanceof PickleList)) this.refuse('appends to what is no list');
    for (const item of items) list.items.push(item);
    this.push(list);
  }

  put(items: readonly PickleValue[]): void {
    const dictionary = this.pop();
    if (!(dictionary instanceof PickleDictionary) || items.length % 2 !== 0) this.refuse('fills what is no dictionary');
    for (let item = 0; item < items.length; item += 2) {
      const key = items[item];
      if (typeof key !== 'string' && typeof key !== 'number') this.refuse('has a key that is neither text nor number');
      dictionary.entries.set(key as string | number, items[item + 1]);
    }
    this.push(dictionary);
  }

  tuple(size: number): void {
    const items = Array.from({ length: size }, () => this.pop());
    this.push(new PickleTuple(items.reverse()));
  }

  stop(): void {
    this.isOver = true;
  }
}

const instructions: ReadonlyMap<number, (pickle: Pickle) => void> = new Map<number, (pickle: Pickle) => void>([
  [0x80, (pickle) => pickle.protocol()],
  [0x2e, (pickle) => pickle.stop()],
  [0x28, (pickle) => pickle.mark()],
  // Constants: None, False, True, float, integers of 4, 1, 2 and any bytes, text.
  [0x4e, (pickle) => pickle.push(null)],
  [0x89, (pickle) => pickle.push(false)],
  [0x88, (pickle) => pickle.push(true)],
  [0x47, (pickle) => pickle.push(pickle.real())],
  [0x4a, (pickle) => pickle.push(pickle.integer(4, true))],
  [0x4b, (pickle) => pickle.push(pickle.integer(1))],
  [0x4d, (pickle) => pickle.push(pickle.integer(2))],
  [0x8a, (pickle) => pickle.push(pickle.long())],
  [0x58, (pickle) => pickle.push(pickle.text())],
  // Tuples: empty, of what is above the mark, of 1, 2 and 3.
  [0x29, (pickle) => pickle.tuple(0)],
  [0x74, (pickle) => pickle.push(new PickleTuple(pickle.popMark()))],
  [0x85, (pickle) => pickle.tuple(1)],
  [0x86, (pickle) => pickle.tuple(2)],
  [0x87, (pickle) => pickle.tuple(3)],
  // Lists and dictionaries: empty, one item, the items above the mark.
  [0x5d, (pickle) => pickle.push(new PickleList())],
  [0x61, (pickle) => pickle.append([pickle.pop()])],
  [0x65, (pickle) => pickle.append(pickle.popMark())],
  [0x7d, (pickle) => pickle.push(new PickleDictionary())],
  [0x73, (pickle) => pickle.put([pickle.pop(), pickle.pop()].reverse())],
  [0x75, (pickle) => pickle.put(pickle.popMark())],
  // The memo: put and get, index of 1 and 4 bytes.
  [0x71, (pickle) => pickle.remember(pickle.integer(1))],
  [0x72, (pickle) => pickle.remember(pickle.integer(4))],
  [0x68, (pickle) => pickle.recall(pickle.integer(1))],
  [0x6a, (pickle) => pickle.recall(pickle.integer(4))],
  // What could reach code in another reader: GLOBAL, REDUCE, BINPERSID, BUILD.
  [0x63, (pickle) => pickle.global()],
  [0x52, (pickle) => pickle.call()],
  [0x51, (pickle) => pickle.object()],
  [0x62, (pickle) => pickle.dropState()],
]);

/**
 * The value that a pickle describes.
 * @param file name for messages
 * @throws MacroError UNSAFE_PICKLE where it asks for more than data, BAD_MODEL where it is damaged or too large; both with the offset
 */
export function readPickle(bytes: Uint8Array, file: string, guests: PickleGuests): PickleValue {
  if (bytes.length > pickleLimits.bytes) refuseModel(file, `has a pickle of ${bytes.length} bytes, the limit is ${pickleLimits.bytes}`);
  return new Pickle(bytes, file, guests).run();
}
