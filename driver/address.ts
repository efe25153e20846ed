import { MacroError } from '../proto/error.js';

/** Where a board is. `sim:` addresses become one of these when the simulator has been started. */
export type Address =
  | { readonly kind: 'serial'; readonly path: string; readonly baud: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

const defaultBaud = 3_000_000;
/** Bits of the longest frame on a serial line, 10 a byte. */
const frameBits = 6_500;
const baudRange = { minimum: 9_600, maximum: 12_000_000 };

const refuse = (text: string, problem: string): never => {
  throw new MacroError('BAD_ADDRESS', `"${text}": ${problem}`, { field: 'address' });
};

function parseSerial(text: string): Address {
  const [path = '', query = ''] = text.slice('serial:'.length).split('?', 2);
  if (!path.startsWith('/')) refuse(text, 'the path of a tty begins with /');
  const options = new URLSearchParams(query);
  for (const option of options.keys()) if (option !== 'baud') refuse(text, `there is no option "${option}"; there is baud`);
  const baud = Number(options.get('baud') ?? defaultBaud);
  if (!Number.isInteger(baud) || baud < baudRange.minimum || baud > baudRange.maximum) {
    refuse(text, `baud is "${options.get('baud')}"; the range is ${baudRange.minimum} to ${baudRange.maximum}`);
  }
  return { kind: 'serial', path, baud };
}

function parseTcp(text: string): Address {
  const match = /^tcp:\/\/(\[[0-9a-fA-F:]+\]|[^:/?#[\]]+):(\d{1,5})$/.exec(text);
  if (match === null) return refuse(text, 'a TCP address is tcp://host:port');
  const port = Number(match[2]);
  if (port < 1 || port > 65535) refuse(text, `port is ${port}; the range is 1 to 65535`);
  return { kind: 'tcp', host: match[1].replace(/^\[|\]$/g, ''), port };
}

/** @throws MacroError BAD_ADDRESS, saying what is wrong and what is allowed */
export function parseAddress(text: string): Address {
  if (text.startsWith('serial:')) return parseSerial(text);
  if (text.startsWith('tcp://')) return parseTcp(text);
  return refuse(text, 'an address begins with serial: or tcp://');
}

/** The address as text that `parseAddress` takes. */
export function formatAddress(address: Address): string {
  if (address.kind === 'serial') return `serial:${address.path}?baud=${address.baud}`;
  return `tcp://${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** Time of the longest frame on the line; 0 where nothing bounds its speed. */
export const frameTimeMicrosecondsOf = (address: Address): number => (address.kind === 'serial' ? Math.ceil((frameBits * 1e6) / address.baud) : 0);
